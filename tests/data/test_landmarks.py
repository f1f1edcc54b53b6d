"""Eyes and mouth: detected in real faces of any size, known in the sample, interpolated over hidden faces."""

from __future__ import annotations

from importlib.util import find_spec

import cv2
import numpy as np
import pytest
import torch

from kpbe.checkpoints.catalogue import CATALOGUE
from kpbe.data.landmarks import find_landmarks, get_landmark_finder
from kpbe.data.sample.clip import plan_clip
from kpbe.errors import BadCheckpoint, MissingWeights
from kpbe.media.recording import Recording
from kpbe.params import SampleParams

EYES_AND_MOUTH = np.array([[160, 172], [215, 173], [187, 229]])
"""In the first frame of GRID_lbbc2a.mpg, by eye."""


@pytest.fixture
def portrait(shared_clips, shared_weights, monkeypatch):
    monkeypatch.setenv("KPBE_WEIGHTS", str(shared_weights))
    return Recording(shared_clips / "grid_lipnet" / "GRID_lbbc2a.mpg").frames()[0]


MEDIAPIPE = pytest.param(
    "mediapipe", marks=pytest.mark.skipif(find_spec("mediapipe") is None, reason="mediapipe is not installed")
)


@pytest.mark.parametrize("kind", ["yunet", MEDIAPIPE])
@pytest.mark.parametrize("scale", [0.25, 1, 3])
def test_eyes_and_mouth_are_found_at_any_size(portrait, kind, scale):
    finder = get_landmark_finder(kind)
    assert finder is not None
    picture = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    points = finder.find(picture)
    assert points is not None
    np.testing.assert_allclose(points, EYES_AND_MOUTH * scale, atol=7 * scale)


@pytest.mark.parametrize("scale", [0.25, 1, 3])
def test_the_cascade_places_eyes_and_mouth_by_proportions(portrait, scale, monkeypatch, tmp_path):
    monkeypatch.delenv("KPBE_WEIGHTS")
    monkeypatch.chdir(tmp_path)
    finder = get_landmark_finder("cascade")
    assert finder is not None
    points = finder.find(cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    assert points is not None
    eye_distance = 55 * scale
    np.testing.assert_allclose(points, EYES_AND_MOUTH * scale, atol=0.25 * eye_distance)
    assert finder.find(np.full_like(portrait, 120)) is None


def test_no_face_gives_no_points_and_a_hidden_one_lies_between_its_neighbours(portrait):
    finder = get_landmark_finder("yunet")
    assert finder is not None
    blank = np.full_like(portrait, 120)
    assert finder.find(blank) is None
    moved = np.roll(portrait, 10, axis=1)
    first, hidden, last = find_landmarks([portrait, blank, moved], finder)
    np.testing.assert_allclose(hidden, (first + last) / 2, atol=1e-3)
    assert np.isnan(find_landmarks([blank, blank], finder)).all()


def test_the_sample_knows_its_eyes_and_mouth():
    plan = plan_clip(0, 0, SampleParams(seconds=0.5))
    landmarks, boxes = plan.truth.landmarks, plan.truth.boxes
    assert landmarks.shape == (len(boxes), 3, 2)
    left, right, mouth = np.moveaxis(landmarks, 1, 0)
    assert (left[:, 0] < mouth[:, 0]).all() and (mouth[:, 0] < right[:, 0]).all()
    assert (mouth[:, 1] > np.maximum(left[:, 1], right[:, 1])).all()
    inside = (landmarks > boxes[:, None, :2]) & (landmarks < boxes[:, None, 2:])
    assert inside.all()


def test_fan_reads_its_weights_from_a_local_folder(portrait, tmp_path, monkeypatch, shared_weights):
    """The weights are random, because the published file is not here: where the points lie is untested."""
    from face_alignment.models import FAN

    torch.manual_seed(0)
    torch.save(FAN(4).state_dict(), tmp_path / CATALOGUE["fan"].file)
    monkeypatch.setenv("KPBE_WEIGHTS", f"{tmp_path}:{shared_weights}")
    finder = get_landmark_finder("fan")
    assert finder is not None
    points = finder.find(portrait)
    assert points is not None and points.shape == (3, 2)
    assert (points > 50).all() and (points < 300).all()  # within the enlarged face box
    (tmp_path / CATALOGUE["fan"].file).write_bytes(b"<html>not found</html>")
    with pytest.raises(BadCheckpoint, match=CATALOGUE["fan"].file):
        get_landmark_finder("fan")


def test_missing_weights_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KPBE_WEIGHTS", raising=False)
    with pytest.raises(MissingWeights, match=CATALOGUE["yunet"].file):
        get_landmark_finder("yunet")
    with pytest.raises(MissingWeights, match=CATALOGUE["fan"].file):
        get_landmark_finder("fan")
    with pytest.raises(MissingWeights, match=CATALOGUE["face_landmarker"].file):
        get_landmark_finder("mediapipe")
    assert get_landmark_finder("known") is None
