"""Simulated backends: clean frames spoiled as a backend would, which the frontend learns to undo.

A simulated backend puts the mouth of one frame on the head of another, as Wav2Lip does with a still picture.
Then it spoils the frame as real backends do: the lower face blurred, recoloured, shifted, pasted as a box
with or without visible edges (Wav2Lip); the whole picture, or a square around the head, blurred and
recoloured (PC-AVS); compressed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from kpbe.data.expression.labels import FACE, GUIDES, LIPS, in_picture, in_pixels

CLEAN, SOFT = 0.12, 0.25
"""Share of frames that stay clean, and of those whose whole picture is softened; in the others only the lower
face is spoiled.
"""

SOFTEST = 0.12
"""Least share of its size to which a whole picture is reduced before it is enlarged again; that is the detail
of a small PC-AVS.
"""

UNKNOWN_LOWER_FACE = (0.22, 0.52, 0.78, 0.95)
"""Lower face where no points are known: left, top, right, bottom as shares of a tight crop."""


@dataclass(frozen=True)
class Head:
    """A picture of a head and its points.

    Attributes:
        picture: (H, W, 3) uint8 RGB.
        points: (POINTS, 2) float32 in the picture's coordinates, NaN where unknown (see `ExpressionLabels`).
    """

    picture: np.ndarray
    points: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        height, width = self.picture.shape[:2]
        return height, width


def simulate(head: Head, speaker: Head, rng: np.random.Generator) -> Head:
    """Simulate the frame in which a backend gives a head the mouth of another frame.

    Args:
        head: gives everything except the mouth.
        speaker: the frame that gives the mouth, of the same person; `head` itself if it has that mouth.
        rng: for all random numbers.

    Returns:
        The spoiled picture and its points. If the points of one of the two are unknown, the speaker itself is
        spoiled.
    """
    if head is not speaker:
        speaking = _with_mouth_of(head, speaker, rng)
        head = speaker if speaking is None else speaking
    kind = rng.random()
    if kind < CLEAN:
        return head
    if kind < CLEAN + SOFT:
        picture = _soft(head.picture, float(np.exp(rng.uniform(np.log(SOFTEST), np.log(0.9)))), rng)
        picture = _recoloured(picture, rng, 0.7)
        if rng.random() < 0.5:
            box = head_square(head.points, head.size)
            picture = _pasted(head.picture, picture, box, _feather(rng, box))
    else:
        picture = _with_spoiled_box(head, rng)
    if rng.random() < 0.4:
        picture = _compressed(picture, int(rng.integers(25, 90)))
    return Head(picture, head.points)


def lower_face(points: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom (exclusive) in pixels of the part that Wav2Lip replaces.

    It reaches from below the eyes to below the chin.

    Args:
        points: (POINTS, 2) in the picture's coordinates; where they are unknown, the box is a fixed part of
            the picture.
        size: height and width of the picture.
    """
    height, width = size
    known = _known_of_face(points)
    if len(known) < GUIDES or not np.isfinite(points[:GUIDES]).all():
        left, top, right, bottom = np.multiply(UNKNOWN_LOWER_FACE, (width, height, width, height))
    else:
        pixels = in_pixels(known, size)
        eyes, mouth = (in_pixels(points[part], size).mean(0) for part in (slice(4, 6), LIPS))
        left, right = pixels[:, 0].min(), pixels[:, 0].max()
        top, bottom = eyes[1] + 0.35 * (mouth[1] - eyes[1]), pixels[:, 1].max() + 0.05 * (mouth[1] - eyes[1])
    return _box_within((left, top, right, bottom), size)


