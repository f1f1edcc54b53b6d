from __future__ import annotations

import sys
from importlib.util import find_spec

import cv2
import numpy as np
import pytest
import torch

from kpbe.checkpoints.catalogue import CATALOGUE
from kpbe.data import faces
from kpbe.data.crops import iou
from kpbe.data.faces import finder_here, get_detector
from kpbe.errors import BadCheckpoint, MissingWeights
from kpbe.media.recording import Recording

FACE = (110, 110, 225, 255)
"""Roughly, in the first frame of GRID_lbbc2a.mpg."""


MEDIAPIPE = pytest.param(
    "mediapipe", marks=pytest.mark.skipif(find_spec("mediapipe") is None, reason="mediapipe is not installed")
)


@pytest.fixture(scope="module")
def portrait(shared_clips):
    return Recording(shared_clips / "grid_lipnet" / "GRID_lbbc2a.mpg").frames()[0]


@pytest.fixture
def real_weights(shared_weights, monkeypatch):
    monkeypatch.setenv("KPBE_WEIGHTS", str(shared_weights))


@pytest.fixture(autouse=True)
def no_downloads(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a download was tried")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)


@pytest.mark.parametrize("kind", ["yunet", "blazeface", MEDIAPIPE, "cascade"])
def test_a_real_face_is_found_at_any_size(kind, portrait, real_weights):
    detector = get_detector(kind)
    assert detector is not None
    for scale in (1, 4):
        picture = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        found = detector.detect(picture)
        assert found.shape == (1, 5)
        assert iou(found[0, :4], np.multiply(FACE, scale)) > 0.5
        assert 0.5 < found[0, 4] <= 1


@pytest.mark.parametrize("kind", ["yunet", "blazeface", MEDIAPIPE, "cascade"])
def test_a_picture_without_a_face_gives_no_box(kind, real_weights):
    detector = get_detector(kind)
    assert detector is not None
    assert detector.detect(np.full((200, 300, 3), 120, np.uint8)).shape == (0, 5)


def test_yunet_finds_all_faces_best_first(portrait, real_weights):
    detector = get_detector("yunet")
    assert detector is not None
    found = detector.detect(np.concatenate([portrait, portrait[:, ::-1]], axis=1))
    assert len(found) == 2
    assert found[0, 4] >= found[1, 4]
    assert abs(found[0, 0] - found[1, 0]) > 200


def test_sfd_reads_its_weights_from_a_local_folder(tmp_path, monkeypatch):
    from face_alignment.detection.sfd.net_s3fd import s3fd

    monkeypatch.setattr(faces, "DETECTION_HEIGHT", 64)
    monkeypatch.setenv("KPBE_WEIGHTS", str(tmp_path))
    torch.manual_seed(0)
    network = s3fd()
    parameters = network.state_dict()
    parameters["conv3_3_norm_mbox_conf.bias"][3] = 1.0  # detects some cells of the picture as a face
    torch.save(parameters, tmp_path / CATALOGUE["sfd"].file)
    detector = get_detector("sfd")
    assert detector is not None
    found = detector.detect(np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8))
    assert found.shape[1] == 5 and len(found)
    assert (np.diff(found[:, 4]) <= 0).all()


def test_mediapipe_needs_its_file_and_its_package(tmp_path, monkeypatch, shared_weights):
    name = CATALOGUE["face_landmarker"].file
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KPBE_WEIGHTS", raising=False)
    with pytest.raises(MissingWeights, match=name):
        get_detector("mediapipe")
    monkeypatch.setenv("KPBE_WEIGHTS", str(shared_weights))
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "mediapipe", None)
        with pytest.raises(MissingWeights, match=r"kpbe\[landmarks\]"):
            get_detector("mediapipe")
    pytest.importorskip("mediapipe")
    (tmp_path / name).write_bytes(b"<html>not found</html>")
    monkeypatch.setenv("KPBE_WEIGHTS", str(tmp_path))
    with pytest.raises(BadCheckpoint, match=name):
        get_detector("mediapipe")


@pytest.mark.parametrize("kind", ["yunet", "blazeface", "sfd"])
def test_missing_weights_are_named_before_any_download(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KPBE_WEIGHTS", raising=False)
    with pytest.raises(MissingWeights, match=CATALOGUE[kind].file):
        get_detector(kind)


@pytest.mark.parametrize("kind", ["yunet", "blazeface", "sfd"])
def test_damaged_weights_are_named(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("KPBE_WEIGHTS", str(tmp_path))
    for name in (kind, "blazeface_anchors"):
        (tmp_path / CATALOGUE[name].file).write_bytes(b"<html>not found</html>")
    with pytest.raises(BadCheckpoint, match=CATALOGUE[kind].file):
        get_detector(kind)


@pytest.fixture
def no_weights(tmp_path, monkeypatch):
    """A folder beside no weights, in a process that has not logged anything yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KPBE_WEIGHTS", raising=False)
    faces._say_cascade.cache_clear()


def test_the_cascade_stands_in_where_no_file_is_and_that_is_said_once(no_weights, portrait, capsys):
    assert [finder_here(), finder_here()] == ["cascade", "cascade"]
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "frontal cascade" in said and "kpbe weights get yunet" in said
    detector = get_detector("cascade")
    assert detector is not None
    assert iou(detector.detect(portrait)[0, :4], FACE) > 0.6


def test_better_finders_come_first(no_weights, shared_weights, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KPBE_WEIGHTS", str(tmp_path))
    if find_spec("mediapipe") is not None:
        (tmp_path / CATALOGUE["face_landmarker"].file).touch()
        assert finder_here() == "mediapipe"
    (tmp_path / CATALOGUE["yunet"].file).touch()
    assert finder_here() == "yunet"
    assert capsys.readouterr().err == "", "nothing stands in"


def test_the_cascade_boxes_are_those_of_yunet_up_to_proportions(portrait, real_weights):
    cascade, yunet = get_detector("cascade"), get_detector("yunet")
    assert cascade is not None and yunet is not None
    assert iou(cascade.detect(portrait)[0, :4], yunet.detect(portrait)[0, :4]) > 0.7
    side_by_side = np.concatenate([portrait[::2, ::2], portrait[::2, ::2]], axis=1)
    found = cascade.detect(side_by_side)
    assert len(found) == 2 and (found[:, 4] == 1).all()
    assert abs(found[0, 0] - found[1, 0]) > 100
    left, top, right, bottom = cascade.detect(portrait[:, 120:])[0, :4]
    assert left >= 0 and right <= portrait.shape[1] - 120 and top < bottom


def test_a_picture_smaller_than_the_cascade_has_no_face(real_weights):
    detector = get_detector("cascade")
    assert detector is not None
    assert detector.detect(np.zeros((20, 200, 3), np.uint8)).shape == (0, 5)


def test_known_boxes_need_no_detector():
    assert get_detector("known") is None
