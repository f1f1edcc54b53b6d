"""Pose, keypoint and motion maths: against the reference's numbers, torch and scipy, and as properties."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn import functional as F

from kpbe.frontend.geometry import (
    HeadPose,
    adapted_scale,
    combine_motions,
    coordinate_grid,
    coordinate_grid_2d,
    expected_coordinates,
    expected_degrees,
    keypoint_heatmaps,
    motion_shifts,
    moved_volumes,
    relative_keypoints,
    relative_rotation,
    rotated_grid,
    rotation_matrix,
    rotation_with_own_pitch_sign,
    transform_keypoints,
    translated_volumes,
    warp_volume,
    with_own_pitch_sign,
)
from kpbe.params import ConventionParams

DEFAULT = ConventionParams.model_validate({})
EXACT = DEFAULT.model_copy(update={"pi": 3.141592653589793})
PURE_MATHS = 1e-5

UNTIMED = settings(deadline=None, max_examples=40)

angles = st.floats(-170, 170, allow_nan=False)
shifts = st.floats(-2.5, 2.5, allow_nan=False, width=32)


def _degrees(golden, count: int) -> Tensor:
    return torch.from_numpy(golden.fill.uniform("osfv/angles/A", (count, 3), -80, 80))


def _driven(fixture, heads: slice, conventions: ConventionParams) -> Tensor:
    """Keypoints of picture 0 moved by the mean of the stored heads, from stored numbers only."""
    mean = {
        name: torch.from_numpy(fixture[f"he_{name}"][heads].mean(0, keepdims=True, dtype=np.float32))
        for name in ("yaw", "pitch", "roll", "t", "exp")
    }
    logits = (mean["yaw"], mean["pitch"], mean["roll"])
    degrees = torch.stack([expected_degrees(x, conventions.degree_offset) for x in logits], dim=-1)
    pose = HeadPose.from_degrees(degrees, mean["t"], conventions)
    canonical = torch.from_numpy(fixture["kp_canonical"][:1])
    return transform_keypoints(canonical, pose.rotation, pose.translation, mean["exp"].view(1, 15, 3))


def test_pose_maths_is_the_reference_s(golden):
    fixture = golden("osfv_motion")
    logits = torch.from_numpy(golden.fill.normal("osfv/logits/A", (8, 66), 2.0))
    golden.compare(fixture, "degrees_of_logits", expected_degrees(logits, 99.0), PURE_MATHS)
    golden.compare(fixture, "rotation_of_angles", rotation_matrix(_degrees(golden, 8), DEFAULT), PURE_MATHS)


def test_keypoints_are_the_reference_s(golden):
    fixture, conventions = golden("osfv_motion"), DEFAULT
    source, driving, initial = (
        _driven(fixture, heads, conventions) for heads in (slice(0, 1), slice(1, 2), slice(0, 2))
    )
    golden.compare(fixture, "kp_source", source, PURE_MATHS)
    golden.compare(fixture, "kp_driving", driving, PURE_MATHS)
    golden.compare(fixture, "kp_initial", initial, PURE_MATHS)
    golden.compare(fixture, "kp_relative", relative_keypoints(source, driving, initial), PURE_MATHS)
    adapted = relative_keypoints(source, driving, initial, adapted_scale(source, initial))
    golden.compare(fixture, "kp_relative_adapted", adapted, PURE_MATHS)


@pytest.mark.parametrize(
    "wrong",
    [{"pi": 3.1415}, {"degree_offset": 97.5}, {"rotation": "beta"}],
    ids=["pi", "offset", "beta"],
)
def test_other_conventions_give_other_keypoints(golden, wrong):
    fixture = golden("osfv_motion")
    with pytest.raises(AssertionError):
        golden.compare(
            fixture, "kp_driving", _driven(fixture, slice(1, 2), DEFAULT.model_copy(update=wrong)), PURE_MATHS
        )


@given(yaw=angles, pitch=angles, roll=angles)
@UNTIMED
def test_rotations_are_scipy_s(yaw, pitch, roll):
    degrees = torch.tensor([[yaw, pitch, roll]], dtype=torch.float64)
    now = Rotation.from_euler("XYZ", [pitch, yaw, roll], degrees=True).as_matrix()
    beta = Rotation.from_euler("XYZ", [roll, pitch, yaw], degrees=True).as_matrix()
    np.testing.assert_allclose(rotation_matrix(degrees, EXACT)[0], now, atol=1e-9)
    in_beta = EXACT.model_copy(update={"rotation": "beta"})
    np.testing.assert_allclose(rotation_matrix(degrees, in_beta)[0], beta, atol=1e-9)


@given(yaw=angles, pitch=angles, roll=angles, pi=st.sampled_from([3.14, 3.141592653589793]))
@UNTIMED
def test_rotations_keep_lengths_and_handedness(yaw, pitch, roll, pi):
    degrees = torch.tensor([[yaw, pitch, roll]], dtype=torch.float64)
    rotation = rotation_matrix(degrees, DEFAULT.model_copy(update={"pi": pi}))[0]
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3, dtype=torch.float64), atol=1e-12, rtol=0)
    assert torch.linalg.det(rotation) == pytest.approx(1)


def test_positive_yaw_pitch_roll_turn_about_y_x_z():
    quarter = torch.eye(3) * 90
    yaw, pitch, roll = rotation_matrix(quarter, EXACT)
    x, y, z = torch.eye(3)
    torch.testing.assert_close(yaw @ z, x, atol=1e-6, rtol=0)
    torch.testing.assert_close(pitch @ y, z, atol=1e-6, rtol=0)
    torch.testing.assert_close(roll @ x, y, atol=1e-6, rtol=0)


def test_degrees_of_a_certain_bin():
    logits = torch.full((1, 66), -50.0)
    logits[0, 40] = 50.0
    assert expected_degrees(logits, 99.0).item() == pytest.approx(3 * 40 - 99)


def test_one_source_serves_many_poses():
    canonical = torch.rand(1, 15, 3)
    rotation = rotation_matrix(torch.rand(4, 3) * 40, EXACT)
    translation, expression = torch.rand(4, 3), torch.rand(4, 15, 3)
    together = transform_keypoints(canonical, rotation, translation, expression)
    for i in range(4):
        expected = (rotation[i] @ canonical[0].T).T + translation[i] + expression[i]
        torch.testing.assert_close(together[i], expected)


@given(scale=st.floats(0.2, 5), seed=st.integers(0, 1000))
@UNTIMED
def test_adapted_scale_grows_with_the_source_s_size(scale, seed):
    initial = torch.rand(1, 15, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert adapted_scale(initial * scale, initial) == pytest.approx(scale**1.5, rel=1e-6)


def test_coordinates_include_both_ends():
    grid = coordinate_grid((3, 5, 9))
    assert grid.shape == (3, 5, 9, 3)
    assert grid[0, 0, 0].tolist() == [-1, -1, -1] and grid[-1, -1, -1].tolist() == [1, 1, 1]
    assert grid[1, 2, 6].tolist() == [0.5, 0, 0]
    torch.testing.assert_close(coordinate_grid_2d(5, 9), grid[0, ..., :2])


def test_expected_coordinates_of_a_peak():
    probabilities = torch.zeros(1, 1, 4, 5, 9)
    probabilities[0, 0, 3, 1, 2] = 1
    torch.testing.assert_close(expected_coordinates(probabilities), torch.tensor([[[-0.5, -0.5, 1.0]]]))


def test_heatmaps_are_gaussians_around_keypoints():
    keypoints = torch.rand(2, 3, 3) * 2 - 1
    heatmaps = keypoint_heatmaps(keypoints, (4, 6, 5))
    distance = coordinate_grid((4, 6, 5)) - keypoints[:, :, None, None, None]
    torch.testing.assert_close(heatmaps, torch.exp(-0.5 * distance.square().sum(-1) / 0.01))


@given(moves=st.lists(st.tuples(shifts, shifts, shifts), min_size=1, max_size=4), align_corners=st.booleans())
@UNTIMED
def test_translated_volumes_are_grid_sample_s(moves, align_corners):
    volume = torch.rand(1, 2, 4, 6, 5, generator=torch.Generator().manual_seed(len(moves)))
    motions = torch.tensor([moves])
    translated = translated_volumes(volume, motions, align_corners)
    grid = coordinate_grid((4, 6, 5)) + motions[0, :, None, None, None]
    sampled = warp_volume(volume, grid, align_corners)
    torch.testing.assert_close(translated[0], sampled, atol=2e-5, rtol=0)


def test_translated_volumes_have_grid_sample_s_gradients():
    volume = torch.rand(2, 2, 4, 6, 5, requires_grad=True)
    motions = (torch.rand(2, 3, 3) - 0.5).requires_grad_()
    weights = torch.rand(2, 3, 2, 4, 6, 5)
    ours = torch.autograd.grad(
        (translated_volumes(volume, motions, False) * weights).sum(), (volume, motions)
    )
    grid = coordinate_grid((4, 6, 5)) + motions[:, :, None, None, None]
    sampled = F.grid_sample(volume.repeat_interleave(3, 0), grid.flatten(0, 1), align_corners=False)
    torch_s = torch.autograd.grad((sampled.view_as(weights) * weights).sum(), (volume, motions))
    for a, b in zip(ours, torch_s, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_combined_motion_is_the_weighted_sum_of_sparse_motions():
    mask = torch.randn(2, 4, 3, 5, 6).softmax(1)
    motions = motion_shifts(torch.rand(1, 3, 3), torch.rand(2, 3, 3))
    assert motions.shape == (2, 4, 3) and not motions[:, 0].any()
    sparse = coordinate_grid((3, 5, 6)) + motions[:, :, None, None, None]
    torch.testing.assert_close(
        combine_motions(mask, motions), (mask[..., None] * sparse).sum(1), atol=1e-6, rtol=0
    )


def _turned_head(batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Keypoints of a head in a source pose and in driving poses, turned about its centre, and R_s R_d^T."""
    canonical = torch.rand(1, 5, 3, generator=torch.Generator().manual_seed(1)) - 0.5
    source = rotation_matrix(torch.tensor([[10.0, -5.0, 3.0]]), EXACT)
    driving = rotation_matrix(torch.tensor([[-20.0, 8.0, 0.0], [15.0, 0.0, -12.0]])[:batch], EXACT)
    still = torch.zeros(batch, 3), torch.zeros(batch, 5, 3)
    keypoints = [
        transform_keypoints(canonical, r, t[: len(r)], e[: len(r)])
        for r, (t, e) in ((source, still), (driving, still))
    ]
    return keypoints[0], keypoints[1], relative_rotation(source, driving)


