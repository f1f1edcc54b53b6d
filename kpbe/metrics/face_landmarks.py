"""Face landmarks, blendshapes and the face's pose in single frames: MediaPipe's FaceLandmarker.

Every frame is read on its own, without tracking, so shuffled videos can be measured.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from kpbe.checkpoints import catalogue
from kpbe.errors import BadCheckpoint, MissingWeights
from kpbe.media.images import scaled

POINTS = 478
SMALLEST_SIDE = 256
"""Frames with a shorter side, in pixels, are enlarged: the detector misses faces of a few dozen pixels."""

MOST_FACES = 4
"""How many faces are searched for; `read` returns the largest."""

# Points of MediaPipe's face mesh. Right and left are the person's: the right eye lies left in the picture.
UPPER_INNER_LIP, LOWER_INNER_LIP = 13, 14
INNER_LIP_CORNERS = (78, 308)
RIGHT_EYE_CORNERS = (33, 133)  # outer, inner
LEFT_EYE_CORNERS = (263, 362)
NOSE_TIP = 4
MOUTH_CORNERS = (61, 291)
OUTER_LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
)  # fmt: skip


_STANDARD_ERROR = Lock()
"""Only one thread at a time may hide standard error, or it would stay hidden."""


@dataclass(frozen=True)
class FaceLandmarks:
    """The face that FaceLandmarker reads in one frame.

    Attributes:
        points: (478, 3) float32; x, y in pixels of the frame, whose centres lie at whole numbers; z in the
            same unit, smaller is nearer.
        blendshapes: MediaPipe's 52 names, such as "jawOpen", with values in [0, 1].
        pose: (4, 4) float64, from the canonical face to the camera, centimetres; x right, y up, z towards the
            viewer, as MediaPipe gives it.
    """

    points: np.ndarray
    blendshapes: dict[str, float]
    pose: np.ndarray

    @property
    def opening(self) -> float:
        """Distance of the inner lips over the distance of the eyes' outer corners, in the picture.

        Dimensionless, so independent of the face's scale.
        """
        upper, lower = self.points[[UPPER_INNER_LIP, LOWER_INNER_LIP], :2]
        right, left = self.points[[RIGHT_EYE_CORNERS[0], LEFT_EYE_CORNERS[0]], :2]
        return float(np.linalg.norm(lower - upper) / max(np.linalg.norm(left - right), 1e-6))

    @property
    def rotation(self) -> np.ndarray:
        """(3, 3) float64 rotation of `pose`."""
        return self.pose[:3, :3]

    @property
    def box(self) -> np.ndarray:
        """(4,) float64 left, top, right, bottom of all points, pixels."""
        flat = self.points[:, :2].astype(np.float64)
        return np.concatenate([flat.min(0), flat.max(0)])

    @property
    def centre(self) -> np.ndarray:
        """(2,) float64 middle of the box, pixels."""
        left, top, right, bottom = self.box
        return np.array([(left + right) / 2, (top + bottom) / 2])

    @property
    def size(self) -> float:
        """Mean of the box's width and height, pixels."""
        left, top, right, bottom = self.box
        return float((right - left + bottom - top) / 2)

    @property
    def lips(self) -> np.ndarray:
        """(20, 2) float32 outline of the lips, pixels."""
        return self.points[list(OUTER_LIPS), :2]

    @property
    def five_points(self) -> np.ndarray:
        """(5, 2) float32 ArcFace's five points, pixels.

        Eyes (left, right in the picture), tip of the nose, corners of the mouth (left, right). An eye is the
        middle of its corners, which the gaze does not move.
        """
        flat = self.points[:, :2]
        eyes = [flat[list(corners)].mean(0) for corners in (RIGHT_EYE_CORNERS, LEFT_EYE_CORNERS)]
        return np.stack([*eyes, flat[NOSE_TIP], *flat[list(MOUTH_CORNERS)]])

    @property
    def three_points(self) -> np.ndarray:
        """(3, 2) float32 eyes (left, right in the picture) and the middle of the inner lips, pixels."""
        mouth = self.points[[UPPER_INNER_LIP, LOWER_INNER_LIP, *INNER_LIP_CORNERS], :2].mean(0)
        return np.stack([*self.five_points[:2], mouth])


