"""Pictures: reading one, and the rule by which they are scaled."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from kpbe.errors import BadClip

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})


def read_image(path: Path) -> np.ndarray:
    """A picture as (H, W, 3) uint8 RGB.

    Raises:
        BadClip: the file is missing or no picture.
    """
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise BadClip(f"{path} cannot be read as a picture: correct the path or give a PNG or JPEG file.")
    return np.ascontiguousarray(picture[..., ::-1])
