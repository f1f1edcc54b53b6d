"""Opinion scores: MOS and DMOS with intervals, bias-corrected MOS, comparisons, agreement of raters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kpbe.methods import enhanced_method
from kpbe.survey.scores.agreement import Intraclass, intraclass, krippendorff_alpha
from kpbe.survey.scores.bias_model import BiasModel, fit_bias_model
from kpbe.survey.scores.bootstrap import Estimate, Z, crossed_difference, crossed_mean, naive_interval
from kpbe.survey.scores.ratings import HIGHEST, Panel
from kpbe.survey.study.design import GROUND_TRUTH


@dataclass(frozen=True)
class MethodScore:
    """A method's scores on one question.

    Attributes:
        method, question: the method and the question.
        mos: mean opinion score, 1 to 5.
        naive: 1.96 sd / sqrt(n) interval of it, for comparison with papers that print it.
        dmos: mean of score - score of the hidden reference + 5 (ITU-T P.910, ACR-HR) over the same rater and
            clip; 5 is as good as the reference, above 5 better. None for the reference itself, or where it
            was not rated.
        corrected: mean over the clips of the bias model's quality (P.913 12.6).
        corrected_low, corrected_high: its 95 % interval, given these clips and these raters' noise; clips are
            not treated as a sample.
    """

    method: str
    question: str
    mos: Estimate
    naive: tuple[float, float] | None
    dmos: Estimate | None
    corrected: float
    corrected_low: float
    corrected_high: float


@dataclass(frozen=True)
class Comparison:
    """Backend + KPBE minus backend on one question, over pairs of the same rater and clip.

    Attributes:
        backend, method, question: the backend, its enhancement, the question.
        difference: in points, with crossed bootstrap interval and p-value.
        p_holm: p corrected for all comparisons of the study.
    """

    backend: str
    method: str
    question: str
    difference: Estimate
    p_holm: float | None


@dataclass(frozen=True)
class Agreement:
    """Agreement of the raters on one question over all stimuli; None where it is undefined."""

    question: str
    alpha_interval: float | None
    alpha_ordinal: float | None
    icc: Intraclass | None


@dataclass(frozen=True)
class Scores:
    """All scores of a set of raters.

    Attributes:
        raters, clips: their numbers.
        methods: by question and method, in the order of the table.
        comparisons: backend by backend, question by question.
        agreement: by question.
    """

    raters: int
    clips: int
    methods: tuple[MethodScore, ...]
    comparisons: tuple[Comparison, ...]
    agreement: tuple[Agreement, ...]

    def of(self, method: str, question: str) -> MethodScore | None:
        """A method's scores on a question, None when nobody rated it."""
        rows = (row for row in self.methods if (row.method, row.question) == (method, question))
        return next(rows, None)


def score(
    panel: Panel, backends: Sequence[str], *, resamples: int, seed: int
) -> tuple[Scores, dict[str, BiasModel]]:
    """Score the answers of a panel.

    The comparisons are tested with the p-value of the crossed bootstrap. A sign-flip permutation over raters
    would treat the clips as fixed, one over clips the raters. Flipping both at once destroys what the answers
    of a rater, and those on a clip, have in common, and rejects far too often. The bootstrap lets both vary,
    and its p-value agrees with the printed interval.

    Args:
        panel: answers of the raters who count; at least one.
        backends: each is compared with its enhancement where both are in the panel.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        The scores, and the bias model of each question (stimuli as in `Panel.stimuli`).
    """
    models = {
        question: fit_bias_model(panel.stimuli(question))
        for question in panel.questions
        if not np.isnan(panel.stimuli(question)).all()
    }
    methods = [
        row
        for question in models
        for method in panel.methods
        if (row := _method_score(panel, method, question, models[question], resamples, seed))
    ]
    comparisons = _comparisons(panel, backends, resamples, seed)
    agreement = [_agreement(panel.stimuli(question), question) for question in models]
    return (
        Scores(len(panel.raters), len(panel.clips), tuple(methods), tuple(comparisons), tuple(agreement)),
        models,
    )


def _method_score(
    panel: Panel, method: str, question: str, model: BiasModel, resamples: int, seed: int
) -> MethodScore | None:
    table = panel.table(method, question)
    mos = crossed_mean(table, resamples=resamples, seed=seed)
    if mos is None:
        return None
    dmos = None
    if method != GROUND_TRUTH and GROUND_TRUTH in panel.methods:
        differential = table - panel.table(GROUND_TRUTH, question) + HIGHEST
        dmos = crossed_mean(differential, resamples=resamples, seed=seed)
    place = panel.methods.index(method)
    quality = model.quality[place :: len(panel.methods)]
    error = model.quality_error[place :: len(panel.methods)]
    rated = ~np.isnan(quality)
    corrected = float(quality[rated].mean())
    half = Z * float(np.sqrt((error[rated] ** 2).sum())) / int(rated.sum())
    return MethodScore(
        method, question, mos, naive_interval(table), dmos, corrected, corrected - half, corrected + half
    )


def _comparisons(panel: Panel, backends: Sequence[str], resamples: int, seed: int) -> list[Comparison]:
    comparisons = []
    for backend in backends:
        method = enhanced_method(backend)
        if not {backend, method} <= set(panel.methods):
            continue
        for question in panel.questions:
            difference = crossed_difference(
                panel.table(backend, question), panel.table(method, question), resamples=resamples, seed=seed
            )
            if difference is not None:
                comparisons.append(Comparison(backend, method, question, difference, None))
    corrected = holm([comparison.difference.p for comparison in comparisons])
    return [replace(comparison, p_holm=p) for comparison, p in zip(comparisons, corrected, strict=True)]


def _agreement(scores: np.ndarray, question: str) -> Agreement:
    return Agreement(
        question,
        krippendorff_alpha(scores, "interval"),
        krippendorff_alpha(scores, "ordinal"),
        intraclass(scores),
    )


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's (1979) step-down correction, which bounds the chance of any wrong rejection.

    Args:
        p_values: in any order; None stays None and does not count.

    Returns:
        Corrected p-values in the same order, at most 1.
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        corrected[place] = largest
    return corrected
