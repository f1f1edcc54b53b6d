"""Planning: how many raters and clips are needed to detect a difference.

The difference of two methods' scores by the same rater on the same clip is modelled as mean + rater + clip +
rest, with standard deviations in points. Over R raters and C clips the mean difference then has the standard
error

    sqrt(rater^2 / R + clip^2 / C + rest^2 / (R C)),

which no number of raters brings below clip / sqrt(C): where the difference varies from clip to clip, only
more clips help.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from kpbe.survey.scores.bootstrap import Z
from kpbe.survey.scores.spread import Spread

LEVEL = 0.05
NORMAL = NormalDist()
MOST_RATERS = 2000
MOST_CLIPS = 500


ASSUMED = Spread(rater=0.25, clip=0.35, rest=1.0)
"""The spread to assume without a survey: a single score has standard deviations of 0.18 (rater x method),
0.25 (clip x method) and 0.7 (rest), times sqrt(2) for a difference. Together with 0.4 for raters and 0.3 for
clips, which a paired difference cancels, scores have a standard deviation of 0.9, which is common for
five-point scores of talking heads.
"""


def standard_error(spread: Spread, raters: int, clips: int) -> float:
    """Standard error of a mean difference over `raters` x `clips` pairs, in points."""
    return float(
        np.sqrt(spread.rater**2 / raters + spread.clip**2 / clips + spread.rest**2 / (raters * clips))
    )


def half_width(spread: Spread, raters: int, clips: int) -> float:
    """Half the width of the 95 % interval of a difference, in points: 1.96 standard errors.

    A survey must also estimate its standard error; with ten raters its interval is on average 5 to 10 %
    wider.
    """
    return Z * standard_error(spread, raters, clips)


def power(spread: Spread, raters: int, clips: int, difference: float, comparisons: int = 1) -> float:
    """Chance, 0 to 1, that a true difference is significant.

    Args:
        spread: of the differences.
        raters: number of raters.
        clips: number of clips.
        difference: the true difference, in points.
        comparisons: divisor of the level 0.05 (the first step of Holm's correction).
    """
    z = NORMAL.inv_cdf(1 - LEVEL / comparisons / 2)
    shift = abs(difference) / standard_error(spread, raters, clips)
    return NORMAL.cdf(shift - z) + NORMAL.cdf(-shift - z)


def raters_needed(
    spread: Spread, clips: int, difference: float, target: float = 0.8, comparisons: int = 1
) -> int | None:
    """Fewest raters for a power of `target`; None when even MOST_RATERS are too few for these clips."""
    return _fewest(
        lambda raters: power(spread, raters, clips, difference, comparisons) >= target, MOST_RATERS
    )


def clips_needed(
    spread: Spread, raters: int, difference: float, target: float = 0.8, comparisons: int = 1
) -> int | None:
    """Fewest clips for a power of `target`; None when even MOST_CLIPS are too few for these raters."""
    return _fewest(lambda clips: power(spread, raters, clips, difference, comparisons) >= target, MOST_CLIPS)


def smallest_difference(
    spread: Spread, raters: int, clips: int, target: float = 0.8, comparisons: int = 1
) -> float:
    """The difference in points that has the power `target`, neglecting the opposite tail."""
    z = NORMAL.inv_cdf(1 - LEVEL / comparisons / 2) + NORMAL.inv_cdf(target)
    return z * standard_error(spread, raters, clips)


def _fewest(enough: Callable[[int], bool], most: int) -> int | None:
    low, high = 2, most
    if not enough(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low