class FaceLandmarker:
    """Reads faces in single frames. Load one in each process: it cannot be pickled.

    Args:
        path: MediaPipe's face_landmarker.task.

    Raises:
        BadCheckpoint: the file is something else.
    """

    def __init__(self, path: Path) -> None:
        from mediapipe.tasks.python import BaseOptions
        from mediapipe.tasks.python.vision import FaceLandmarker as Network
        from mediapipe.tasks.python.vision import FaceLandmarkerOptions

        options = FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(path)),
            num_faces=MOST_FACES,
            output_face_blendshapes=True,
            output_facial_transformation_matrixes=True,
        )
        try:
            with _native_log_hidden():
                self._network = Network.create_from_options(options)
                self.read(
                    np.zeros((SMALLEST_SIDE, SMALLEST_SIDE, 3), np.uint8)
                )  # starts the networks' threads
        except (RuntimeError, ValueError, OSError):
            raise BadCheckpoint(f"{path} cannot be loaded as FaceLandmarker: get it again.") from None
        weakref.finalize(self, self._network.close).atexit = False
        # MediaPipe's own clean-up prints an error at the interpreter's end; this extra reference keeps it
        # from running then
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._network))

    def read(self, frame: np.ndarray) -> FaceLandmarks | None:
        """The largest face of a (H, W, 3) uint8 RGB frame; None without one."""
        faces = self.read_all(frame)
        return faces[0] if faces else None

    def read_all(self, frame: np.ndarray) -> list[FaceLandmarks]:
        """Up to four faces of a (H, W, 3) uint8 RGB frame, the largest first.

        Raises:
            ValueError: the frame has another shape or type.
        """
        import mediapipe

        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise ValueError(f"a frame must be (H, W, 3) uint8, not {frame.shape} {frame.dtype}.")
        height, width = frame.shape[:2]
        image = mediapipe.Image(mediapipe.ImageFormat.SRGB, np.ascontiguousarray(_enlarged(frame)))
        detection = self._network.detect(image)
        faces = [
            FaceLandmarks(
                _pixels(points, width, height),
                {str(shape.category_name): float(shape.score) for shape in shapes},
                np.array(pose, np.float64),
            )
            for points, shapes, pose in zip(
                detection.face_landmarks,
                detection.face_blendshapes,
                detection.facial_transformation_matrixes,
                strict=True,
            )
        ]
        return sorted(faces, key=lambda face: -face.size)


def openings_of(faces: Iterable[FaceLandmarks | None]) -> np.ndarray:
    """Lip openings (N,) of faces read in N frames; NaN without a face."""
    return np.array([np.nan if face is None else face.opening for face in faces])


def load_face_landmarker() -> FaceLandmarker:
    """FaceLandmarker with its published weights.

    Raises:
        MissingWeights: the file or the package `mediapipe` is missing.
        BadCheckpoint: the file is something else.
    """
    return FaceLandmarker(require_face_landmarker())


def require_face_landmarker() -> Path:
    """The path of FaceLandmarker's published file."""
    path = catalogue.require("face_landmarker")
    if importlib.util.find_spec("mediapipe") is None:
        raise MissingWeights(
            f"{path.name} is read by the Python package mediapipe, which is missing: pip install "
            f"'kpbe[landmarks]'."
        )
    return path


def _pixels(points: Any, width: int, height: int) -> np.ndarray:
    """MediaPipe's points in [0, 1] of the frame's edges as (478, 3) float32 pixels."""
    shares = np.array([(point.x, point.y, point.z) for point in points], np.float64)
    return (shares * (width, height, width) - (0.5, 0.5, 0.0)).astype(np.float32)


def _enlarged(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    factor = SMALLEST_SIDE / min(height, width)
    if factor <= 1:
        return frame
    return scaled(frame, round(width * factor), round(height * factor))


@contextmanager
def _native_log_hidden() -> Iterator[None]:
    """Hide what native code writes to standard error: MediaPipe cannot be told to omit its start-up lines."""
    with _STANDARD_ERROR:
        sys.stderr.flush()
        kept = os.dup(2)
        try:
            with Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
