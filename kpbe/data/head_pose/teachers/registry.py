"""The head pose teachers, their weight files, and the choice of one."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from kpbe.checkpoints import catalogue
from kpbe.data.head_pose.teachers.base import PoseTeacher
from kpbe.params import ComputeParams

TeacherKind = Literal["mediapipe", "hopenet", "whenet", "fsanet"]

FILES: dict[TeacherKind, tuple[str, ...]] = {
    "mediapipe": ("face_landmarker",),
    "hopenet": ("hopenet",),
    "fsanet": ("fsanet_1x1", "fsanet_var"),
    "whenet": ("whenet",),
}
"""Names in the catalogue of weights; `auto` tries the teachers in this order."""

NAMES: dict[TeacherKind, str] = {
    "mediapipe": "FaceLandmarker",
    "hopenet": "Hopenet",
    "whenet": "WHENet",
    "fsanet": "FSA-Net",
}
"""Names as their authors write them."""


def weight_files(kind: TeacherKind) -> list[Path]:
    """The weight files of a teacher.

    Raises:
        MissingWeights: a file is not on this machine; the message says where to get it.
    """
    return [catalogue.require(name) for name in FILES[kind]]


def first_available() -> TeacherKind | None:
    """The first teacher whose files are all on this machine; None if there is none."""
    return next((kind for kind, names in FILES.items() if all(map(catalogue.find, names))), None)


def where_to_get_them() -> str:
    """The teachers' files and who publishes them, as part of a sentence."""
    entries = [catalogue.CATALOGUE[name] for names in FILES.values() for name in names]
    return ", ".join(f"{entry.file} ({entry.source})" for entry in entries)


def get_teacher(kind: TeacherKind, compute: ComputeParams, batch: int = 32) -> PoseTeacher:
    """A teacher with its weights.

    Args:
        kind: `mediapipe` is the most exact on talking heads; `hopenet` is the reference's; `whenet` and
            `fsanet` run through onnxruntime on the CPU.
        compute: the device of `hopenet`.
        batch: pictures per forward pass of `hopenet`; the others read one picture at a time.

    Raises:
        MissingWeights: a weight file is not on this machine.
        BadCheckpoint: a weight file cannot be loaded.
    """
    files = weight_files(kind)
    if kind == "mediapipe":
        from kpbe.data.head_pose.teachers.mediapipe import MediaPipeTeacher

        return MediaPipeTeacher()
    if kind == "hopenet":
        from kpbe.core.device import torch_device
        from kpbe.data.head_pose.teachers.hopenet import HopenetTeacher

        return HopenetTeacher(files[0], torch_device(compute), batch)
    from kpbe.data.head_pose.teachers.onnx_networks import FSANet, WHENet

    return WHENet(files[0]) if kind == "whenet" else FSANet(files[0], files[1])
