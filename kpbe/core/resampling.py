"""Helpers of every bootstrap: draws with replacement, and the p-value of a count."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

RESAMPLES_AT_ONCE = 1000


def draws(size: int, resamples: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Indices of `resamples` samples with replacement from `size` items.

    Yields blocks of shape (up to RESAMPLES_AT_ONCE, size).
    """
    for start in range(0, resamples, RESAMPLES_AT_ONCE):
        yield rng.integers(0, size, (min(RESAMPLES_AT_ONCE, resamples - start), size))


def p_of_count(beyond: int, resamples: int) -> float:
    """p-value: share of resamples beyond the observed value (Davison and Hinkley 1997, 4.2).

    One is added to both counts, so it is never 0.
    """
    return (beyond + 1) / (resamples + 1)
