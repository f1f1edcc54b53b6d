"""Scores of videos against the truth, per frame and per clip: one clip, any number of methods.

The frames of every method are read in batches together with the truth's; only numbers are kept.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from kpbe.core.device import torch_device
from kpbe.data.head_pose.teachers.mediapipe import degrees_of
from kpbe.errors import BadClip, KPBEError
from kpbe.evaluation import networks
from kpbe.evaluation.mouth_boxes import MouthBoxes, boxes_from_faces
from kpbe.evaluation.networks import Networks
from kpbe.media.recording import Recording
from kpbe.metrics import image
from kpbe.metrics.face_landmarks import POINTS, FaceLandmarks, openings_of
from kpbe.metrics.head_pose import mean_angle_error, share_of_the_way
from kpbe.metrics.identity import cosine
from kpbe.metrics.lip_sync import SMALLEST_TRACK, crop_face_track, lip_sync_error
from kpbe.metrics.mouth import opening_correlation
from kpbe.metrics.sharpness import sharpness, temporal_jitter

MOUTH_METRICS = {"l1", "ssim", "lpips"}

SPARE_FRAMES = 5
"""Frames by which a video may be longer or shorter than its truth; some methods end with the sound."""

CHECK_TOLERANCE = 1e-5
"""Largest difference from scikit-image's SSIM and PSNR that a run accepts."""


class Frames(Protocol):
    """Frames of one video, of one size."""

    def at(self, indices: Sequence[int]) -> np.ndarray:
        """(n, H, W, 3) uint8 RGB."""
        ...


@dataclass(frozen=True)
class StillFrames:
    """One picture at every index."""

    picture: np.ndarray

    def at(self, indices: Sequence[int]) -> np.ndarray:
        """See `Frames.at`."""
        return np.repeat(self.picture[None], len(indices), axis=0)


def open_like(truth: Recording, path: Path) -> Recording:
    """Open a video and check that it fits the truth.

    Raises:
        BadClip: it is missing or unreadable, has another size or frame rate, or differs in length by more
            than `SPARE_FRAMES`.
    """
    if not path.is_file():
        raise BadClip(f"{path} is missing: if a stage makes it, that stage's rejected.csv says why.")
    reader = Recording(path)
    if reader.size != truth.size:
        sizes = [f"{width}x{height}" for width, height in (reader.size, truth.size)]
        raise BadClip(
            f"{path} is {sizes[0]} pixels large, but its ground truth {truth.info.path} is {sizes[1]}."
        )
    if abs(reader.fps - truth.fps) > 0.01 * truth.fps:
        raise BadClip(
            f"{path} has {reader.fps:g} frames a second, but its ground truth {truth.info.path} has "
            f"{truth.fps:g}."
        )
    if abs(len(reader) - len(truth)) > SPARE_FRAMES:
        raise BadClip(
            f"{path} has {len(reader)} frames, but its ground truth {truth.info.path} has {len(truth)}."
        )
    return reader


@dataclass
class VideoScores:
    """The scores of one method's video.

    Attributes:
        frames: metric -> one value per scored frame.
        clip: metric -> one value for the whole clip.
    """

    frames: dict[str, list[float]] = field(default_factory=dict)
    clip: dict[str, float] = field(default_factory=dict)

    def add(self, metric: str, values: torch.Tensor | Sequence[float]) -> None:
        """Append values of more frames."""
        self.frames.setdefault(metric, []).extend(
            values.tolist() if isinstance(values, torch.Tensor) else values
        )

    def set(self, metric: str, value: float | None) -> None:
        """Set the value for the whole clip; None, which is ignored, where it is undefined."""
        if value is not None:
            self.clip[metric] = value

    def means(self) -> dict[str, float]:
        """One value per metric: the clip's own, or the mean over frames.

        NaN is left out; for PSNR see `image.mean_psnr`.
        """
        means = dict(self.clip)
        for metric, values in self.frames.items():
            array = np.array(values)
            if metric == "psnr":
                means[metric] = image.mean_psnr(array)
            elif np.isfinite(array).any():
                means[metric] = float(array[np.isfinite(array)].mean())
        return means


