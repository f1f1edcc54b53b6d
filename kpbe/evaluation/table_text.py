"""Table I as text: Markdown, a terminal's table, tidy CSV, and the files of the report stage."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from textwrap import wrap
from typing import Any

from kpbe.core.files import write_json, write_text
from kpbe.core.markdown import markdown_table
from kpbe.evaluation.results import METRIC_GROUPS
from kpbe.evaluation.statistics import Mean, PairedDifference
from kpbe.evaluation.tables import (
    HEADINGS,
    PAPER_MEANS,
    DifferenceRow,
    MethodRow,
    Table1,
    build_table1,
    p_in_words,
    value_in_words,
)
from kpbe.methods import backend_of_method, comparison_name, display_name

TERMINAL_METRICS = ("ssim", "psnr", "lpips", "mouth_l1", "opening_r_backend")
TERMINAL_WIDTH = 100
CSV_COLUMNS: tuple[str, ...] = (
    "row",
    "method",
    "compared_with",
    "metric",
    "clips",
    "identities",
    "mean",
    "low",
    "high",
    "p",
    "p_holm",
    "icc",
    "paper",
)


def render_table1(results_root: Path, backends: Sequence[str], notes: Sequence[str] = ()) -> str:
    """Build Table I from reports/results/evaluation/<backend>/ and write its files into `results_root`.

    The files are table1.md, table1.csv and table1.json. table1.csv is tidy: one row per method (or
    difference) and metric. table1.json holds the same with the lines about the data.

    Args:
        results_root: reports/results.
        backends: names as in params.yaml, in the order of the table.
        notes: lines about how the methods were trained, shown with the table.

    Returns:
        The table as plain text for a terminal.

    Raises:
        KPBEError: a backend's results are missing or damaged.
    """
    table = build_table1(results_root, backends, notes)
    write_text(results_root / "table1.md", markdown(table))
    write_text(results_root / "table1.csv", tidy_csv(table))
    write_json(results_root / "table1.json", asdict(table))
    return plain_text(table)


def markdown(table: Table1) -> str:
    """The table as Markdown: findings, means and differences by group of metrics, notes about the data."""
    parts = ["# Table I", "", *(line + "\n" for line in table.findings)]
    for title, cells in (("Means", _method_cells), ("Paired differences", _difference_cells)):
        for group, members in METRIC_GROUPS.items():
            metrics = [metric for metric in members if metric in table.metrics]
            if metrics:
                parts += [f"## {title}: {group.lower()}", "", markdown_table(cells(table, metrics)), ""]
    parts += ["## About these numbers", "", *(f"- {line}" for line in table.about), ""]
    return "\n".join(parts)


def plain_text(table: Table1) -> str:
    """The table for a terminal: findings, main metrics, notes about the data."""
    metrics = [metric for metric in TERMINAL_METRICS if metric in table.metrics]
    parts = ["Table I", *_wrapped(table.findings), ""]
    parts += [*aligned(_method_cells(table, metrics, brief=True)), ""]
    first = replace(table, differences=tuple(row for row in table.differences if _in_terminal(row)))
    parts += ["Paired differences", *aligned(_difference_cells(first, metrics)), "", *_wrapped(table.about)]
    return "\n".join(parts) + "\n"


def _in_terminal(row: DifferenceRow) -> bool:
    """Whether a row compares the enhanced backend with its control or the backend."""
    return bool(row.primary) or row.compared_with == backend_of_method(row.method)


def _wrapped(lines: Sequence[str]) -> list[str]:
    return [
        wrapped
        for line in lines
        for wrapped in wrap(line, TERMINAL_WIDTH, initial_indent="- ", subsequent_indent="  ")
    ]


def tidy_csv(table: Table1) -> str:
    """The table with one line per row and metric; columns CSV_COLUMNS, `row` is "mean" or "difference"."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for row in table.methods:
        for metric, mean in row.means.items():
            writer.writerow(_tidy_row("mean", row, metric, mean))
    for row in table.differences:
        for metric, difference in row.differences.items():
            writer.writerow(_tidy_row("difference", row, metric, difference))
    return text.getvalue()


def _tidy_row(
    kind: str, row: MethodRow | DifferenceRow, metric: str, value: Mean | PairedDifference
) -> dict[str, Any]:
    cells = {
        "row": kind,
        "method": row.method,
        "metric": metric,
        **asdict(value),
        "paper": row.paper.get(metric, ""),
    }
    if isinstance(row, DifferenceRow):
        cells |= {"compared_with": row.compared_with, "p_holm": (row.p_holm or {}).get(metric, "")}
    return cells


def _method_cells(table: Table1, metrics: Sequence[str], brief: bool = False) -> list[list[str]]:
    head = ["Method", "n"]
    for metric in metrics:
        head += [HEADINGS[metric], "paper"] if _in_paper(metric) and not brief else [HEADINGS[metric]]
    lines = [head]
    for row in table.methods:
        cells = [display_name(row.method), str(row.clips)]
        for metric in metrics:
            cells.append(value_in_words(row.means.get(metric), metric, row.clips, brief=brief))
            if _in_paper(metric) and not brief:
                cells.append(_paper(row.paper, metric))
        lines.append(cells)
    return lines


def _difference_cells(table: Table1, metrics: Sequence[str]) -> list[list[str]]:
    clips = {row.method: row.clips for row in table.methods}
    lines = [["Difference", "Metric", "Mean [95 %]", "p", "p (Holm)", "ICC", "paper"]]
    for row in table.differences:
        name = comparison_name(row.method, row.compared_with)
        for metric in (metric for metric in metrics if metric in row.differences):
            difference = row.differences[metric]
            adjusted = "primary" if metric == row.primary else p_in_words((row.p_holm or {}).get(metric))
            icc = "-" if difference.icc is None else f"{difference.icc:.2f}"
            value = value_in_words(difference, metric, clips[row.method], sign="+")
            paper = _paper(row.paper, metric, sign="+")
            lines.append([name, HEADINGS[metric], value, p_in_words(difference.p), adjusted, icc, paper])
    return lines


def _in_paper(metric: str) -> bool:
    return any(metric in means for means in PAPER_MEANS.values())


def _paper(values: dict[str, float], metric: str, sign: str = "") -> str:
    return f"{values[metric]:{sign}.2f}" if metric in values else "-"


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Lines of cells in columns, a rule below the first."""
    widths = [max(len(cells[column]) for cells in lines) for column in range(len(lines[0]))]
    padded = [[cell.ljust(width) for cell, width in zip(cells, widths, strict=True)] for cells in lines]
    texts = ["  ".join(cells).rstrip() for cells in padded]
    return [texts[0], "─" * max(map(len, texts)), *texts[1:]]
