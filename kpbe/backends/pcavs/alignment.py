"""From frames to the square pictures that the networks see, and from pictures back into frames.

Forward as the reference does (scripts/align_68.py, data/voxtest_dataset.py): the clip's mean eyes and mouth
are laid onto fixed points of a 224x224 picture by one similarity, every frame is moved so that its own mouth
lands there, and rows 0 to 191, columns 16 to 207 are enlarged to the network's size. Points are (x, y) in
pixels, pixel centres at whole numbers; matrices are (2, 3) and map points.
"""

from __future__ import annotations

import cv2
import numpy as np

ALIGNED_SIZE = 224
ALIGNED_POINTS = np.array([[87.0, 59.0], [137.0, 59.0], [112.0, 120.0]])
"""Where both eyes (from left to right in the picture) and the mouth lie in the aligned picture."""

CROP_LEFT, CROP_TOP, CROP_SIZE = 16, 0, 192
SMOOTHING = 0.2
"""Part of the frame before in the smoothed shift of the mouth."""


def clip_similarity(points: np.ndarray) -> np.ndarray:
    """The similarity (scale, rotation, shift) that lays a clip's mean eyes and mouth onto `ALIGNED_POINTS`
    best (least squares).

    Args:
        points: (N, 3, 2) left eye, right eye, mouth, finite.

    Returns:
        (2, 3) matrix.

    Raises:
        ValueError: a point is not finite, or all of them coincide.
    """
    if not len(points) or not np.isfinite(points).all():
        raise ValueError("alignment needs eyes and mouth of at least one frame, and of every frame given")
    # In the complex plane a similarity is one multiplication and one addition.
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
    """One matrix per frame: the clip's similarity, moved so that the frame's mouth lands in place.

    Each shift is 0.2 of the smoothed one before plus 0.8 of the frame's own, so that jitter of the landmarks
    is damped.

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
    """The part of an aligned picture (224, 224, C) that the networks see, (image_size, image_size, C).

    Enlarged bilinearly as in the reference; reduced by areas, since skipping pixels would alias.
    """
    crop = aligned[CROP_TOP : CROP_TOP + CROP_SIZE, CROP_LEFT : CROP_LEFT + CROP_SIZE]
    interpolation = cv2.INTER_LINEAR if image_size >= CROP_SIZE else cv2.INTER_AREA
    return cv2.resize(crop, (image_size, image_size), interpolation=interpolation)


def align_frame(frame: np.ndarray, matrix: np.ndarray, image_size: int) -> np.ndarray:
    """What the networks see of a frame.

    Args:
        frame: uint8 (H, W, 3).
        matrix: of `alignment_matrices`; what lies outside the frame is black.
        image_size: edge of the result.

    Returns:
        uint8 (image_size, image_size, 3), channels in the frame's order.
    """
    aligned = cv2.warpAffine(frame, matrix, (ALIGNED_SIZE, ALIGNED_SIZE), flags=cv2.INTER_LINEAR)
    return crop_aligned(aligned, image_size)


def frame_to_image(matrix: np.ndarray, image_size: int) -> np.ndarray:
    """The (2, 3) matrix from a frame's points to those of the picture that `align_frame` makes of it."""
    zoom = image_size / CROP_SIZE
    # Resizing keeps the corners of the outermost pixels, not their centres, in place.
    shift = np.array([CROP_LEFT, CROP_TOP]) - 0.5
    scaled = np.array(matrix, np.float64)
    scaled[:, 2] -= shift
    scaled *= zoom
    scaled[:, 2] -= 0.5
    return scaled


def paste_image(
    image: np.ndarray, background: np.ndarray, matrix: np.ndarray, feather: float = 6.0
) -> np.ndarray:
    """A frame with a picture of the networks put back where `align_frame` took it from.

    Args:
        image: uint8 (S, S, 3).
        background: uint8 (H, W, 3), what surrounds the picture.
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
