"""The result files of the evaluate stage, reports/results/evaluation/<backend>/, and what is read out of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kpbe.errors import KPBEError
from kpbe.evaluation.statistics import PairedDifference, paired_difference
from kpbe.methods import enhanced_method, methods_of
from kpbe.work import read_csv, write_csv

EVALUATION = "evaluation"
"""Folder of reports/results that holds one folder for each evaluated backend."""

METRICS = ("ssim", "psnr", "ssim_rgb", "l1", "lpips")
PER_CLIP = "per_clip.csv"
PER_FRAME = "per_frame.csv"
METRICS_FILE = "metrics.json"
PER_CLIP_COLUMNS = ("clip_id", "identity", "method", "frames", *METRICS, "identical_frames")
PER_FRAME_COLUMNS = ("clip_id", "method", "frame", "ssim", "psnr")


@dataclass(frozen=True)
class ClipScore:
    """One method's scores on one test clip, a row of per_clip.csv.

    Attributes:
        clip_id, identity: of the clip.
        method: "static source", the backend's name, or `enhanced_method` of it.
        frames: how many frames were scored.
        values: mean over the frames by metric name (units: kpbe.metrics.image); metrics that were not
            measured are absent. PSNR is infinite when every frame is identical to the truth.
        identical_frames: frames with infinite PSNR, which the mean PSNR leaves out.
    """

    clip_id: str
    identity: str
    method: str
    frames: int
    values: dict[str, float]
    identical_frames: int


def write_per_clip(folder: Path, scores: Iterable[ClipScore]) -> None:
    """Write per_clip.csv into `folder`."""
    rows = (
        {
            "clip_id": score.clip_id,
            "identity": score.identity,
            "method": score.method,
            "frames": score.frames,
            **score.values,
            "identical_frames": score.identical_frames,
        }
        for score in scores
    )
    write_csv(folder / PER_CLIP, PER_CLIP_COLUMNS, rows)


def read_per_clip(folder: Path) -> list[ClipScore]:
    """Rows of per_clip.csv in `folder`.

    Raises:
        KPBEError: the file is missing or is not one that `write_per_clip` wrote.
    """
    path = folder / PER_CLIP
    try:
        return [
            ClipScore(
                row["clip_id"],
                row["identity"],
                row["method"],
                int(row["frames"]),
                {metric: float(row[metric]) for metric in METRICS if row[metric]},
                int(row["identical_frames"]),
            )
            for row in read_csv(path)
        ]
    except FileNotFoundError:
        raise KPBEError(f"{path} does not exist: run the stage evaluate first (dvc repro).") from None
    except (KeyError, TypeError, ValueError) as error:
        raise KPBEError(f"{path} is damaged ({error!r}): run the stage evaluate again.") from None


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings that an evaluation was made with, from metrics.json in `folder`.

    Raises:
        KPBEError: the file is missing or damaged.
    """
    path = folder / METRICS_FILE
    try:
        return json.loads(path.read_text(encoding="utf-8"))["settings"]
    except FileNotFoundError:
        raise KPBEError(f"{path} does not exist: run the stage evaluate first (dvc repro).") from None
    except (json.JSONDecodeError, KeyError, TypeError):
        raise KPBEError(f"{path} is damaged: run the stage evaluate again.") from None


def finite_values(scores: Sequence[ClipScore], method: str, metric: str) -> dict[str, float]:
    """A metric of a method by clip_id, without clips where it is infinite or was not measured."""
    return {
        score.clip_id: score.values[metric]
        for score in scores
        if score.method == method and np.isfinite(score.values.get(metric, np.nan))
    }


def compare(
    scores: Sequence[ClipScore], first: str, second: str, metric: str, *, resamples: int, seed: int
) -> PairedDifference | None:
    """Paired difference second - first of a metric over the clips where both are finite; None without any."""
    before, after = finite_values(scores, first, metric), finite_values(scores, second, metric)
    shared = sorted(before.keys() & after.keys())
    if not shared:
        return None
    return paired_difference(
        [before[clip_id] for clip_id in shared],
        [after[clip_id] for clip_id in shared],
        resamples=resamples,
        seed=seed,
    )


def summary(
    scores: Sequence[ClipScore], backend: str, *, resamples: int, seed: int
) -> dict[str, dict[str, float]]:
    """What metrics.json holds besides settings: the methods' means, and differences enhanced - backend.

    Keys: method -> metric -> mean over clips; "difference" -> metric -> mean difference, and <metric>_p, its
    p-value, where there are at least two clips.
    """
    result: dict[str, dict[str, float]] = {}
    for method in methods_of(backend):
        values = {metric: list(finite_values(scores, method, metric).values()) for metric in METRICS}
        result[method] = {metric: float(np.mean(found)) for metric, found in values.items() if found}
    differences: dict[str, float] = {}
    for metric in METRICS:
        difference = compare(
            scores, backend, enhanced_method(backend), metric, resamples=resamples, seed=seed
        )
        if difference is not None:
            differences[metric] = difference.mean
            if difference.p is not None:
                differences[f"{metric}_p"] = difference.p
    return {**result, "difference": differences}
