"""Table II on the overview: opinion scores, what KPBE changes, agreement of raters, who was left out."""

from __future__ import annotations

from html import escape

import streamlit as st

from kpbe import paths
from kpbe.methods import is_enhanced
from kpbe.survey.scores.bootstrap import Estimate
from kpbe.survey.scores.mos import Comparison, Scores
from kpbe.survey.scores.table2 import (
    DEMO_NOTICE,
    PAPER_MOS,
    Table2,
    paper_difference,
    question_name,
    read_table2,
    survey_name,
)
from kpbe.survey.study.design import GROUND_TRUTH
from reports import project
from reports.layout import Cell, downloads, facts, method_color, p_value, section, table

TRUTH_COLOR = "#3f9b77"
DOWNLOADS = {
    "table2.csv": "text/csv",
    "table2.md": "text/markdown",
    "table2.tex": "text/x-tex",
    "survey_stimuli.csv": "text/csv",
}
HOW = "Mean opinion score, 1 (bad) to 5 (excellent), 95 % interval below it, the paper's number in italics."

_read = project.read_when_changed(read_table2)


def survey_table() -> Table2 | None:
    """Table II as the stage mos_scores wrote it, None before its first run.

    Raises:
        KPBEError: table2.json is damaged.
    """
    return _read(project.place(paths.RESULTS) / "table2.json")


def table2_section() -> None:
    """Show Table II as a part of a page, or that there are no ratings yet; invented ratings are marked."""
    shown = survey_table()
    if shown is None or shown.everybody is None:
        section("Table II")
        _no_ratings(stage_has_run=shown is not None)
        return
    section(shown.title, HOW)
    if shown.demo:
        st.warning(DEMO_NOTICE, icon=":material/warning:")
    for warning in shown.warnings:
        st.warning(warning, icon=":material/warning:")
    scores = _chosen_scores(shown)
    opinions(shown, scores)
    differences(shown, scores)
    downloads(project.place(paths.RESULTS), DOWNLOADS)
    with st.expander("DMOS, bias-corrected scores, agreement, raters left out", icon=":material/groups:"):
        finer(shown, scores)


def _no_ratings(stage_has_run: bool) -> None:
    first = "" if stage_has_run else "Run <code>dvc repro mos_scores</code> first, which makes the videos. "
    st.html(
        f'<div class="kp-empty"><b>No ratings yet.</b><br><br>{first}Invite raters with <code>kpbe survey '
        f"invite -n 10</code>, "
        "take their answers in with <code>kpbe survey export</code>, then <code>dvc repro</code>.</div>"
    )


def _chosen_scores(shown: Table2) -> Scores:
    """Scores after screening, or everybody's if the visitor asks for them or screening leaves nobody."""
    assert shown.everybody is not None
    if shown.screened is None:
        st.warning(
            "No rater is left after screening: these are everybody's scores.", icon=":material/warning:"
        )
        return shown.everybody
    if not shown.exclusions:
        return shown.screened
    left_out = shown.everybody.raters - shown.screened.raters
    everybody = st.toggle(f"With the {left_out} raters whom screening leaves out", key="table2_everybody")
    return shown.everybody if everybody else shown.screened


def opinions(shown: Table2, scores: Scores) -> None:
    """Show the opinion scores, a row for each method."""
    head = ["Method"]
    for question in shown.questions:
        head += [question_name(question), "paper"]
    rows = []
    for method in shown.methods:
        strong = "strong" if is_enhanced(method) else ""
        dot = TRUTH_COLOR if method == GROUND_TRUTH else method_color(method)
        cells = [Cell(survey_name(method), look=f"left {strong}", dot=dot)]
        for question in shown.questions:
            score = scores.of(method, question)
            cells.append(Cell(_two(score.mos.mean), _bounds(score.mos), strong) if score else Cell("–"))
            paper = PAPER_MOS.get(method, {}).get(question)
            cells.append(Cell("–" if paper is None else _two(paper), look="paper"))
        rows.append(cells)
    table(head, rows)


def differences(shown: Table2, scores: Scores) -> None:
    """Show what KPBE changes: a row for each backend, a column for each question."""
    if not scores.comparisons:
        return
    comparisons = {(row.backend, row.question): row for row in scores.comparisons}
    rows = []
    for backend in dict.fromkeys(row.backend for row in scores.comparisons):
        enhanced = next(row.method for row in scores.comparisons if row.backend == backend)
        cells = [Cell(f"{survey_name(enhanced)} − {survey_name(backend)}", look="left")]
        for question in shown.questions:
            row = comparisons.get((backend, question))
            paper = paper_difference(backend, question)
            cells.append(_difference(row) if row else Cell("–"))
            cells.append(Cell("–" if paper is None else _two(paper, "+"), look="paper"))
        rows.append(cells)
    head = ["Difference"]
    for question in shown.questions:
        head += [question_name(question), "paper"]
    table(head, rows)


def finer(shown: Table2, scores: Scores) -> None:
    """Show DMOS, bias-corrected scores, agreement, exclusions with reasons, and the numbers' origin."""
    rows = [
        [
            Cell(survey_name(row.method), question_name(row.question), "left"),
            Cell(_two(row.mos.mean), _bounds(row.mos)),
            Cell(_two(row.dmos.mean), _bounds(row.dmos)) if row.dmos else Cell("–"),
            Cell(_two(row.corrected), f"{_two(row.corrected_low)} to {_two(row.corrected_high)}"),
            Cell(str(row.mos.n), f"{row.mos.raters} × {row.mos.clips}"),
        ]
        for row in scores.methods
    ]
    table(("Method", "MOS", "DMOS", "Bias-corrected", "Answers"), rows)
    table(
        ("Agreement", "α (interval)", "α (ordinal)", "ICC(2,1)", "ICC(2,k)"),
        [
            [
                Cell(question_name(row.question), look="left"),
                Cell(_two(row.alpha_interval)),
                Cell(_two(row.alpha_ordinal)),
                Cell(_two(row.icc.single if row.icc else None)),
                Cell(_two(row.icc.mean if row.icc else None)),
            ]
            for row in scores.agreement
        ],
    )
    if shown.exclusions:
        rows = [[Cell(e.rater, e.rule, "left"), Cell(e.reason, look="wrap")] for e in shown.exclusions]
        table(("Left out", "Reason"), rows)
    else:
        st.html('<p class="kp-faint">Screening leaves nobody out.</p>')
    facts(shown.about)


def _difference(row: Comparison) -> Cell:
    p = f"{p_value(row.p_holm)} (Holm)" if row.p_holm is not None else ""
    below = [_bounds(row.difference, "+"), p]
    return Cell(_two(row.difference.mean, "+"), " · ".join(part for part in below if part))


def _bounds(value: Estimate, sign: str = "") -> str:
    if value.low is None or value.high is None:
        return ""
    return f"{_two(value.low, sign)} to {_two(value.high, sign)}"


def _two(value: float | None, sign: str = "") -> str:
    return "–" if value is None else escape(f"{value:{sign}.2f}".replace("-", "−"))
