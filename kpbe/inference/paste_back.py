"""Putting a rendered face back into the frame that it came from."""

from __future__ import annotations

import numpy as np

from kpbe.media.images import scaled

REACH = 0.62
"""Half axes of the pasted ellipse as shares of the face box's width and height."""

FEATHER = 0.3
"""Share of the half axes over which the ellipse fades."""

MEASURED_SIDE = 96
"""Colours are measured on about so many rows and columns."""

LARGEST_CONTRAST = 1.25
"""Largest factor by which the rendered face's contrast is changed to match the frame's."""


def paste_back(frame: np.ndarray, rendered: np.ndarray, square: np.ndarray, face: np.ndarray) -> np.ndarray:
    """A frame with the rendered face in place of its own, in the frame's colours.

    Args:
        frame: (H, W, 3) uint8 RGB; stays as it is.
        rendered: (S, S, 3) uint8 RGB of the frame's `square`.
        square: left, top, right, bottom in pixels of the frame.
        face: the face's box in pixels of the frame.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    left, top, right, bottom = (int(value) for value in square)
    mask = face_mask((bottom - top, right - left), face - (left, top, left, top))[..., None]
    own = frame[top:bottom, left:right].astype(np.float32)
    new = with_colours_of(scaled(rendered, right - left, bottom - top).astype(np.float32), own, mask)
    out = frame.copy()
    out[top:bottom, left:right] = np.rint(np.clip(own + mask * (new - own), 0, 255)).astype(np.uint8)
    return out


def face_mask(size: tuple[int, int], face: np.ndarray) -> np.ndarray:
    """An ellipse around a face box, 1 inside and fading to 0.

    Args:
        size: height and width.
        face: left, top, right, bottom in pixels.

    Returns:
        (H, W) float32 in [0, 1].
    """
    half = np.maximum(REACH * (face[2:] - face[:2]), 1)
    across, down = (
        (np.arange(count, dtype=np.float32) + 0.5 - (face[axis] + face[axis + 2]) / 2) / half[axis]
        for axis, count in enumerate(size[::-1])
    )
    distance = np.sqrt(across.astype(np.float32) ** 2 + down.astype(np.float32)[:, None] ** 2)
    share = np.clip((1 + FEATHER / 2 - distance) / FEATHER, 0, 1)
    return share * share * (3 - 2 * share)


def with_colours_of(new: np.ndarray, own: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A picture with mean and contrast of another one inside a mask, channel by channel (Reinhard et al.
    2001).

    Args:
        new: (H, W, 3) float32.
        own: likewise, whose colours are taken.
        mask: (H, W, 1) weights.
    """
    step = max(1, min(mask.shape[:2]) // MEASURED_SIDE)
    (mean_new, spread_new), (mean_own, spread_own) = (
        _mean_and_spread(picture[::step, ::step], mask[::step, ::step]) for picture in (new, own)
    )
    gain = np.clip(spread_own / np.maximum(spread_new, 1e-3), 1 / LARGEST_CONTRAST, LARGEST_CONTRAST)
    return new * gain + (mean_own - gain * mean_new)


def _mean_and_spread(picture: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    weight = mask / max(float(mask.sum()), 1e-6)
    mean = (weight * picture).sum((0, 1))
    return mean, np.sqrt((weight * (picture - mean) ** 2).sum((0, 1)))
