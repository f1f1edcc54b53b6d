"""Stage `report`: Table I with notes on the trainings, figures, and curves for `dvc plots`."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kpbe.checkpoints.catalogue import trained_weights
from kpbe.core.files import read_csv, whole, write_csv, write_json
from kpbe.evaluation.figures import figure3, score_plot
from kpbe.evaluation.novel_views import figure4
from kpbe.evaluation.table_text import render_table1
from kpbe.methods import display_name, enhanced_method
from kpbe.params import Params
from kpbe.paths import EVALUATION, SUMMARY_FILE
from kpbe.training.files import CURVES_FILE, SHEETS_FOLDER
from kpbe.training.still_mouth import still_mouth

FIGURES = "figures"
FACTS = ("clips", "seed", "stopped_by_time_budget", "samples_per_epoch", "head_pose_labels")
"""Numbers of a training's summary that are not results."""

PLOTTED_CURVES = ("loss", "validation_psnr", "validation_ssim", "offset_accuracy")


def write_report(
    params: Params,
    clips: Path,
    backend_videos: Path,
    enhanced_videos: Path,
    trainings: Mapping[str, Path],
    stage2: Path,
    results: Path,
) -> str:
    """Write table1.md, table1.csv, table1.json, trainings.json, figures/ and curves/ into `results`.

    trainings.json holds the results in every training's summary, for `dvc metrics` and `dvc exp show`.
    figures/ holds figure3.png, figure4.png (of the first backend), scores_<backend>.png and the last sheet of
    each training; curves/<column>/<training>.csv the losses and validation metrics by step.

    Args:
        params: the whole params.
        clips: data/clips.
        backend_videos: data/backend.
        enhanced_videos: data/enhanced.
        trainings: training folders by their name in the notes, e.g. "stage 1"; one without a
            summary.json (a public checkpoint) is left out.
        stage2: checkpoints/stage2, with a folder for each backend.
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
        score_plot(results / EVALUATION.name / backend, backend, results / FIGURES / f"scores_{backend}.png")
    figure3(clips, videos, results / FIGURES / "figure3.png", params.evaluate.figure_clips)
    first = params.backends[0]
    frontend = trained_weights(stage2 / first)
    figure4(params, first, clips, backend_videos / first, frontend, results / FIGURES / "figure4.png")
    measured = {}
    for name, folder in trainings.items():
        plain_name = re.sub(r"[^\w.-]+", "_", name).strip("_")
        write_curves(plain_name, folder, results)
        if summary := _summary(folder):
            numbers = {k: v for k, v in summary.items() if isinstance(v, int | float) and k not in FACTS}
            measured[plain_name] = numbers
    write_json(results / "trainings.json", measured)
    return table


def write_curves(name: str, training: Path, results: Path) -> None:
    """Copy a training's curves (a small file for each) and last sheet to `dvc plots`.

    Does nothing without curves.
    """
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
    """One line on a training: clips, steps, seconds, seed, perceptual terms; None without a summary."""
    summary = _summary(folder)
    if summary is None:
        return None
    ended = " (ended by its time budget)" if summary["stopped_by_time_budget"] else ""
    line = (
        f"{name}: {summary['clips']} training clips, {summary['steps']} steps in {summary['seconds']:.0f} "
        f"s{ended}"
    )
    line += f", seed {summary['seed']}"
    if "perceptual" in summary:
        line += f"; perceptual term: {summary['perceptual']}"
    if warning := still_mouth(summary):
        line += f"; **{warning}**"
    return f"{line}."


def _summary(training: Path) -> dict[str, Any] | None:
    """A training's summary.json; None if nothing was trained."""
    try:
        summary = json.loads((training / SUMMARY_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return summary if "steps" in summary else None
