"""Table I: the methods' means with 95 % intervals and paired differences, the paper's numbers beside them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any

from kpbe.evaluation.results import (
    EVALUATION,
    METRICS,
    ClipScore,
    compare,
    finite_values,
    read_per_clip,
    read_settings,
)
from kpbe.evaluation.statistics import Mean, PairedDifference, mean_interval
from kpbe.methods import STATIC_SOURCE, display_name, enhanced_method, methods_of
from kpbe.work import write_json, write_text

PAPER = "arXiv:2210.03335, Table I (VoxCeleb1, 525 test clips, 256x256)"
PAPER_MEANS: dict[str, dict[str, float]] = {
    "wav2lip": {"ssim": 0.85, "psnr": 28.67},
    "wav2lip+kpbe": {"ssim": 0.90, "psnr": 30.37},
    "pcavs": {"ssim": 0.80, "psnr": 22.19},
    "pcavs+kpbe": {"ssim": 0.82, "psnr": 23.64},
}
HEADINGS = {
    "ssim": "SSIM ↑",
    "psnr": "PSNR dB ↑",
    "ssim_rgb": "SSIM RGB ↑",
    "l1": "L1 ↓",
    "lpips": "LPIPS ↓",
}
DECIMALS = {"ssim": 3, "psnr": 2, "ssim_rgb": 3, "l1": 4, "lpips": 4}
TERMINAL_METRICS = ("ssim", "psnr", "lpips")
TERMINAL_WIDTH = 100
FEW_CLIPS = 10
CSV_COLUMNS: tuple[str, ...] = (
    "row",
    "method",
    "compared_with",
    "metric",
    "n",
    "mean",
    "low",
    "high",
    "p",
    "paper",
)


@dataclass(frozen=True)
class MethodRow:
    """A method's means over the clips; `paper` is the paper's table for the same method."""

    method: str
    clips: int
    means: dict[str, Mean]
    paper: dict[str, float]


@dataclass(frozen=True)
class DifferenceRow:
    """Paired differences method - compared_with on the same clips."""

    method: str
    compared_with: str
    differences: dict[str, PairedDifference]
    paper: dict[str, float]


@dataclass(frozen=True)
class Table1:
    """All of Table I; `about` says where the numbers come from, a line each."""

    about: tuple[str, ...]
    methods: tuple[MethodRow, ...]
    differences: tuple[DifferenceRow, ...]

    @property
    def metrics(self) -> list[str]:
        """Metrics that at least one method has."""
        return [metric for metric in METRICS if any(metric in row.means for row in self.methods)]


def render_table1(results_root: Path, backends: Sequence[str], notes: Sequence[str] = ()) -> str:
    """Build Table I from reports/results/evaluation/<backend>/; write table1.md, table1.csv, table1.json into `results_root`.

    table1.csv is tidy: one row per method (or difference) and metric. table1.json holds the same with the lines
    about the data.

    Args:
        results_root: reports/results.
        backends: names as in params.yaml, in the order of the table.
        notes: lines about how the methods were trained, shown above the table.

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


def build_table1(results_root: Path, backends: Sequence[str], notes: Sequence[str] = ()) -> Table1:
    """Table I as an object; arguments and errors as for `render_table1`."""
    methods: list[MethodRow] = []
    differences: list[DifferenceRow] = []
    about: list[str] = []
    for backend in backends:
        scores, settings = (
            read_per_clip(results_root / EVALUATION / backend),
            read_settings(results_root / EVALUATION / backend),
        )
        about += [line for line in _about(settings, scores) if line not in about]
        rows = (_method_row(scores, method) for method in methods_of(backend))
        methods += [row for row in rows if row not in methods]
        for other in (backend, STATIC_SOURCE):
            differences.append(_difference_row(scores, enhanced_method(backend), other, settings))
    about += [*notes, f"Paper: {PAPER}. Its numbers compare only with the same data and crops."]
    return Table1(tuple(about), tuple(methods), tuple(differences))


def _method_row(scores: Sequence[ClipScore], method: str) -> MethodRow:
    values = {metric: list(finite_values(scores, method, metric).values()) for metric in METRICS}
    means = {metric: mean_interval(found) for metric, found in values.items() if found}
    clips = sum(score.method == method for score in scores)
    return MethodRow(method, clips, means, PAPER_MEANS.get(method, {}))


def _difference_row(
    scores: Sequence[ClipScore], method: str, other: str, settings: dict[str, Any]
) -> DifferenceRow:
    differences: dict[str, PairedDifference] = {}
    for metric in METRICS:
        difference = compare(
            scores, other, method, metric, resamples=settings["bootstrap"], seed=settings["seed"]
        )
        if difference is not None:
            differences[metric] = difference
    ours, theirs = PAPER_MEANS.get(method, {}), PAPER_MEANS.get(other, {})
    paper = {metric: round(ours[metric] - theirs[metric], 2) for metric in ours.keys() & theirs.keys()}
    return DifferenceRow(method, other, differences, paper)


