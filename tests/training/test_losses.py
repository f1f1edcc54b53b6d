"""Loss terms against the reference's own loss code (golden fixtures) and by behaviour."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kpbe.checkpoints.files import fill
from kpbe.frontend.geometry import coordinate_grid_2d, expected_degrees, transform_keypoints
from kpbe.frontend.pose_expression import PoseExpressionHeads
from kpbe.frontend.public_keys import discriminator_table, public_keys
from kpbe.params import ConventionParams
from kpbe.training.discriminators import PatchDiscriminator
from kpbe.training.losses import (
    LIP_HEIGHT,
    RandomWarp,
    equivariance,
    expression_magnitude,
    extent_difference,
    feature_matching,
    guide_difference,
    head_pose,
    hinge_discriminator,
    hinge_generator,
    keypoint_prior,
    lip_extent,
    missing_share,
    motion_error,
    shape_difference,
)
from kpbe.training.perceptual import ImagePyramid, VGGDifference
from kpbe.training.vgg import VGG19Features

RTOL = 1e-5
PYRAMID = (1.0, 0.5, 0.25, 0.125)


@pytest.fixture(scope="module")
def fixed(golden):
    return golden("osfv_losses_fixed")


@pytest.fixture(scope="module")
def images(golden, fixed):
    """Generated and driving pictures of the fixture."""
    label = str(fixed["input_label"])
    chw = golden.fill.image_chw
    generated = np.stack([chw(f"osfv/pred{i}/{label}", 256, 256) for i in range(2)])
    driving = np.stack([chw(f"osfv/{name}/{label}", 256, 256) for name in ("driving", "source")])
    return torch.from_numpy(generated), torch.from_numpy(driving)


@pytest.fixture(scope="module")
def warp(fixed):
    theta = torch.from_numpy(fixed["theta"])
    return RandomWarp(
        theta, coordinate_grid_2d(5, 5).view(1, -1, 2), torch.from_numpy(fixed["control_params"])
    )


def test_warp_of_coordinates_and_frames(golden, fixed, warp, images):
    label = str(fixed["input_label"])
    coordinates = torch.from_numpy(golden.fill.uniform(f"osfv/warp_coords/{label}", (2, 15, 2), -1, 1))
    golden.compare(fixed, "warp_coordinates", warp.warp_coordinates(coordinates), RTOL)
    golden.compare(fixed, "transformed_frame", warp.warp_image(images[1]), 1e-4)

    def summed(points):
        return warp.warp_coordinates(points).sum((0, 1))  # a point's image depends on that point alone

    jacobian = torch.autograd.functional.jacobian(summed, coordinates)
    assert isinstance(jacobian, torch.Tensor)
    golden.compare(fixed, "warp_jacobian", jacobian.permute(1, 2, 0, 3), RTOL)


def heads(golden, fixed, call: int) -> PoseExpressionHeads:
    """Outputs of the pose and expression estimator in the fixture: source, driving, warped driving frame."""

    def draw(name: str, columns: int, deviation: float) -> torch.Tensor:
        name = f"osfv/loss_he{call}_{name}/{fixed['input_label']}"
        return torch.from_numpy(golden.fill.normal(name, (2, columns), deviation))

    yaw, pitch, roll = (draw(name, 66, 1.5) for name in ("yaw", "pitch", "roll"))
    return PoseExpressionHeads(yaw, pitch, roll, draw("t", 3, 0.1), draw("exp", 45, 0.05).view(2, 15, 3))


def test_keypoints_of_source_driving_and_warped_frame(golden, fixed):
    canonical = golden.fill.uniform(f"osfv/loss_kp/{fixed['input_label']}", (2, 15, 3), -0.4, 0.4)
    for call, key in enumerate(("kp_source", "kp_driving", "transformed_kp")):
        estimated = heads(golden, fixed, call)
        pose = estimated.pose(ConventionParams())
        keypoints = transform_keypoints(
            torch.from_numpy(canonical), pose.rotation, pose.translation, estimated.expression
        )
        golden.compare(fixed, key, keypoints, RTOL)


def test_head_pose(golden, fixed):
    label = fixed["input_label"]
    logits = [
        torch.from_numpy(golden.fill.normal(f"osfv/loss_hopenet_{name}/{label}", (2, 66), 1.5))
        for name in ("yaw", "pitch", "roll")
    ]
    labels = torch.stack([expected_degrees(x, 99.0) for x in logits], dim=-1)
    degrees = heads(golden, fixed, 1).pose(ConventionParams()).degrees
    golden.compare(fixed, "loss_headpose", 20 * head_pose(degrees, labels), RTOL)


def test_equivariance_keypoint_prior_and_expression(golden, fixed, warp):
    driving = torch.from_numpy(fixed["kp_driving"])
    warped = torch.from_numpy(fixed["transformed_kp"])
    golden.compare(fixed, "loss_equivariance_value", 10 * equivariance(driving, warped, warp), RTOL)
    golden.compare(fixed, "loss_keypoint", 10 * keypoint_prior(driving), RTOL)
    got = 5 * expression_magnitude(heads(golden, fixed, 1).expression)
    golden.compare(fixed, "loss_expression", got, RTOL)


def test_adversarial_terms(golden, fixed, images):
    discriminator = PatchDiscriminator().eval()
    state = discriminator.state_dict()
    names = public_keys(state, discriminator_table(blocks=4))
    filled = golden.load_filled("osfv_discriminator", {names[key]: tuple(state[key].shape) for key in state})
    fill(discriminator, {k: torch.from_numpy(v) for k, v in filled.items()}, "fixture", "fixture", names)
    generated, driving = images
    with torch.no_grad():
        fake_features, fake_score = discriminator(generated)
        real_features, real_score = discriminator(driving)
    golden.compare(fixed, "loss_gen_gan", hinge_generator(fake_score), RTOL)
    golden.compare(fixed, "loss_disc_gan", hinge_discriminator(real_score, fake_score), RTOL)
    golden.compare(fixed, "loss_feature_matching", 10 * feature_matching(real_features, fake_features), RTOL)
    per_map = [feature_matching([r], [f]) for r, f in zip(real_features, fake_features, strict=True)]
    golden.compare(fixed, "feature_matching_per_map", torch.stack(per_map), RTOL)


@pytest.mark.slow
def test_perceptual_pyramid(golden, fixed, images):
    vgg = VGG19Features()
    state = vgg.state_dict()
    # a part of the recorded network (it goes on to conv5_4), so its checksum does not apply
    filled = golden.fill.fill_net("vgg19", {k: tuple(v.shape) for k, v in state.items()})
    vgg.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in filled.items()})
    generated, driving = images
    pyramid, difference = ImagePyramid(PYRAMID), VGGDifference(vgg)
    levels = pyramid(generated)
    for index, level in enumerate(levels):
        golden.compare(fixed, f"pyramid_pred_{index}", level, RTOL)
    with torch.no_grad():
        for index, features in enumerate(vgg(generated)):
            golden.compare(fixed, f"vgg_pred_{index}", features, 1e-4)
        by_scale_and_layer = difference.by_scale_and_layer(levels, pyramid(driving))
        loss = 10 * difference(levels, pyramid(driving))
    golden.compare(fixed, "perceptual_scale_layer", by_scale_and_layer, RTOL)
    golden.compare(fixed, "loss_perceptual", loss, RTOL)


def test_keypoints_on_one_spot_cost_more_than_spread_ones():
    spread = torch.rand(1, 15, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    together = torch.full((1, 15, 3), 0.33)
    assert keypoint_prior(together) > keypoint_prior(spread) + 1
    lips = spread.clone()
    lips[:, :4] = lips[:, :1] + 0.01  # near each other, as lips are
    assert keypoint_prior(lips) > keypoint_prior(spread) + 1
    assert keypoint_prior(lips, guided=4) < keypoint_prior(lips) - 1
    assert keypoint_prior(together, guided=4) > keypoint_prior(spread) + 1, "the others stay apart"


def test_warp_with_no_noise_is_the_identity():
    warp = RandomWarp.sample(2, torch.Generator().manual_seed(0), affine_sigma=0, spline_sigma=0)
    points = torch.rand(2, 7, 2)
    assert torch.allclose(warp.warp_coordinates(points), points, atol=1e-6)


NAN = float("nan")


def test_guides_draw_the_first_keypoints_in_the_picture_and_leave_the_rest_and_unknown_points_alone():
    keypoints = torch.zeros(2, 6, 3, requires_grad=True)
    points = torch.zeros(2, 5, 2)
    points[0, 4, 0], points[0, 1], points[1, 4, 1] = 0.3, NAN, 0.1
    loss = guide_difference(keypoints, points)
    loss.backward()
    assert loss.item() == pytest.approx(0.4 / 18), "of nine points that are known"
    assert keypoints.grad is not None and keypoints.grad.isfinite().all()
    assert (keypoints.grad[:, 5:] == 0).all() and (keypoints.grad[..., 2] == 0).all(), (
        "neither others nor depth"
    )
    assert (keypoints.grad[0, 1] == 0).all() and keypoints.grad[0, 4, 0] < 0


def test_height_and_width_of_the_lips_are_asked_for_besides_their_place():
    keypoints, points = torch.zeros(1, 6, 3), torch.zeros(1, 6, 2)
    points[:, 3, 1] = 0.12  # the lower lip: an open mouth
    shifted = torch.zeros(1, 6, 2) + torch.tensor([0.0, 0.02])
    assert guide_difference(keypoints, points).item() == pytest.approx(0.01)
    assert guide_difference(keypoints, shifted).item() == pytest.approx(0.01), "the same mean distance"

    def of_extent(lips: torch.Tensor) -> torch.Tensor:
        return extent_difference(lip_extent(keypoints), lip_extent(lips))

    assert of_extent(points).item() == pytest.approx((0.12 / LIP_HEIGHT - 0.5) / 4)
    assert of_extent(shifted).item() == pytest.approx(0)
    points[:, 0, 0] = NAN  # a corner of the mouth
    keypoints.requires_grad_()
    of_height = of_extent(points)
    assert of_height.item() == pytest.approx((0.12 / LIP_HEIGHT - 0.5) / 2)
    of_height.backward()
    assert keypoints.grad is not None and keypoints.grad.isfinite().all()


def test_what_is_missing_from_a_share_counts_near_the_mouth_and_only_where_the_backend_is_seen():
    share = torch.full((2, 1, 4, 4), 0.25)
    share[0, 0, 1, 1] = 0.75
    near = torch.zeros(2, 1, 4, 4)
    near[:, :, 1, 1] = 1
    assert missing_share(share, near).item() == pytest.approx((0.25 + 0.75) / 2)
    share[1] = NAN
    share.requires_grad_()
    missing = missing_share(share, near)
    assert missing.item() == pytest.approx(0.25)
    missing.backward()
    assert share.grad is not None and share.grad.isfinite().all()
    assert missing_share(torch.full((1, 1, 4, 4), NAN), near[:1]).item() == 0


def test_motion_is_right_where_each_point_of_the_face_comes_from_its_place_in_the_source():
    at = torch.tensor([[[0.2, -0.1], [-0.4, 0.3], [NAN, 0.0]]])
    wanted = at + torch.tensor([0.25, -0.1])
    displacement = torch.tensor([0.25, -0.1]).view(1, 2, 1, 1).expand(1, 2, 8, 8)
    assert motion_error(displacement, at, wanted).item() == pytest.approx(0, abs=1e-6)
    assert motion_error(0 * displacement, at, wanted).item() == pytest.approx((0.25 + 0.1) / 2, abs=1e-6)
    assert motion_error(displacement, at * NAN, wanted).item() == 0, "nothing is known"
    assert motion_error(0 * displacement, at + 5, wanted + 5).item() == 0, "nothing is in the picture"


def test_shapes_that_are_not_known_are_left_out():
    read = torch.tensor([[0.5, 0.5], [0.1, 0.9]], requires_grad=True)
    loss = shape_difference(read, torch.tensor([[0.4, NAN], [NAN, NAN]]))
    loss.backward()
    assert loss.item() == pytest.approx(0.1)
    assert read.grad is not None and read.grad.tolist() == [[1.0, 0.0], [0.0, 0.0]]
