"""Face detection by OpenCV's frontal face cascade, which is part of scikit-image and needs no download.

It finds upright faces that look into the camera, as squares from the brows to the chin. Boxes like YuNet's,
and eyes and mouth, are computed from the square in fixed proportions, which are medians of real faces and do
not tilt with the head. On 224 frames of 56 real videos of talking people in which YuNet sees a face, the
largest box agreed with YuNet's (IoU above 0.5) in 86 %, was another one in 5 %, and none was found in 9 %.
Eyes and mouth lay 0.11 eye distances from YuNet's (median; 0.29 or more in a tenth).

Source: local binary patterns in multi-scale blocks (Liao et al. 2007), OpenCV's `lbpcascade_frontalface.xml`.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from kpbe.errors import MissingWeights

SMALLEST_FACE = 24
"""Pixels; the size that the cascade was trained at."""

SMALLEST_SHARE = 1 / 6
"""Least square as a share of the picture's shorter side; smaller ones are more often noise than a speaker."""

SCALE_STEP = 1.15
NEIGHBOURS = 3
"""Number of places and scales whose squares must agree."""

# shares of the square's side, from its centre, to the right and down
BOX = (-0.40, -0.56, 0.40, 0.60)
EYES_AND_MOUTH = ((-0.195, -0.115), (0.195, -0.115), (0.0, 0.287))


def cascade_file() -> Path:
    """The path of the cascade file in the package scikit-image.

    Raises:
        MissingWeights: this version of the package has no such file.
    """
    import skimage.data

    file = Path(skimage.data.lbp_frontal_face_cascade_filename())
    if not file.is_file():
        raise MissingWeights(
            f"scikit-image has no {file.name} here: install the version that constraints.txt names."
        )
    return file


class FrontalCascade:
    """The cascade as a face detector and as a finder of eyes and mouth."""

    def __init__(self) -> None:
        self._network = _load(cascade_file())

    def detect(self, frame: np.ndarray) -> np.ndarray:
        """Faces in a (H, W, 3) uint8 RGB picture as `FaceDetector.detect` gives them, the largest first.

        The cascade gives no score; it is set to 1. Boxes are clipped at the picture's borders.
        """
        squares = self._squares(frame)
        boxes = np.tile(squares[:, :2], 2) + np.multiply(BOX, squares[:, 2:])
        height, width = frame.shape[:2]
        boxes = np.clip(boxes, 0, (width, height, width, height))
        return np.column_stack([boxes, np.ones(len(boxes))])

    def find(self, frame: np.ndarray) -> np.ndarray | None:
        """Eyes and mouth of the largest face, see `LandmarkFinder.find`."""
        squares = self._squares(frame)
        if not len(squares):
            return None
        return squares[0, :2] + np.multiply(EYES_AND_MOUTH, squares[0, 2])

    def _squares(self, frame: np.ndarray) -> np.ndarray:
        """(n, 3) float64 centre and side in pixels, the largest first."""
        shorter = min(frame.shape[:2])
        smallest = max(SMALLEST_FACE, round(shorter * SMALLEST_SHARE))
        if shorter <= smallest:
            return np.empty((0, 3))
        detections = self._network.detect_multi_scale(
            img=np.ascontiguousarray(frame),
            scale_factor=SCALE_STEP,
            step_ratio=1,
            min_size=(smallest, smallest),
            max_size=(shorter, shorter),
            min_neighbor_number=NEIGHBOURS,
        )
        rows = [(f["c"] + f["width"] / 2, f["r"] + f["height"] / 2, f["width"]) for f in detections]
        squares = np.array(rows, np.float64).reshape(-1, 3)
        return squares[np.argsort(-squares[:, 2], kind="stable")]


@cache
def _load(file: Path) -> Any:
    from skimage.feature import Cascade

    return Cascade(str(file))
