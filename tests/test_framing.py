"""Which square of a picture is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kpbe import framing
from kpbe.errors import BadClip, KPBEError, MissingWeights
from kpbe.framing import all_framed, framing_of, square_of


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
def faces(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Stand-ins for the detectors whose files are on this machine."""

    def use(yunet: Faces | None, mediapipe: Faces | None = None) -> None:
        there = {"yunet": yunet, "mediapipe": mediapipe}

        def get_detector(kind: str) -> Faces:
            if (detector := there[kind]) is None:
                raise MissingWeights(f"{kind} is missing")
            return detector

        monkeypatch.setattr(framing, "get_detector", get_detector)

    return use


def pictures(width: int, height: int, count: int = 3) -> list[np.ndarray]:
    return [np.zeros((height, width, 3), np.uint8)] * count


def test_square_pictures_are_taken_whole_and_others_around_their_face(faces) -> None:
    faces(Faces())
    assert square_of(pictures(120, 120), "auto", "a.png") == (0, 0, 120, 120)
    left, top, right, bottom = square_of(pictures(200, 120), "auto", "a.mp4")
    assert abs((right - left) - (bottom - top)) <= 1
    assert left <= 60 and right >= 120 and top <= 20 and bottom >= 70, "the larger face in all frames"
    assert left >= 0 and top >= 0 and right <= 200 and bottom <= 120


def test_without_a_detector_or_a_face_the_middle_is_taken(faces) -> None:
    faces(None)
    assert square_of(pictures(200, 120), "auto", "a.mp4") == (40, 0, 160, 120)
    faces(Faces(found=False))
    assert square_of(pictures(200, 120), "auto", "a.mp4") == (40, 0, 160, 120)


def test_the_landmarker_finds_the_face_where_yunets_file_is_absent(faces) -> None:
    class FacesAbove(Faces):
        def detect(self, frame: np.ndarray) -> np.ndarray:
            return np.array([[10, 10, 40, 40, 1.0]])

    for asked in ("auto", "face"):
        faces(None, FacesAbove())
        left, top, right, bottom = square_of(pictures(200, 120), asked, "a.mp4")
        assert 0 <= left <= 10 and 0 <= top <= 10 and 40 <= right < 60 and 40 <= bottom < 60
        faces(Faces(), FacesAbove())
        assert square_of(pictures(200, 120), asked, "a.mp4")[2] >= 120, "YuNet comes first"
    faces(None, Faces(found=False))
    with pytest.raises(BadClip, match=r"a\.mp4 shows no face"):
        square_of(pictures(200, 120), "face", "a.mp4")


def test_each_framing_does_what_it_says(faces) -> None:
    faces(Faces())
    assert square_of(pictures(200, 120), "whole", "a.mp4") == (0, 0, 200, 120)
    assert square_of(pictures(120, 200), "centre", "a.mp4") == (0, 40, 120, 160)
    assert square_of(pictures(200, 200), "face", "a.mp4") != (0, 0, 200, 200)
    with pytest.raises(KPBEError, match="no framing middle: choose one of auto, face, centre, whole"):
        framing_of("middle")
    assert framing_of("centre") == "centre"


def test_a_face_that_is_asked_for_and_not_found_is_an_error(
    faces, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    faces(Faces(found=False))
    with pytest.raises(BadClip, match=r"a\.mp4 shows no face"):
        square_of(pictures(200, 120), "face", "a.mp4")
    with pytest.raises(BadClip, match=r"a\.mp4 has no frame"):
        square_of([], "auto", "a.mp4")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KPBE_WEIGHTS", raising=False)
    with pytest.raises(MissingWeights, match=r"a\.mp4.*face_detection_yunet.*\.onnx.*face_landmarker\.task"):
        square_of(pictures(200, 120), "face", "a.mp4")
    assert square_of(pictures(200, 120), "auto", "a.mp4") == (40, 0, 160, 120)


@pytest.mark.parametrize("side", [40, 16, 64])
def test_framed_part_has_the_frontends_size(side: int) -> None:
    frame = np.zeros((60, 80, 3), np.uint8)
    frame[10:50, 20:60] = 200
    (part,) = all_framed([frame], (20, 10, 60, 50), side)
    assert part.shape == (side, side, 3) and (part == 200).all()