@pytest.mark.parametrize("align_corners", [True, False])
def test_a_head_that_only_turns_is_warped_rigidly_by_every_keypoint(align_corners):
    source, driving, rotation = _turned_head()
    size = (6, 8, 7)
    volume = torch.rand(1, 2, *size, generator=torch.Generator().manual_seed(2))
    rigid = warp_volume(volume, rotated_grid(size, rotation), align_corners)
    shifts = motion_shifts(source, driving, rotation)
    moved = moved_volumes(volume, shifts, rotation, align_corners)
    assert moved.shape == (2, 6, 2, *size)
    still = warp_volume(volume, coordinate_grid(size).expand(2, -1, -1, -1, -1), align_corners)
    torch.testing.assert_close(moved[:, 0], still, atol=1e-5, rtol=0)
    for keypoint in range(1, 6):
        torch.testing.assert_close(moved[:, keypoint], rigid, atol=1e-4, rtol=0)
    # whatever the mask says of the keypoints, the head moves as one
    mask = torch.cat([torch.full((2, 1, *size), -50.0), torch.randn(2, 5, *size)], 1).softmax(1)
    torch.testing.assert_close(
        combine_motions(mask, shifts, rotation), rotated_grid(size, rotation), atol=1e-5, rtol=0
    )
    by_translation = combine_motions(mask, motion_shifts(source, driving))
    assert (by_translation - rotated_grid(size, rotation)).abs().max() > 0.2


