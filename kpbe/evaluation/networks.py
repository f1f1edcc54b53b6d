"""Which networks measure, which are missing, and each loaded once per process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import torch

from kpbe import weights
from kpbe.data.pose_teachers.base import (
    NAMES,
    PoseTeacher,
    TeacherKind,
    first_available,
    get_teacher,
    where_to_get_them,
)
from kpbe.data.pose_teachers.base import weight_files as teacher_files
from kpbe.errors import MissingWeights
from kpbe.metrics import lpips
from kpbe.metrics.face_landmarks import FaceLandmarker, load_face_landmarker
from kpbe.metrics.identity import ArcFace, load_arcface
from kpbe.metrics.syncnet import SyncNet, load_syncnet
from kpbe.params import ComputeParams, EvaluateParams, Measure
from kpbe.work import fingerprint

TEACHER_BATCH = 32

METRICS_OF = {
    "lpips": ("lpips", "mouth_lpips"),
    "faces": ("face_found", "opening_r", "opening_r_backend", "turn", "across", "down", "jitter"),
    "head_pose": ("pose_error",),
    "identity": ("csim",),
    "lip_sync": ("lse_c", "lse_d"),
}
"""What each network of `EvaluateParams` gives."""

FACES_NEEDED_BY = ("identity", "lip_sync")


@dataclass(frozen=True)
class Networks:
    """What is measured besides pictures; picklable, the networks themselves are loaded where they are used.

    Attributes:
        compute: the device of LPIPS, SyncNet and Hopenet.
        used: keys of `METRICS_OF`, and who measures: "LPIPS-alex v0.1 ...", "WHENet".
        absent: keys of `METRICS_OF`, and the sentence that says what is missing.
        teacher: of `head_pose`; None where it is absent.
        digest: changes with the networks' files.
    """

    compute: ComputeParams
    used: dict[str, str]
    absent: dict[str, str]
    teacher: TeacherKind | None
    digest: str

    def measures(self, name: str) -> bool:
        """Whether a network is used."""
        return name in self.used


def choose_networks(evaluate: EvaluateParams, teacher: str, compute: ComputeParams) -> Networks:
    """What the params ask for and this machine has.

    Args:
        evaluate: which networks.
        teacher: `label_pose.teacher`, who also measures the head pose; where it is no network, the first that is here does.
        compute: where they run.

    Raises:
        MissingWeights: `on` is asked for and a file is missing.
        BadCheckpoint: a file is damaged.
    """
    kind: TeacherKind | None = (
        first_available() if teacher in ("auto", "known", "off") else cast(TeacherKind, teacher)
    )
    used: dict[str, str] = {}
    absent: dict[str, str] = {}
    for name, load in _LOADERS.items():
        asked: Measure = getattr(evaluate, name)
        if asked == "off":
            absent[name] = f"evaluate.{name} is off"
            continue
        try:
            if name == "head_pose":
                used[name] = _try_teacher(kind)
            else:
                load()
                used[name] = _NAMES[name]
        except MissingWeights as error:
            if asked == "on":
                raise
            absent[name] = str(error).rstrip(".")
    for name in FACES_NEEDED_BY:
        if name in used and "faces" not in used:
            absent[name] = f"{used.pop(name)} needs the FaceLandmarker to find the face: {absent['faces']}"
    names = [file for name in used for file in _FILES.get(name, ())]
    files = [path for name in names if (path := weights.find(name)) is not None]
    if "head_pose" in used and kind is not None:
        files += teacher_files(kind)
    return Networks(compute, used, absent, kind if "head_pose" in used else None, fingerprint(used, files))


def _try_teacher(kind: TeacherKind | None) -> str:
    if kind is None:
        raise MissingWeights(f"head pose error needs one of {where_to_get_them()} in weights/.")
    teacher_files(kind)
    return f"{NAMES[kind]}, whole clip picture"


_LOADERS: dict[str, Callable[[], Any]] = {
    "lpips": lpips.load_lpips,
    "faces": load_face_landmarker,
    "head_pose": lambda: None,
    "identity": load_arcface,
    "lip_sync": load_syncnet,
}
_NAMES = {
    "lpips": lpips.NAME,
    "faces": "MediaPipe FaceLandmarker",
    "identity": "ArcFace (w600k_mbf)",
    "lip_sync": "SyncNet v2",
}
_FILES = {
    "lpips": ("alexnet",),
    "faces": ("face_landmarker",),
    "identity": ("arcface",),
    "lip_sync": ("syncnet_v2",),
}


def lpips_network(device: torch.device) -> lpips.LPIPS:
    """LPIPS, once per process."""
    return _once(lpips.load_lpips, device)


def face_landmarker() -> FaceLandmarker:
    """The FaceLandmarker, once per process."""
    return _once(load_face_landmarker)


def arcface() -> ArcFace:
    """ArcFace, once per process."""
    return _once(load_arcface)


def syncnet(device: torch.device) -> SyncNet:
    """SyncNet, once per process."""
    return _once(load_syncnet, device)


def pose_teacher(kind: TeacherKind, compute: ComputeParams) -> PoseTeacher:
    """A head pose teacher, once per process."""
    return _once(get_teacher, kind, compute, TEACHER_BATCH)  # pyright: ignore[reportArgumentType]


@lru_cache(maxsize=8)
def _once(load: Callable[..., Any], *arguments: Any) -> Any:
    return load(*arguments)
