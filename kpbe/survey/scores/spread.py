"""How much a difference of two methods varies between raters and between clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kpbe.methods import enhanced_method
from kpbe.survey.scores.ratings import Panel


@dataclass(frozen=True)
class Spread:
    """Standard deviations of a difference of two methods' scores, in points of the five-point scale.

    Attributes:
        rater: of the difference between raters.
        clip: of the difference between clips.
        rest: of a single pair of answers beyond these.
    """

    rater: float
    clip: float
    rest: float


def spread_of(panel: Panel, backends: Sequence[str]) -> Spread | None:
    """The spread in a survey, over all its comparisons of backend and backend + KPBE.

    Variances come from the expected mean squares of a two-way table without replication and are averaged over
    comparisons and questions; a negative one counts as 0. Raters who left out a clip are left out.

    Returns:
        The spread; None when no comparison has two complete raters and two clips.
    """
    comparisons = []
    for backend in backends:
        pair = (backend, enhanced_method(backend))
        if not set(pair) <= set(panel.methods):
            continue
        for question in panel.questions:
            first, second = (panel.table(method, question) for method in pair)
            components = variance_components(second - first)
            if components is not None:
                comparisons.append(components)
    if not comparisons:
        return None
    rater, clip, rest = np.sqrt(np.maximum(np.mean(comparisons, axis=0), 0))
    return Spread(float(rater), float(clip), float(rest))


def variance_components(table: np.ndarray) -> tuple[float, float, float] | None:
    """Unbiased variances of rows, columns and rest of a table raters x clips.

    Those of rows and columns may be negative. None with fewer than two complete raters or clips.
    """
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
