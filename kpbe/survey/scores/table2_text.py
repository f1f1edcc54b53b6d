"""Table II as Markdown, LaTeX and tidy CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from kpbe.core.markdown import markdown_table
from kpbe.survey.scores.bootstrap import Estimate
from kpbe.survey.scores.mos import Agreement, Comparison, MethodScore, Scores
from kpbe.survey.scores.table2 import (
    DEMO,
    DEMO_NOTICE,
    NO_RATINGS,
    PAPER_MOS,
    Table2,
    paper_difference,
    question_name,
    survey_name,
)

CSV_COLUMNS: tuple[str, ...] = (
    "study", "demo", "raters_counted", "value", "method", "compared_with", "question", "n", "raters", "clips",
    "mean", "low", "high", "p", "p_holm", "paper",
)  # fmt: skip
Lines = list[list[str]]


# -- Markdown ----------------------------------------------------------------------------------------------


def markdown(table: Table2) -> str:
    """The table as Markdown: notes, scores, differences, agreement, raters left out, scores of everybody."""
    parts = [f"# {table.title}", "", *(f"- {line}" for line in table.about), ""]
    shown = table.screened or table.everybody
    parts.append(markdown_table(_mos_lines(table, shown)))
    if shown is None:
        return "\n".join([*parts, "", f"{NO_RATINGS.capitalize()}.", ""])
    parts += ["", "## KPBE against its backend", "", markdown_table(_difference_lines(shown)), ""]
    parts += ["## DMOS and bias-corrected MOS", "", markdown_table(_corrected_lines(shown)), ""]
    parts += ["## Agreement of the raters", "", markdown_table(_agreement_lines(shown.agreement)), ""]
    parts += ["## Raters left out", ""]
    if not table.exclusions:
        return "\n".join([*parts, "None.", ""])
    left_out = [["Rater", "Rule", "Reason"], *([e.rater, e.rule, e.reason] for e in table.exclusions)]
    parts += [markdown_table(left_out), ""]
    if table.screened is not None and table.everybody is not None:
        parts += ["## With everybody", "", "The same without screening.", ""]
        parts += [
            markdown_table(_mos_lines(table, table.everybody)),
            "",
            markdown_table(_difference_lines(table.everybody)),
            "",
        ]
    return "\n".join(parts)


def _mos_lines(table: Table2, scores: Scores | None) -> Lines:
    lines = [["Method"]]
    for question in table.questions:
        lines[0] += [question_name(question), "paper"]
    for method in table.methods:
        cells = [survey_name(method)]
        for question in table.questions:
            cells += [_mos(scores, method, question), _paper_mos(method, question)]
        lines.append(cells)
    return lines


def _difference_lines(scores: Scores) -> Lines:
    lines = [["Difference", "Question", "Mean [95 %]", "p", "p (Holm)", "n", "paper"]]
    for row in scores.comparisons:
        name = f"{survey_name(row.method)} - {survey_name(row.backend)}"
        lines.append(
            [
                name,
                question_name(row.question),
                _bounds(row.difference, "+"),
                _p(row.difference.p),
                _p(row.p_holm),
                _size(row.difference),
                _paper_gain(row),
            ]
        )
    return lines


def _corrected_lines(scores: Scores) -> Lines:
    lines = [
        ["Method", "Question", "MOS [95 %]", "n", "1.96 sd/sqrt(n)", "DMOS [95 %]", "Bias-corrected [95 %]"]
    ]
    for row in scores.methods:
        corrected = f"{row.corrected:.2f} [{row.corrected_low:.2f}, {row.corrected_high:.2f}]"
        naive = f"± {(row.naive[1] - row.naive[0]) / 2:.2f}" if row.naive else "-"
        dmos = _bounds(row.dmos) if row.dmos else "-"
        name, question = survey_name(row.method), question_name(row.question)
        lines.append([name, question, _bounds(row.mos), _size(row.mos), naive, dmos, corrected])
    return lines


def _agreement_lines(agreement: Sequence[Agreement]) -> Lines:
    lines = [
        [
            "Question",
            "alpha (interval)",
            "alpha (ordinal)",
            "ICC(2,1) [95 %]",
            "ICC(2,k) [95 %]",
            "k x stimuli",
        ]
    ]
    for row in agreement:
        cells = [question_name(row.question), _two(row.alpha_interval), _two(row.alpha_ordinal)]
        if row.icc is None:
            lines.append([*cells, "-", "-", "-"])
            continue
        icc = row.icc
        single = f"{icc.single:.2f} [{icc.single_low:.2f}, {icc.single_high:.2f}]"
        mean = f"{icc.mean:.2f} [{icc.mean_low:.2f}, {icc.mean_high:.2f}]"
        lines.append([*cells, single, mean, f"{icc.raters} x {icc.stimuli}"])
    return lines


# -- LaTeX -------------------------------------------------------------------------------------------------


def latex(table: Table2) -> str:
    """The table for a paper (needs the package booktabs): scores with half widths, then differences.

    The paper's values are in brackets.
    """
    shown = table.screened or table.everybody
    count = len(table.questions)
    heads = " & ".join(_tex(question_name(question)) for question in table.questions)
    rows = [
        " & ".join([_tex(survey_name(m)), *(_tex_mos(shown, m, question) for question in table.questions)])
        + r" \\"
        for m in table.methods
    ]
    body = [rf"\begin{{tabular}}{{l{'c' * count}}}", r"\toprule", rf"Method & {heads} \\", r"\midrule", *rows]
    if shown is not None and shown.comparisons:
        body += [r"\midrule", *_tex_differences(table, shown)]
    comments = [f"% {line}" for line in ([DEMO_NOTICE] if table.demo else []) + list(table.about)]
    return "\n".join(
        [
            *dict.fromkeys(comments),
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_tex(_caption(table))}}}",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _caption(table: Table2) -> str:
    shown = table.screened or table.everybody
    if shown is None:
        return f"Mean opinion scores: {NO_RATINGS}. In brackets: the paper's."
    marked = f"{DEMO}, invented answers. " if table.demo else ""
    if table.screened is None:
        marked += "No rater passed the screening; these are the scores of all. "
    return (
        f"{marked}Mean opinion scores of {shown.raters} raters on {shown.clips} clips ± half the width of "
        "the 95 % interval (crossed bootstrap); differences with p after Holm. In brackets: the paper's."
    )


def _tex_differences(table: Table2, scores: Scores) -> Iterator[str]:
    for backend in dict.fromkeys(row.backend for row in scores.comparisons):
        of_backend = {row.question: row for row in scores.comparisons if row.backend == backend}
        method = next(iter(of_backend.values())).method
        cells = [_tex(f"{survey_name(method)} - {survey_name(backend)}")]
        for question in table.questions:
            row = of_backend.get(question)
            if row is None:
                cells.append("--")
                continue
            paper = _paper_gain(row)
            p = f", $p$ = {row.p_holm:.3f}" if row.p_holm is not None else ""
            bracket = f" ({paper})" if paper != "-" else ""
            cells.append(_tex(_half(row.difference, "+")) + p + bracket)
        yield " & ".join(cells) + r" \\"


def _tex_mos(scores: Scores | None, method: str, question: str) -> str:
    row = scores.of(method, question) if scores else None
    ours = _tex(_half(row.mos)) if row else (NO_RATINGS if scores is None else "--")
    paper = _paper_mos(method, question)
    return f"{ours} ({paper})" if paper != "-" else ours


def _tex(text: str) -> str:
    for sign, code in (("_", r"\_"), ("%", r"\%"), ("&", r"\&"), ("±", r"$\pm$"), (" - ", " $-$ ")):
        text = text.replace(sign, code)
    return text


# -- CSV ---------------------------------------------------------------------------------------------------


def tidy_csv(table: Table2) -> str:
    """The table as CSV with one line per value; columns CSV_COLUMNS.

    `value` is mos, dmos, corrected or difference; `raters_counted` is screened or all.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for counted, scores in (("screened", table.screened), ("all", table.everybody)):
        if scores is None:
            continue
        start = {"study": table.study, "demo": DEMO if table.demo else "", "raters_counted": counted}
        writer.writerows({**start, **row} for row in _tidy_rows(scores))
    return text.getvalue()


