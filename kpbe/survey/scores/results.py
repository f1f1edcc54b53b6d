"""Result files of the survey: Table II, scores as DVC metrics, a row per stimulus, a row per rater."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from kpbe.core.files import write_csv, write_json, write_text
from kpbe.params import Params
from kpbe.survey.scores.bias_model import BiasModel
from kpbe.survey.scores.mos import Scores
from kpbe.survey.scores.ratings import Panel
from kpbe.survey.scores.table2 import DEMO, NO_RATINGS, PAPER_MOS, Evaluation, Table2, evaluate_survey
from kpbe.survey.scores.table2_text import latex, markdown, tidy_csv

STIMULUS_COLUMNS = (
    "study",
    "demo",
    "clip_id",
    "method",
    "question",
    "n",
    "mos",
    "sd",
    "corrected",
    "corrected_error",
)
RATER_COLUMNS = (
    "study",
    "demo",
    "rater",
    "counted",
    "reasons",
    "question",
    "answers",
    "bias",
    "inconsistency",
)


def write_survey_results(params: Params, ratings: Path, study: Path, results: Path) -> Table2:
    """Score the answers and write Table II and the other result files.

    The files are table2.json, .md, .csv, .tex, survey_scores.json, survey_stimuli.csv and survey_raters.csv.
    Without ratings the tables say so, and the other files are empty.

    Args:
        params: the whole params.
        ratings: the tidy CSV of `kpbe survey export`.
        study: study.json of the stage mos_stimuli.
        results: reports/results.

    Raises:
        SurveyError: see `kpbe.survey.scores.table2.evaluate_survey`; nothing is written then.
    """
    evaluation = evaluate_survey(params, ratings, study)
    table = evaluation.table
    write_json(results / "table2.json", {**asdict(table), "paper": PAPER_MOS})
    write_text(results / "table2.md", markdown(table))
    write_text(results / "table2.tex", latex(table))
    write_text(results / "table2.csv", tidy_csv(table))
    write_json(results / "survey_scores.json", metrics(table, len(evaluation.screening.raters)))
    marks = {"study": table.study, "demo": DEMO if table.demo else ""}
    stimuli = (marks | row for row in stimulus_rows(evaluation.panel, evaluation.models))
    write_csv(results / "survey_stimuli.csv", STIMULUS_COLUMNS, stimuli)
    write_csv(results / "survey_raters.csv", RATER_COLUMNS, (marks | row for row in rater_rows(evaluation)))
    return table


def metrics(table: Table2, answered: int) -> dict[str, Any]:
    """Values for `dvc metrics show`: MOS, DMOS, differences and agreement, of the raters who count."""
    scores: Scores | None = table.screened
    result: dict[str, Any] = {
        "study": f"{table.study} ({DEMO})" if table.demo else table.study,
        "raters": {"answered": answered, "counted": scores.raters if scores else 0},
    }
    if scores is None:
        return result if answered else {**result, "state": NO_RATINGS}
    mos: defaultdict[str, dict[str, float]] = defaultdict(dict)
    dmos: defaultdict[str, dict[str, float]] = defaultdict(dict)
    difference: defaultdict[str, dict[str, float | None]] = defaultdict(dict)
    for row in scores.methods:
        mos[row.method][row.question] = row.mos.mean
        if row.dmos is not None:
            dmos[row.method][row.question] = row.dmos.mean
    for row in scores.comparisons:
        difference[row.method] |= {row.question: row.difference.mean, f"{row.question}_p_holm": row.p_holm}
    alpha = {row.question: row.alpha_interval for row in scores.agreement}
    return {**result, "mos": mos, "dmos": dmos, "difference": difference, "alpha": alpha}


def stimulus_rows(panel: Panel, models: dict[str, BiasModel]) -> Iterator[dict[str, Any]]:
    """MOS of every clip by every method, to join with per_clip.csv (same clip_id and method)."""
    for question, model in models.items():
        scores = panel.stimuli(question)
        for place in range(scores.shape[1]):
            answers = scores[:, place][~np.isnan(scores[:, place])]
            if not len(answers):
                continue
            clip, method = divmod(place, len(panel.methods))
            yield {
                "clip_id": panel.clips[clip],
                "method": panel.methods[method],
                "question": question,
                "n": len(answers),
                "mos": float(answers.mean()),
                "sd": float(answers.std(ddof=1)) if len(answers) > 1 else "",
                "corrected": float(model.quality[place]),
                "corrected_error": float(model.quality_error[place]),
            }


def rater_rows(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """A row for each rater and question: whether they count, reasons, bias and inconsistency.

    Bias and inconsistency are empty for raters left out.
    """
    panel, screening = evaluation.panel, evaluation.screening
    for rater in screening.raters:
        reasons = "; ".join(f"{e.rule}: {e.reason}" for e in screening.exclusions if e.rater == rater)
        start = {"rater": rater, "counted": "no" if reasons else "yes", "reasons": reasons}
        if rater not in panel.raters:
            yield start
            continue
        place = panel.raters.index(rater)
        for question, model in evaluation.models.items():
            answers = int(np.count_nonzero(~np.isnan(panel.stimuli(question)[place])))
            values = {"bias": model.bias[place], "inconsistency": model.inconsistency[place]}
            known = {name: float(value) for name, value in values.items() if np.isfinite(value)}
            yield {**start, "question": question, "answers": answers, **known}
