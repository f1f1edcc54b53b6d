"""Stage `label_expression`: face points and blendshapes of every frame of the training clips.

Points of the built-in sample are known; in other clips MediaPipe's FaceLandmarker reads each frame once.
Trainings use the labels to guide keypoints to lips and eyes, to supervise where the motion field carries each
point, and to locate the mouth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kpbe.checkpoints import catalogue
from kpbe.core.clip_tasks import ClipTask
from kpbe.core.files import RECORD_SUFFIX, file_sha256, fingerprint, write_json
from kpbe.core.processes import ShardMap, kept_by_worker, serial_map
from kpbe.data.clips import Clip, read_manifest
from kpbe.data.crops import points_in_crop
from kpbe.data.expression.labels import FACE, SHAPES, ExpressionLabels, in_picture, label_path
from kpbe.data.label_clips import label_clips, truth_files
from kpbe.data.raw import parse_bbox
from kpbe.data.voxceleb import reference_frames
from kpbe.errors import BadClip
from kpbe.media.recording import Recording
from kpbe.metrics.face_landmarks import (
    FaceLandmarker,
    FaceLandmarks,
    load_face_landmarker,
    require_face_landmarker,
)
from kpbe.params import ComputeParams, LabelExpressionParams
from kpbe.paths import SUMMARY_FILE
from kpbe.recipes import recipe

STAGE = "label_expression"

LEAST_SEEN = 0.5
"""Least share of frames with a face; a clip with fewer is rejected, since its labels would be unreliable."""


# Points of MediaPipe's face mesh (the 478 of FaceLandmarker).
_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176,
    149, 150, 136, 172, 58, 132,
    93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
_NOSE = (168, 6, 197, 195, 5, 4, 1, 98, 327)
_CHEEKS = (50, 280, 205, 425, 36, 266)
_BROWS = (70, 105, 107, 300, 334, 336)
_EYES = (33, 159, 133, 145, 263, 386, 362, 374)
_OUTER_LIPS = (91, 181, 84, 17, 314, 405, 321, 269, 267, 0, 37, 39)
_INNER_LIPS = (78, 81, 13, 311, 308, 402, 14, 178, 191, 415, 95, 324)
_JAW = (32, 262, 200, 199, 208, 428, 18)
_SURFACE = (*_OVAL, *_NOSE, *_CHEEKS, *_BROWS, *_EYES, *_OUTER_LIPS, *_INNER_LIPS, *_JAW)
_MOUTH_GUIDES = (78, 13, 308, 14)


@dataclass(frozen=True)
class Job:
    """Input of one clip's task.

    Attributes:
        clip: the clip.
        truth: file with the true points of a drawn clip; None: FaceLandmarker reads the clip.
    """

    clip: Clip
    truth: Path | None


def label_expressions(
    params: LabelExpressionParams,
    raw: Path,
    clips: Path,
    out: Path,
    *,
    compute: ComputeParams,
    map: ShardMap = serial_map,
    max_rejected_fraction: float = 1.0,
) -> dict[str, Any]:
    """Write `out`/<clip_id>.npz (`ExpressionLabels`) for each training clip, and `out`/summary.json.

    Args:
        params: which teacher labels.
        raw: data/raw.
        clips: data/clips.
        out: data/expression.
        compute: its `shard_size` is used.
        map: see `kpbe.core.clip_tasks.run_clip_tasks`.
        max_rejected_fraction: see `kpbe.core.clip_tasks.run_clip_tasks`.

    Returns:
        The content of summary.json; `about` is a sentence that says who labelled what.

    Raises:
        MissingWeights: params name FaceLandmarker and its file or the package mediapipe is missing.
        KPBEError: too many clips were rejected.
    """
    manifest = read_manifest(clips, "train")
    truths = truth_files(raw, manifest) if params.teacher in ("auto", "known") else {}
    uses_network = params.teacher == "mediapipe" or (
        params.teacher == "auto" and len(truths) < len(manifest) and _has_landmarker()
    )
    digests = [file_sha256(require_face_landmarker())] if uses_network else []
    tasks = [
        _task(Job(clip, truths.get(clip.clip_id)), digests, out)
        for clip in manifest
        if uses_network or clip.clip_id in truths
    ]
    labelled, _ = label_clips(STAGE, tasks, make_labels, out, map, compute.shard_size, max_rejected_fraction)
    known = sum(task.payload.truth is not None for task, _ in labelled)
    summary = {
        "about": _about(params, known, len(labelled) - known, len(manifest)),
        "training_clips": len(manifest),
        "labelled_clips": len(labelled),
        "known_clips": known,
        "frames": sum(facts["frames"] for _, facts in labelled),
        "frames_with_a_face": sum(facts["seen"] for _, facts in labelled),
    }
    write_json(out / SUMMARY_FILE, summary)
    return summary


def _has_landmarker() -> bool:
    return catalogue.find("face_landmarker") is not None


def _task(job: Job, digests: list[str], out: Path) -> ClipTask:
    clip = job.clip
    made_from = fingerprint(
        {"recipe": recipe(STAGE), "weights": [] if job.truth else digests, "clip": clip.sha256},
        {"truth": job.truth and file_sha256(job.truth), "start": clip.start, "frames": clip.frames},
        clip.bbox if job.truth else None,
    )
    record = out / f"{clip.clip_id}{RECORD_SUFFIX}"
    return ClipTask(clip.clip_id, record, (label_path(out, clip),), made_from, str(clip.video), job)


@kept_by_worker
def _landmarker() -> FaceLandmarker:
    return load_face_landmarker()


def make_labels(task: ClipTask) -> dict[str, Any]:
    """Label one clip.

    Raises:
        BadClip: the clip cannot be read, or fewer than half of its frames show a face.
    """
    job: Job = task.payload
    clip = job.clip
    if job.truth is not None:
        labels = _known(clip, job.truth)
    else:
        landmarker = _landmarker()
        labels = labels_of_faces(
            [landmarker.read(frame) for frame in Recording(clip.video).frames()], (clip.height, clip.width)
        )
    seen = int(np.isfinite(labels.points[:, 0, 0]).sum())
    if seen < LEAST_SEEN * len(labels):
        raise BadClip(f"{clip.video}: FaceLandmarker finds a face in {seen} of {len(labels)} frames")
    labels.save(task.outputs[0])
    return {"frames": len(labels), "seen": seen}


def labels_of_faces(faces: Sequence[FaceLandmarks | None], size: tuple[int, int]) -> ExpressionLabels:
    """Labels from FaceLandmarker's faces in frames of `size` (height, width)."""
    labels = ExpressionLabels.unknown(len(faces))
    for row, face in enumerate(faces):
        if face is not None:
            labels.points[row, FACE] = in_picture(face_points(face), size)
            labels.shapes[row] = [face.blendshapes[name] for name in SHAPES]
    return labels