def _tidy_rows(scores: Scores) -> Iterator[dict[str, Any]]:
    for row in scores.methods:
        named = {"method": row.method, "question": row.question}
        paper = PAPER_MOS.get(row.method, {}).get(row.question, "")
        yield {"value": "mos", **named, **_numbers(row.mos), "paper": paper}
        if row.dmos is not None:
            yield {"value": "dmos", **named, **_numbers(row.dmos)}
        bounds = {"mean": row.corrected, "low": row.corrected_low, "high": row.corrected_high}
        yield {"value": "corrected", **named, **bounds}
    for row in scores.comparisons:
        paper = paper_difference(row.backend, row.question)
        yield {
            "value": "difference",
            "method": row.method,
            "compared_with": row.backend,
            "question": row.question,
            **_numbers(row.difference),
            "p_holm": "" if row.p_holm is None else row.p_holm,
            "paper": "" if paper is None else paper,
        }


def _numbers(estimate: Estimate) -> dict[str, Any]:
    return {name: "" if value is None else value for name, value in vars(estimate).items()}


# -- cells -------------------------------------------------------------------------------------------------


def _mos(scores: Scores | None, method: str, question: str) -> str:
    if scores is None:
        return NO_RATINGS
    row: MethodScore | None = scores.of(method, question)
    return _bounds(row.mos) if row else "-"


def _bounds(value: Estimate, sign: str = "") -> str:
    text = f"{value.mean:{sign}.2f}"
    if value.low is None or value.high is None:
        return text
    return f"{text} [{value.low:{sign}.2f}, {value.high:{sign}.2f}]"


def _half(value: Estimate, sign: str = "") -> str:
    text = f"{value.mean:{sign}.2f}"
    return text if value.low is None or value.high is None else f"{text} ± {(value.high - value.low) / 2:.2f}"


def _size(value: Estimate) -> str:
    return f"{value.n} ({value.raters} x {value.clips})"


def _paper_mos(method: str, question: str) -> str:
    value = PAPER_MOS.get(method, {}).get(question)
    return "-" if value is None else f"{value:.2f}"


def _paper_gain(row: Comparison) -> str:
    value = paper_difference(row.backend, row.question)
    return "-" if value is None else f"{value:+.2f}"


def _two(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _p(p: float | None) -> str:
    if p is None:
        return "-"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
