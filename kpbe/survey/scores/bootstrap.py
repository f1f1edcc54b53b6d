"""Intervals of means over raters and clips, both of which are samples.

A score belongs to a rater and a clip. Other raters or clips would give other scores, so an interval for new
raters and new clips must let both vary. 1.96 sd / sqrt(n) over all n = raters x clips answers assumes
independent answers, which they are not: all answers of a rater share the rater's bias, all answers on a clip
share the clip.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kpbe.core.resampling import draws, p_of_count

CONFIDENCE = 0.95
Z = 1.959964


@dataclass(frozen=True)
class Estimate:
    """A mean over raters and clips.

    Attributes:
        n: number of answers (or pairs of answers).
        raters, clips: numbers of those with at least one answer.
        mean: over all answers.
        low, high: 95 % interval; None with fewer than two raters or clips.
        p: two-sided p-value of a difference; None for a plain mean or without interval.
    """

    n: int
    raters: int
    clips: int
    mean: float
    low: float | None
    high: float | None
    p: float | None = None


def crossed_mean(scores: np.ndarray, *, resamples: int, seed: int) -> Estimate | None:
    """Mean of a table raters x clips (NaN: no answer) with crossed bootstrap interval; None if empty."""
    return _estimate(scores, resamples, seed, with_p=False)


def crossed_difference(
    first: np.ndarray, second: np.ndarray, *, resamples: int, seed: int
) -> Estimate | None:
    """Mean of second - first over pairs of answers of the same rater and clip, with interval and p-value.

    The p-value corresponds to the interval: twice the share of resampled means on the smaller side of zero,
    with one added to both counts. It is below 0.05 where the interval excludes zero (up to that one).

    Args:
        first: raters x clips, same raters and clips; NaN where there is no answer.
        second: raters x clips, same raters and clips; NaN where there is no answer.
        resamples: bootstrap samples.
        seed: the same seed gives the same numbers.

    Raises:
        ValueError: the tables differ in shape.
    """
    if first.shape != second.shape:
        raise ValueError(
            f"paired scores need the same raters and clips, not {first.shape} and {second.shape}."
        )
    return _estimate(second - first, resamples, seed, with_p=True)


def _estimate(scores: np.ndarray, resamples: int, seed: int, with_p: bool) -> Estimate | None:
    known = ~np.isnan(scores)
    n = int(known.sum())
    if n == 0:
        return None
    scores = scores[known.any(1)][:, known.any(0)]
    raters, clips = scores.shape
    mean = float(np.nanmean(scores))
    if min(raters, clips) < 2:
        return Estimate(n, raters, clips, mean, None, None)
    means = crossed_bootstrap(scores, resamples, np.random.default_rng(seed))
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    p = None
    if with_p:
        tail = min(np.count_nonzero(means <= 0), np.count_nonzero(means >= 0))
        p = min(1.0, 2 * p_of_count(int(tail), resamples))
    return Estimate(n, raters, clips, mean, float(low), float(high), p)


def crossed_bootstrap(scores: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Means of resampled raters plus means of resampled clips, minus the mean of all.

    With scores = m + rater + clip + rest (variances a, b, c) over R raters and C clips, the mean's variance
    is a/R + b/C + c/(RC). Resampling raters alone gives a/R + c/(RC), clips alone b/C + c/(RC); adding the
    two independent deviations gives the right terms of raters and clips and counts the rest twice. That is
    the bootstrap form of two-way clustered errors without the subtracted third term (Cameron, Gelbach and
    Miller 2011), so it cannot become negative. Resampling the rows and columns of the table at once (the
    pigeonhole bootstrap, Owen 2007) would count the rest three times. With few raters and clips the
    percentiles of a bootstrap are a little too close, for which the second count of the rest makes up: with
    10 raters and 13 clips the 95 % interval holds the truth in about 95 of 100 studies (simulated in the
    tests).

    Args:
        scores: raters x clips, NaN where there is no answer; every row and column has at least one.
        resamples: number of bootstrap samples.
        rng: draws raters and clips.

    Returns:
        (resamples,) resampled means.
    """
    known = ~np.isnan(scores)
    filled = np.where(known, scores, 0.0)
    mean = filled.sum() / known.sum()
    result = np.full(resamples, -mean)
    for axis in (1, 0):
        result += _resampled_means(filled.sum(axis), known.sum(axis), resamples, rng)
    return result


def _resampled_means(
    sums: np.ndarray, counts: np.ndarray, resamples: int, rng: np.random.Generator
) -> np.ndarray:
    """Means over answers when whole raters (or whole clips) are drawn with replacement.

    Takes the sum and the number of answers of each.
    """
    size = len(sums)
    blocks = (sums[drawn].sum(1) / counts[drawn].sum(1) for drawn in draws(size, resamples, rng))
    return np.concatenate(list(blocks))


def naive_interval(scores: np.ndarray) -> tuple[float, float] | None:
    """mean +- 1.96 sd / sqrt(n) over all answers, which is too narrow but usual in papers.

    None with fewer than two answers.
    """
    values = scores[~np.isnan(scores)]
    if len(values) < 2:
        return None
    half = Z * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)
