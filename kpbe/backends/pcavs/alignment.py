"""Align frames to the square pictures that the networks take, and paste pictures back into frames.

Alignment follows the reference (scripts/align_68.py, data/voxtest_dataset.py). One similarity lays the clip's
mean eyes and mouth onto fixed points of a 224x224 picture, every frame is shifted so that its own mouth lies
there, and rows 0 to 191, columns 16 to 207 are resized to the network's size. Points are (x, y) in pixels,
pixel centres at whole numbers; matrices are (2, 3) and map points.
"""

from __future__ import annotations

import cv2
import numpy as np

ALIGNED_SIZE = 224
ALIGNED_POINTS = np.array([[87.0, 59.0], [137.0, 59.0], [112.0, 120.0]])
"""Places of both eyes (from left to right in the picture) and the mouth in the aligned picture, pixels."""

CROP_LEFT, CROP_TOP, CROP_SIZE = 16, 0, 192
SMOOTHING = 0.2
"""Weight of the previous frame in the smoothed shift of the mouth."""


def clip_similarity(points: np.ndarray) -> np.ndarray:
    """The similarity that lays a clip's mean eyes and mouth onto `ALIGNED_POINTS`, in least squares.

    It has scale, rotation and shift.

    Args:
        points: (N, 3, 2) left eye, right eye, mouth, finite.

    Returns:
        (2, 3) matrix.

    Raises:
        ValueError: a point is not finite, or all of them coincide.
    """
    if not len(points) or not np.isfinite(points).all():
        raise ValueError("alignment needs eyes and mouth of at least one frame, and of every frame given")
    # in complex numbers a similarity is one product and one sum
    source = points.mean(0) @ (1, 1j)
    target = ALIGNED_POINTS @ (1, 1j)
    centred = source - source.mean()
    spread = np.vdot(centred, centred).real
    if spread < 1e-6:
        raise ValueError("alignment needs eyes and mouth that do not coincide")
    factor = np.vdot(centred, target) / spread
    shift = target.mean() - factor * source.mean()
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def alignment_matrices(points: np.ndarray) -> np.ndarray:
    """One matrix per frame: the clip's similarity, shifted so that the frame's mouth lies in place.

    Each shift is 0.2 of the previous smoothed one plus 0.8 of the frame's own, which damps jitter of the
    landmarks.

    Args:
        points: (N, 3, 2) left eye, right eye (as seen in the picture), mouth of consecutive frames, finite.

    Returns:
        (N, 2, 3) float64.

    Raises:
        ValueError: as `clip_similarity`.
    """
    similarity = clip_similarity(points)
    shifts = ALIGNED_POINTS[2] - transform(similarity, points[:, 2])
    for i in range(1, len(shifts)):
        shifts[i] = SMOOTHING * shifts[i - 1] + (1 - SMOOTHING) * shifts[i]
    matrices = np.repeat(similarity[None], len(points), axis=0)
    matrices[:, :, 2] += shifts
    return matrices


def transform(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (..., 2) mapped by a (2, 3) matrix."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def crop_aligned(aligned: np.ndarray, image_size: int) -> np.ndarray:
    """The part of an aligned picture (224, 224, C) that the networks take, (image_size, image_size, C).

    Enlarged bilinearly as in the reference; reduced by areas, since skipping pixels would alias.
    """
    crop = aligned[CROP_TOP : CROP_TOP + CROP_SIZE, CROP_LEFT : CROP_LEFT + CROP_SIZE]
    interpolation = cv2.INTER_LINEAR if image_size >= CROP_SIZE else cv2.INTER_AREA
    return cv2.resize(crop, (image_size, image_size), interpolation=interpolation)


def align_frame(frame: np.ndarray, matrix: np.ndarray, image_size: int) -> np.ndarray:
    """A frame aligned and cropped as the networks take it.

    Args:
        frame: uint8 (H, W, 3).
        matrix: of `alignment_matrices`; the outside of the frame is black.
        image_size: edge of the result.

    Returns:
        uint8 (image_size, image_size, 3), channels in the frame's order.
    """
    aligned = cv2.warpAffine(frame, matrix, (ALIGNED_SIZE, ALIGNED_SIZE), flags=cv2.INTER_LINEAR)
    return crop_aligned(aligned, image_size)


def frame_to_image(matrix: np.ndarray, image_size: int) -> np.ndarray:
    """The (2, 3) matrix from a frame's points to those of its picture of `align_frame`."""
    zoom = image_size / CROP_SIZE
    # resizing keeps the corners of the outermost pixels in place, not their centres
    shift = np.array([CROP_LEFT, CROP_TOP]) - 0.5
    scaled = np.array(matrix, np.float64)
    scaled[:, 2] -= shift
    scaled *= zoom
    scaled[:, 2] -= 0.5
    return scaled


def paste_image(
    image: np.ndarray, background: np.ndarray, matrix: np.ndarray, feather: float = 6.0
) -> np.ndarray:
    """Paste a picture of the networks back to where `align_frame` took it from.

    Args:
        image: uint8 (S, S, 3).
        background: uint8 (H, W, 3), the frame that surrounds the picture.
        matrix: the frame's of `alignment_matrices`.
        feather: pixels of the frame over which the picture fades in from its border; 0 is a hard edge.

    Returns:
        uint8 (H, W, 3), a new array.
    """
    size = len(image)
    back = frame_to_image(matrix, size)
    pixels = float(np.hypot(*back[:, 0]))  # of the picture per pixel of the frame
    pasted = background.copy()
    left, top, right, bottom = _bounds(back, size, *background.shape[:2])
    if left >= right or top >= bottom:
        return pasted
    region = (slice(top, bottom), slice(left, right))

    grid = np.meshgrid(np.arange(left, right), np.arange(top, bottom))
    coordinates = transform(back, np.stack(grid, axis=-1))
    inside = (size / 2 - np.abs(coordinates - (size - 1) / 2)).min(axis=-1) / pixels
    alpha = np.clip(inside / feather, 0, 1) if feather > 0 else (inside > 0).astype(np.float64)

    reduced = round(size / pixels) if pixels > 1 else size
    if 0 < reduced < size:  # bilinear sampling would skip pixels of the picture
        image = cv2.resize(image, (reduced, reduced), interpolation=cv2.INTER_AREA)
        coordinates = (coordinates + 0.5) * (reduced / size) - 0.5
    x, y = np.moveaxis(coordinates.astype(np.float32), -1, 0)
    warped = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    blended = background[region] + alpha[..., None] * (warped.astype(np.float64) - background[region])
    pasted[region] = np.rint(blended).astype(np.uint8)
    return pasted


def _bounds(back: np.ndarray, size: int, height: int, width: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the part of the frame that a picture can cover."""
    corners = np.array([(x, y) for x in (-0.5, size - 0.5) for y in (-0.5, size - 0.5)])
    reached = transform(cv2.invertAffineTransform(back), corners)
    left, top = np.maximum(np.floor(reached.min(0)).astype(int), 0)
    right, bottom = np.minimum(np.ceil(reached.max(0)).astype(int) + 1, (width, height))
    return int(left), int(top), int(right), int(bottom)
