"""How many raters and clips a wished-for difference needs.

The difference of two methods' scores by the same rater on the same clip is taken as mean + rater + clip + rest, with standard deviations in
points. Over R raters and C clips the mean difference then has the standard error

    sqrt(rater^2 / R + clip^2 / C + rest^2 / (R C)),

which no number of raters brings below clip / sqrt(C): where the methods differ from clip to clip, only more clips help.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from kpbe.methods import enhanced_method
from kpbe.survey.scores.bootstrap import Z
from kpbe.survey.scores.ratings import Panel

LEVEL = 0.05
NORMAL = NormalDist()
MOST_RATERS = 2000
MOST_CLIPS = 500
LEAST_RATERS = 15
"""Fewer than ITU-T P.910 asks for."""

WEB_RATERS = 35
"""What ITU-T P.913 asks for outside a laboratory, as in a survey on the web."""


@dataclass(frozen=True)
class Spread:
    """Standard deviations of a difference of two methods' scores, in points of the five-point scale.

    Attributes:
        rater: how differently raters judge the difference.
        clip: how much the difference changes from clip to clip.
        rest: of a single pair of answers around that.
    """

    rater: float
    clip: float
    rest: float


ASSUMED = Spread(rater=0.25, clip=0.35, rest=1.0)
"""Where no survey has been made: a single score with standard deviations of 0.18 (rater x method), 0.25 (clip x method) and 0.7 (rest),
times sqrt(2) for a difference. Together with 0.4 for raters and 0.3 for clips, which a paired difference cancels, scores have the standard
deviation of 0.9 that five-point scores of talking heads commonly have."""


def standard_error(spread: Spread, raters: int, clips: int) -> float:
    """Standard error of a mean difference over `raters` x `clips` pairs, in points."""
    return float(
        np.sqrt(spread.rater**2 / raters + spread.clip**2 / clips + spread.rest**2 / (raters * clips))
    )


def half_width(spread: Spread, raters: int, clips: int) -> float:
    """Half the width of the 95 % interval of a difference, in points: 1.96 standard errors.

    A survey has to estimate its standard error as well; the interval that it prints is on average some 5 to 10 % wider with ten raters.
    """
    return Z * standard_error(spread, raters, clips)


def power(spread: Spread, raters: int, clips: int, difference: float, comparisons: int = 1) -> float:
    """Chance that a true difference is found significant, 0 to 1.

    Args:
        spread: of the differences.
        raters, clips: how many.
        difference: the true one, in points.
        comparisons: the level of 0.05 is divided by it (the first step of Holm's correction).
    """
    z = NORMAL.inv_cdf(1 - LEVEL / comparisons / 2)
    shift = abs(difference) / standard_error(spread, raters, clips)
    return NORMAL.cdf(shift - z) + NORMAL.cdf(-shift - z)


def raters_needed(
    spread: Spread, clips: int, difference: float, wanted: float = 0.8, comparisons: int = 1
) -> int | None:
    """Fewest raters for which the power is `wanted`; None when even MOST_RATERS are too few for so few clips."""
    return _fewest(
        lambda raters: power(spread, raters, clips, difference, comparisons) >= wanted, MOST_RATERS
    )


def clips_needed(
    spread: Spread, raters: int, difference: float, wanted: float = 0.8, comparisons: int = 1
) -> int | None:
    """Fewest clips for which the power is `wanted`; None when even MOST_CLIPS are too few for so few raters."""
    return _fewest(lambda clips: power(spread, raters, clips, difference, comparisons) >= wanted, MOST_CLIPS)


def smallest_difference(
    spread: Spread, raters: int, clips: int, wanted: float = 0.8, comparisons: int = 1
) -> float:
    """The difference in points that is found with the power `wanted` (the lesser tail, of no weight here, is left out)."""
    z = NORMAL.inv_cdf(1 - LEVEL / comparisons / 2) + NORMAL.inv_cdf(wanted)
    return z * standard_error(spread, raters, clips)


def _fewest(enough: Callable[[int], bool], most: int) -> int | None:
    low, high = 2, most
    if not enough(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low


# -- from a survey ------------------------------------------------------------------------------------------------


def spread_of(panel: Panel, backends: Sequence[str]) -> Spread | None:
    """The spread in a survey that was made, over all its comparisons of backend and backend + KPBE.

    Variances come from the expected mean squares of a two-way table without replication and are averaged over comparisons and
    questions; a negative one counts as 0. Raters who left out a clip are left out.

    Returns:
        None when no comparison has two complete raters and two clips.
    """
    found = []
    for backend in backends:
        pair = (backend, enhanced_method(backend))
        if not set(pair) <= set(panel.methods):
            continue
        for question in panel.questions:
            first, second = (panel.table(method, question) for method in pair)
            components = variance_components(second - first)
            if components is not None:
                found.append(components)
    if not found:
        return None
    rater, clip, rest = np.sqrt(np.maximum(np.mean(found, axis=0), 0))
    return Spread(float(rater), float(clip), float(rest))


def variance_components(table: np.ndarray) -> tuple[float, float, float] | None:
    """Unbiased variances of rows, columns and rest of a table raters x clips; those of rows and columns may come out negative."""
    table = table[:, ~np.isnan(table).all(0)]
    table = table[~np.isnan(table).any(1)]
    raters, clips = table.shape
    if min(raters, clips) < 2:
        return None
    grand, rows, columns = table.mean(), table.mean(1), table.mean(0)
    of_rows = clips * ((rows - grand) ** 2).sum() / (raters - 1)
    of_columns = raters * ((columns - grand) ** 2).sum() / (clips - 1)
    rest = ((table - rows[:, None] - columns + grand) ** 2).sum() / ((raters - 1) * (clips - 1))
    return float((of_rows - rest) / clips), float((of_columns - rest) / raters), float(rest)
