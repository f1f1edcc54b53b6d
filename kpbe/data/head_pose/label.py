"""Stage `label_pose`: yaw, pitch and roll of every training frame, for the head pose term of stage 1.

Poses of the built-in sample are known. In other clips a teacher network reads each frame once, instead of in
every training step.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kpbe.core.clip_tasks import ClipTask
from kpbe.core.files import RECORD_SUFFIX, file_sha256, fingerprint, whole, write_json
from kpbe.core.processes import ShardMap, kept_by_worker, serial_map
from kpbe.data.clips import Clip, read_manifest
from kpbe.data.head_pose.labels import euler_degrees, label_path
from kpbe.data.head_pose.teachers.base import PoseTeacher
from kpbe.data.head_pose.teachers.registry import (
    NAMES,
    TeacherKind,
    first_available,
    get_teacher,
    weight_files,
    where_to_get_them,
)
from kpbe.data.label_clips import label_clips, truth_files
from kpbe.data.voxceleb import reference_frames
from kpbe.errors import BadClip
from kpbe.media.recording import Recording
from kpbe.params import ComputeParams, LabelPoseParams
from kpbe.paths import SUMMARY_FILE
from kpbe.recipes import recipe

STAGE = "label_pose"

ANGLES = ("yaw", "pitch", "roll")
PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
LARGE = 45.0
BIN_EDGES = tuple(range(-90, 91, 3))


@dataclass(frozen=True)
class Job:
    """Input of one clip's task.

    Attributes:
        clip: the clip.
        truth: file with the true poses of a drawn clip; None: the teacher reads the clip.
        teacher: which teacher; None where the poses are known.
        compute: gives the teacher's device.
        batch: pictures per forward pass of the teacher.
    """

    clip: Clip
    truth: Path | None
    teacher: TeacherKind | None
    compute: ComputeParams
    batch: int


def label_head_pose(
    params: LabelPoseParams,
    raw: Path,
    clips: Path,
    out: Path,
    *,
    compute: ComputeParams,
    map: ShardMap = serial_map,
    max_rejected_fraction: float = 1.0,
) -> dict[str, Any]:
    """Write `out`/<clip_id>.npy for each training clip, and `out`/summary.json.

    Each file holds float32 (frames, 3) yaw, pitch, roll in degrees, in the frontend's convention, see
    `head_pose.labels.euler_degrees`. Labels of clips that no longer exist or are no longer labelled are
    removed.

    Args:
        params: which teacher.
        raw: data/raw.
        clips: data/clips.
        out: data/head_pose.
        compute: Hopenet's device, and `shard_size`.
        map: see `kpbe.core.clip_tasks.run_clip_tasks`.
        max_rejected_fraction: see `kpbe.core.clip_tasks.run_clip_tasks`.

    Returns:
        The content of summary.json; `about` is a sentence that says who labelled what.

    Raises:
        MissingWeights: params name a teacher and one of its files is missing.
        KPBEError: too many clips were rejected.
    """
    manifest = read_manifest(clips, "train")
    truths = truth_files(raw, manifest) if params.teacher in ("auto", "known") else {}
    kind = _teacher_kind(params.teacher)
    digests = [] if kind is None else [file_sha256(path) for path in weight_files(kind)]
    tasks = []
    for clip in manifest:
        truth = truths.get(clip.clip_id)
        if truth is not None or kind is not None:
            job = Job(clip, truth, None if truth else kind, compute, params.batch)
            tasks.append(_task(job, [] if truth else digests, out))
    finished, rejected = label_clips(
        STAGE, tasks, make_labels, out, map, compute.shard_size, max_rejected_fraction
    )
    labelled = [task.payload for task, _ in finished]
    known = sum(job.truth is not None for job in labelled)
    summary = {
        "about": _about(params, kind, known, len(labelled) - known, len(manifest)),
        "teacher": kind if len(labelled) > known else "known" if known else None,
        "training_clips": len(manifest),
        "labelled_clips": len(labelled),
        "known_clips": known,
        "rejected_clips": len(rejected),
        **distribution(np.load(label_path(out, job.clip)) for job in labelled),
    }
    write_json(out / SUMMARY_FILE, summary)
    return summary


def _teacher_kind(teacher: str) -> TeacherKind | None:
    if teacher in ("known", "off"):
        return None
    return first_available() if teacher == "auto" else teacher  # pyright: ignore[reportReturnType]


def _task(job: Job, digests: list[str], out: Path) -> ClipTask:
    clip = job.clip
    made_from = fingerprint(
        {"recipe": recipe(STAGE), "teacher": job.teacher, "weights": digests, "clip": clip.sha256},
        {"truth": job.truth and file_sha256(job.truth), "start": clip.start, "frames": clip.frames},
    )
    record = out / f"{clip.clip_id}{RECORD_SUFFIX}"
    return ClipTask(clip.clip_id, record, (label_path(out, clip),), made_from, str(clip.video), job)


@kept_by_worker
def _teacher(kind: TeacherKind, compute: ComputeParams, batch: int) -> PoseTeacher:
    return get_teacher(kind, compute, batch)


def make_labels(task: ClipTask) -> dict[str, Any]:
    """Label one clip.

    Raises:
        BadClip: the clip cannot be read, or the teacher gives no finite angles.
    """
    job: Job = task.payload
    clip = job.clip
    if job.truth is not None:
        rows = reference_frames(clip.start, clip.frames, clip.fps)
        with np.load(job.truth) as arrays:
            rotations = arrays["rotation"]
        degrees = euler_degrees(rotations[np.minimum(rows, len(rotations) - 1)])
    else:
        assert job.teacher is not None
        teacher = _teacher(job.teacher, job.compute, job.batch)  # pyright: ignore[reportArgumentType]
        degrees = teacher.estimate(Recording(clip.video).frames())
        if not np.isfinite(degrees).all():
            raise BadClip(f"{clip.video}: {job.teacher} gives angles that are not finite")
    with whole(task.outputs[0]) as temporary:
        np.save(temporary, degrees)
    return {"teacher": job.teacher or "known", "frames": len(degrees)}


def _about(params: LabelPoseParams, kind: TeacherKind | None, known: int, taught: int, clips: int) -> str:
    """A sentence that says who labelled what."""
    parts = [f"the true poses of {known}"] if known else []
    if taught and kind:
        parts.append(f"{NAMES[kind]}'s angles of {taught}")
    if parts:
        rest = clips - known - taught
        without = f"; {rest} have no labels" if rest else ""
        return f"head pose labels: {' and '.join(parts)} of {clips} training clips{without}"
    if params.teacher == "auto":
        return (
            "no head pose labels: the clips' poses are not known, and no teacher's files are in a weights "
            f"folder, which would be {where_to_get_them()}"
        )
    reason = "label_pose.teacher is off" if params.teacher == "off" else "the clips' poses are not known"
    return f"no head pose labels: {reason}"


def distribution(labels: Iterable[np.ndarray]) -> dict[str, Any]:
    """Statistics of the angles over all frames.

    Args:
        labels: (frames, 3) of each clip.

    Returns:
        `frames`, and if there are any: `angles` (mean, sd, percentiles and share beyond 45 degrees of yaw,
            pitch and roll) and `histogram` (edges in degrees and counts of each angle; values beyond the
            outer edges count in the outermost bins).
    """
    parts = list(labels)
    frames = sum(map(len, parts))
    if not frames:
        return {"frames": 0}
    columns = dict(zip(ANGLES, np.concatenate(parts).T.astype(np.float64), strict=True))
    angles = {
        name: {
            "mean": float(values.mean()),
            "sd": float(values.std()),
            "percentiles": dict(
                zip(map(str, PERCENTILES), np.percentile(values, PERCENTILES).tolist(), strict=True)
            ),
            "beyond_45": float((np.abs(values) > LARGE).mean()),
        }
        for name, values in columns.items()
    }
    inside = {name: np.clip(values, BIN_EDGES[0], BIN_EDGES[-1]) for name, values in columns.items()}
    counts = {name: np.histogram(values, BIN_EDGES)[0].tolist() for name, values in inside.items()}
    return {"frames": frames, "angles": angles, "histogram": {"edges": list(BIN_EDGES), **counts}}
