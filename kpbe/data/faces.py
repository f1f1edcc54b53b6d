"""Face detectors behind one protocol: YuNet, SFD, BlazeFace, MediaPipe, and a cascade.

YuNet is OpenCV's, SFD and BlazeFace are those of the face-alignment package. Weights come from local folders
only (kpbe/checkpoints/catalogue.py); face-alignment would otherwise download them. The cascade needs none.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from kpbe.checkpoints.catalogue import require
from kpbe.data.cascade import FrontalCascade, cascade_file
from kpbe.errors import BadCheckpoint, MissingWeights
from kpbe.metrics.face_landmarks import FaceLandmarker, require_face_landmarker

DetectorKind = Literal["known", "yunet", "blazeface", "sfd", "mediapipe", "cascade"]
FinderKind = Literal["yunet", "mediapipe", "cascade"]
"""Detectors that find faces as well as eyes and mouths."""

FINDERS: tuple[FinderKind, ...] = ("yunet", "mediapipe", "cascade")
"""Detectors for a user's own pictures, in order of preference; the first whose files are here is used."""

DETECTION_HEIGHT = 360
"""Pictures are scaled down to this height before detection, as FOMM's preprocessing does."""

YUNET_MIN_SCORE = 0.6
MIN_SCORE = 0.5
"""Least score of `sfd` and `blazeface`, as in FOMM's preprocessing and Wav2Lip."""

_FILES: dict[str, tuple[str, ...]] = {
    "known": (),
    "yunet": ("yunet",),
    "blazeface": ("blazeface", "blazeface_anchors"),
    "sfd": ("sfd",),
}


class FaceDetector(Protocol):
    """Finds faces in a picture."""

    def detect(self, frame: np.ndarray) -> np.ndarray:
        """Faces in a (H, W, 3) uint8 RGB picture.

        Returns:
            (n, 5) float64 left, top, right, bottom in pixels and a score in [0, 1], best first; n may be 0.
        """
        ...


def weight_files(kind: DetectorKind) -> list[Path]:
    """The weight files of a detector; none for `known`.

    Raises:
        MissingWeights: a file, or the package that reads it, is not on this machine; the message says where
            to get it.
    """
    if kind == "mediapipe":
        return [require_face_landmarker()]
    if kind == "cascade":
        return [cascade_file()]
    return [require(name) for name in _FILES[kind]]


def finder_here() -> FinderKind:
    """The first of `FINDERS` whose files are on this machine; prints one sentence if that is the cascade.

    Raises:
        MissingWeights: not even the cascade is here.
    """
    for kind in FINDERS[:-1]:
        try:
            weight_files(kind)
        except MissingWeights:
            continue
        return kind
    weight_files("cascade")
    _say_cascade()
    return "cascade"


@cache
def _say_cascade() -> None:
    """Print one sentence on stderr, once per process."""
    print(
        "faces are looked for by OpenCV's frontal cascade, which misses turned and tilted heads: `kpbe "
        "weights get yunet` fetches a better detector (0.2 MB, MIT).",
        file=sys.stderr,
        flush=True,
    )


def get_detector(kind: DetectorKind, device: str = "cpu") -> FaceDetector | None:
    """A detector with its weights, or None for `known` (boxes come with the data).

    Args:
        kind: `yunet` is the fastest. `sfd` is FOMM's and Wav2Lip's own and slow on a CPU. `blazeface` reads
            the centre square only. `mediapipe` is for faces that fill a good part of the picture. `cascade`
            needs no file and finds frontal faces only.
        device: torch device of `sfd` and `blazeface`.

    Raises:
        MissingWeights: a weight file, or the package that reads it, is not on this machine.
        BadCheckpoint: a weight file cannot be loaded.
    """
    if kind == "known":
        return None
    if kind == "cascade":
        return _AtDetectionHeight(FrontalCascade())
    files = weight_files(kind)
    if kind == "mediapipe":
        return _AtDetectionHeight(MediaPipe(FaceLandmarker(files[0])))
    try:
        network = YuNet(files[0]) if kind == "yunet" else FaceAlignmentDetector(kind, files, device)
    except ImportError:
        raise
    except Exception as error:  # cv2.error, RuntimeError, pickle errors: each means a damaged or wrong file
        raise BadCheckpoint(
            f"{files[0]} cannot be loaded as {kind} ({_first_line(error)}): get it again."
        ) from None
    return _AtDetectionHeight(network)


