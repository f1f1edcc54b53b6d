from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kpbe.data.crops import (
    Tube,
    box_tubes,
    boxes_in_crop,
    centred_square,
    crop_of_tube,
    increase_to_square,
    iou,
    shift_inside,
    union,
)
from kpbe.errors import BadClip
from kpbe.params import CropParams

FOMM = CropParams()


@pytest.mark.parametrize("number", range(6))
def test_tracks_are_cut_and_cropped_as_by_the_reference(golden, number):
    stored = golden("video_preprocessing")
    height, width = stored[f"track{number}_frame_hw"]
    offset = round(float(stored[f"track{number}_chunk_start_seconds"]) * 25)
    rows = []
    for tube in box_tubes(stored[f"track{number}_boxes"], FOMM.iou, FOMM.max_frames):
        try:
            crop = crop_of_tube(tube, width, height, FOMM)
        except BadClip:
            continue
        rows.append([tube.start + offset, tube.end + offset, *crop])
    np.testing.assert_array_equal(
        np.array(rows).reshape(-1, 6), stored[f"track{number}_result_start_end_l_t_r_b"]
    )


def test_box_arithmetic_is_the_references(golden):
    stored = golden("video_preprocessing")
    boxes = stored["boxes"]
    np.testing.assert_array_equal(iou(boxes[:20], boxes[20:]), stored["iou_pairs_i_with_i_plus_20"])
    unions = [union(pair) for pair in zip(boxes[:20], boxes[20:], strict=True)]
    np.testing.assert_array_equal(unions, stored["union_i_with_i_plus_20"])
    increased = [increase_to_square(box, 0.1) for box in boxes]
    np.testing.assert_array_equal(increased, stored["aspect_preserved_increase_0.1"])


def test_frames_without_a_face_end_a_tube():
    boxes = np.array([[10, 10, 50, 60.0]] * 3 + [[0, 0, 0, 0.0]] * 2 + [[11, 10, 51, 60.0]] * 4)
    assert [(tube.start, tube.end) for tube in box_tubes(boxes, 0.25, 100)] == [(0, 3), (5, 9)]
    assert box_tubes(boxes[3:5], 0.25, 100) == []


@pytest.mark.parametrize(
    ("tube", "reason"),
    [
        (Tube(0, 25, (300, 200, 600, 500)), r"25 frames \(1.00 s\) .*min_frames = 64"),
        (Tube(0, 64, (300, 200, 400, 300)), "100 pixels.*min_size = 256"),
        (Tube(0, 64, (5, 200, 305, 500)), "border"),
    ],
)
def test_reasons_name_the_number_and_the_param(tube, reason):
    with pytest.raises(BadClip, match=reason):
        crop_of_tube(tube, 1280, 720, FOMM)


frames = st.tuples(st.integers(16, 2000), st.integers(16, 2000))


@st.composite
def frames_with_boxes(draw):
    width, height = draw(frames)
    left, top = draw(st.integers(0, width - 8)), draw(st.integers(0, height - 8))
    right, bottom = draw(st.integers(left + 4, width)), draw(st.integers(top + 4, height))
    return width, height, (left, top, right, bottom)


@given(frames_with_boxes(), st.floats(0, 1))
def test_shifted_crop_is_a_square_inside_the_frame_that_shows_the_face(case, increase):
    width, height, box = case
    crop = CropParams(min_frames=1, min_size=1, increase=increase, at_border="shift")
    left, top, right, bottom = crop_of_tube(Tube(0, 1, box), width, height, crop)
    assert 0 <= left < right <= width and 0 <= top < bottom <= height
    assert abs((right - left) - (bottom - top)) <= 2
    if max(box[2] - box[0], box[3] - box[1]) <= min(width, height):
        slack = 1  # FOMM rounds coordinates towards zero
        assert left <= box[0] and top <= box[1] and right + slack >= box[2] and bottom + slack >= box[3]


@given(frames_with_boxes(), st.floats(0, 1))
def test_crops_that_fit_are_left_where_they_are(case, increase):
    width, height, box = case
    crop = increase_to_square(box, increase)
    assume(crop[0] >= 0 and crop[1] >= 0 and crop[2] <= width and crop[3] <= height)
    assert shift_inside(crop, width, height) == crop


@given(frames)
def test_whole_frames_lose_the_same_on_both_sides(size):
    left, top, right, bottom = centred_square(*size)
    assert right - left == bottom - top == min(size)
    assert abs(left - (size[0] - right)) <= 1 and abs(top - (size[1] - bottom)) <= 1


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=60),
    st.floats(0.05, 0.95),
    st.integers(1, 20),
)
def test_tubes_cover_every_visible_frame_once_and_stay_near_their_first_box(shifts, threshold, max_frames):
    boxes = np.array([[100.0 + 5 * s, 100, 180 + 5 * s, 180] if s else [0, 0, 0, 0] for s in shifts])
    tubes = box_tubes(boxes, threshold, max_frames)
    covered = [i for tube in tubes for i in range(tube.start, tube.end)]
    assert covered == [i for i, s in enumerate(shifts) if s]
    for tube in tubes:
        inside = boxes[tube.start : tube.end]
        assert len(inside) <= max_frames
        assert (iou(inside[0], inside) >= threshold).all()
        assert tube.box == union(inside)


def test_boxes_follow_the_crop_and_its_scale():
    boxes = np.array([[100, 50, 200, 150.0], [90, 40, 500, 500]])
    moved = boxes_in_crop(boxes, (100, 50, 300, 250), 64)
    assert moved.dtype == np.float32
    np.testing.assert_allclose(moved, [[0, 0, 32, 32], [0, 0, 64, 64]])
