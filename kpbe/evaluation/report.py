"""The report stage: Table I with notes on how its methods were trained, figures, and the trainings' curves for `dvc plots`."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from kpbe.evaluation.figures import figure3, score_plot
from kpbe.evaluation.results import EVALUATION, display_name, enhanced_method
from kpbe.evaluation.tables import render_table1
from kpbe.params import Params
from kpbe.training.files import CURVES_FILE, SHEETS_FOLDER
from kpbe.work import read_csv, whole, write_csv

FIGURES = "figures"
PLOTTED_CURVES = ("loss", "validation_psnr", "validation_ssim", "offset_accuracy")


def write_report(
    params: Params,
    clips: Path,
    backend_videos: Path,
    enhanced_videos: Path,
    trainings: Mapping[str, Path],
    results: Path,
) -> str:
    """Write table1.md, table1.csv, table1.json, figures/ and curves/ into `results`.

    figures/ holds figure3.png, scores_<backend>.png and the last sheet of each training; curves/<column>/<training>.csv the losses and
    validation metrics by step.

    Args:
        params: the whole params.
        clips: data/clips.
        backend_videos: data/backend.
        enhanced_videos: data/enhanced.
        trainings: training folders by the name they are called in the notes, e.g. "stage 1"; one without a
            summary.json (a public checkpoint) is left out.
        results: reports/results, with a folder for each backend in evaluation/.

    Returns:
        Table I as plain text.

    Raises:
        KPBEError: results or videos of a backend are missing.
    """
    notes = [note for name, folder in trainings.items() if (note := training_note(name, folder))]
    table = render_table1(results, params.backends, notes)
    videos: list[tuple[str, Path]] = []
    for backend in params.backends:
        videos.append((display_name(backend), backend_videos / backend / "test"))
        videos.append((display_name(enhanced_method(backend)), enhanced_videos / backend / "test"))
        score_plot(results / EVALUATION / backend, backend, results / FIGURES / f"scores_{backend}.png")
    figure3(clips, videos, results / FIGURES / "figure3.png", params.evaluate.figure_clips)
    for name, folder in trainings.items():
        write_curves(re.sub(r"[^\w.-]+", "_", name).strip("_"), folder, results)
    return table


def write_curves(name: str, training: Path, results: Path) -> None:
    """Hand a training's curves and last sheet to `dvc plots`, one small file for each curve; nothing for what was not trained."""
    try:
        rows = read_csv(training / CURVES_FILE)
    except FileNotFoundError:
        return
    for column in PLOTTED_CURVES:
        points = [{"step": row["step"], column: row[column]} for row in rows if row.get(column)]
        if points:
            write_csv(results / "curves" / column / f"{name}.csv", ["step", column], points)
    if sheets := sorted((training / SHEETS_FOLDER).glob("*.png")):
        with whole(results / FIGURES / f"sheet_{name}.png") as temporary:
            shutil.copyfile(sheets[-1], temporary)


def training_note(name: str, folder: Path) -> str | None:
    """One line on a training: clips, steps, seconds, seed and which perceptual term it had; None without a summary."""
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if "steps" not in summary:  # nothing was trained
        return None
    ended = " (ended by its time budget)" if summary["stopped_by_time_budget"] else ""
    line = f"{name}: {summary['clips']} training clips, {summary['steps']} steps in {summary['seconds']:.0f} s{ended}"
    line += f", seed {summary['seed']}"
    if "perceptual" in summary:
        line += f"; perceptual term: {summary['perceptual']}"
    return f"{line}."