def detector_here() -> FaceDetector:
    """The detector of `finder_here`.

    Raises:
        MissingWeights, BadCheckpoint: see `finder_here` and `get_detector`.
    """
    detector = get_detector(finder_here())
    assert detector is not None
    return detector


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class _AtDetectionHeight:
    """Shrinks pictures to the detection height and scales the boxes back."""

    def __init__(self, detector: FaceDetector) -> None:
        self._detector = detector

    def detect(self, frame: np.ndarray) -> np.ndarray:
        import cv2

        height, width = frame.shape[:2]
        if height <= DETECTION_HEIGHT:
            return self._detector.detect(frame)
        small_width = max(1, round(width * DETECTION_HEIGHT / height))
        small = cv2.resize(frame, (small_width, DETECTION_HEIGHT), interpolation=cv2.INTER_AREA)
        faces = self._detector.detect(small)
        faces[:, :4] *= (width / small_width, height / DETECTION_HEIGHT) * 2
        return faces


class YuNet:
    """OpenCV Zoo's YuNet; a few milliseconds per picture on one core."""

    def __init__(self, weights: Path) -> None:
        import cv2

        # other videos are processed in parallel, and one small picture gains nothing from threads
        cv2.setNumThreads(1)
        log_level = cv2.utils.logging.getLogLevel()
        # OpenCV 5 warns about a target that was not requested
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        try:
            self._network = cv2.FaceDetectorYN.create(str(weights), "", (320, 320), YUNET_MIN_SCORE, 0.3, 50)
        finally:
            cv2.utils.logging.setLogLevel(log_level)

    def detect(self, frame: np.ndarray) -> np.ndarray:
        """See `FaceDetector.detect`."""
        return self.detect_with_landmarks(frame)[0]

    def detect_with_landmarks(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Faces as `detect` gives them, and their points (n, 5, 2) in pixels.

        The points are right eye, left eye, nose tip, right and left corner of the mouth; right and left are
        the person's.
        """
        self._network.setInputSize((frame.shape[1], frame.shape[0]))
        _, detections = self._network.detect(np.ascontiguousarray(frame[..., ::-1]))
        detections = (
            np.empty((0, 15)) if detections is None else _best_first(detections.astype(np.float64), score=14)
        )
        faces = detections[:, [0, 1, 2, 3, 14]]
        faces[:, 2:4] += faces[:, :2]
        return faces, detections[:, 4:14].reshape(-1, 5, 2)


class FaceAlignmentDetector:
    """SFD or BlazeFace (front-camera model) as the face-alignment package implements them."""

    def __init__(self, kind: Literal["blazeface", "sfd"], weights: Sequence[Path], device: str) -> None:
        if kind == "sfd":
            from face_alignment.detection.sfd import FaceDetector as SFD

            self._network: Any = SFD(device, path_to_detector=str(weights[0]), filter_threshold=MIN_SCORE)
        else:
            from face_alignment.detection.blazeface import FaceDetector as BlazeFace

            self._network = BlazeFace(
                device,
                path_to_detector=str(weights[0]),
                path_to_anchor=str(weights[1]),
                min_score_thresh=MIN_SCORE,
            )

    def detect(self, frame: np.ndarray) -> np.ndarray:
        """See `FaceDetector.detect`."""
        detections = self._network.detect_from_image(np.ascontiguousarray(frame))
        return (
            _best_first(np.asarray(detections, np.float64).reshape(-1, 5))
            if len(detections)
            else np.empty((0, 5))
        )


class MediaPipe:
    """MediaPipe's FaceLandmarker as a detector: boxes around the points of up to four faces, largest first.

    It gives no score; the score is set to 1.
    """

    def __init__(self, landmarker: FaceLandmarker) -> None:
        self._landmarker = landmarker

    def detect(self, frame: np.ndarray) -> np.ndarray:
        """See `FaceDetector.detect`."""
        boxes = [np.append(face.box, 1.0) for face in self._landmarker.read_all(frame)]
        return np.stack(boxes) if boxes else np.empty((0, 5))


def _best_first(faces: np.ndarray, score: int = 4) -> np.ndarray:
    return faces[np.argsort(-faces[:, score], kind="stable")]
