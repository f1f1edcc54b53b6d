"""The people of a video: faces followed through it, and which of them is meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from tqdm import tqdm

from kpbe.data.crops import iou
from kpbe.data.faces import DETECTION_HEIGHT, FaceDetector
from kpbe.data.tracking import RIVAL_SHARE, SIMILAR_AREA
from kpbe.errors import BadClip, KPBEError
from kpbe.media.recording import FramesAtFps

FaceChoice = str
"""`auto`, `largest`, `left`, `right`, or a number: 1 is the first face seen, from the left."""

CHOICES = ("auto", "largest", "left", "right")

SAME_FACE = 0.2
"""IoU above which faces of neighbouring looks are the same one's."""

SAME_PLACE = 0.3
"""IoU above which two faces of one look are the same one, found twice."""

MEMORY = 6
"""Looks that a face may be missed and is still known afterwards."""

LOOKS_PER_SECOND = 12.5
"""How often a face is looked for; in between it moves evenly."""

LONGEST_GAP = 0.5
"""Seconds for which a missing face is taken to be between the places where it was seen."""

LONG_VIDEO_FRAMES = 500
"""Longer videos show a progress bar while faces are looked for."""

LEAST_SHARE = 0.1
"""A face seen in less than this share of the looks of the one seen most is taken for a false alarm."""


@dataclass
class Person:
    """A face that was followed.

    Attributes:
        looks: indices of the looks that found it, rising.
        boxes: left, top, right, bottom of each.
    """

    looks: list[int] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)

    @property
    def area(self) -> float:
        """Mean area of its boxes."""
        return float(np.mean([_area(box) for box in self.boxes]))

    @property
    def prominence(self) -> float:
        """Mean area, times how often it was seen."""
        return self.area * len(self.looks)

    @property
    def middle(self) -> float:
        """Mean horizontal place of its centre."""
        return float(np.mean([(box[0] + box[2]) / 2 for box in self.boxes]))

    def meets(self, other: Person) -> bool:
        """Whether both are there at a time."""
        return self.looks[0] <= other.looks[-1] and other.looks[0] <= self.looks[-1]


def check_choice(choice: str) -> FaceChoice:
    """A choice of a face by its name.

    Raises:
        KPBEError: it is none.
    """
    if choice in CHOICES or (choice.isdecimal() and int(choice) > 0):
        return choice
    raise KPBEError(f"there is no face {choice!r}: choose {', '.join(CHOICES)}, or a number from 1 on.")


def people_in(looks: Iterable[np.ndarray]) -> list[Person]:
    """Follow all faces through a video.

    Args:
        looks: for each frame that was looked at, faces (n, >= 4) as a detector gives them.

    Returns:
        The people in the order in which they appear, from left to right; false alarms left out.
    """
    people: list[Person] = []
    for index, faces in enumerate(looks):
        boxes = _without_doubles(np.maximum(faces[:, :4], 0))
        known = [person for person in people if index - person.looks[-1] <= MEMORY]
        for person, box in _matched(known, boxes):
            if person is None:
                people.append(person := Person())
            person.looks.append(index)
            person.boxes.append(box)
    most = max((len(person.looks) for person in people), default=0)
    real = [person for person in people if len(person.looks) >= LEAST_SHARE * most]
    return sorted(real, key=lambda person: (person.looks[0], person.boxes[0][0]))


@dataclass(frozen=True)
class FollowedFace:
    """One person's face in a video.

    Attributes:
        boxes: (N, 4) float64 left, top, right, bottom; zeros where the face is missing.
        jumps: frames at which it is at another place than before, as after a cut.
        people: how many faces the video shows, one after the other or at a time.
    """

    boxes: np.ndarray
    jumps: tuple[int, ...]
    people: int


def follow_face(
    frames: FramesAtFps, detector: FaceDetector, choice: FaceChoice, name: str
) -> FollowedFace | None:
    """Look for faces through a whole video and follow one person's.

    Args:
        frames: the video at a constant rate.
        detector: finds the faces, in `LOOKS_PER_SECOND` of the frames.
        choice: whose face.
        name: file that messages name.

    Returns:
        The face in every frame; None where no frame shows one.

    Raises:
        BadClip: see `follow`.
    """
    step = max(1, round(frames.fps / LOOKS_PER_SECOND))
    info = frames.contents.info
    shrink = min(1.0, DETECTION_HEIGHT / info.height)
    small = (max(1, round(info.width * shrink)), max(1, round(info.height * shrink)))
    scale = np.array([info.width / small[0], info.height / small[1]] * 2)
    looked_at = replace(frames, indices=frames.indices[::step], exact=False, size=small)
    bar = tqdm(
        looked_at,
        f"faces in {Path(name).name}",
        unit="look",
        mininterval=1,
        leave=False,
        disable=len(frames) < LONG_VIDEO_FRAMES,
    )
    people = people_in(detector.detect(frame)[:, :4] * scale for frame in bar)
    if not people:
        return None
    person = follow(people, choice, frames.fps / step, name)
    boxes, jumps = _in_every_frame(person, step, len(frames), frames.fps)
    return FollowedFace(boxes, tuple(jumps), len(people))


