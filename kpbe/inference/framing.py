"""Which square of a picture, or of each frame of a video, the frontend is shown, and at which size.

Training clips are squares around a face (kpbe/data/crops.py); what people bring from elsewhere is cut to such
squares first. The whole video is looked at, one person is followed, and the square moves with a head that
does not stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from kpbe.core.choices import chosen
from kpbe.core.spans import spans_of
from kpbe.data.crops import PixelBox, centred_square, cropped, increase_to_square, shift_inside, union
from kpbe.data.faces import detector_here
from kpbe.data.people import LOOKS_PER_SECOND, FaceChoice, find_face, follow, follow_face, people_in
from kpbe.errors import BadClip
from kpbe.media.prefetch import prefetched
from kpbe.media.recording import FramesAtFps, Recording

Framing = Literal["auto", "face", "centre", "whole"]

LARGEST_SIDE = 1024
"""Squares of larger faces are reduced to it: a face has no more detail than this in any video that people
make.
"""

AROUND_FACE = 0.2
"""Room around the face, as a share of its box; a clip's crop has 0.1 around the union of all its boxes."""

CROP_SHARE = 0.6
"""A square picture in which the face's square takes at least this share of the side is a crop already."""

LARGEST_SQUEEZE = 0.02
"""Share by which a whole picture's sides may differ: it is made square."""

STILL_GROWTH = 1.4
"""The square stays in place while all boxes of the face together are at most so many times one of them."""

SMOOTHING_SECONDS = 0.4
"""Standard deviation of the Gaussian that smooths the way of a moving square."""


@dataclass(frozen=True)
class FramedVideo:
    """A video and the square of each frame that the frontend is shown.

    Attributes:
        name: file that messages name.
        frames: the video at a constant rate.
        squares: (N, 4) int64 left, top, right, bottom in pixels.
        faces: (N, 4) float64 boxes of the followed face; zeros where there is none.
        side: pixels of the squares as they are shown.
        notes: sentences that the user should read.
    """

    name: str
    frames: FramesAtFps
    squares: np.ndarray
    faces: np.ndarray
    side: int
    notes: tuple[str, ...] = ()

    @property
    def shows_face(self) -> np.ndarray:
        """(N,) bool, where the followed face is."""
        return np.asarray(self.faces.any(axis=1))

    @property
    def is_crop(self) -> bool:
        """Whether the whole picture is shown in every frame."""
        _, _, right, bottom = self.squares[0]
        info = self.frames.contents.info
        return bool((self.squares == (0, 0, info.width, info.height)).all() and right == bottom)

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[np.ndarray]:
        """The squares, (side, side, 3) uint8 RGB; of frames without the face the nearest with it."""
        return prefetched(self.from_frame(0))

    def from_frame(self, start: int) -> Iterator[np.ndarray]:
        """The squares from frame `start` on."""
        index = _nearest_with(self.shows_face) if self.shows_face.any() else np.arange(len(self))
        return self.some(index[start:])

    def some(self, indices: np.ndarray) -> Iterator[np.ndarray]:
        """The squares of some frames, `indices` (n,) rising."""
        shown = replace(self.frames, indices=tuple(self.frames.indices[i] for i in indices))
        for frame, index in zip(shown, indices, strict=True):
            yield self.square(frame, index)

    def square(self, frame: np.ndarray, index: int) -> np.ndarray:
        """What the frontend is shown of frame `index`, whose picture is (H, W, 3) uint8 RGB."""
        left, top, right, bottom = self.squares[index].tolist()
        return cropped(frame, (left, top, right, bottom), self.side)

    def show_alike(self, picture: np.ndarray, face: np.ndarray) -> np.ndarray:
        """A picture's face as large and in the same place of its square as this video's usually is.

        Args:
            picture: (H, W, 3) uint8 RGB; its border is continued where the square goes beyond it.
            face: the box of its face, (4,).

        Returns:
            (S, S, 3) uint8 RGB, at the picture's own size.
        """
        known = self.shows_face
        faces, squares = self.faces[known], self.squares[known]
        sides = squares[:, 2] - squares[:, 0]
        share = np.median(sides / _size(faces))
        place = np.median((_centre(faces) - squares[:, :2]) / sides[:, None], axis=0)
        side = round(float(share * _size(face[None])[0]))
        left, top = np.round(_centre(face[None])[0] - place * side).astype(int)
        height, width = picture.shape[:2]
        beyond = max(0, -left, -top, left + side - width, top + side - height)
        around = np.pad(picture, ((beyond, beyond), (beyond, beyond), (0, 0)), "edge")
        box = (left + beyond, top + beyond, left + side + beyond, top + side + beyond)
        return cropped(around, box, own_side(box))


