"""Putting a rendered face back into the frame that it came from."""

from __future__ import annotations

import numpy as np

from kpbe.media.images import scaled

REACH = 0.62
"""Half axes of the pasted ellipse as shares of the face box's width and height."""

FEATHER = 0.3
"""Share of the half axes over which the ellipse fades."""

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
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    half_width, half_height = REACH * (face[2] - face[0]), REACH * (face[3] - face[1])
    across = (x + 0.5 - (face[0] + face[2]) / 2) / max(half_width, 1)
    down = (y + 0.5 - (face[1] + face[3]) / 2) / max(half_height, 1)
    share = np.clip((1 + FEATHER / 2 - np.hypot(across, down)) / FEATHER, 0, 1)
    return (share * share * (3 - 2 * share)).astype(np.float32)


def with_colours_of(new: np.ndarray, own: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A picture with mean and contrast of another one inside a mask, channel by channel (Reinhard et al.
    2001).

    Args:
        new: (H, W, 3) float32.
        own: likewise, whose colours are taken.
        mask: (H, W, 1) weights.
    """
    weight = mask / max(float(mask.sum()), 1e-6)
    mean_new, mean_own = (weight * new).sum((0, 1)), (weight * own).sum((0, 1))
    spread_new = np.sqrt((weight * (new - mean_new) ** 2).sum((0, 1)))
    spread_own = np.sqrt((weight * (own - mean_own) ** 2).sum((0, 1)))
    gain = np.clip(spread_own / np.maximum(spread_new, 1e-3), 1 / LARGEST_CONTRAST, LARGEST_CONTRAST)
    return (new - mean_new) * gain + mean_own