def find_face(
    picture: np.ndarray, detector: FaceDetector, choice: FaceChoice, name: str
) -> np.ndarray | None:
    """The box (4,) of a picture's face; None where there is none.

    Raises:
        BadClip: see `follow`.
    """
    people = people_in([detector.detect(picture)])
    return follow(people, choice, LOOKS_PER_SECOND, name).boxes[0] if people else None


def _in_every_frame(person: Person, step: int, count: int, fps: float) -> tuple[np.ndarray, list[int]]:
    """Boxes (N, 4) of every frame, and the frames at which they jump."""
    at = np.array(person.looks) * step
    boxes = np.stack(person.boxes).astype(float)
    faces = np.zeros((count, 4))
    jumps = []
    for (first, a), (second, b) in pairwise(zip(at, boxes, strict=True)):
        if second - first > max(LONGEST_GAP * fps, step):
            continue
        if iou(a, b) == 0:  # a cut lies between them
            jumps.append(int(second))
            faces[first:second] = a
        else:
            share = np.arange(second - first)[:, None] / (second - first)
            faces[first:second] = a + share * (b - a)
    for index, box in zip(at, boxes, strict=True):
        alone = ~faces[index : index + step].any(axis=1)
        faces[index : index + step][alone] = box
    if at[0] <= LONGEST_GAP * fps:
        faces[: at[0]] = boxes[0]
    if count - at[-1] <= LONGEST_GAP * fps + step:
        faces[at[-1] :] = boxes[-1]
    return faces, jumps


def _without_doubles(boxes: np.ndarray) -> list[np.ndarray]:
    kept: list[np.ndarray] = []
    for box in boxes:
        if not any(iou(box, other) > SAME_PLACE for other in kept):
            kept.append(box)
    return kept


def _matched(people: Sequence[Person], boxes: Sequence[np.ndarray]) -> list[tuple[Person | None, np.ndarray]]:
    """Each box with the person that it follows; None is a new one."""
    pairs = [
        (float(iou(person.boxes[-1], box)), p, b)
        for p, person in enumerate(people)
        for b, box in enumerate(boxes)
    ]
    owner: dict[int, int] = {}
    for overlap, p, b in sorted(pairs, reverse=True):
        if overlap >= SAME_FACE and b not in owner and p not in owner.values():
            owner[b] = p
    return [(people[owner[b]] if b in owner else None, box) for b, box in enumerate(boxes)]


def follow(people: Sequence[Person], choice: FaceChoice, looks_per_second: float, name: str) -> Person:
    """One person from the beginning to the end, over cuts.

    Where the chosen face ends and another begins later, as after a cut, that is taken for the same person.

    Args:
        people: of the whole video (`people_in`), at least one.
        choice: which one.
        looks_per_second: for the message.
        name: file that messages name.

    Raises:
        BadClip: with `auto`, another face of similar size is there most of the time; or there is no face of
            that number.
    """
    followed = _chosen(people, choice, name)
    chain = [followed]
    for person in sorted(people, key=lambda person: -person.prominence):
        if not any(person.meets(other) for other in chain):
            chain.append(person)
    if choice == "auto":
        _refuse_rivals(chain, people, looks_per_second, name)
    boxes = {look: box for person in chain for look, box in zip(person.looks, person.boxes, strict=True)}
    return Person(sorted(boxes), [boxes[look] for look in sorted(boxes)])


def _chosen(people: Sequence[Person], choice: FaceChoice, name: str) -> Person:
    if choice.isdecimal():
        if int(choice) > len(people):
            raise BadClip(f"{name} shows {len(people)} faces, so that there is no face {choice}.")
        return people[int(choice) - 1]
    if choice == "left":
        return min(people, key=lambda person: person.middle)
    if choice == "right":
        return max(people, key=lambda person: person.middle)
    return max(people, key=lambda person: person.prominence)


def _refuse_rivals(
    chain: Sequence[Person], people: Sequence[Person], looks_per_second: float, name: str
) -> None:
    own = {look: box for person in chain for look, box in zip(person.looks, person.boxes, strict=True)}
    rivals = sorted(
        look
        for person in people
        if not any(person is other for other in chain)
        for look, box in zip(person.looks, person.boxes, strict=True)
        if look in own and _area(box) >= SIMILAR_AREA * _area(own[look])
    )
    if len(set(rivals)) > RIVAL_SHARE * len(own):
        raise BadClip(
            f"{name} shows two faces of similar size from {rivals[0] / looks_per_second:.2f} s on: choose "
            f"one with --face left, right, largest or a number."
        )


def _area(box: np.ndarray) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))
