"""The report stage: Table I with notes on how its methods were trained, Figure 3, a score plot for each backend."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from kpbe.evaluation.figures import figure3, score_plot
from kpbe.evaluation.results import display_name, enhanced_method
from kpbe.evaluation.tables import render_table1
from kpbe.params import Params


def write_report(
    params: Params,
    clips: Path,
    backend_videos: Path,
    enhanced_videos: Path,
    trainings: Mapping[str, Path],
    results: Path,
) -> str:
    """Write table1.md, table1.csv, table1.json, figure3.png and <backend>/scores.png into `results`.

    Args:
        params: the whole params.
        clips: data/clips.
        backend_videos: data/backend.
        enhanced_videos: data/enhanced.
        trainings: training folders by the name they are called in the notes, e.g. "stage 1"; one without a
            summary.json (a public checkpoint) is left out.
        results: reports/results, with a folder for each evaluated backend.

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
        score_plot(results / backend, backend, results / backend / "scores.png")
    figure3(clips, videos, results / "figure3.png", params.evaluate.figure_clips)
    return table


def training_note(name: str, folder: Path) -> str | None:
    """One line on a training: clips, steps, seconds, seed and which perceptual term it had; None without a summary."""
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    ended = " (ended by its time budget)" if summary["stopped_by_time_budget"] else ""
    line = f"{name}: {summary['clips']} training clips, {summary['steps']} steps in {summary['seconds']:.0f} s{ended}"
    line += f", seed {summary['seed']}"
    if "perceptual" in summary:
        line += f"; perceptual term: {summary['perceptual']}"
    return f"{line}."
