"""Alignment against the reference's matrices and crops, and back into the frame."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpbe.backends.pcavs import (
    align_frame,
    alignment_matrices,
    clip_similarity,
    crop_aligned,
    frame_to_image,
    paste_image,
)
from kpbe.backends.pcavs.alignment import ALIGNED_POINTS, transform
from kpbe.data.landmarks import three_points


@pytest.fixture(scope="module")
def audio(golden):
    return golden("pcavs_audio")


def test_alignment_of_a_clip_equals_the_reference(golden, audio):
    points = three_points(audio["align_landmarks"])
    golden.compare(audio, "align_similarity", clip_similarity(points), 1e-7)
    golden.compare(audio, "align_matrices", alignment_matrices(points), 1e-7)


def test_crop_equals_the_reference(golden):
    fixture = golden("pcavs_crop")
    aligned = golden.fill.image(f"pcavs/aligned/{fixture['input_label']}", 224, 224)
    crop = crop_aligned(aligned, 224)
    assert crop.shape == (224, 224, 3)
    assert crop.mean() == pytest.approx(float(fixture["crop_mean"]), abs=1e-6)
    same_opencv = cv2.__version__ == str(fixture["opencv"])
    off = np.abs(crop.reshape(-1)[::7].astype(int) - fixture["crop_uint8_sample_stride7"].astype(int)).max()
    assert off <= (0 if same_opencv else 1)


def test_a_mouth_that_moves_on_is_followed_with_a_little_lag():
    points = np.stack([ALIGNED_POINTS * 0.5 + [3 + i, 10] for i in range(4)])
    matrices = alignment_matrices(points)
    np.testing.assert_allclose(matrices[0], [[2, 0, -6], [0, 2, -20]], atol=1e-9)
    lag = [transform(m, p[2])[0] - 112 for m, p in zip(matrices, points, strict=True)]
    assert lag == pytest.approx([0, 0.4, 0.48, 0.496], abs=1e-9)


def test_missing_and_coinciding_points_are_refused():
    with pytest.raises(ValueError, match="every frame"):
        alignment_matrices(np.stack([ALIGNED_POINTS, ALIGNED_POINTS * np.nan]))
    with pytest.raises(ValueError, match="every frame"):
        alignment_matrices(np.zeros((0, 3, 2)))
    with pytest.raises(ValueError, match="coincide"):
        alignment_matrices(np.ones((1, 3, 2)))


def similarity(scale: float, degrees: float, centre: tuple[float, float], middle: tuple[float, float]):
    """The matrix that turns and scales a frame about `centre` and moves that point to `middle`."""
    angle = np.deg2rad(degrees)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack((linear, np.array(middle) - linear @ centre))


places = st.tuples(st.floats(90, 166), st.floats(90, 166))
CROP_MIDDLE = (112.0, 96.0)


@settings(deadline=None, max_examples=40)
@given(
    scale=st.floats(0.75, 2.5),
    degrees=st.floats(-40, 40),
    centre=places,
    image_size=st.sampled_from([64, 96, 224, 256]),
    feather=st.sampled_from([0.0, 4.0, 9.0]),
)
def test_pasting_an_aligned_picture_back_gives_the_frame_again(
    golden, scale, degrees, centre, image_size, feather
):
    frame = golden.fill.image("pcavs/paste", 256, 256, max_cycles=3.0)
    matrix = similarity(scale, degrees, centre, CROP_MIDDLE)
    pasted = paste_image(align_frame(frame, matrix, image_size), frame, matrix, feather)
    assert pasted.shape == frame.shape and pasted.dtype == np.uint8
    # Outside the frame the crop is black, and the outermost pixels of the picture mix with the black.
    corners = np.array([(x, y) for x in (16.0, 208.0) for y in (0.0, 192.0)])
    reached = transform(cv2.invertAffineTransform(matrix), corners)
    if reached.min() >= 0 and reached.max() <= 255:
        assert np.abs(pasted.astype(int) - frame).max() <= 6
    grid = np.stack(np.meshgrid(np.arange(256), np.arange(256)), axis=-1)
    place = transform(frame_to_image(matrix, image_size), grid) / image_size
    outside = ((place < -0.05) | (place > 1.05)).any(axis=-1)
    np.testing.assert_array_equal(pasted[outside], frame[outside])


@settings(deadline=None, max_examples=40)
@given(scale=st.floats(0.75, 2.5), degrees=st.floats(-40, 40), centre=places)
def test_points_of_the_frame_are_found_in_the_picture(scale, degrees, centre):
    """A bright spot of the frame lies in the aligned and cropped picture where the matrix says."""
    frame = np.zeros((256, 256, 3), np.uint8)
    spot = np.round(centre) + np.array([7, -5])
    y, x = np.mgrid[:256, :256]
    frame[:] = (255 * np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / 18))[..., None]
    matrix = similarity(scale, degrees, centre, CROP_MIDDLE)
    image = align_frame(frame, matrix, 224)[..., 0].astype(float)
    y, x = np.mgrid[:224, :224]
    found = np.array([(x * image).sum(), (y * image).sum()]) / image.sum()
    np.testing.assert_allclose(found, transform(frame_to_image(matrix, 224), spot), atol=0.25)


def test_feather_fades_from_the_background_to_the_picture():
    matrix = similarity(1.0, 0.0, (128, 128), CROP_MIDDLE)
    white, black = np.full((224, 224, 3), 255, np.uint8), np.zeros((256, 256, 3), np.uint8)
    soft, hard = (paste_image(white, black, matrix, feather)[128, :, 0] for feather in (8.0, 0.0))
    assert set(np.unique(hard)) == {0, 255} and np.count_nonzero(hard) == 192
    edge = soft[32:44].astype(int)
    assert edge[0] < 40 and (np.diff(edge) >= 0).all() and edge[-1] == 255
    assert not black.any()


def test_a_picture_whose_place_is_outside_the_frame_leaves_it_as_it_is():
    frame = np.full((64, 64, 3), 7, np.uint8)
    for shift in (-1000, 1000):
        matrix = np.array([[1.0, 0, shift], [0, 1, shift]])
        assert (paste_image(np.zeros((64, 64, 3), np.uint8), frame, matrix) == 7).all()
