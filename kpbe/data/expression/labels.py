"""Expression labels: points on the face, and blendshapes of mouth and eyes.

kpbe/data/expression/label.py and the stage draw_grids write them, the frontend's trainings read them. Points
are in coordinates of the picture: -1 and 1 are its edges (not the centres of its outer pixels), x to the
right, y down, whatever its size.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from kpbe.core.files import whole
from kpbe.data.clips import Clip
from kpbe.errors import KPBEError

GUIDES = 6
"""The first points: left corner of the mouth, upper inner lip, right corner, lower inner lip, left eye, right
eye (left as in the picture). Keypoints 0 to 5 of the frontend are guided to them."""

MIRRORED_GUIDES = (2, 1, 0, 3, 5, 4)
"""For each guide of a mirrored picture, its index in the original picture."""

LIPS = slice(0, 4)
SURFACE = 96
"""Number of further points, spread over the face. Each teacher has its own points; within a person's pictures
they are the same."""

SCENE = 96
"""Number of points of hair, ears, neck, clothes and background, which a motion field has to move as well;
known of drawn people only."""

FACE = slice(0, GUIDES + SURFACE)
POINTS = GUIDES + SURFACE + SCENE

SHAPES = (
    "jawOpen",
    "mouthClose",
    "mouthFunnel",
    "mouthPucker",
    "mouthSmileLeft",
    "mouthSmileRight",
    "mouthStretchLeft",
    "mouthStretchRight",
    "mouthLowerDownLeft",
    "mouthLowerDownRight",
    "mouthUpperUpLeft",
    "mouthUpperUpRight",
    "eyeBlinkLeft",
    "eyeBlinkRight",
)
"""Blendshapes of MediaPipe's FaceLandmarker that speech moves, and the blinks."""

_OTHER_SIDE = {"Left": "Right", "Right": "Left"}
MIRRORED_SHAPES = tuple(
    SHAPES.index(re.sub("(Left|Right)$", lambda side: _OTHER_SIDE[side[0]], name)) for name in SHAPES
)
"""For each blendshape of a mirrored picture, its index in the original picture."""


@dataclass(frozen=True)
class ExpressionLabels:
    """Labels of N frames; NaN in frames without a face.

    Attributes:
        points: (N, POINTS, 2) float32 guides, surface and scene, in the picture's coordinates; NaN where
            unknown or not visible.
        shapes: (N, len(SHAPES)) float32 blendshapes in [0, 1]; NaN where unknown.
    """

    points: np.ndarray
    shapes: np.ndarray

    def __len__(self) -> int:
        return len(self.points)

    @classmethod
    def unknown(cls, frames: int) -> Self:
        """Labels of `frames` frames, all unknown."""
        return cls(
            np.full((frames, POINTS, 2), np.nan, np.float32),
            np.full((frames, len(SHAPES)), np.nan, np.float32),
        )

    @property
    def openings(self) -> np.ndarray:
        """(N,) distance of the inner lips over the distance of the eyes; NaN where unknown.

        The picture must be square.
        """
        upper, lower, left, right = (self.points[:, i] for i in (1, 3, 4, 5))
        return np.linalg.norm(lower - upper, axis=1) / np.linalg.norm(right - left, axis=1).clip(1e-6)

    def save(self, path: Path) -> None:
        """Write the labels into an .npz file."""
        with whole(path) as temporary:
            np.savez_compressed(temporary, allow_pickle=False, points=self.points, shapes=self.shapes)

    @classmethod
    def load(cls, path: Path, frames: int) -> Self:
        """Read the labels of `frames` frames.

        Raises:
            KPBEError: the file cannot be read or holds labels of another number of frames.
        """
        try:
            with np.load(path) as arrays:
                labels = cls(arrays["points"], arrays["shapes"])
        except (OSError, ValueError, KeyError):
            labels = None
        if labels is None or labels.points.shape != (frames, POINTS, 2) or len(labels.shapes) != frames:
            raise KPBEError(
                f"{path} does not hold labels of the {frames} frames of its clip: run the stage "
                f"label_expression again."
            )
        return labels


def label_path(folder: Path, clip: Clip) -> Path:
    """Path of a clip's expression labels; the file may not exist."""
    return folder / f"{clip.clip_id}.npz"


def labels_of(clip: Clip, folder: Path) -> ExpressionLabels:
    """The labels of a clip; all unknown if it has none.

    Raises:
        KPBEError: as `ExpressionLabels.load`.
    """
    path = label_path(folder, clip)
    return (
        ExpressionLabels.load(path, clip.frames) if path.exists() else ExpressionLabels.unknown(clip.frames)
    )


def mirrored_points(points: np.ndarray) -> np.ndarray:
    """Points (POINTS, 2) of the mirrored picture; left and right guides swap, others keep their order."""
    mirrored = points * np.array([-1, 1], np.float32)
    mirrored[:GUIDES] = mirrored[list(MIRRORED_GUIDES)]
    return mirrored


def in_picture(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Convert points (..., 2) from pixels to coordinates of a picture of `size` (height, width).

    Pixel centres lie at whole numbers.
    """
    height, width = size
    return ((2 * points + 1) / (width, height) - 1).astype(np.float32)


def in_pixels(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Convert points (..., 2) from coordinates of the picture to pixels: the inverse of `in_picture`."""
    height, width = size
    return (((points + 1) * (width, height) - 1) / 2).astype(np.float32)
