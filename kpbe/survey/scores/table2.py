"""Table II: opinion scores beside the paper's, built from the answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from kpbe.errors import KPBEError, SurveyError
from kpbe.methods import display_name, enhanced_method
from kpbe.params import Params
from kpbe.survey.demographics import DEMOGRAPHICS, in_words
from kpbe.survey.scores.bias_model import BiasModel
from kpbe.survey.scores.mos import Scores, score
from kpbe.survey.scores.ratings import Panel, Rating, check_against, is_demo, panel_of, read_ratings
from kpbe.survey.scores.screening import Exclusion, Screening, rules_in_words, screen
from kpbe.survey.scores.spread import Spread, spread_of
from kpbe.survey.study.design import GROUND_TRUTH, LEAST_RATERS, Study, read_study

PAPER = "arXiv:2210.03335, Table II (10 raters, 13 videos for each method, VoxCeleb1; it gives no intervals)"
PAPER_MOS: dict[str, dict[str, float]] = {
    "wav2lip": {"lip_sync": 4.11, "head_pose": 4.03, "realness": 4.09},
    "wav2lip+kpbe": {"lip_sync": 4.14, "head_pose": 4.14, "realness": 4.27},
    "pcavs": {"lip_sync": 3.44, "head_pose": 3.12, "realness": 3.25},
    "pcavs+kpbe": {"lip_sync": 3.70, "head_pose": 3.31, "realness": 3.41},
    GROUND_TRUTH: {"lip_sync": 4.59, "head_pose": 4.50, "realness": 4.73},
}
QUESTION_NAMES = {
    "lip_sync": "Lip synchronization",
    "head_pose": "Head pose naturalness",
    "realness": "Video realness",
}
NO_RATINGS = "no ratings yet"
DEMO = "DEMO"
DEMO_NOTICE = "DEMO: invented answers (kpbe survey simulate). These numbers say nothing about any method."
FEW = 5


@dataclass(frozen=True)
class Table2:
    """All of Table II.

    Attributes:
        study: its name.
        demo: whether its answers are invented.
        methods: in the order of the table, the ground truth last.
        questions: in the order of the table.
        about: lines about the data and methods.
        screened: scores of the raters who count; None without ratings, or when nobody is left.
        everybody: scores of all raters; None without ratings.
        exclusions: why raters do not count.
        spread: of the raters who count, for the planner; None where it cannot be estimated.
        warnings: sentences that must be shown with the numbers: few raters, short videos.
    """

    study: str
    demo: bool
    methods: tuple[str, ...]
    questions: tuple[str, ...]
    about: tuple[str, ...]
    screened: Scores | None
    everybody: Scores | None
    exclusions: tuple[Exclusion, ...]
    spread: Spread | None
    warnings: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The table's title, which marks a demo."""
        return f"Table II ({DEMO}: invented answers)" if self.demo else "Table II"


@dataclass(frozen=True)
class Evaluation:
    """Table II with its intermediate results, for the detailed result files.

    Attributes:
        table: the table.
        panel: answers of the raters who count; of all raters if nobody is left.
        models: the bias model of each question on that panel.
        screening: which raters count.
    """

    table: Table2
    panel: Panel
    models: dict[str, BiasModel]
    screening: Screening


def paper_difference(backend: str, question: str) -> float | None:
    """The paper's gain of KPBE over a backend, in points."""
    before, after = PAPER_MOS.get(backend, {}), PAPER_MOS.get(enhanced_method(backend), {})
    if question not in before or question not in after:
        return None
    return round(after[question] - before[question], 2)


def survey_name(method: str) -> str:
    """A method's display name: "Wav2Lip+KPBE", "Ground truth"."""
    return "Ground truth" if method == GROUND_TRUTH else display_name(method)


def question_name(question: str) -> str:
    """A question's name in the head of the table."""
    return QUESTION_NAMES.get(question, question.replace("_", " ").capitalize())


def evaluate_survey(params: Params, ratings: Path, study: Path) -> Evaluation:
    """Read the answers and build Table II.

    Args:
        params: the whole params.
        ratings: the tidy CSV.
        study: study.json.

    Raises:
        SurveyError: a file is missing or damaged, or the answers are to another study, or invented without
            `survey.accept_demo`.
    """
    return build_table2(params, read_ratings(ratings), read_study(study), origin=str(ratings))


