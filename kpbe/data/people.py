"""The people of a video: faces followed through it, and which of them is meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from kpbe.data.crops import iou
from kpbe.data.tracking import RIVAL_SHARE, SIMILAR_AREA
from kpbe.errors import BadClip, KPBEError

FaceChoice = str
"""`auto`, `largest`, `left`, `right`, or a number: 1 is the first face seen, from the left."""

CHOICES = ("auto", "largest", "left", "right")

SAME_FACE = 0.2
"""IoU above which faces of neighbouring looks are the same one's."""

SAME_PLACE = 0.3
"""IoU above which two faces of one look are the same one, found twice."""

MEMORY = 6
"""Looks that a face may be missed and is still known afterwards."""

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