def face_points(face: FaceLandmarks) -> np.ndarray:
    """Guides and surface of a face, (GUIDES + SURFACE, 2) float32 pixels."""
    flat = face.points[:, :2]
    return np.concatenate([flat[list(_MOUTH_GUIDES)], face.five_points[:2], flat[list(_SURFACE)]]).astype(
        np.float32
    )


def _known(clip: Clip, truth: Path) -> ExpressionLabels:
    """Labels of a drawn clip: its true points in the clip's crop; its blendshapes are unknown."""
    rows = reference_frames(clip.start, clip.frames, clip.fps)
    with np.load(truth) as arrays:
        points = np.concatenate([arrays[name] for name in ("lips", "eyes", "surface", "scene")], axis=1)
    points = points[np.minimum(rows, len(points) - 1)]
    labels = ExpressionLabels.unknown(clip.frames)
    in_clip = points_in_crop(points, parse_bbox(clip.bbox), clip.width)
    labels.points[:] = in_picture(in_clip, (clip.height, clip.width))
    return labels


def _about(params: LabelExpressionParams, known: int, taught: int, clips: int) -> str:
    """A sentence that says who labelled what."""
    parts = [f"the true points of {known}"] if known else []
    if taught:
        parts.append(f"FaceLandmarker's points of {taught}")
    if parts:
        rest = clips - known - taught
        without = f"; {rest} have no labels" if rest else ""
        return f"expression labels: {' and '.join(parts)} of {clips} training clips{without}"
    if params.teacher == "auto":
        entry = catalogue.CATALOGUE["face_landmarker"]
        return (
            f"no expression labels: the clips' points are not known, and {entry.file} ({entry.source}) is "
            f"not in a weights folder"
        )
    reason = (
        "label_expression.teacher is off" if params.teacher == "off" else "the clips' points are not known"
    )
    return f"no expression labels: {reason}"