def build_table2(
    params: Params, ratings: Sequence[Rating], study: Study, origin: str = "the ratings"
) -> Evaluation:
    """Build Table II from answers; messages name their file as `origin`.

    Raises:
        SurveyError: the answers are to another study, or invented without `survey.accept_demo`.
    """
    demo = bool(ratings) and is_demo(ratings[0].study)
    if demo and not params.survey.accept_demo:
        raise SurveyError(
            f"{origin} holds invented answers (study {ratings[0].study}): set survey.accept_demo to make a "
            "table that says so, or export real ones with `kpbe survey export`."
        )
    check_against(ratings, study)
    methods = _methods(params.rated_backends, study)
    panel = panel_of(ratings, methods, study.questions)
    screening = screen(ratings, study, params.survey.screening)
    kept = panel.of_raters(screening.kept)
    everybody, all_models = _scores(panel, params)
    screened, models = _scores(kept, params) if screening.exclusions else (everybody, all_models)
    table = Table2(
        study=ratings[0].study if ratings else study.name,
        demo=demo,
        methods=methods,
        questions=study.questions,
        about=_about(params, ratings, study, panel, screening),
        screened=screened,
        everybody=everybody,
        exclusions=screening.exclusions,
        spread=spread_of(kept, params.rated_backends),
        warnings=_warnings(study, panel, screening),
    )
    if screened is None:
        return Evaluation(table, panel, all_models, screening)
    return Evaluation(table, kept, models, screening)


def read_table2(path: Path) -> Table2:
    """Read Table II as the stage mos_scores wrote it.

    Raises:
        KPBEError: table2.json is damaged; FileNotFoundError when it is missing.
    """
    text = path.read_text(encoding="utf-8")
    try:
        values = json.loads(text)
        values.pop("paper", None)
        return TypeAdapter(Table2).validate_python(values)
    except (json.JSONDecodeError, AttributeError, TypeError, ValidationError):
        raise KPBEError(
            f"{path} is damaged: run the stage mos_scores again (dvc repro --force mos_scores)."
        ) from None


def _methods(backends: Sequence[str], study: Study) -> tuple[str, ...]:
    """Backends with their enhancement in the order of the params, then the ground truth; only rated ones."""
    rated = {item.method for item in study.items}
    names = [name for backend in backends for name in (backend, enhanced_method(backend))]
    return tuple(method for method in (*names, GROUND_TRUTH) if method in rated)


def _scores(panel: Panel, params: Params) -> tuple[Scores | None, dict[str, BiasModel]]:
    if np.isnan(panel.scores).all():
        return None, {}
    return score(panel, params.rated_backends, resamples=params.evaluate.bootstrap, seed=params.survey.seed)


def _about(
    params: Params, ratings: Sequence[Rating], study: Study, panel: Panel, screening: Screening
) -> tuple[str, ...]:
    paper = f"Paper: {PAPER}. Other clips and other raters: its numbers are beside ours for orientation only."
    design = f"study {ratings[0].study if ratings else study.name}, design {study.design_sha256[:8]}"
    if not ratings:
        return (
            f"No ratings yet ({design}): invite raters with `kpbe survey invite`, then `kpbe survey export`.",
            paper,
        )
    left_out = len(screening.raters) - len(screening.kept)
    days = sorted(rating.answered_at[:10] for rating in ratings)
    comparisons = len(params.rated_backends) * len(study.questions)
    lines = [
        f"{len(screening.raters)} raters answered ({design}), {left_out} left out by survey.screening; "
        f"{len(panel.clips)} clips by {len(panel.methods)} methods, the ground truth among them unmarked; "
        f"answers from {days[0]} to {days[-1]}.",
        "Absolute category rating, 1 (bad) to 5 (excellent), with hidden reference (ITU-T P.910).",
        "Intervals: 95 %, crossed bootstrap over raters and clips; differences are paired by rater and "
        f"clip; p from the same bootstrap ({params.evaluate.bootstrap} resamples, seed "
        f"{params.survey.seed}), corrected after Holm for {comparisons} comparisons.",
        "DMOS: score - score of the hidden reference + 5. Bias-corrected: ITU-T P.913 12.6; its interval "
        "takes the clips as they are.",
        rules_in_words(params.survey.screening),
        in_words(_said(ratings, screening.kept or screening.raters)),
        paper,
    ]
    if not screening.kept:
        lines.insert(1, "No rater is left after screening: the scores below are of everybody.")
    lines[1:1] = _warnings(study, panel, screening)
    if is_demo(ratings[0].study):
        lines.insert(0, DEMO_NOTICE)
    return tuple(lines)


def _warnings(study: Study, panel: Panel, screening: Screening) -> tuple[str, ...]:
    """Warnings to show above the scores: few raters or clips, short videos; none without ratings."""
    if not screening.raters:
        return ()
    warnings = []
    if len(screening.kept) < LEAST_RATERS:
        warnings.append(
            f"{len(screening.kept)} raters count: ITU-T P.910 asks for at least {LEAST_RATERS}, so these "
            f"scores are a pilot's."
        )
    if screening.kept and min(len(screening.kept), len(panel.clips)) < FEW:
        warnings.append(f"Fewer than {FEW} raters or clips: the intervals are rough.")
    if study.too_short:
        warnings.append(study.too_short)
    return tuple(warnings)


def _said(ratings: Sequence[Rating], raters: Sequence[str]) -> list[dict[str, str]]:
    """Each rater's answers about themselves."""
    of_rater = {rating.rater: rating for rating in ratings}
    return [
        {question: getattr(of_rater[rater], question) for question in DEMOGRAPHICS}
        for rater in raters
        if rater in of_rater
    ]
