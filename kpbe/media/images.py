"""Pictures and frames: reading a picture, frames of a video at a constant rate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from kpbe.errors import BadClip
from kpbe.media.video import frames_at_constant_fps

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})


@dataclass(frozen=True)
class VideoFrames:
    """Frames of a video at a constant rate; every iteration decodes it again, so nothing is kept in memory."""

    path: Path
    fps: float

    def __iter__(self) -> Iterator[np.ndarray]:
        return frames_at_constant_fps(self.path, self.fps)


def read_image(path: Path) -> np.ndarray:
    """A picture as (H, W, 3) uint8 RGB.

    Raises:
        BadClip: the file is missing or no picture.
    """
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise BadClip(f"{path} cannot be read as a picture: correct the path or give a PNG or JPEG file.")
    return np.ascontiguousarray(picture[..., ::-1])