def framing_of(word: str) -> Framing:
    """A framing by its name.

    Raises:
        KPBEError: there is none of that name.
    """
    return chosen(word, get_args(Framing), "framing")


def framed(recording: Recording, fps: float, framing: Framing, face: FaceChoice = "auto") -> FramedVideo:
    """The squares of a video that the frontend is shown.

    Args:
        recording: the video.
        fps: its frames are sampled at it.
        framing: `whole` takes the picture as it is, `centre` the largest square in its middle, `face` a
            square around the face that is followed. `auto`: square pictures whole where the face fills them
            (they are crops already), else `face`; `centre` where no face is found at all.
        face: which face is followed (`kpbe.data.people`).

    Raises:
        BadClip: the video cannot be read, shows no face with `face`, or several with `auto`.
        BadCheckpoint: a detector's file is something else.
    """
    frames, name, info = recording.at_fps(fps, exact=True), str(recording.info.path), recording.info
    everything = (0, 0, info.width, info.height)
    unknown = np.zeros((len(frames), 4))
    if (box := _without_looking(framing, info.width, info.height, name)) is not None:
        return FramedVideo(name, frames, np.tile(box, (len(frames), 1)), unknown, own_side(box))
    track = follow_face(frames, detector_here(), face, name)
    if track is None:
        if framing == "face":
            raise BadClip(f"{name} shows no face: take another one, or the whole picture (--framing whole).")
        box = centred_square(info.width, info.height)
        what = "the whole picture" if box == everything else "the square in the middle"
        note = f"{name}: no face was found, {what} is used"
        return FramedVideo(name, frames, np.tile(box, (len(frames), 1)), unknown, own_side(box), (note,))
    faces, jumps = track.boxes, track.jumps
    squares = _squares(faces, jumps, fps, info.width, info.height)
    usual = float(np.median(_size(squares[faces.any(axis=1)])))
    if framing == "auto" and _fills(usual, info.width, info.height):
        squares = np.tile(everything, (len(frames), 1))
    side = own_side(squares[int(_size(squares).argmax())])
    return FramedVideo(name, frames, squares, faces, side, _notes(name, faces, jumps, fps))


def framed_picture(picture: np.ndarray, framing: Framing, name: str, face: FaceChoice = "auto") -> np.ndarray:
    """The frontend's view (S, S, 3) uint8 RGB of one picture, at its own size; see `framed`.

    Raises:
        BadClip: it shows no face with `face`, or several with `auto`.
    """
    box = square_of([picture], framing, name, face)
    return cropped(picture, box, own_side(box))


def square_of(
    frames: Sequence[np.ndarray], framing: Framing, name: str, face: FaceChoice = "auto"
) -> PixelBox:
    """The one square of a picture, or of a few frames that belong together; see `framed`.

    Args:
        frames: (H, W, 3) uint8 RGB, of one size.
        framing: see `framed`.
        name: file that messages name.
        face: which face.

    Returns:
        left, top, right, bottom in pixels.

    Raises:
        BadClip: there is no frame, no face with `face`, or several with `auto`.
        BadCheckpoint: a detector's file is something else.
    """
    if not len(frames):
        raise BadClip(f"{name} has no frame.")
    height, width = frames[0].shape[:2]
    if (box := _without_looking(framing, width, height, name)) is not None:
        return box
    detector = detector_here()
    people = people_in(detector.detect(frame) for frame in frames)
    if not people:
        if framing == "face":
            raise BadClip(f"{name} shows no face: take another picture, or the whole one (--framing whole).")
        return centred_square(width, height)
    person = follow(people, face, LOOKS_PER_SECOND, name)
    box = _square_around(union(np.stack(person.boxes)), width, height)
    if framing == "auto" and _fills(box[2] - box[0], width, height):
        return 0, 0, width, height
    return box


