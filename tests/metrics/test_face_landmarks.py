"""FaceLandmarker on a real face and on drawn ones, whose mouth and pose are known."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from kpbe.checkpoints.catalogue import CATALOGUE
from kpbe.data.sample.clip import render_clip
from kpbe.errors import BadCheckpoint, MissingWeights
from kpbe.media.recording import Recording
from kpbe.metrics import face_landmarks
from kpbe.metrics.face_landmarks import FaceLandmarker, load_face_landmarker
from kpbe.params import SampleParams

FILE = CATALOGUE["face_landmarker"].file
EYES_AND_MOUTH = np.array([[160, 172], [215, 173], [187, 229]])
"""In the first frame of GRID_lbbc2a.mpg, by eye."""


@pytest.fixture(scope="module")
def landmarker(shared_weights: Path) -> FaceLandmarker:
    pytest.importorskip("mediapipe")
    return FaceLandmarker(shared_weights / FILE)


@pytest.fixture(scope="module")
def portrait(shared_clips: Path) -> np.ndarray:
    return Recording(shared_clips / "grid_lipnet" / "GRID_lbbc2a.mpg").frames()[0]


@pytest.mark.parametrize("scale", [0.25, 1, 3])
def test_points_lie_on_a_real_face_of_any_size(
    landmarker: FaceLandmarker, portrait: np.ndarray, scale: float
) -> None:
    picture = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    face = landmarker.read(picture)
    assert face is not None and face.points.shape == (478, 3) and face.points.dtype == np.float32
    np.testing.assert_allclose(face.three_points, EYES_AND_MOUTH * scale, atol=7 * scale)
    left_eye, right_eye, nose, left_corner, right_corner = face.five_points
    np.testing.assert_array_equal([left_eye, right_eye], face.three_points[:2])
    assert left_corner[0] < nose[0] < right_corner[0] and nose[1] < left_corner[1]
    left, top, right, bottom = face.box
    assert (face.lips > (left, top)).all() and (face.lips < (right, bottom)).all()
    assert 100 * scale < face.size < 180 * scale
    assert len(face.blendshapes) == 52 and "jawOpen" in face.blendshapes
    assert all(0 <= value <= 1 for value in face.blendshapes.values())
    np.testing.assert_allclose(face.rotation @ face.rotation.T, np.eye(3), atol=1e-4)


def test_the_largest_face_is_read_and_none_where_there_is_none(
    landmarker: FaceLandmarker, portrait: np.ndarray
) -> None:
    small = np.zeros_like(portrait)
    half = cv2.resize(portrait, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    small[: len(half), : half.shape[1]] = half
    for pair, wide in (([small, portrait], True), ([portrait, small], False)):
        faces = landmarker.read_all(np.concatenate(pair, axis=1))
        assert len(faces) == 2 and faces[0].size > 1.3 * faces[1].size
        assert (faces[0].centre[0] > portrait.shape[1]) == wide
    assert landmarker.read(np.full_like(portrait, 120)) is None
    with pytest.raises(ValueError, match="uint8"):
        landmarker.read(portrait.astype(np.float32))


def test_a_frame_is_read_by_itself(landmarker: FaceLandmarker, portrait: np.ndarray) -> None:
    first = landmarker.read(portrait)
    other = landmarker.read(np.roll(portrait, 40, axis=1))
    again = landmarker.read(portrait)
    assert first is not None and other is not None and again is not None
    np.testing.assert_array_equal(first.points, again.points)
    np.testing.assert_array_equal(first.pose, again.pose)
    np.testing.assert_allclose(other.three_points - first.three_points, [[40, 0]] * 3, atol=2)


def test_mouth_and_pose_of_drawn_heads(landmarker: FaceLandmarker) -> None:
    clip = render_clip(1, 0, SampleParams(seconds=3, frame_size=256))
    faces = [landmarker.read(frame) for frame in clip.frames]
    found = [face for face in faces if face is not None]
    assert len(found) == len(faces)
    opening = [face.opening for face in found]
    assert np.corrcoef(opening, clip.truth.mouth_opening)[0, 1] > 0.85
    np.testing.assert_allclose(
        np.mean([face.three_points for face in found], 0), clip.truth.landmarks.mean(0), atol=4
    )
    # yaw of the canonical face: where its z axis points, seen from above
    yaw = [np.degrees(np.arctan2(face.rotation[0, 2], face.rotation[2, 2])) for face in found]
    assert np.corrcoef(yaw, clip.truth.angles[:, 0])[0, 1] > 0.95
    assert np.std(yaw) == pytest.approx(np.std(clip.truth.angles[:, 0]), rel=0.25)


def test_another_process_reads_the_same_and_says_nothing(
    landmarker: FaceLandmarker, portrait: np.ndarray, shared_weights: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "frame.npy", portrait)
    code = (
        "import json, sys, numpy; from pathlib import Path; from kpbe.metrics.face_landmarks import "
        "FaceLandmarker;face = FaceLandmarker(Path(sys.argv[1])).read(numpy.load(sys.argv[2])); "
        "print(json.dumps(face.points.tolist()))"
    )
    arguments = [str(shared_weights / FILE), str(tmp_path / "frame.npy")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    face = landmarker.read(portrait)
    assert face is not None
    np.testing.assert_array_equal(np.array(json.loads(done.stdout), np.float32), face.points)


def test_what_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared_weights: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KPBE_WEIGHTS", raising=False)
    with pytest.raises(MissingWeights, match=FILE):
        load_face_landmarker()
    monkeypatch.setenv("KPBE_WEIGHTS", str(shared_weights))
    monkeypatch.setattr(face_landmarks.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingWeights, match=r"kpbe\[landmarks\]"):
        load_face_landmarker()


def test_a_damaged_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mediapipe")
    (tmp_path / FILE).write_bytes(b"<html>not found</html>")
    monkeypatch.setenv("KPBE_WEIGHTS", str(tmp_path))
    with pytest.raises(BadCheckpoint, match=FILE):
        load_face_landmarker()
