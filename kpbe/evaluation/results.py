"""Result files of the stage `evaluate`, reports/results/evaluation/<backend>/, and statistics of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kpbe.core.files import read_csv, write_csv
from kpbe.errors import KPBEError
from kpbe.evaluation.statistics import Mean, PairedDifference, mean_interval, paired_difference
from kpbe.methods import SOURCE_EXPRESSION, control_method, controls_of, enhanced_method, methods_of
from kpbe.paths import METRICS_FILE

METRIC_GROUPS: dict[str, tuple[str, ...]] = {
    "Pictures": ("ssim", "psnr", "lpips", "l1", "ssim_rgb"),
    "Mouth": (
        "mouth_l1",
        "mouth_ssim",
        "mouth_lpips",
        "face_found",
        "opening_r",
        "opening_r_backend",
        "lse_c",
        "lse_d",
    ),
    "Head, identity, steadiness": ("pose_error", "turn", "across", "down", "csim", "sharpness", "jitter"),
}
METRICS: tuple[str, ...] = tuple(metric for group in METRIC_GROUPS.values() for metric in group)
"""All metrics, in the order of the tables; docs/evaluation.md describes them."""

LOWER_IS_BETTER = frozenset({"l1", "lpips", "mouth_l1", "mouth_lpips", "lse_d", "pose_error"})
ONE_IS_BEST = frozenset({"turn", "across", "down", "sharpness", "jitter"})
"""Metrics that are ratios to the truth's value: below 1 is too little, above 1 too much."""

PER_CLIP = "per_clip.csv"
PER_FRAME = "per_frame.csv"
PER_CLIP_COLUMNS = ("clip_id", "identity", "method", "frames", *METRICS, "identical_frames")
PER_FRAME_COLUMNS = ("clip_id", "method", "frame", "ssim", "psnr")


@dataclass(frozen=True)
class ClipScore:
    """One method's scores on one test clip, a row of per_clip.csv.

    Attributes:
        clip_id, identity: of the clip.
        method: one of `kpbe.methods`.
        frames: number of scored frames, without the source frame.
        values: mean over the frames by metric name (units: see `kpbe.metrics`); metrics that were not
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
        KPBEError: the file is missing or damaged.
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
    """The settings of an evaluation, from metrics.json in `folder`.

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


def identities_of(scores: Sequence[ClipScore]) -> dict[str, str]:
    """The identity of each clip_id."""
    return {score.clip_id: score.identity for score in scores}


def compare(
    scores: Sequence[ClipScore], first: str, second: str, metric: str, *, resamples: int, seed: int
) -> PairedDifference | None:
    """Paired difference second - first of a metric over the clips where both are finite; None without any."""
    before, after = finite_values(scores, first, metric), finite_values(scores, second, metric)
    shared = sorted(before.keys() & after.keys())
    if not shared:
        return None
    identities = identities_of(scores)
    return paired_difference(
        [before[clip_id] for clip_id in shared],
        [after[clip_id] for clip_id in shared],
        [identities[clip_id] for clip_id in shared],
        resamples=resamples,
        seed=seed,
    )


def mean_of(
    scores: Sequence[ClipScore], method: str, metric: str, *, resamples: int, seed: int
) -> Mean | None:
    """Mean of a metric over identities; None where no clip has it."""
    values = finite_values(scores, method, metric)
    if not values:
        return None
    identities = identities_of(scores)
    return mean_interval(
        list(values.values()), [identities[clip_id] for clip_id in values], resamples=resamples, seed=seed
    )


def summary(
    scores: Sequence[ClipScore], backend: str, *, resamples: int, seed: int
) -> dict[str, dict[str, float]]:
    """The content of metrics.json without settings: means of the methods, and differences.

    Keys: method -> metric -> mean over identities; "difference" (from the backend) and
    "difference_from_control" (from the source-expression control) -> metric -> mean difference, and
    <metric>_p, its p-value, where there are at least two identities.
    """
    options = {"resamples": resamples, "seed": seed}
    result: dict[str, dict[str, float]] = {}
    for method in (*methods_of(backend), *controls_of(backend)):
        means = {metric: mean_of(scores, method, metric, **options) for metric in METRICS}
        result[method] = {metric: mean.mean for metric, mean in means.items() if mean is not None}
    others = {
        "difference": backend,
        "difference_from_control": control_method(backend, SOURCE_EXPRESSION),
    }
    for key, other in others.items():
        differences = result[key] = {}
        for metric in METRICS:
            difference = compare(scores, other, enhanced_method(backend), metric, **options)
            if difference is not None:
                differences[metric] = difference.mean
                if difference.p is not None:
                    differences[f"{metric}_p"] = difference.p
    return result