def face_of(picture: np.ndarray, name: str) -> np.ndarray | None:
    """The box (4,) of a picture's face; None where there is none.

    Raises:
        BadClip: it shows several of similar size.
    """
    return find_face(picture, detector_here(), "auto", name)


def own_side(box: Sequence[int] | np.ndarray) -> int:
    """The side in pixels at which a square is shown without enlarging it: its own, even for the video
    encoder, at most `LARGEST_SIDE`.
    """
    side = int(min(box[2] - box[0], box[3] - box[1], LARGEST_SIDE))
    return max(2, side - side % 2)


def _without_looking(framing: Framing, width: int, height: int, name: str) -> PixelBox | None:
    """The square of `whole` or `centre`; None where a face decides."""
    if framing == "centre":
        return centred_square(width, height)
    if framing != "whole":
        return None
    if abs(width / height - 1) > LARGEST_SQUEEZE:
        raise BadClip(
            f"{name} is {width}x{height} pixels large, and the whole picture must be square: crop it, or "
            f"take --framing face or centre."
        )
    return 0, 0, width, height


def _fills(side: float, width: int, height: int) -> bool:
    """Whether a face's square of this side makes the picture a crop already."""
    return width == height and side >= CROP_SHARE * width


def _centre(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def _size(boxes: np.ndarray) -> np.ndarray:
    return np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])


def _squares(faces: np.ndarray, jumps: Sequence[int], fps: float, width: int, height: int) -> np.ndarray:
    """The square of every frame: still where the head stays, moving smoothly where it does not."""
    known = np.asarray(faces.any(axis=1))
    squares = np.zeros((len(faces), 4), np.int64)
    spans = spans_of(known)
    for jump in jumps:
        spans = [part for a, b in spans for part in (((a, jump), (jump, b)) if a < jump < b else ((a, b),))]
    for start, end in spans:
        squares[start:end] = _squares_of_span(faces[start:end], fps, width, height)
    return squares[_nearest_with(known)]


def _squares_of_span(faces: np.ndarray, fps: float, width: int, height: int) -> np.ndarray:
    whole_way = union(faces)
    usual = np.median(_size(faces))
    if max(whole_way[2] - whole_way[0], whole_way[3] - whole_way[1]) <= STILL_GROWTH * usual:
        return np.tile(_square_around(whole_way, width, height), (len(faces), 1))
    from scipy.ndimage import gaussian_filter1d

    beyond = min(round(3 * SMOOTHING_SECONDS * fps), len(faces) - 1)  # the way goes on evenly at its ends
    longer = np.pad(faces, ((beyond, beyond), (0, 0)), "reflect", reflect_type="odd")
    smooth = gaussian_filter1d(longer, SMOOTHING_SECONDS * fps, axis=0)[beyond : beyond + len(faces)]
    return np.array([_square_around(face, width, height) for face in np.asarray(smooth).tolist()])


def _square_around(face: Sequence[float], width: int, height: int) -> PixelBox:
    left, top, right, bottom = shift_inside(increase_to_square(face, AROUND_FACE), width, height)
    side = min(right - left, bottom - top)
    return left, top, left + side, top + side


def _nearest_with(known: np.ndarray) -> np.ndarray:
    """For every index the nearest one that is known, (N,) int64."""
    present = np.flatnonzero(known)
    right = np.searchsorted(present, np.arange(len(known))).clip(0, len(present) - 1)
    left = (right - 1).clip(0)
    index = np.arange(len(known))
    nearer_left = np.abs(present[left] - index) <= np.abs(present[right] - index)
    return np.where(nearer_left, present[left], present[right])


def _notes(name: str, faces: np.ndarray, jumps: Sequence[int], fps: float) -> tuple[str, ...]:
    missing = spans_of(np.asarray(~faces.any(axis=1)))
    spans = ", ".join(f"{a / fps:.2f} to {b / fps:.2f} s" for a, b in missing)
    notes = [f"{name}: there is no face from {spans}"] if spans else []
    if jumps:
        times = ", ".join(f"{jump / fps:.2f} s" for jump in jumps)
        notes.append(
            f"{name}: the picture is cut at {times}; the face after it is taken for the same person's"
        )
    return tuple(notes)