def _about(settings: dict[str, Any], scores: Sequence[ClipScore]) -> list[str]:
    backend = settings["backend"]
    clips, identities, rejected = settings["clips"], settings["identities"], settings["rejected_clips"]
    lines = [
        f"Data: {settings['data_source']}, {settings['image_size']}, {_count(clips, 'test clip')} of "
        f"{_count(identities, 'identity', 'identities')}, {rejected} rejected; seed {settings['seed']}.",
        f"{display_name(backend)} was fed with {_feed(settings['feed'])}; KPBE's frontend is {settings['frontend']}.",
        "The unit is the clip: mean with 95 % t-interval; differences are paired, with a percentile bootstrap interval "
        f"and p-value ({settings['bootstrap']} resamples).",
    ]
    if settings["clips"] < FEW_CLIPS:
        lines.append(f"With fewer than {FEW_CLIPS} clips the bootstrap is too confident.")
    if settings["lpips"].startswith("not measured"):
        lines.append(f"LPIPS {settings['lpips'].rstrip('.')}.")
    else:
        lines.append(f"LPIPS: {settings['lpips']}.")
    for method in methods_of(backend):
        identical = sum(score.identical_frames for score in scores if score.method == method)
        if identical:
            frames = sum(score.frames for score in scores if score.method == method)
            lines.append(
                f"PSNR of {display_name(method)} leaves out {identical} of {frames} frames identical to the truth."
            )
    return lines


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _feed(feed: str) -> str:
    return {"source_image": "one source image (the paper's text)", "video": "the real video"}.get(feed, feed)


# -- as text ---------------------------------------------------------------------------------------------------


def markdown(table: Table1) -> str:
    """The table as Markdown, header lines first."""
    about = [f"- {line}" for line in table.about]
    parts = ["# Table I", "", *about, "", *_pipes(_method_cells(table, table.metrics)), ""]
    parts += ["## Paired differences", "", *_pipes(_difference_cells(table, table.metrics)), ""]
    return "\n".join(parts)


def plain_text(table: Table1) -> str:
    """The table for a terminal: its main metrics, TERMINAL_WIDTH columns wide."""
    metrics = [metric for metric in TERMINAL_METRICS if metric in table.metrics]
    about = [
        wrapped
        for line in table.about
        for wrapped in wrap(line, TERMINAL_WIDTH, initial_indent="- ", subsequent_indent="  ")
    ]
    parts = ["Table I", *_aligned(_method_cells(table, metrics, brief=True)), ""]
    parts += ["Paired differences", *_aligned(_difference_cells(table, metrics)), "", *about]
    return "\n".join(parts) + "\n"


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
    return {
        "row": kind,
        "method": row.method,
        "compared_with": row.compared_with if isinstance(row, DifferenceRow) else "",
        "metric": metric,
        **asdict(value),
        "paper": row.paper.get(metric, ""),
    }


def _method_cells(table: Table1, metrics: Sequence[str], brief: bool = False) -> list[list[str]]:
    head = ["Method", "n"]
    for metric in metrics:
        head += [HEADINGS[metric], "paper"] if _in_paper(metric) else [HEADINGS[metric]]
    lines = [head]
    for row in table.methods:
        cells = [display_name(row.method), str(row.clips)]
        for metric in metrics:
            cells.append(_value(row.means.get(metric), metric, row.clips, brief=brief))
            if _in_paper(metric):
                cells.append(_paper(row.paper, metric))
        lines.append(cells)
    return lines


def _difference_cells(table: Table1, metrics: Sequence[str]) -> list[list[str]]:
    clips = {row.method: row.clips for row in table.methods}
    lines = [["Difference", "Metric", "Mean [95 %]", "p", "paper"]]
    for row in table.differences:
        name = f"{display_name(row.method)} - {display_name(row.compared_with)}"
        for metric in (metric for metric in metrics if metric in row.differences):
            difference = row.differences[metric]
            value = _value(difference, metric, clips[row.method], sign="+")
            paper = _paper(row.paper, metric, sign="+")
            lines.append([name, HEADINGS[metric], value, _p(difference.p), paper])
    return lines


def _in_paper(metric: str) -> bool:
    return any(metric in means for means in PAPER_MEANS.values())


def _value(
    value: Mean | PairedDifference | None, metric: str, clips: int, sign: str = "", brief: bool = False
) -> str:
    """Mean with its interval, as [low, high] or briefly as ± half its width; n where it is not that of the row."""
    if value is None:
        return "-"
    spec = f"{sign}.{DECIMALS[metric]}f"
    text = f"{value.mean:{spec}}"
    if value.low is not None and value.high is not None:
        half = (value.high - value.low) / 2
        text += f" ± {half:{spec}}" if brief else f" [{value.low:{spec}}, {value.high:{spec}}]"
    return text if value.n == clips else f"{text} (n {value.n})"


def _paper(values: dict[str, float], metric: str, sign: str = "") -> str:
    return f"{values[metric]:{sign}.2f}" if metric in values else "-"


def _p(p: float | None) -> str:
    if p is None:
        return "-"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _pipes(lines: Sequence[Sequence[str]]) -> list[str]:
    head, *rest = (f"| {' | '.join(cells)} |" for cells in lines)
    rule = "|" + " --- |" * len(lines[0])
    return [head, rule, *rest]


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(cells[column]) for cells in lines) for column in range(len(lines[0]))]
    padded = [[cell.ljust(width) for cell, width in zip(cells, widths, strict=True)] for cells in lines]
    texts = ["  ".join(cells).rstrip() for cells in padded]
    return [texts[0], "─" * max(map(len, texts)), *texts[1:]]
