"""Figures of the evaluation: the methods' frames below each other (the paper's Fig. 3), scores per clip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from kpbe.core.files import whole
from kpbe.data.clips import Clip, read_manifest
from kpbe.errors import KPBEError
from kpbe.evaluation.results import ClipScore, finite_values, mean_of, read_per_clip
from kpbe.evaluation.tables import HEADINGS
from kpbe.media.recording import Recording
from kpbe.media.sheets import contact_sheet
from kpbe.methods import (
    SOURCE_EXPRESSION,
    STATIC_SOURCE,
    backend_of_method,
    control_method,
    display_name,
    enhanced_method,
    methods_of,
)

MOMENTS = (0.25, 0.75)
CELL = 160
PLOTTED = ("ssim", "psnr", "lpips", "mouth_l1")
RESAMPLES = 2000
GREY = "#8a8f98"
LINE = "#c9cdd3"
BLUE = "#1f5fbf"
ORANGE = "#d9772b"
INK = "#2b2e33"


def figure3(clips_folder: Path, videos: Sequence[tuple[str, Path]], out: Path, clips: int = 4) -> None:
    """Write a PNG like the paper's Fig. 3: ground truth, backend, enhanced, row by row, at the same moments.

    It has two frames (at a quarter and at three quarters) of each of `clips` test clips that all methods
    have, of different identities as far as possible.

    Args:
        clips_folder: data/clips.
        videos: (row label, folder with <clip_id>.mkv), e.g. the backend's and the enhanced test videos.
        out: the PNG.
        clips: number of test clips.

    Raises:
        KPBEError: no test clip has a video of every method.
    """
    complete = [
        clip
        for clip in read_manifest(clips_folder, split="test")
        if all((folder / f"{clip.clip_id}.mkv").is_file() for _, folder in videos)
    ]
    if not complete:
        folders = ", ".join(str(folder) for _, folder in videos)
        raise KPBEError(
            f"no test clip of {clips_folder} has a video in each of {folders}: run the stages before (dvc "
            f"repro)."
        )
    labels = ["Ground truth", *(label for label, _ in videos)]
    rows: list[tuple[str, list[np.ndarray]]] = [(label, []) for label in labels]
    headings: list[str] = []
    for clip in _spread(complete, clips):
        readers = [Recording(clip.video)]
        readers += [Recording(folder / f"{clip.clip_id}.mkv") for _, folder in videos]
        frames = min(len(reader) for reader in readers)
        indices = [round(moment * (frames - 1)) for moment in MOMENTS]
        for (_, row), reader in zip(rows, readers, strict=True):
            row.extend(reader.at(indices))
        headings += [f"{clip.identity}, {index / clip.fps:.1f} s" for index in indices]
    _save_picture(contact_sheet(rows, headings, cell=CELL), out)


def score_plot(results_folder: Path, backend: str, out: Path) -> None:
    """Write a PNG that joins each test clip's scores of four methods.

    The methods are static source, backend, enhanced, and enhanced with the source's expression. Thin lines
    are clips; dots with bars are the means over identities with 95 % intervals.

    Args:
        results_folder: reports/results/evaluation/<backend>.
        backend: its name in params.yaml.
        out: the PNG.

    Raises:
        KPBEError: per_clip.csv is missing or damaged.
    """
    scores = read_per_clip(results_folder)
    plotted = [metric for metric in PLOTTED if finite_values(scores, backend, metric)]
    with matplotlib.rc_context({"font.family": "DejaVu Sans", "font.size": 10, "text.color": INK}):
        figure = Figure(figsize=(3.6 * len(plotted), 4.2), dpi=150)
        figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.12)
        figure.suptitle(display_name(backend), x=0.01, ha="left", fontsize=12, fontweight="bold")
        for axes, metric in zip(figure.subplots(1, len(plotted), squeeze=False)[0], plotted, strict=True):
            _joined_clips(axes, scores, backend, metric)
        with whole(out) as temporary:
            figure.savefig(temporary)


def _joined_clips(axes: Axes, scores: Sequence[ClipScore], backend: str, metric: str) -> None:
    methods = (*methods_of(backend), control_method(backend, SOURCE_EXPRESSION))
    values = [finite_values(scores, method, metric) for method in methods]
    shared = sorted(set.intersection(*(set(of_method) for of_method in values)))
    visible = float(np.clip(12 / max(len(shared), 1), 0.08, 0.9))
    for clip_id in shared:
        line = [of_method[clip_id] for of_method in values]
        axes.plot(
            range(len(methods)), line, "o-", color=LINE, alpha=visible, linewidth=1, markersize=3, zorder=1
        )
    for position, (method, of_method) in enumerate(zip(methods, values, strict=True)):
        if not of_method:
            continue
        mean = mean_of(scores, method, metric, resamples=RESAMPLES, seed=0)
        assert mean is not None
        color = BLUE if method == enhanced_method(backend) else ORANGE if method == backend else GREY
        if mean.low is not None and mean.high is not None:
            axes.plot([position, position], [mean.low, mean.high], color=color, linewidth=2.5, zorder=2)
        axes.plot(position, mean.mean, "o", color=color, markersize=8, zorder=3)
    axes.set_title(f"{HEADINGS[metric]}  ({len(shared)} clips)", fontsize=11, loc="left")
    axes.set_xticks(range(len(methods)), [_brief(method) for method in methods], fontsize=9)
    axes.set_xlim(-0.4, len(methods) - 0.6)
    axes.grid(axis="y", color="#eceef1", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _brief(method: str) -> str:
    """A method's short name for a narrow plot, whose title names the backend."""
    if method == STATIC_SOURCE:
        return "static\nsource"
    name = display_name(method).removeprefix(display_name(backend_of_method(method) or ""))
    return name.replace(" ", "\n") or "backend"


def _spread(clips: Sequence[Clip], count: int) -> list[Clip]:
    """`count` clips in the manifest's order, each identity's first clip before any identity's second."""
    seen: dict[str, int] = {}
    ranked = []
    for position, clip in enumerate(clips):
        rank = seen[clip.identity] = seen.get(clip.identity, -1) + 1
        ranked.append((rank, position, clip))
    return [clip for _, _, clip in sorted(ranked, key=lambda item: item[:2])[:count]]


def _save_picture(picture: np.ndarray, out: Path) -> None:
    with whole(out) as temporary:
        Image.fromarray(picture).save(temporary)
