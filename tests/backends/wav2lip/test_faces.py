"""Boxes and crops: rounded as in the reference, and never outside the frame."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpbe.backends.wav2lip.faces import (
    SEAM,
    crop_boxes,
    crop_face,
    pad_boxes,
    paste_face,
    prepare_face_window,
    smooth_boxes,
)


@pytest.mark.parametrize("case", range(6))
def test_smoothing_gives_the_reference_boxes(golden, case):
    fixture = golden("wav2lip_audio")
    np.testing.assert_array_equal(
        smooth_boxes(fixture[f"boxes_in_{case}"]), fixture[f"boxes_smoothed_{case}"]
    )


def test_pads_go_to_top_bottom_left_right_and_stop_at_the_frame():
    boxes = np.array([[10.9, 20.2, 50.7, 60.1], [-3.0, 1.0, 99.0, 95.0]], np.float32)
    padded = pad_boxes(boxes, (1, 10, 2, 4), height=100, width=100)
    np.testing.assert_array_equal(padded, [[8, 19, 54, 70], [0, 0, 100, 100]])


@given(
    boxes=st.lists(
        st.tuples(st.floats(-20, 150), st.floats(-20, 110), st.floats(1, 80), st.floats(1, 80)),
        min_size=1,
        max_size=12,
    ),
    smooth=st.booleans(),
)
def test_crop_rectangles_stay_inside_the_frame(boxes, smooth):
    corners = np.array([(x, y, x + w, y + h) for x, y, w, h in boxes], np.float32)
    rectangles = crop_boxes(corners, (0, 10, 0, 0), smooth, height=120, width=160)
    assert rectangles.shape == (len(boxes), 4)
    assert rectangles[:, :2].min() >= 0
    assert rectangles[:, 2].max() <= 160
    assert rectangles[:, 3].max() <= 120


def test_smoothing_leaves_the_given_boxes_alone():
    boxes = np.arange(40).reshape(10, 4)
    before = boxes.copy()
    smooth_boxes(boxes)
    np.testing.assert_array_equal(boxes, before)


def test_crops_are_bgr_and_pasting_a_crop_back_restores_the_face():
    frame = np.zeros((120, 160, 3), np.uint8)
    frame[..., 0] = 200
    box = np.array([20, 10, 116, 106])
    window = prepare_face_window([frame], box[None])
    assert window.shape == (1, 3, 96, 96)
    assert window[0, 2].mean().item() == pytest.approx(200 / 255)
    noise = np.random.default_rng(0).integers(0, 255, frame.shape, dtype=np.uint8)
    np.testing.assert_array_equal(paste_face(noise, crop_face(noise, box), box), noise)


def test_pasting_changes_only_the_box():
    frame = np.full((80, 80, 3), 7, np.uint8)
    pasted = paste_face(frame, np.full((96, 96, 3), 90, np.uint8), np.array([10, 20, 40, 60]))
    assert (pasted[20:60, 10:40] == 90).all()
    assert (pasted == 90).sum() == 30 * 40 * 3
    assert (frame == 7).all()


def pasted_grey(box: tuple[int, int, int, int], seam: float) -> np.ndarray:
    """A black frame with a white face, one channel as integers."""
    frame, face = np.zeros((120, 100, 3), np.uint8), np.full((96, 96, 3), 255, np.uint8)
    return paste_face(frame, face, np.array(box), seam)[..., 0].astype(int)


def test_a_feathered_face_has_no_edge_and_is_itself_where_the_mouth_is():
    box = (20, 30, 80, 100)
    plain, feathered = (pasted_grey(box, seam) for seam in (0.0, SEAM))
    assert np.abs(np.diff(plain, axis=0)).max() == 255
    for axis in (0, 1):
        assert np.abs(np.diff(feathered, axis=axis)).max() < 80, "nowhere a jump"
    assert (feathered[30 + 40 : 30 + 61, 20 + 12 : 20 + 48] == 255).all()
    outside = np.ones(plain.shape, bool)
    outside[30:100, 20:80] = False
    assert (feathered[outside] == 0).all()


def test_a_feathered_face_does_not_fade_at_the_frames_own_edge():
    touching = pasted_grey((0, 50, 60, 120), SEAM)
    assert (touching[-1, :40] == 255).all() and (touching[80:, 0] == 255).all()
    assert touching[50, 30] < 30 and touching[90, 59] < 30
