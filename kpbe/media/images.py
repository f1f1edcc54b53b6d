"""Pictures: reading one, and the rule by which they are scaled."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kpbe.errors import BadClip

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})


def read_image(path: Path) -> np.ndarray:
    """A picture as (H, W, 3) uint8 RGB.

    Raises:
        BadClip: the file is missing or no picture.
    """
    import cv2  # takes a while, and many who import this read no picture

    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise BadClip(f"{path} cannot be read as a picture: correct the path or give a PNG or JPEG file.")
    return np.ascontiguousarray(picture[..., ::-1])


def scaled(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """A picture in another size, the rule for all: by area averaging where it shrinks, else bicubic.

    Args:
        picture: (H, W, 3) uint8.
        width: pixels.
        height: pixels.

    Returns:
        (height, width, 3) uint8; the picture itself where it fits.
    """
    if picture.shape[:2] == (height, width):
        return picture
    import cv2

    shrinks = picture.shape[0] >= height and picture.shape[1] >= width
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
