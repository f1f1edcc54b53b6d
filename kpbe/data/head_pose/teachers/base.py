"""Head pose teachers: what they have in common, their weight files, and which one is taken.

The last three were trained on 300W-LP, whose angles (Zhu et al. 2016) are positive for a head that, as seen in the picture, turns to the
left (yaw), looks up (pitch) and tilts clockwise (roll), and make up a rotation in the same order as the frontend's
R = Rx(pitch) Ry(yaw) Rz(roll). With x right, y down and z away from the camera such an R turns a head to the left for a positive yaw,
clockwise for a positive roll, but down for a positive pitch: teachers hand over minus the pitch that their network gives.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from kpbe.checkpoints import catalogue
from kpbe.errors import BadCheckpoint
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
"""As their authors write them."""

TO_FRONTEND = np.array([1, -1, 1], np.float32)
"""From 300W-LP's yaw, pitch, roll to the frontend's."""


class PoseTeacher(Protocol):
    """Estimates head poses."""

    def estimate(self, frames: np.ndarray) -> np.ndarray:
        """Angles of the head in each picture.

        Args:
            frames: (N, H, W, 3) uint8 RGB head crops with a margin of about 10 %, as preprocess makes them.

        Returns:
            float32 (N, 3) yaw, pitch, roll in degrees, in the frontend's convention R = Rx(pitch) Ry(yaw) Rz(roll).
        """
        ...


def weight_files(kind: TeacherKind) -> list[Path]:
    """The weight files of a teacher.

    Raises:
        MissingWeights: a file is not on this machine; the message says where to get it.
    """
    return [catalogue.require(name) for name in FILES[kind]]


def first_available() -> TeacherKind | None:
    """The first teacher whose files are all on this machine."""
    return next((kind for kind, names in FILES.items() if all(map(catalogue.find, names))), None)


def where_to_get_them() -> str:
    """The teachers' files and who publishes them, as part of a sentence."""
    entries = [catalogue.CATALOGUE[name] for names in FILES.values() for name in names]
    return ", ".join(f"{entry.file} ({entry.source})" for entry in entries)


def get_teacher(kind: TeacherKind, compute: ComputeParams, batch: int = 32) -> PoseTeacher:
    """A teacher with its weights.

    Args:
        kind: `mediapipe` is the most exact on talking heads; `hopenet` is the reference's; `whenet` and `fsanet` run through onnxruntime
            on the CPU.
        compute: the device of `hopenet`.
        batch: pictures per forward pass of `hopenet`; the two others' files have a batch of one built in.

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


def onnx_session(path: Path) -> Any:
    """An onnxruntime session on the CPU with as many threads as OMP_NUM_THREADS says (without it: one per core).

    Raises:
        BadCheckpoint: the file is damaged or no ONNX file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or 0)
    # waiting threads would take the cores from the other workers
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class of errors for each status and no common one
        reason = str(error).strip().splitlines()[0]
        raise BadCheckpoint(f"{path} cannot be loaded as an ONNX network ({reason}): get it again.") from None
