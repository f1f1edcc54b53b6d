"""Boxes around mouths, and mouths that open together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpbe.checkpoints.catalogue import CATALOGUE
from kpbe.data.sample.clip import plan_clip
from kpbe.media.recording import Recording
from kpbe.metrics.face_landmarks import FaceLandmarker
from kpbe.metrics.image import ssim
from kpbe.metrics.lpips import LPIPS
from kpbe.metrics.mouth import mouth_box, mouth_box_from_three_points, opening_correlation
from kpbe.params import SampleParams


def test_the_box_is_a_square_around_the_lips() -> None:
    lips = np.array([[100, 150], [160, 150], [130, 140], [130, 165]])
    left, top, right, bottom = mouth_box(lips, (256, 256))
    assert (right - left, bottom - top) == (90, 90)
    assert abs((left + right - 1) / 2 - 130) <= 0.5 and abs((top + bottom - 1) / 2 - 152.5) <= 0.5


@given(
    st.floats(-50, 350), st.floats(-50, 350), st.floats(0, 400), st.integers(32, 300), st.integers(32, 300)
)
def test_the_box_lies_in_the_frame_and_suits_ssim_and_lpips(
    x: float, y: float, width: float, rows: int, columns: int
) -> None:
    lips = np.array([[x - width / 2, y], [x + width / 2, y]])
    left, top, right, bottom = mouth_box(lips, (rows, columns))
    assert 0 <= left < right <= columns and 0 <= top < bottom <= rows
    assert min(right - left, bottom - top) >= 32


def test_the_smallest_box_can_be_scored() -> None:
    left, top, right, bottom = mouth_box(np.array([[3, 3], [6, 4]]), (64, 64))
    frames = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    crop = frames[:, top:bottom, left:right]
    assert ssim(crop, crop).item() == pytest.approx(1)
    assert LPIPS()(crop, crop).item() == 0
    with pytest.raises(ValueError, match="32x32"):
        mouth_box(np.array([[3, 3], [6, 4]]), (31, 64))


def test_boxes_of_three_points_are_those_of_the_lips(shared_clips: Path, shared_weights: Path) -> None:
    pytest.importorskip("mediapipe")
    frame = Recording(shared_clips / "grid_lipnet" / "GRID_lbbc2a.mpg").frames()[0]
    face = FaceLandmarker(shared_weights / CATALOGUE["face_landmarker"].file).read(frame)
    assert face is not None
    lips = mouth_box(face.lips, frame.shape[:2])
    np.testing.assert_allclose(mouth_box_from_three_points(face.three_points, frame.shape[:2]), lips, atol=10)
    truth = plan_clip(0, 0, SampleParams(seconds=1, frame_size=256)).truth
    left, top, right, bottom = mouth_box_from_three_points(truth.landmarks[0], (256, 256))
    assert ((truth.lips[0] > (left, top)) & (truth.lips[0] < (right, bottom))).all()


def test_points_that_are_no_points_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        mouth_box(np.full((4, 2), np.nan), (256, 256))
    with pytest.raises(ValueError, match=r"\(3, 2\)"):
        mouth_box_from_three_points(np.zeros((5, 2)), (256, 256))


def test_openings_that_go_together_correlate() -> None:
    rng = np.random.default_rng(0)
    truth = 0.1 + 0.05 * np.sin(np.arange(50) / 3)
    assert opening_correlation(truth, 0.5 * truth + 0.2) == pytest.approx(1)
    assert opening_correlation(truth, 0.3 - truth) == pytest.approx(-1)
    shuffled = opening_correlation(truth, rng.permutation(truth))
    assert shuffled is not None and abs(shuffled) < 0.4


def test_frames_without_a_face_are_left_out() -> None:
    truth = 0.1 + 0.05 * np.sin(np.arange(50) / 3)
    other = truth.copy()
    other[5:9] = np.nan
    other[9] = 3.0
    truth[9] = np.nan
    assert opening_correlation(truth, other) == pytest.approx(1)
    other[:-7] = np.nan
    assert opening_correlation(truth, other) is None


def test_a_still_mouth_has_no_correlation() -> None:
    truth = 0.1 + 0.05 * np.sin(np.arange(50) / 3)
    noise = np.random.default_rng(0).normal(0, 0.003, 50)
    assert opening_correlation(truth, 0.1 + noise) == 0, "a still mouth follows nothing"
    assert opening_correlation(0.1 + noise, truth) is None, "there is nothing to follow"
    with pytest.raises(ValueError, match="compared"):
        opening_correlation(truth, truth[1:])
