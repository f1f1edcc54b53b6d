"""The mouth's box in a frame, and whether two mouths open and close together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SIDE_PER_LIPS = 1.5
"""Side of the box over the longer side of the lips' bounds. Measured on 64 real clips: the lips of another
frame of the same clip, aligned to this one by eyes and nose, stay inside the box in 95 % of pairs. So the box
holds all of a wrong mouth and little besides.
"""

LIPS_PER_EYE_DISTANCE = 0.82
"""Width of the lips over the distance of the eyes' middles: mean of the same clips (coefficient of variation
0.1).
"""

SMALLEST_SIDE = 32
"""No box is smaller, pixels, so that SSIM (11x11) and LPIPS (31x31) take it without enlarging."""

LEAST_OPENING_STD = 0.008
"""An opening with a smaller standard deviation (eye distances) counts as still. Measured: one frame with
camera noise of 2 grey levels 0.0024 (0.0065 at the 95th percentile), real speech 0.011 to 0.065."""

LEAST_COMMON_FRAMES = 8

Box = tuple[int, int, int, int]


def mouth_box(lips: np.ndarray, frame_size: tuple[int, int]) -> Box:
    """A square around the lips in the true frame; every method's frame is cropped to it.

    Args:
        lips: (N, 2) points of the lips, pixels whose centres lie at whole numbers.
        frame_size: (height, width) of the frame.

    Returns:
        left, top, right, bottom; right and bottom are the first pixels outside: `frame[top:bottom,
        left:right]`. The side is 1.5 times the longer side of the lips' bounds and at least 32. The square is
        shifted into the frame, and clipped only where it is larger than the frame.

    Raises:
        ValueError: the points are not finite, or the frame is smaller than 32x32.
    """
    lips = np.asarray(lips, np.float64)
    if lips.ndim != 2 or lips.shape[1] != 2 or not len(lips) or not np.isfinite(lips).all():
        raise ValueError(f"lips must be (N, 2) finite points, not an array of shape {lips.shape}.")
    low, high = lips.min(0), lips.max(0)
    return _square((low + high) / 2, SIDE_PER_LIPS * float((high - low).max()), frame_size)


def mouth_box_from_three_points(points: np.ndarray, frame_size: tuple[int, int]) -> Box:
    """As `mouth_box`, from the eyes and the middle of the mouth alone.

    The lips are assumed to be 0.82 eye distances wide.

    Args:
        points: (3, 2) eye, eye, middle of the mouth, pixels.
        frame_size: (height, width) of the frame.

    Raises:
        ValueError: as `mouth_box`.
    """
    points = np.asarray(points, np.float64)
    if points.shape != (3, 2) or not np.isfinite(points).all():
        raise ValueError(
            f"eyes and mouth must be (3, 2) finite points, not an array of shape {points.shape}."
        )
    eyes = float(np.linalg.norm(points[1] - points[0]))
    return _square(points[2], SIDE_PER_LIPS * LIPS_PER_EYE_DISTANCE * eyes, frame_size)


def _square(centre: np.ndarray, side: float, frame_size: tuple[int, int]) -> Box:
    """A square of whole pixels about a centre (x, y), shifted into the frame."""
    if min(frame_size) < SMALLEST_SIDE:
        raise ValueError(f"frames must be at least {SMALLEST_SIDE}x{SMALLEST_SIDE}, not {frame_size}.")
    whole = max(SMALLEST_SIDE, round(side))
    spans = []
    for middle, length in zip(centre, frame_size[::-1], strict=True):
        size = min(whole, length)
        start = int(np.clip(round(middle + 0.5 - size / 2), 0, length - size))
        spans.append((start, start + size))
    (left, right), (top, bottom) = spans
    return left, top, right, bottom


def opening_correlation(
    followed: Sequence[float] | np.ndarray, result: Sequence[float] | np.ndarray
) -> float | None:
    """Pearson's r of two mouth openings (see FaceLandmarks.opening) over the frames that both have.

    Args:
        followed: (N,) openings of the mouth that is to be followed; NaN for frames without a face.
        result: openings of the same frames.

    Returns:
        r in [-1, 1]; 0 where the result does not vary (standard deviation below 0.008), since a still mouth
        follows nothing. None where the followed mouth does not vary, or with fewer than 8 common frames.

    Raises:
        ValueError: the series differ in length.
    """
    first, second = np.asarray(followed, np.float64), np.asarray(result, np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"openings of shape {first.shape} and {second.shape} cannot be compared.")
    common = np.isfinite(first) & np.isfinite(second)
    if common.sum() < LEAST_COMMON_FRAMES:
        return None
    first, second = first[common], second[common]
    if first.std() < LEAST_OPENING_STD:
        return None
    if second.std() < LEAST_OPENING_STD:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])
