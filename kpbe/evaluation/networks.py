"""Networks that measure: which are used or missing, and loading each once per process."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, cast

import torch

from kpbe.checkpoints import catalogue
from kpbe.core.device import torch_device
from kpbe.core.files import fingerprint
from kpbe.data.head_pose.teachers.base import PoseTeacher
from kpbe.data.head_pose.teachers.registry import (
    NAMES,
    TeacherKind,
    first_available,
    get_teacher,
    where_to_get_them,
)
from kpbe.data.head_pose.teachers.registry import weight_files as teacher_files
from kpbe.data.landmarks import LandmarkFinder, LandmarkKind, get_landmark_finder
from kpbe.errors import MissingWeights
from kpbe.evaluation.results import METRICS
from kpbe.metrics import lip_sync, lpips
from kpbe.metrics.face_landmarks import FaceLandmarker, load_face_landmarker
from kpbe.metrics.identity import ArcFace, load_arcface
from kpbe.metrics.syncnet import SyncNet, load_syncnet
from kpbe.params import ComputeParams, EvaluateParams, Measure

TEACHER_BATCH = 32

METRICS_OF = {
    "lpips": ("lpips", "mouth_lpips"),
    "faces": ("face_found", "opening_r", "opening_r_backend", "turn", "across", "down", "jitter"),
    "head_pose": ("pose_error",),
    "identity": ("csim",),
    "lip_sync": ("lse_c", "lse_d"),
}
"""Metrics of each network in `EvaluateParams`."""

_LANDMARKS: tuple[LandmarkKind, ...] = ("yunet", "fan")

FACES_NEEDED_BY = ("identity", "lip_sync")


@dataclass(frozen=True)
class Networks:
    """The networks to measure with; picklable, since they are loaded where they are used.

    Attributes:
        compute: the device of LPIPS, SyncNet and Hopenet.
        used: keys of `METRICS_OF` with the name of their network: "LPIPS-alex v0.1 ...", "WHENet".
        absent: keys of `METRICS_OF` with a sentence that says what is missing.
        teacher: of `head_pose`; None where it is absent.
        landmarks: finder of the true mouth where neither the data nor the FaceLandmarker give it; None if
            there is none.
        digest: changes with the networks' files.
    """

    compute: ComputeParams
    used: dict[str, str]
    absent: dict[str, str]
    teacher: TeacherKind | None
    landmarks: LandmarkKind | None
    digest: str

    def measures(self, name: str) -> bool:
        """Whether a network is used."""
        return name in self.used


def choose_networks(evaluate: EvaluateParams, teacher: str, compute: ComputeParams) -> Networks:
    """Choose the networks that params allow and this machine has.

    Args:
        evaluate: whether each network is on, off or auto.
        teacher: `label_pose.teacher`, which also measures the head pose; if it is no network, the first
            teacher on this machine is used.
        compute: where they run.

    Raises:
        MissingWeights: a network is `on` and a file is missing.
        BadCheckpoint: a file is damaged.
    """
    kind: TeacherKind | None = (
        first_available() if teacher in ("auto", "known", "off") else cast(TeacherKind, teacher)
    )
    used: dict[str, str] = {}
    absent: dict[str, str] = {}
    for name, load in _LOADERS.items():
        choice: Measure = getattr(evaluate, name)
        if choice == "off":
            absent[name] = f"evaluate.{name} is off"
            continue
        try:
            if name == "head_pose":
                used[name] = _try_teacher(kind)
            else:
                load()
                used[name] = _NAMES[name]
        except MissingWeights as error:
            if choice == "on":
                raise
            absent[name] = str(error).rstrip(".")
    for name in FACES_NEEDED_BY:
        if name in used and "faces" not in used:
            used.pop(name)
            absent[name] = f"it needs the FaceLandmarker to find the face: {absent['faces']}"
            if getattr(evaluate, name) == "on":
                raise MissingWeights(f"evaluate.{name} is on, but {absent[name]}.")
    landmarks: LandmarkKind | None = next(
        (kind for kind in _LANDMARKS if catalogue.find(kind) is not None), None
    )
    names = [file for name in used for file in _FILES.get(name, ())]
    files = [path for name in names if (path := catalogue.find(name)) is not None]
    if "head_pose" in used and kind is not None:
        files += teacher_files(kind)
    if landmarks is not None:
        files.append(catalogue.require(landmarks))
    teacher_used = kind if "head_pose" in used else None
    digest = fingerprint(used, files, lip_sync.SETTINGS, _versions())
    return Networks(compute, used, absent, teacher_used, landmarks, digest)


def absent_metrics(networks: Networks, measured: Container[str]) -> dict[str, str]:
    """Reasons of missing metrics: metric -> the reason as part of a sentence.

    Args:
        networks: the networks that were used.
        measured: metrics that at least one video has.
    """
    network_of = {metric: name for name, metrics in METRICS_OF.items() for metric in metrics}
    reasons = {}
    for metric in METRICS:
        if metric in measured:
            continue
        name = network_of.get(metric)
        if name in networks.absent:
            reasons[metric] = networks.absent[name]
        elif name == "lip_sync":
            reasons[metric] = "it takes clips of 25 frames a second with sound and a face"
        elif metric.startswith("mouth"):
            reasons[metric] = "the true mouth was not found"
            if "faces" in networks.absent and networks.landmarks is None:
                reasons[metric] = f"the true mouth is not known: {networks.absent['faces']}"
        else:
            reasons[metric] = "no face was found, or nothing moves"
    return reasons


def _versions() -> list[str]:
    """Versions of the packages that measure with their code or files."""
    packages = ("lpips", "mediapipe", "onnxruntime")
    return [f"{name} {version(name)}" for name in packages if find_spec(name) is not None]


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
    "lip_sync": "SyncNet v2 on faces that the FaceLandmarker finds (published numbers: S3FD), all frames",
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


def landmark_finder(kind: LandmarkKind, compute: ComputeParams) -> LandmarkFinder:
    """A finder of eyes and mouth, once per process."""
    return _once(get_landmark_finder, kind, str(torch_device(compute)))


def pose_teacher(kind: TeacherKind, compute: ComputeParams) -> PoseTeacher:
    """A head pose teacher, once per process."""
    return _once(get_teacher, kind, compute, TEACHER_BATCH)  # pyright: ignore[reportArgumentType]


@lru_cache(maxsize=8)
def _once(load: Callable[..., Any], *arguments: Any) -> Any:
    return load(*arguments)
