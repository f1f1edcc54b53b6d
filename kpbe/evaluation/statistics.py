"""Means with intervals, and paired comparison of two methods, with the identity as the unit.

Frames of a clip resemble each other, and so do clips of a person: neither are independent. The input is one
value per clip; each identity's clips are averaged, and intervals and p-values come from the identities'
means. Below `FEW_IDENTITIES` identities these are Student's t and the exact sign-flip test, from there on a
bootstrap over identities (Cameron, Gelbach and Miller 2008 on few clusters).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from kpbe.core.resampling import draws, p_of_count

CONFIDENCE = 0.95
FEW_IDENTITIES = 20

Values = Sequence[float] | np.ndarray
Identities = Sequence[str] | np.ndarray


@dataclass(frozen=True)
class Mean:
    """Mean of the identities' means; low and high are None below two identities."""

    clips: int
    identities: int
    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class PairedDifference(Mean):
    """Mean of second - first.

    Attributes:
        p: two-sided p-value of a zero mean; None below two identities.
        icc: intraclass correlation of the clips' differences; None where it cannot be estimated.
    """

    p: float | None
    icc: float | None


def mean_interval(values: Values, identities: Identities, *, resamples: int = 10000, seed: int = 0) -> Mean:
    """Mean of the identities' means with its 95 % interval.

    Below `FEW_IDENTITIES` identities: mean +- t(0.975, n-1) s / sqrt(n). From there on: bootstrap-t over
    identities, symmetric (Hall 1988); Student's t where too many samples are constant for the bootstrap's
    quantile.

    Args:
        values: a value per clip.
        identities: whose clip it is.
        resamples: bootstrap samples of identities.
        seed: of the bootstrap; the same seed gives the same numbers.

    Raises:
        ValueError: there is no value, one is not finite, or the lengths differ.
    """
    values, names = _checked(values, identities)
    means = _identity_means(values, names)
    center = float(means.mean())
    if len(means) < 2:
        return Mean(len(values), len(means), center, None, None)
    half = _half_width(means, resamples, seed)
    return Mean(len(values), len(means), center, center - half, center + half)


def paired_difference(
    first: Values,
    second: Values,
    identities: Identities,
    *,
    resamples: int = 10000,
    seed: int = 0,
) -> PairedDifference:
    """Mean of second - first over identities, with interval (as `mean_interval`), p-value and ICC.

    Below `FEW_IDENTITIES` identities p is that of the exact sign-flip test: the share of all 2^n sign
    patterns of the identities' mean differences whose mean is at least as far from zero. It cannot fall below
    2 / 2^n: with four identities below 0.125, whatever the data. From there on p is that of the bootstrap-t.

    Args:
        first: a value per clip of the first method.
        second: a value per clip of the second, same clips in the same order.
        identities: whose clip it is.
        resamples: bootstrap samples of identities.
        seed: of the bootstrap; the same seed gives the same numbers.

    Raises:
        ValueError: lengths differ, there is no value, or one is not finite.
    """
    if len(first) != len(second):
        raise ValueError(f"paired values must come from the same clips, not {len(first)} and {len(second)}.")
    differences, names = _checked(np.asarray(second, float) - np.asarray(first, float), identities)
    means = _identity_means(differences, names)
    mean = mean_interval(differences, identities, resamples=resamples, seed=seed)
    p = None
    if len(means) >= 2:
        p = _sign_flip_p(means) if len(means) < FEW_IDENTITIES else _bootstrap_p(means, resamples, seed)
    return PairedDifference(**vars(mean), p=p, icc=intraclass_correlation(differences, identities))


def intraclass_correlation(values: Values, identities: Identities) -> float | None:
    """ICC(1) of clips within identities: one-way analysis of variance (Donner 1986).

    The numbers of clips may differ. 1: all clips of a person give the same value, so further clips add
    nothing. 0: a person's clips differ as much as anybody's (estimates may be below 0).

    Returns:
        The ICC; None with fewer than two identities, only one clip per identity, or constant values.

    Raises:
        ValueError: as for `mean_interval`.
    """
    values, names = _checked(values, identities)
    group = np.unique(names, return_inverse=True)[1]
    sizes = np.bincount(group)
    groups, clips = len(sizes), len(values)
    if groups < 2 or clips == groups:
        return None
    means = np.bincount(group, values) / sizes
    between = float((sizes * (means - values.mean()) ** 2).sum()) / (groups - 1)
    within = float(((values - means[group]) ** 2).sum()) / (clips - groups)
    size = (clips - (sizes**2).sum() / clips) / (groups - 1)
    total = between + (size - 1) * within
    return (between - within) / total if total > 0 else None


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted by Holm's step-down method (1979), in the given order."""
    order = np.argsort(p_values, kind="stable")
    adjusted, worst = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = worst
    return adjusted


# -- of identities -----------------------------------------------------------------------------------------


def _identity_means(values: np.ndarray, identities: np.ndarray) -> np.ndarray:
    _, group = np.unique(identities, return_inverse=True)
    return np.bincount(group, values) / np.bincount(group)


def _half_width(means: np.ndarray, resamples: int, seed: int) -> float:
    error = float(means.std(ddof=1) / np.sqrt(len(means)))
    if len(means) >= FEW_IDENTITIES:
        factor = float(np.quantile(_bootstrap_t(means, resamples, seed), CONFIDENCE, method="higher"))
        if np.isfinite(factor):
            return factor * error
    from scipy.special import stdtrit  # a slow import, which pages of the site avoid

    return float(stdtrit(len(means) - 1, (1 + CONFIDENCE) / 2)) * error


def _sign_flip_p(means: np.ndarray) -> float:
    sums = _signs(len(means)) @ means
    observed = abs(means.sum())
    return float(np.mean(np.abs(sums) >= observed - 1e-12 * np.abs(means).sum()))


@lru_cache(maxsize=4)
def _signs(count: int) -> np.ndarray:
    """Sign patterns of `count` values whose last sign is +, (2^(count-1), count).

    They stand for their mirror images too.
    """
    patterns = np.arange(2 ** (count - 1))[:, None] >> np.arange(count) & 1
    return (1 - 2 * patterns).astype(np.float32)


def _bootstrap_p(means: np.ndarray, resamples: int, seed: int) -> float:
    error = means.std(ddof=1) / np.sqrt(len(means))
    if error == 0:
        return 1.0 if means.mean() == 0 else p_of_count(0, resamples)
    beyond = int(np.count_nonzero(_bootstrap_t(means, resamples, seed) >= abs(means.mean()) / error))
    return p_of_count(beyond, resamples)


def _bootstrap_t(means: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """|mean* - mean| / standard error* of `resamples` samples of identities with replacement."""
    rng, count = np.random.default_rng(seed), len(means)
    blocks = []
    for indices in draws(count, resamples, rng):
        drawn = means[indices]
        error = drawn.std(1, ddof=1) / np.sqrt(count)
        away = np.abs(drawn.mean(1) - means.mean())
        without = np.where(away > 0, np.inf, 0.0)  # all drawn values are the same
        blocks.append(np.divide(away, error, out=without, where=error > 0))
    return np.concatenate(blocks)


def _checked(values: Values, identities: Identities) -> tuple[np.ndarray, np.ndarray]:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError("statistics need at least one value per method.")
    if len(values) != len(identities):
        raise ValueError(f"{len(values)} values cannot come from the clips of {len(identities)} identities.")
    if not np.isfinite(values).all():
        raise ValueError("statistics need finite values.")
    return values, np.asarray(identities)