def head_square(points: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom (exclusive) in pixels of a square around the head, as PC-AVS crops it.

    The whole picture where no points are known.
    """
    height, width = size
    known = _known_of_face(points)
    if len(known) < GUIDES:
        return 0, 0, width, height
    pixels = in_pixels(known, size)
    low, high = pixels.min(0), pixels.max(0)
    middle, half = (low + high) / 2, 0.75 * (high - low).max()
    return _box_within((*(middle - half), *(middle + half)), size)


def _known_of_face(points: np.ndarray) -> np.ndarray:
    face = points[FACE]
    return face[np.isfinite(face).all(1)]


def _box_within(corners: Sequence[float] | np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom (exclusive) in whole pixels, inside a picture of `size` (height, width).

    Width and height are at least eight.
    """
    height, width = size
    inside = np.clip(corners, 0, (width, height, width, height))
    left, top, right, bottom = inside.round().astype(int).tolist()
    return left, top, max(right, left + 8), max(bottom, top + 8)


def _with_mouth_of(head: Head, speaker: Head, rng: np.random.Generator) -> Head | None:
    """The head with the speaker's lower face, which an affine map aligns by the rest of the face.

    None where points are unknown.
    """
    size = head.size
    own, other = in_pixels(head.points, size), in_pixels(speaker.points, speaker.size)
    box = lower_face(head.points, size)
    still = np.isfinite(own).all(1) & np.isfinite(other).all(1) & (own[:, 1] < box[1])
    still[FACE.stop :] = False
    if still.sum() < 8 or not np.isfinite(own[:GUIDES]).all() or not np.isfinite(other[:GUIDES]).all():
        return None
    matrix = _affine(other[still], own[still])
    warped = cv2.warpAffine(
        speaker.picture, matrix, size[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    picture = _pasted(head.picture, warped, box, _feather(rng, box))
    moved = other @ matrix[:, :2].T + matrix[:, 2]
    left, top, right, bottom = box
    with np.errstate(invalid="ignore"):
        inside = (moved[:, 0] >= left) & (moved[:, 0] < right) & (moved[:, 1] >= top) & (moved[:, 1] < bottom)
    inside[LIPS] = True
    return Head(picture, in_picture(np.where(inside[:, None], moved, own), size))


def _affine(points: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """(2, 3) affine map with the least squared error, regularised towards the best similarity.

    Few points determine a similarity better.
    """
    centre, centre_onto = points.mean(0), onto.mean(0)
    a, b = (points - centre).astype(np.float64), (onto - centre_onto).astype(np.float64)
    power = max((a**2).sum(), 1e-6)
    along, across = (a * b).sum() / power, (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / power
    similarity = np.array([[along, -across], [across, along]])
    ridge = 0.02 * power * np.eye(2)
    linear = similarity + np.linalg.solve(a.T @ a + ridge, a.T @ (b - a @ similarity.T)).T
    return np.column_stack([linear, centre_onto - linear @ centre])


def _with_spoiled_box(head: Head, rng: np.random.Generator) -> np.ndarray:
    jitter = rng.integers(-6, 7, 4)
    box = _box_within(np.array(lower_face(head.points, head.size)) + jitter, head.size)
    spoiled = head.picture
    if rng.random() < 0.4:
        spoiled = _shifted(spoiled, rng)
    spoiled = _soft(spoiled, rng.uniform(0.3, 0.9), rng) if rng.random() < 0.85 else spoiled
    spoiled = _recoloured(spoiled, rng, 0.85)
    return _pasted(head.picture, spoiled, box, _feather(rng, box))


def _feather(rng: np.random.Generator, box: tuple[int, int, int, int]) -> float:
    """Width of the seam around a pasted box in pixels; 0 for a hard edge."""
    return 0.0 if rng.random() < 0.5 else float(rng.uniform(0.02, 0.12) * (box[2] - box[0]))


def _pasted(
    picture: np.ndarray, patch: np.ndarray, box: tuple[int, int, int, int], feather: float
) -> np.ndarray:
    left, top, right, bottom = box
    if feather <= 0:
        result = picture.copy()
        result[top:bottom, left:right] = patch[top:bottom, left:right]
        return result
    mask = np.zeros(picture.shape[:2], np.float32)
    inset = round(feather)
    mask[
        top + inset : max(bottom - inset, top + inset + 1),
        left + inset : max(right - inset, left + inset + 1),
    ] = 1
    mask = cv2.GaussianBlur(mask, (0, 0), max(0.5, feather / 2))[..., None]
    return np.clip(picture + mask * (patch.astype(np.float32) - picture) + 0.5, 0, 255).astype(np.uint8)


def _soft(picture: np.ndarray, scale: float, rng: np.random.Generator) -> np.ndarray:
    """The picture reduced to a share of its size and enlarged again; sometimes also blurred."""
    height, width = picture.shape[:2]
    small = cv2.resize(
        picture, (max(8, round(width * scale)), max(8, round(height * scale))), interpolation=cv2.INTER_AREA
    )
    picture = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.4:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.4, 1.4) * width / 256)
    return picture


def _recoloured(picture: np.ndarray, rng: np.random.Generator, often: float) -> np.ndarray:
    """The picture with random saturation, brightness and tint."""
    if rng.random() > often:
        return picture
    values = picture.astype(np.float32)
    pale = rng.uniform(-0.15, 0.4)
    values += pale * (values.mean(2, keepdims=True) - values)
    gain = np.exp(rng.normal(0, 0.06) + rng.normal(0, 0.04, 3))
    offset = 255 * (rng.normal(0, 0.03) + rng.normal(0, 0.015, 3))
    return np.clip(values * gain + offset + 0.5, 0, 255).astype(np.uint8)


def _shifted(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height, width = picture.shape[:2]
    scale = 1 + rng.uniform(-0.02, 0.02)
    shift = rng.uniform(-0.008, 0.008, 2) * width
    matrix = np.array(
        [[scale, 0, shift[0] + (1 - scale) * width / 2], [0, scale, shift[1] + (1 - scale) * height / 2]]
    )
    return cv2.warpAffine(
        picture, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )


def _compressed(picture: np.ndarray, quality: int) -> np.ndarray:
    _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.ascontiguousarray(decoded[..., ::-1])
