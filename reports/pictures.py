"""Rendered pictures as a page shows them: enlarged, side by side, as a file."""

from __future__ import annotations

import numpy as np

from kpbe.media.images import scaled

SHOWN_WIDTH = 420
GAP = 16


def enlarged(frame: np.ndarray) -> np.ndarray:
    """A square picture, (S, S, 3) uint8, enlarged to `SHOWN_WIDTH` if it is smaller."""
    return frame if frame.shape[1] >= SHOWN_WIDTH else scaled(frame, SHOWN_WIDTH, SHOWN_WIDTH)


def side_by_side(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Two pictures with a transparent gap between them, (H, W, 4) uint8.

    They form one picture, so they stay side by side on a phone, too.
    """
    left, right = enlarged(left), enlarged(right)
    gap = np.zeros((len(left), GAP, 4), np.uint8)
    opaque = (np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8)]) for picture in (left, right))
    first, second = opaque
    return np.hstack([first, gap, second])


def png(picture: np.ndarray) -> bytes:
    """Encode a picture, (H, W, 3 or 4) uint8, as PNG, with fast rather than strong compression."""
    import cv2

    to_bgr = cv2.COLOR_RGBA2BGRA if picture.shape[2] == 4 else cv2.COLOR_RGB2BGR
    _, file = cv2.imencode(".png", cv2.cvtColor(picture, to_bgr), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return file.tobytes()
