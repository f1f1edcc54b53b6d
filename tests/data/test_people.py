"""Faces followed through a video: which person, over gaps, cuts and false alarms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kpbe.data.people import FollowedFace, check_choice, follow, follow_face, people_in
from kpbe.errors import BadClip, KPBEError
from kpbe.media.recording import Recording
from kpbe.media.video_writer import write_video


def box(x: float, size: float = 40.0) -> list[float]:
    return [x, 20, x + size, 20 + size, 0.9]


def looks(*faces: list[list[float]]) -> list[np.ndarray]:
    return [np.array(found, float).reshape(-1, 5) for found in faces]


LEFT, RIGHT, SMALL = box(10), box(150), box(90, 20)


class Script:
    """A detector whose answers are written down, one for each look."""

    def __init__(self, found: list[np.ndarray]) -> None:
        self.found = iter(found)

    def detect(self, frame: np.ndarray) -> np.ndarray:
        return next(self.found)


def followed(tmp_path: Path, found: list[np.ndarray], choice: str = "auto") -> FollowedFace | None:
    write_video(tmp_path / "v.mp4", [np.zeros((96, 224, 3), np.uint8)] * (2 * len(found)), 25)
    return follow_face(Recording(tmp_path / "v.mp4").at_fps(25), Script(found), choice, "v.mp4")


def test_two_people_are_two_and_a_false_alarm_is_none() -> None:
    found = looks(*([[RIGHT, LEFT]] * 30))
    found[7] = looks([RIGHT, LEFT, SMALL])[0]
    assert [person.middle for person in people_in(found)] == [30, 170], "from left to right"
    doubled = looks(*([[LEFT, box(14, 36)]] * 5))
    assert len(people_in(doubled)) == 1, "one face that was found twice"


def test_the_choice_decides_and_rivals_are_refused() -> None:
    people = people_in(looks(*([[box(150, 50), LEFT]] * 10)))
    middles = {
        choice: follow(people, choice, 10, "v.mp4").middle
        for choice in ("largest", "left", "right", "1", "2")
    }
    assert middles == {"largest": 175, "left": 30, "right": 175, "1": 30, "2": 175}
    with pytest.raises(
        BadClip, match=r"v\.mp4 shows two faces of similar size from 0\.00 s on: .* --face left"
    ):
        follow(people, "auto", 10, "v.mp4")
    with pytest.raises(BadClip, match="shows 2 faces, so that there is no face 3"):
        follow(people, "3", 10, "v.mp4")
    small_beside = people_in(looks(*([[SMALL, LEFT]] * 10)))
    assert follow(small_beside, "auto", 10, "v.mp4").middle == 30


def test_a_rival_for_a_moment_is_no_rival() -> None:
    found = looks(*([[LEFT]] * 20), *([[LEFT, RIGHT]] * 5))
    assert follow(people_in(found), "auto", 10, "v.mp4").middle == 30


def test_after_a_cut_the_face_at_another_place_is_followed(tmp_path: Path) -> None:
    face = followed(tmp_path, looks(*([[LEFT]] * 10), *([[RIGHT]] * 10)))
    assert face is not None and face.jumps == (20,)
    assert (face.boxes[:20, 0] == 10).all() and (face.boxes[20:, 0] == 150).all()


def test_gaps_are_filled_when_short_and_left_when_long(tmp_path: Path) -> None:
    found = looks(*([[box(10)]] * 4), [], *([[box(22)]] * 4), *([[]] * 20), *([[box(22)]] * 4))
    face = followed(tmp_path, found)
    assert face is not None
    known = np.asarray(face.boxes.any(axis=1))
    assert known[:18].all() and not known[18:58].any() and known[58:].all()
    assert 10 < face.boxes[8, 0] < 22, "in between while it was missed"


def test_a_title_at_the_beginning_has_no_face(tmp_path: Path) -> None:
    face = followed(tmp_path, looks(*([[]] * 10), *([[LEFT]] * 10)))
    assert face is not None and not face.boxes[:20].any() and face.boxes[20:].any(axis=1).all()
    assert followed(tmp_path, looks(*([[]] * 10))) is None


def test_choices_are_checked() -> None:
    assert [check_choice(word) for word in ("auto", "left", "12")] == ["auto", "left", "12"]
    for word in ("0", "middle", "-1", ""):
        with pytest.raises(KPBEError, match="choose auto, largest, left, right"):
            check_choice(word)
