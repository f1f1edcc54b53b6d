"""Means with intervals, and paired comparison of two methods on the same clips.

The unit is the clip: frames of one clip resemble each other, so a value per clip (the mean over its frames) enters
here, never a value per frame. Clips of the same identity are treated as independent; where a test set has few
identities the intervals are too narrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
RESAMPLES_AT_ONCE = 1000


@dataclass(frozen=True)
class Mean:
    """Mean over n clips; low and high are None when n < 2."""

    n: int
    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class PairedDifference:
    """Mean of second - first over n clips, its bootstrap interval and two-sided p-value (None when n < 2)."""

    n: int
    mean: float
    low: float | None
    high: float | None
    p: float | None


def mean_interval(values: Sequence[float] | np.ndarray) -> Mean:
    """Mean with its 95 % interval by Student's t: mean +- t(0.975, n-1) s / sqrt(n).

    Raises:
        ValueError: there is no value, or one is not finite.
    """
    values = _finite(values)
    n, mean = len(values), float(values.mean())
    if n < 2:
        return Mean(n, mean, None, None)
    from scipy.special import stdtrit  # importing it takes longer than all else that a page of the site needs

    half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2) * values.std(ddof=1) / np.sqrt(n))
    return Mean(n, mean, mean - half, mean + half)


def paired_difference(
    first: Sequence[float] | np.ndarray,
    second: Sequence[float] | np.ndarray,
    *,
    resamples: int = 10000,
    seed: int = 0,
) -> PairedDifference:
    """Mean of second - first with a percentile bootstrap over clips (Efron and Tibshirani 1993, chapter 13).

    The p-value is the interval turned round: twice the share of resampled means on the lesser side of zero, with
    one added to both counts so that it is never 0. It lies below 0.05 where the 95 % interval leaves zero out (but
    for that one). With few clips (below about ten) the bootstrap is too confident.

    Args:
        first: a value per clip of the one method.
        second: a value per clip of the other, same clips in the same order.
        resamples: bootstrap samples of clips.
        seed: of the bootstrap; the same seed gives the same numbers.

    Raises:
        ValueError: lengths differ, there is no value, or one is not finite.
    """
    first, second = _finite(first), _finite(second)
    if len(first) != len(second):
        raise ValueError(f"paired values must come from the same clips, not {len(first)} and {len(second)}.")
    differences = second - first
    n, mean = len(differences), float(differences.mean())
    if n < 2:
        return PairedDifference(n, mean, None, None, None)
    means = _bootstrap_means(differences, resamples, np.random.default_rng(seed))
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    tail = min(np.count_nonzero(means <= 0), np.count_nonzero(means >= 0))
    return PairedDifference(n, mean, float(low), float(high), min(1.0, 2 * (tail + 1) / (resamples + 1)))


def _bootstrap_means(values: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    blocks = [
        values[rng.integers(0, len(values), (min(RESAMPLES_AT_ONCE, resamples - start), len(values)))].mean(1)
        for start in range(0, resamples, RESAMPLES_AT_ONCE)
    ]
    return np.concatenate(blocks)


def _finite(values: Sequence[float] | np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError("statistics need at least one value per method.")
    if not np.isfinite(values).all():
        raise ValueError("statistics need finite values.")
    return values
