"""ArcFace distinguishes people, and faces are aligned as in its training."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.transform import SimilarityTransform

from kpbe.checkpoints.catalogue import CATALOGUE
from kpbe.errors import BadCheckpoint, MissingWeights
from kpbe.media.recording import Recording
from kpbe.metrics.face_landmarks import FaceLandmarker
from kpbe.metrics.identity import TEMPLATE, ArcFace, _similarity, aligned_face, cosine, load_arcface

FILE = CATALOGUE["arcface"].file
PEOPLE = {
    "s26": ["grid_s26_s31/s26_bgbsza.mpg", "grid_s26_s31/s26_lrbi7p.mpg"],
    "s31": ["grid_s26_s31/s31_bgiq6p.mpg", "grid_s26_s31/s31_lwiu7s.mpg"],
    "lbbc2a": ["grid_lipnet/GRID_lbbc2a.mpg"],
    "reagan": ["styletalk/source_video_video_reagan_clip1.mp4"],
    "obama": ["styletalk/source_video_video_Obama_clip3.mp4"],
}


@pytest.fixture(scope="module")
def embeddings(shared_clips: Path, shared_weights: Path) -> dict[str, list[np.ndarray]]:
    """Two faces of each clip of each person."""
    pytest.importorskip("mediapipe")
    landmarker = FaceLandmarker(shared_weights / CATALOGUE["face_landmarker"].file)
    network = ArcFace(shared_weights / FILE)
    found: dict[str, list[np.ndarray]] = {}
    for person, clips in PEOPLE.items():
        for clip in clips:
            frames = Recording(shared_clips / clip).frames()
            for frame in (frames[0], frames[-10]):
                face = landmarker.read(frame)
                assert face is not None
                found.setdefault(person, []).append(network.embed(frame, face.five_points))
    return found


def test_a_person_is_like_themselves_and_unlike_others(embeddings: dict[str, list[np.ndarray]]) -> None:
    assert all(vector.shape == (512,) for vectors in embeddings.values() for vector in vectors)
    for person, vectors in embeddings.items():
        alike = [cosine(a, b) for a, b in combinations(vectors, 2)]
        assert min(alike) > 0.6, (person, alike)
    for one, other in combinations(embeddings, 2):
        unlike = [cosine(a, b) for a in embeddings[one] for b in embeddings[other]]
        assert max(unlike) < 0.35, (one, other, unlike)


def test_the_cosine_needs_no_unit_length() -> None:
    a = np.array([3.0, 4.0])
    assert cosine(a, 7 * a) == pytest.approx(1)
    assert cosine(a, np.array([-4.0, 3.0])) == pytest.approx(0)


def test_faces_are_aligned_by_the_least_squares_similarity() -> None:
    points = TEMPLATE * 1.7 + (40, 25) + np.random.default_rng(0).normal(0, 3, (5, 2))
    expected = SimilarityTransform.from_estimate(points, TEMPLATE).params[:2]
    np.testing.assert_allclose(_similarity(points), expected, atol=1e-6)
    frame = np.zeros((300, 300, 3), np.uint8)
    turned = cv2.transform((TEMPLATE * 2)[None], cv2.getRotationMatrix2D((110, 130), 25, 1))[0]
    for x, y in turned:
        cv2.circle(frame, (round(x), round(y)), 5, (255, 255, 255), -1)
    face = aligned_face(frame, turned)
    assert face.shape == (112, 112, 3)
    for x, y in TEMPLATE:
        assert face[round(y), round(x)].min() > 200
    with pytest.raises(ValueError, match="five different"):
        aligned_face(frame, np.ones((5, 2)))


def test_missing_and_damaged_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KPBE_WEIGHTS", raising=False)
    with pytest.raises(MissingWeights, match=FILE):
        load_arcface()
    (tmp_path / FILE).write_bytes(b"<html>not found</html>")
    monkeypatch.setenv("KPBE_WEIGHTS", str(tmp_path))
    with pytest.raises(BadCheckpoint, match=FILE):
        load_arcface()
