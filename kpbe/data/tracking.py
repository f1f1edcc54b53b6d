"""Track one speaker's face box through a video."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from kpbe.data.crops import iou
from kpbe.data.faces import FaceDetector

SIMILAR_AREA = 0.5
"""A second face of at least this share of the tracked face's area makes it unclear who speaks."""

RIVAL_SHARE = 0.5
"""What shows two faces of similar size in more than this share of its frames is refused."""


@dataclass(frozen=True)
class FaceTrack:
    """A face followed through a video.

    Attributes:
        boxes: (N, 4) float64 left, top, right, bottom; zeros where no face was found.
        rivals: (N,) bool, frames that show another face of similar size.
        landmarks: (N, 3, 2) eyes and mouth, where they came with the video; None otherwise.
    """

    boxes: np.ndarray
    rivals: np.ndarray
    landmarks: np.ndarray | None = None


def track_face(
    frames: Iterable[np.ndarray], detector: FaceDetector, reference: Iterable[float] | None = None
) -> FaceTrack:
    """Detect faces in every frame and follow one of them.

    The face with the largest IoU with the previous box is chosen; with `reference`, the largest IoU with that
    region, as FOMM does with its annotations. Where no face overlaps, as at the beginning and after a cut,
    the largest face is chosen.

    Args:
        frames: (H, W, 3) uint8 RGB.
        detector: finds the faces.
        reference: left, top, right, bottom of the region that shows the speaker, pixels.
    """
    guide = None if reference is None else np.array(list(reference), float)
    fixed = guide is not None
    boxes, rivals = [], []
    for frame in frames:
        faces = detector.detect(frame)[:, :4]
        if len(faces) == 0:
            boxes.append(np.zeros(4))
            rivals.append(False)
            continue
        areas = np.prod(faces[:, 2:] - faces[:, :2], axis=1)
        overlaps = np.zeros(len(faces)) if guide is None else iou(guide, faces)
        chosen = int(overlaps.argmax() if overlaps.any() else areas.argmax())
        boxes.append(np.maximum(faces[chosen], 0))
        rivals.append(bool((np.delete(areas, chosen) >= SIMILAR_AREA * areas[chosen]).any()))
        if not fixed:
            guide = faces[chosen]
    return FaceTrack(np.array(boxes).reshape(-1, 4), np.array(rivals, bool))


def fill_missing(boxes: np.ndarray) -> np.ndarray:
    """Boxes (N, 4) whose rows of zeros are interpolated between known rows, of which there must be one."""
    known = np.flatnonzero(boxes.any(axis=1))
    return np.stack(
        [np.interp(np.arange(len(boxes)), known, boxes[known, side]) for side in range(4)], axis=1
    )