@torch.inference_mode()
def score_videos(
    truth: Frames,
    methods: Mapping[str, Frames],
    indices: Sequence[int],
    measured: Networks,
    *,
    source: np.ndarray | None = None,
    mouth: MouthBoxes | None = None,
    followed: Mapping[str, str] | None = None,
    wave: np.ndarray | None = None,
    held: Collection[str] = (),
    face_every: int = 1,
    batch: int = 16,
) -> dict[str, VideoScores]:
    """Score every method's frames against the truth's at the same indices.

    Args:
        truth: the real video.
        methods: method -> its video, of the truth's size.
        indices: indices of the scored frames, ascending.
        measured: the networks to use.
        source: (H, W, 3) uint8 RGB, the start of the share of the way; None leaves that out.
        mouth: boxes of the true mouth; None takes them from the FaceLandmarker, and without it leaves out the
            mouth's metrics.
        followed: method -> the method whose mouth it should follow (`opening_r_backend`).
        wave: (S,) mono sound at 16 kHz of the whole video, which has 25 frames a second; None leaves out LSE.
        held: methods whose videos repeat each scored frame until the next one; they get no LSE, which needs
            all frames.
        face_every: face networks read every `face_every`-th scored frame.
        batch: frames per batch.

    Returns:
        method -> scores.

    Raises:
        KPBEError: SSIM or PSNR differ from scikit-image's.
    """
    true_run = _Run(truth, measured)
    looked_at = set(indices[::face_every])
    batches = [indices[start : start + batch] for start in range(0, len(indices), batch)]
    for at in batches:
        true_run.read(at, looked_at)
    if mouth is None:
        height, width = truth.at(indices[:1]).shape[1:3]
        mouth = boxes_from_faces(true_run.faces, sorted(looked_at), indices[-1] + 1, width, height)
    runs = {method: _Run(video, measured) for method, video in methods.items()}
    check_at = indices[len(indices) // 2]
    for at in batches:
        real = truth.at(at)
        whole, lips = _Target(real, measured), mouth and _Target(mouth.crop(real, at), measured)
        for method, run in runs.items():
            shown = run.read(at, looked_at)
            for metric, values in whole.compare(shown).items():
                run.scores.add(metric, values)
            if mouth and lips:
                near_lips = lips.compare(mouth.crop(shown, at))
                for metric in MOUTH_METRICS & near_lips.keys():
                    run.scores.add(f"mouth_{metric}", near_lips[metric])
            if check_at in at:
                here = at.index(check_at)
                values = {name: run.scores.frames[name][here - len(at)] for name in ("ssim", "psnr")}
                _check_against_scikit_image(method, real[here], shown[here], values)
    source_face = None
    if source is not None and measured.measures("faces"):
        source_face = networks.face_landmarker().read(source)
    for run in runs.values():
        _score_clip(run, true_run, source_face)
    if wave is not None and measured.measures("lip_sync"):
        for method, run in runs.items():
            if method not in held:
                _score_lip_sync(run, indices[-1] + 1, wave, measured)
    for method, other in (followed or {}).items():
        runs[method].scores.set(
            "opening_r_backend", opening_correlation(runs[other].openings, runs[method].openings)
        )
    return {method: run.scores for method, run in runs.items()}


@dataclass(frozen=True)
class _Readings:
    """The face networks' readings of one frame; None where not measured."""

    face: FaceLandmarks | None
    degrees: np.ndarray | None
    identity: np.ndarray | None


def _read_frame(frame: np.ndarray, measured: Networks) -> _Readings:
    face = networks.face_landmarker().read(frame) if measured.measures("faces") else None
    degrees = identity = None
    if measured.teacher == "mediapipe" and measured.measures("faces"):
        degrees = np.full(3, np.nan) if face is None else degrees_of(face)
    elif measured.teacher:
        degrees = networks.pose_teacher(measured.teacher, measured.compute).estimate(frame[None])[0]
    if face is not None and measured.measures("identity"):
        identity = networks.arcface().embed(frame, face.five_points)
    return _Readings(face, degrees, identity)


class _Run:
    """One video while it is scored: its scores, and the readings of its frames."""

    def __init__(self, video: Frames, measured: Networks) -> None:
        self.video = video
        self.measured = measured
        self.scores = VideoScores()
        self.readings: list[_Readings] = []
        self.sharpness: list[float] = []
        self.looked_at: list[int] = []

    @property
    def faces(self) -> list[FaceLandmarks | None]:
        """Faces of the frames that were looked at; None without a face."""
        return [reading.face for reading in self.readings]

    @property
    def openings(self) -> np.ndarray:
        """Lip opening of each frame that was looked at; NaN without a face."""
        return openings_of(self.faces)

    def read(self, indices: Sequence[int], looked_at: set[int]) -> np.ndarray:
        """Read the frames at `indices` and measure what needs no truth."""
        frames = self.video.at(indices)
        for index, frame in zip(indices, frames, strict=True):
            self.sharpness.append(sharpness(frame))
            if index in looked_at:
                self.looked_at.append(index)
                same = isinstance(self.video, StillFrames) and self.readings
                self.readings.append(self.readings[-1] if same else _read_frame(frame, self.measured))
        return frames

    def jitter(self, face_size: float) -> float | None:
        """Jitter of the face's points, see `temporal_jitter`, over frames that follow each other evenly."""
        rows: list[np.ndarray] = []
        step = min(np.diff(self.looked_at).tolist(), default=1)
        last = None
        for index, face in zip(self.looked_at, self.faces, strict=True):
            if last is not None and index - last != step:
                rows.append(np.full((POINTS, 2), np.nan))  # the source frame is not among them
            rows.append(np.full((POINTS, 2), np.nan) if face is None else face.points[:, :2])
            last = index
        return temporal_jitter(np.stack(rows), face_size)


class _Target:
    """A batch of true pictures, with embeddings that serve all methods."""

    def __init__(self, frames: np.ndarray, measured: Networks) -> None:
        self.frames = torch.as_tensor(frames, device=torch_device(measured.compute))
        self.lpips = networks.lpips_network(self.frames.device) if measured.measures("lpips") else None
        self.embedding = self.lpips.embed(self.frames) if self.lpips else []

    def compare(self, frames: np.ndarray) -> dict[str, torch.Tensor]:
        """SSIM, PSNR, L1 and LPIPS of a method's pictures (n, H, W, 3) of the same frames."""
        other = torch.as_tensor(frames, device=self.frames.device)
        values = {
            "ssim": image.ssim(self.frames, other),
            "psnr": image.psnr(self.frames, other),
            "l1": image.l1(self.frames, other),
            "ssim_rgb": image.ssim_rgb(self.frames, other),
        }
        if self.lpips:
            values["lpips"] = self.lpips.distance(self.embedding, self.lpips.embed(other))
        return values


def _score_clip(run: _Run, truth: _Run, source: FaceLandmarks | None) -> None:
    """Set a video's scores of the whole clip."""
    scores = run.scores
    scores.set("sharpness", _share(float(np.mean(run.sharpness)), float(np.mean(truth.sharpness))))
    if run.measured.measures("faces"):
        scores.set("face_found", float(np.isfinite(run.openings).mean()))
    scores.set("opening_r", opening_correlation(truth.openings, run.openings))
    if sizes := [face.size for face in truth.faces if face is not None]:
        size = float(np.mean(sizes))
        scores.set("jitter", _share(run.jitter(size), truth.jitter(size)))
    angles = [(a.degrees, b.degrees) for a, b in zip(truth.readings, run.readings, strict=True)]
    if known := [(a, b) for a, b in angles if a is not None and b is not None]:
        scores.set("pose_error", mean_angle_error(*map(np.stack, zip(*known, strict=True))).mean)
    people = [(a.identity, b.identity) for a, b in zip(truth.readings, run.readings, strict=True)]
    if similarities := [cosine(a, b) for a, b in people if a is not None and b is not None]:
        scores.set("csim", float(np.mean(similarities)))
    if source is not None:
        way = share_of_the_way(source, truth.faces, run.faces)
        scores.set("turn", way.turn)
        scores.set("across", way.across)
        scores.set("down", way.down)


def _score_lip_sync(run: _Run, frames: int, wave: np.ndarray, measured: Networks) -> None:
    """Set LSE over all frames, including the source frame, since SyncNet's windows must not have a gap."""
    boxes = np.full((frames, 4), np.nan)
    for index, face in zip(run.looked_at, run.faces, strict=True):
        if face is not None:
            boxes[index] = face.box
    if frames < SMALLEST_TRACK or not np.isfinite(boxes).any():
        return
    track = crop_face_track(run.video.at(range(frames)), boxes)
    error = lip_sync_error(networks.syncnet(torch_device(measured.compute)), track, wave)
    run.scores.set("lse_c", error.confidence)
    run.scores.set("lse_d", error.distance)


def _share(value: float | None, of: float | None) -> float | None:
    return value / of if value is not None and of else None


def _check_against_scikit_image(
    method: str, truth: np.ndarray, shown: np.ndarray, values: Mapping[str, float]
) -> None:
    """Check one pair of frames by scikit-image.

    Raises:
        KPBEError: scikit-image gives another SSIM or PSNR.
    """
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    if np.array_equal(truth, shown):
        return
    first, second = (frame.astype(np.float64) @ np.array(image.LUMINANCE) for frame in (truth, shown))
    expected = {
        "ssim": structural_similarity(
            first,
            second,
            gaussian_weights=True,
            sigma=image.SSIM_SIGMA,
            use_sample_covariance=False,
            data_range=image.PEAK,
        ),
        "psnr": peak_signal_noise_ratio(truth, shown, data_range=image.PEAK),
    }
    for metric, value in expected.items():
        if abs(value - values[metric]) > CHECK_TOLERANCE:
            raise KPBEError(
                f"{metric.upper()} of {method} is {values[metric]:.6f} and scikit-image gives {value:.6f}: "
                "the metrics of this installation cannot be trusted, so nothing was written."
            )
