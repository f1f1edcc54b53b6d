"""Agreement of raters: Krippendorff's alpha and intraclass correlation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

CONFIDENCE = 0.95
Level = Literal["nominal", "ordinal", "interval"]


@dataclass(frozen=True)
class Intraclass:
    """Intraclass correlation of raters who all rated the same stimuli.

    The model is two-way random effects, absolute agreement.

    Attributes:
        raters, stimuli: their numbers.
        single, single_low, single_high: ICC(2,1) of one rater's scores, with 95 % interval.
        mean, mean_low, mean_high: ICC(2,k) of the mean over the raters, with 95 % interval.
    """

    raters: int
    stimuli: int
    single: float
    single_low: float
    single_high: float
    mean: float
    mean_low: float
    mean_high: float


def krippendorff_alpha(scores: np.ndarray, level: Level) -> float | None:
    """Krippendorff's alpha: 1 for perfect agreement, 0 for chance, below 0 for systematic disagreement.

    alpha = 1 - (n - 1) sum_ck o_ck d_ck / sum_ck n_c n_k d_ck, with coincidences o_ck of the values c and k
    within stimuli, their sums n_c, and the squared difference d_ck of the level: c != k (nominal), (c - k)^2
    (interval), (sum of n_g from c to k less half of n_c and n_k)^2 (ordinal). Source: Krippendorff, Computing
    Krippendorff's alpha-reliability (2011). Missing answers are allowed; stimuli with one answer do not count
    and are left out.

    Args:
        scores: raters x stimuli, NaN where there is no answer.
        level: the scale's level of measurement.

    Returns:
        Alpha; None where it is undefined: no stimulus has two answers, or all answers are the same.
    """
    values = np.unique(scores[~np.isnan(scores)])
    counts = (scores[:, :, None] == values).sum(0).astype(float)  # stimuli x values
    counts = counts[counts.sum(1) >= 2]
    if not len(counts) or np.count_nonzero(counts.sum(0)) < 2:
        return None
    weights = 1 / (counts.sum(1) - 1)
    coincidences = (counts * weights[:, None]).T @ counts - np.diag(counts.T @ weights)
    totals = counts.sum(0)
    distance = _squared_difference(values, totals, level)
    observed, expected = (coincidences * distance).sum(), (np.outer(totals, totals) * distance).sum()
    return float(1 - (totals.sum() - 1) * observed / expected)


def _squared_difference(values: np.ndarray, totals: np.ndarray, level: Level) -> np.ndarray:
    if level == "nominal":
        return 1.0 - np.eye(len(values))
    if level == "interval":
        return (values[:, None] - values) ** 2
    middles = np.cumsum(totals) - totals / 2  # so that middle(k) - middle(c) is the ordinal difference
    return (middles[:, None] - middles) ** 2


def intraclass(scores: np.ndarray) -> Intraclass | None:
    """ICC(2,1) and ICC(2,k) over the stimuli that every rater answered, with intervals.

    Source: Shrout and Fleiss 1979.

    Args:
        scores: raters x stimuli, NaN where there is no answer.

    Returns:
        The correlations; None with fewer than two raters or complete stimuli, or when nothing varies.
    """
    table = scores[:, ~np.isnan(scores).any(0)]
    k, n = table.shape
    if k < 2 or n < 2:
        return None
    grand, stimuli, raters = table.mean(), table.mean(0), table.mean(1)
    between = k * ((stimuli - grand) ** 2).sum() / (n - 1)  # their BMS
    judges = n * ((raters - grand) ** 2).sum() / (k - 1)  # JMS
    rest = ((table - stimuli - raters[:, None] + grand) ** 2).sum() / ((n - 1) * (k - 1))  # EMS
    spread = between + (k - 1) * rest + k * (judges - rest) / n
    if spread <= 0 or between + (judges - rest) / n <= 0:
        return None
    single = (between - rest) / spread
    low, high = _single_interval(between, judges, rest, single, k, n)
    return Intraclass(
        k, n, single, low, high,
        (between - rest) / (between + (judges - rest) / n), _of_mean(low, k), _of_mean(high, k),
    )  # fmt: skip


def _single_interval(
    between: float, judges: float, rest: float, single: float, k: int, n: int
) -> tuple[float, float]:
    if rest <= 0:
        return single, single
    ratio = judges / rest
    a, b = k * single * ratio, n * (1 + (k - 1) * single) - k * single
    freedom = (k - 1) * (n - 1) * (a + b) ** 2 / ((n - 1) * a**2 + b**2)
    from scipy.special import fdtri  # a slow import, which pages of the site avoid

    upper = float(fdtri(n - 1, freedom, (1 + CONFIDENCE) / 2))
    lower = float(fdtri(freedom, n - 1, (1 + CONFIDENCE) / 2))
    shared = k * judges + (k * n - k - n) * rest
    return (
        n * (between - upper * rest) / (upper * shared + n * between),
        n * (lower * between - rest) / (shared + n * lower * between),
    )


def _of_mean(single: float, k: int) -> float:
    """The reliability of a mean over k raters from that of one (Spearman-Brown)."""
    return k * single / (1 + (k - 1) * single)
