"""Which square of a picture is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kpbe.errors import BadClip, KPBEError
from kpbe.inference import framing
from kpbe.inference.framing import framing_of, square_of
from kpbe.media.recording import Recording


class Faces:
    """A detector that finds one face, moving to the right, beside a smaller one."""

    def __init__(self, found: bool = True) -> None:
        self.found, self.frame = found, -1

    def detect(self, frame: np.ndarray) -> np.ndarray:
        self.frame += 1
        if not self.found:
            return np.empty((0, 5))
        left = 60.0 + 10 * self.frame
        return np.array([[5, 5, 15, 15, 0.99], [left, 20, left + 40, 70, 0.9]])


@pytest.fixture
def faces(monkeypatch: pytest.MonkeyPatch) -> Callable[[Faces], None]:
    """A stand-in for the detector."""

    def use(detector: Faces) -> None:
        monkeypatch.setattr(framing, "detector_here", lambda: detector)

    return use


def pictures(width: int, height: int, count: int = 3) -> list[np.ndarray]:
    return [np.zeros((height, width, 3), np.uint8)] * count


def test_square_pictures_are_taken_whole_and_others_around_their_face(faces) -> None:
    faces(Faces())
    assert square_of(pictures(80, 80, 1), "auto", "a.png") == (0, 0, 80, 80), "a crop already"
    left, top, right, bottom = square_of(pictures(200, 120), "auto", "a.mp4")
    assert abs((right - left) - (bottom - top)) <= 1
    assert left <= 60 and right >= 120 and top <= 20 and bottom >= 70, "the larger face in all frames"
    assert left >= 0 and top >= 0 and right <= 200 and bottom <= 120


def test_without_a_face_the_middle_is_taken(faces) -> None:
    faces(Faces(found=False))
    assert square_of(pictures(200, 120), "auto", "a.mp4") == (40, 0, 160, 120)


def test_a_real_face_is_framed_without_any_file(
    shared_clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = list(Recording(shared_clips / "grid_lipnet" / "GRID_lbbc2a.mpg").frames()[:3])
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KPBE_WEIGHTS", raising=False)
    left, top, right, bottom = square_of(frames, "face", "a.mpg")
    assert 50 < left < 110 and top < 110 and 225 < right < 310 and bottom > 240
    assert right - left < 250, "around the face, not all of the picture"


def test_each_framing_does_what_it_says(faces) -> None:
    faces(Faces())
    assert square_of(pictures(200, 198), "whole", "a.mp4") == (0, 0, 200, 198)
    with pytest.raises(
        BadClip, match=r"a\.mp4 is 200x120 pixels large, and the whole picture must be square"
    ):
        square_of(pictures(200, 120), "whole", "a.mp4")
    assert square_of(pictures(120, 200), "centre", "a.mp4") == (0, 40, 120, 160)
    assert square_of(pictures(200, 200), "face", "a.mp4") != (0, 0, 200, 200)
    with pytest.raises(KPBEError, match="no framing middle: choose one of auto, face, centre, whole"):
        framing_of("middle")
    assert framing_of("centre") == "centre"


def test_a_face_that_is_asked_for_and_not_found_is_an_error(faces) -> None:
    faces(Faces(found=False))
    with pytest.raises(BadClip, match=r"a\.mp4 shows no face"):
        square_of(pictures(200, 120), "face", "a.mp4")
    with pytest.raises(BadClip, match=r"a\.mp4 has no frame"):
        square_of([], "auto", "a.mp4")
