"""`kpbe doctor`: check packages, codecs, the machine, weights, and the state of the DAG here."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from kpbe import __version__
from kpbe.checkpoints import catalogue
from kpbe.core.files import read_csv
from kpbe.data.clips import MANIFEST
from kpbe.data.raw import VIDEOS
from kpbe.errors import ParamsError
from kpbe.params import load_params
from kpbe.paths import CHECKPOINTS, CLIPS, FRONTEND_FILE, PARAMS_FILE, RAW, RELEASED, RESULTS, SUMMARY_FILE

PACKAGES = (
    "torch",
    "numpy",
    "numba",
    "dvc",
    "prefect",
    "streamlit",
    "av",
    "decord",
    "onnxruntime",
    "opencv-python",
    "face-alignment",
)
DECODERS = ("h264", "hevc", "vp9", "av1", "mpeg4", "ffv1", "aac", "pcm_s16le")
ENCODERS = ("libx264", "ffv1", "aac", "pcm_s16le")
WITHOUT: dict[str, str] = {
    "yunet": (
        "data.detector: yunet (the default of data=folder) stops with a message; `kpbe speak` and `enhance` "
        "find frontal faces only"
    ),
    "blazeface": "data.detector: blazeface stops with a message",
    "blazeface_anchors": "data.detector: blazeface stops with a message",
    "blazefaceback": "blazeface's back-camera model cannot be chosen",
    "blazefaceback_anchors": "blazeface's back-camera model cannot be chosen",
    "sfd": "data.detector: sfd stops with a message; its network is not run in the tests",
    "vgg19": (
        "train=folder uses a pyramid of pixels and gradients in its place, and the report says so; "
        "train=voxceleb1 stops"
    ),
    "vgg19_torchvision": (
        "our normalised file serves as vgg19; torchvision's own was not at hand and is untested here"
    ),
    "alexnet": "tables have no LPIPS column",
    "wav2lip": "the DAG trains a narrow generator of its own; the published one is untested here",
    "wav2lip_gan": "the DAG trains a narrow generator of its own; the published one is untested here",
    "lipsync_expert": "the DAG trains a narrow expert of its own; the published one is untested here",
    "fan": "landmarks come from yunet or with the data; the published network is untested here",
    "pcavs": "the DAG trains a narrow PC-AVS of its own; the published one is untested here",
    "hopenet": (
        "head poses are labelled by the next teacher that is there (fsanet, whenet); the published network "
        "is untested here"
    ),
    "whenet": "head poses are labelled by hopenet or fsanet, or not at all",
    "fsanet_1x1": "label_pose.teacher: fsanet stops with a message",
    "fsanet_var": "label_pose.teacher: fsanet stops with a message",
    "arcface": "no identity similarity",
    "face_landmarker": (
        "no mouth opening, and no head pose of pictures; data.detector: mediapipe stops with a message"
    ),
    "syncnet_v2": "no lip sync error; the published network is untested here",
    "osfv": (
        "the frontend is trained from scratch; loading of the published one is tested on its key list only"
    ),
    "osfv_sadtalker": "as for osfv: this file holds the same frontend",
    "vgg_face": (
        "the loss vgg_face (train=voxceleb1, eq. 3) stops with a message, or pixels stand in; the published "
        "file is untested here"
    ),
}

Mark = Literal["ok", "--", "WRONG"]


@dataclass(frozen=True)
class Finding:
    """One line of the report: `ok` is fine, `--` is absent but optional, `WRONG` must be fixed."""

    mark: Mark
    what: str
    detail: str = ""


def examine() -> Iterator[tuple[str, list[Finding]]]:
    """Check everything; yields a heading with its findings at a time.

    It never raises because something is missing.
    """
    yield (
        "Versions",
        [Finding("ok", "kpbe", __version__), _python(), *map(_package, PACKAGES), _torch(), _opencv()],
    )
    yield "Machine", _machine()
    yield "Video and audio", [*_codecs(), _decord()]
    yield (
        "Weights (searched in KPBE_WEIGHTS, weights/, ../shared/weights/)",
        list(map(_weight_file, catalogue.CATALOGUE)),
    )
    yield "This folder", _state()


def _python() -> Finding:
    fine = (3, 11) <= sys.version_info < (3, 14)
    return Finding(
        "ok" if fine else "WRONG", "python", platform.python_version() + ("" if fine else ", needs 3.11-3.13")
    )


def _package(name: str) -> Finding:
    try:
        return Finding("ok", name, version(name))
    except PackageNotFoundError:
        if name == "decord":
            return Finding("--", name, "not installed (no wheel for this system): PyAV reads all videos")
        return Finding(
            "WRONG", name, "not installed: run `make repro` or pip install -c constraints.txt -e ."
        )


def _torch() -> Finding:
    try:
        torch = importlib.import_module("torch")
        if torch.cuda.is_available():
            names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
            return Finding("ok", "CUDA", f"{torch.version.cuda}: {', '.join(names)}")
        return Finding(
            "--",
            "CUDA",
            f"no GPU seen (torch is built for CUDA {torch.version.cuda}): everything runs on the CPU",
        )
    except Exception as error:  # a broken install fails in many ways, and people look here to find out
        return Finding("WRONG", "torch", f"cannot be imported: {_first_line(error)}")


def _opencv() -> Finding:
    try:
        importlib.import_module("cv2")
        return Finding("ok", "cv2", "can be imported")
    except ImportError as error:
        hint = (
            "install libgl1 and libglib2.0-0, or pip install --force-reinstall --no-deps "
            "opencv-python-headless"
        )
        return Finding("WRONG", "cv2", f"cannot be imported ({_first_line(error)}): {hint}")


def _machine() -> list[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    findings = [Finding("ok", "system", f"{platform.system()} {platform.machine()}, {cores} cores")]
    if hasattr(os, "sysconf"):
        gigabytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
        findings.append(Finding("ok", "memory", f"{gigabytes:.0f} GB"))
    findings.append(Finding("ok", "free disk", f"{shutil.disk_usage('.').free / 1e9:.0f} GB"))
    url = os.environ.get("PREFECT_API_URL")
    findings.append(
        Finding(
            "ok" if url else "--", "PREFECT_API_URL", url or "not set: stages run without Prefect (`make ui`)"
        )
    )
    return findings


def _codecs() -> Iterator[Finding]:
    try:
        av = importlib.import_module("av")
    except ImportError as error:
        yield Finding("WRONG", "PyAV", f"cannot be imported: {_first_line(error)}")
        return
    for title, names, mode in (("decoders", DECODERS, "r"), ("encoders", ENCODERS, "w")):
        missing = []
        for name in names:
            try:
                av.codec.Codec(name, mode)
            except Exception:  # PyAV's own error class moved between versions
                missing.append(name)
        there = ", ".join(name for name in names if name not in missing)
        needed = set(missing) & {"h264", "ffv1", "aac", "pcm_s16le", "libx264"}
        yield Finding(
            "WRONG" if needed else "ok",
            title,
            there + (f"; missing: {', '.join(missing)}" if missing else ""),
        )


def _decord() -> Finding:
    try:
        importlib.import_module("decord")
        return Finding("ok", "decord", "can be imported (it cannot read AV1: PyAV does)")
    except Exception as error:  # OSError from a missing library as well as ImportError
        return Finding("--", "decord", f"not used: {_first_line(error)}")


def _weight_file(name: str) -> Finding:
    entry = catalogue.CATALOGUE[name]
    path = catalogue.find(name)
    if path is None:
        command = "" if entry.url is None else f": kpbe weights get {name}"
        consequence = WITHOUT.get(name, f"no {entry.purpose}")
        return Finding(
            "--", name, f"missing: {consequence}. {entry.file} from {entry.source} ({entry.licence}){command}"
        )
    published = catalogue.is_published_file(name, path)
    if published is False:
        return Finding(
            "WRONG",
            name,
            f"{path} is not the published file (another SHA-256): fetch it again from {entry.source}",
        )
    return Finding("ok", name, f"{path}: {entry.purpose}" + ("" if published else " (no digest is known)"))


def _state() -> list[Finding]:
    if not Path(PARAMS_FILE).exists():
        return [
            Finding("--", PARAMS_FILE, "not here: run from the repository root to see the state of the DAG")
        ]
    findings = []
    try:
        params = load_params()
        facts = f"data {params.data.source}, model {params.model.name}, backends {', '.join(params.backends)}"
        findings.append(Finding("ok", PARAMS_FILE, f"{facts}, device {params.compute.device}"))
    except ParamsError as error:
        findings.append(Finding("WRONG", PARAMS_FILE, str(error)))
    for what, file in (("raw videos", RAW / VIDEOS), ("clips", CLIPS / MANIFEST)):
        try:
            findings.append(Finding("ok", what, f"{len(read_csv(file))} in {file}"))
        except FileNotFoundError:
            findings.append(Finding("--", what, f"{file} is not made yet"))
    for summary in sorted(CHECKPOINTS.rglob(SUMMARY_FILE)):
        findings.append(Finding("ok", "trained", str(summary.parent)))
    released = RELEASED / FRONTEND_FILE
    there = released.exists()
    findings.append(
        Finding("ok" if there else "--", "released frontend", str(released) if there else "not here")
    )
    table = RESULTS / "table1.md"
    findings.append(
        Finding("ok" if table.exists() else "--", "Table I", str(table) if table.exists() else "not made yet")
    )
    return findings


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