def test_motion_by_rotation_turns_every_point_about_its_keypoint():
    rotation = rotation_matrix(torch.tensor([[30.0, -10.0, 5.0], [0.0, 20.0, 0.0]]), EXACT)
    source, driving = torch.rand(1, 3, 3), torch.rand(2, 3, 3)
    mask = torch.randn(2, 4, 3, 5, 6).softmax(1)
    grid = coordinate_grid((3, 5, 6))
    around = grid - driving[:, :, None, None, None]
    by_definition = torch.einsum("bij,bkdhwj->bkdhwi", rotation, around) + source[:, :, None, None, None]
    sparse = torch.cat([grid.expand(2, 1, -1, -1, -1, -1), by_definition], 1)
    combined = combine_motions(mask, motion_shifts(source, driving, rotation), rotation)
    torch.testing.assert_close(combined, (mask[..., None] * sparse).sum(1), atol=1e-6, rtol=0)
    volume = torch.rand(1, 2, 3, 5, 6)
    moved = moved_volumes(volume, motion_shifts(source, driving, rotation), rotation, True)
    for keypoint in range(4):
        torch.testing.assert_close(
            moved[:, keypoint], warp_volume(volume, sparse[:, keypoint], True), atol=1e-5, rtol=0
        )


def test_the_pitch_sign_turns_the_pitch_alone_and_keeps_what_is_unknown():
    degrees = torch.tensor([[1.0, 2.0, 3.0], [float("nan")] * 3])
    public = DEFAULT.model_copy(update={"pitch_sign": -1})
    assert torch.equal(with_own_pitch_sign(degrees, DEFAULT)[0], degrees[0])
    turned = with_own_pitch_sign(degrees, public)
    assert turned[0].tolist() == [1, -2, 3] and turned[1].isnan().all()
    assert torch.equal(with_own_pitch_sign(turned, public)[0], degrees[0])


@UNTIMED
@given(st.floats(-80, 80), angles, angles)
def test_the_pitch_sign_turns_the_pitch_of_a_rotation_alone(yaw: float, pitch: float, roll: float):
    users = Rotation.from_euler("XYZ", [pitch, yaw, roll], degrees=True).as_matrix()
    assert (rotation_with_own_pitch_sign(users, DEFAULT) == users).all()
    turned = Rotation.from_euler("XYZ", [-pitch, yaw, roll], degrees=True).as_matrix()
    public = DEFAULT.model_copy(update={"pitch_sign": -1})
    np.testing.assert_allclose(rotation_with_own_pitch_sign(users, public), turned, atol=1e-12)


def test_mixed_precision_does_not_blur_coordinates():
    canonical, rotation = torch.rand(1, 15, 3), rotation_matrix(torch.rand(2, 3) * 40, EXACT)
    translation, expression = torch.rand(2, 3), torch.rand(2, 15, 3)
    exact = transform_keypoints(canonical, rotation, translation, expression)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(transform_keypoints(canonical, rotation, translation, expression), exact)
        mask = torch.randn(2, 4, 3, 5, 6).softmax(1).bfloat16()
        assert combine_motions(mask, torch.rand(2, 4, 3)).dtype == torch.float32
