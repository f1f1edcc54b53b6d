"""Which square of a picture or video the frontend is shown, and at which size.

Training clips are squares around a face (kpbe/data/crops.py); what people bring from elsewhere is cut to such
a square first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Literal, get_args

import numpy as np

from kpbe.data.crops import PixelBox, centred_square, cropped, increase_to_square, shift_inside, union
from kpbe.data.faces import FaceDetector, finder_here, get_detector
from kpbe.errors import BadClip, KPBEError

Framing = Literal["auto", "face", "centre", "whole"]

LOOKED_AT = 8
"""Frames of a video in which a face is looked for."""

LARGEST_SIDE = 1024
"""Squares of larger faces are reduced to it: a face has no more detail than this in any video that people
make.
"""

AROUND_FACE = 0.2
"""Room around the face, as a share of its box; a clip's crop has 0.1 around the union of all its boxes."""


def framing_of(word: str) -> Framing:
    """A framing by its name.

    Raises:
        KPBEError: there is none of that name.
    """
    for framing in get_args(Framing):
        if word == framing:
            return framing
    raise KPBEError(f"there is no framing {word}: choose one of {', '.join(get_args(Framing))}.")


def square_of(frames: Sequence[np.ndarray] | Iterable[np.ndarray], framing: Framing, name: str) -> PixelBox:
    """The square that stays the same for all frames of a picture or video.

    Args:
        frames: (H, W, 3) uint8 RGB, of one size; the first few are looked at.
        framing: `whole` takes the picture as it is, `centre` the largest square in its middle, `face` a
            square around the largest face that YuNet finds, or what stands in for it
            (`kpbe.data.faces.finder_here`). `auto`: square pictures whole (they are crops already), others
            `face` where a face is found, else `centre`.
        name: file that messages name.

    Returns:
        left, top, right, bottom in pixels.

    Raises:
        BadClip: there is no frame, or no face with `face`.
        BadCheckpoint: a detector's file is something else.
    """
    looked_at = list(islice(frames, LOOKED_AT))
    if not looked_at:
        raise BadClip(f"{name} has no frame.")
    height, width = looked_at[0].shape[:2]
    if framing == "whole" or (framing == "auto" and height == width):
        return 0, 0, width, height
    if framing == "centre":
        return centred_square(width, height)
    detector = get_detector(finder_here())
    assert detector is not None
    box = _face_square(detector, looked_at, width, height)
    if box is None and framing == "face":
        raise BadClip(f"{name} shows no face: take another picture, or the whole one (--framing whole).")
    return centred_square(width, height) if box is None else box


def own_side(box: PixelBox) -> int:
    """The side in pixels at which a square is shown without enlarging it: its own, even for the video
    encoder, at most `LARGEST_SIDE`.
    """
    side = min(box[2] - box[0], box[3] - box[1], LARGEST_SIDE)
    return max(2, side - side % 2)


def all_framed(frames: Iterable[np.ndarray], box: PixelBox, size: int) -> Iterator[np.ndarray]:
    """`cropped` for every frame of a video."""
    return (cropped(frame, box, size) for frame in frames)


def _face_square(
    detector: FaceDetector, frames: Sequence[np.ndarray], width: int, height: int
) -> PixelBox | None:
    found = [faces[_largest(faces), :4] for frame in frames if len(faces := detector.detect(frame))]
    if not found:
        return None
    return shift_inside(increase_to_square(union(np.stack(found)), AROUND_FACE), width, height)


def _largest(faces: np.ndarray) -> int:
    return int(np.prod(faces[:, 2:4] - faces[:, :2], axis=1).argmax())
