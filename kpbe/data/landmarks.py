"""Eyes and mouth of a face: the three points by which faces are aligned.

They come from YuNet's five points, the 68 of the face-alignment package's FAN, the 478 of MediaPipe's
FaceLandmarker, or the square of a cascade. Order: left eye, right eye (as seen in the picture), middle of the
mouth; in pixels, whose centres lie at whole numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from kpbe.checkpoints.catalogue import require
from kpbe.checkpoints.files import fill, read_content
from kpbe.data.cascade import FrontalCascade
from kpbe.data.faces import YuNet, get_detector
from kpbe.media.images import scaled
from kpbe.metrics.face_landmarks import FaceLandmarker, load_face_landmarker

LandmarkKind = Literal["known", "yunet", "fan", "mediapipe", "cascade"]

SMALLEST_SIDE = 256
"""Pictures with a shorter side, in pixels, are enlarged: detectors miss faces of a few dozen pixels."""


class LandmarkFinder(Protocol):
    """Finds eyes and mouth of the most prominent face."""

    def find(self, frame: np.ndarray) -> np.ndarray | None:
        """Points (3, 2) float64 in pixels of a (H, W, 3) uint8 RGB picture; None without a face."""
        ...


def get_landmark_finder(kind: LandmarkKind, device: str = "cpu") -> LandmarkFinder | None:
    """A finder with its weights, or None for `known` (landmarks come with the data).

    Args:
        kind: `yunet` and `mediapipe` take a few milliseconds per picture. `fan` is that of PC-AVS's authors
            and slow on a CPU. `cascade` needs no file and derives the points from the face's place and size
            only.
        device: torch device of `fan`.

    Raises:
        MissingWeights: a weight file, or the package that reads it, is not on this machine.
        BadCheckpoint: a weight file cannot be loaded.
    """
    if kind == "known":
        return None
    if kind == "cascade":
        return _Enlarging(FrontalCascade())
    if kind == "fan":
        return _Enlarging(FanFinder(require("fan"), device))
    if kind == "mediapipe":
        return MediaPipeFinder(load_face_landmarker())
    get_detector("yunet")  # raises a clear error for missing and damaged weights
    return _Enlarging(YuNetFinder(YuNet(require("yunet"))))


class YuNetFinder:
    """Finds the points with YuNet; the middle of the mouth is that of its corners."""

    def __init__(self, detector: YuNet) -> None:
        self._detector = detector

    def find(self, frame: np.ndarray) -> np.ndarray | None:
        """See `LandmarkFinder.find`."""
        faces, points = self._detector.detect_with_landmarks(frame)
        if not len(faces):
            return None
        right_eye, left_eye, _, right_corner, left_corner = points[0]
        return np.stack([right_eye, left_eye, (right_corner + left_corner) / 2])


class MediaPipeFinder:
    """Finds the points with MediaPipe; an eye is the middle of its corners, the mouth that of the lips."""

    def __init__(self, landmarker: FaceLandmarker) -> None:
        self._landmarker = landmarker

    def find(self, frame: np.ndarray) -> np.ndarray | None:
        """See `LandmarkFinder.find`."""
        face = self._landmarker.read(frame)
        return None if face is None else face.three_points.astype(np.float64)


def three_points(landmarks: np.ndarray) -> np.ndarray:
    """Eyes (left, right in the picture) and mouth of 68 landmarks, pixels.

    They are the means of points 36-41, 42-47 and 60-67 (the inner lips), as PC-AVS takes them.

    Args:
        landmarks: (N, 68, 2).

    Returns:
        (N, 3, 2).
    """
    parts = (landmarks[:, 36:42], landmarks[:, 42:48], landmarks[:, 60:68])
    return np.stack([part.mean(1) for part in parts], axis=1)


class FanFinder:
    """Finds the points with FAN (Bulat and Tzimiropoulos 2017) in YuNet's box, see `three_points`.

    Args:
        weights: the face-alignment package's file of its 2D network.
        device: torch device.

    Raises:
        BadCheckpoint: the file is something else.
    """

    def __init__(self, weights: Path, device: str) -> None:
        import torch
        from face_alignment.models import FAN

        detector = get_detector("yunet")
        assert detector is not None
        self._detector, self._device = detector, torch.device(device)
        network = FAN(4)
        fill(network, read_content(weights), weights, "FAN file of face-alignment")
        self._network = network.to(self._device).eval()

    def find(self, frame: np.ndarray) -> np.ndarray | None:
        """See `LandmarkFinder.find`."""
        import torch
        from face_alignment.utils import crop, get_preds_fromhm

        faces = self._detector.detect(frame)
        if not len(faces):
            return None
        left, top, right, bottom = faces[0, :4]
        # face-alignment's own centre and scale of a face box
        centre = np.array([(left + right) / 2, (top + bottom) / 2 - 0.12 * (bottom - top)])
        scale = (right - left + bottom - top) / 195.0
        picture = crop(frame, centre, scale).transpose(2, 0, 1)
        images = torch.from_numpy(np.ascontiguousarray(picture)).float().div(255)[None]
        with torch.inference_mode():
            heatmaps = self._network(images.to(self._device))[-1].cpu().numpy()
        _, points, _ = get_preds_fromhm(heatmaps, centre, scale)
        return three_points(points)[0]


class _Enlarging:
    """Enlarges small pictures and scales the points back."""

    def __init__(self, finder: LandmarkFinder) -> None:
        self._finder = finder

    def find(self, frame: np.ndarray) -> np.ndarray | None:
        factor = SMALLEST_SIDE / min(frame.shape[:2])
        if factor <= 1:
            return self._finder.find(frame)
        size = (round(frame.shape[1] * factor), round(frame.shape[0] * factor))
        points = self._finder.find(scaled(frame, *size))
        if points is None:
            return None
        return (points + 0.5) * (frame.shape[1] / size[0], frame.shape[0] / size[1]) - 0.5


def find_landmarks(frames: Iterable[np.ndarray], finder: LandmarkFinder) -> np.ndarray:
    """Points of every frame, float32 (N, 3, 2); interpolated between neighbours in frames without a face.

    Returns:
        The points; NaN everywhere when no frame shows a face.
    """
    detections = [finder.find(frame) for frame in frames]
    points = np.stack([np.full((3, 2), np.nan) if p is None else p for p in detections]).reshape(
        len(detections), 6
    )
    known = np.flatnonzero(np.isfinite(points).all(1))
    if 0 < len(known) < len(points):
        points = np.stack([np.interp(np.arange(len(points)), known, points[known, i]) for i in range(6)], 1)
    return points.reshape(-1, 3, 2).astype(np.float32)
