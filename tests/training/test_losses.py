"""Loss terms against the reference's own loss code (golden fixtures) and by behaviour."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kpbe.frontend.checkpoints import load_named
from kpbe.frontend.geometry import coordinate_grid_2d
from kpbe.frontend.public_keys import discriminator_table, public_keys
from kpbe.training.discriminators import PatchDiscriminator
from kpbe.training.losses import (
    RandomWarp,
    equivariance,
    expression_magnitude,
    feature_matching,
    hinge_discriminator,
    hinge_generator,
    keypoint_prior,
)
from kpbe.training.perceptual import PixelPyramid, VGG19Features, VGGPyramid, pyramid

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


def test_equivariance_keypoint_prior_and_expression(golden, fixed, warp):
    driving = torch.from_numpy(fixed["kp_driving"])
    warped = torch.from_numpy(fixed["transformed_kp"])
    golden.compare(fixed, "loss_equivariance_value", 10 * equivariance(driving, warped, warp), RTOL)
    golden.compare(fixed, "loss_keypoint", 10 * keypoint_prior(driving), RTOL)
    expression = golden.fill.normal(f"osfv/loss_he1_exp/{fixed['input_label']}", (2, 45), 0.05)
    got = 5 * expression_magnitude(torch.from_numpy(expression).view(2, 15, 3))
    golden.compare(fixed, "loss_expression", got, RTOL)


def test_adversarial_terms(golden, fixed, images):
    discriminator = PatchDiscriminator().eval()
    state = discriminator.state_dict()
    names = public_keys(state, discriminator_table(blocks=4))
    filled = golden.load_filled("osfv_discriminator", {names[key]: tuple(state[key].shape) for key in state})
    load_named(discriminator, {k: torch.from_numpy(v) for k, v in filled.items()}, names, "fixture")
    generated, driving = images
    with torch.no_grad():
        fake_features, fake_score = discriminator(generated)
        real_features, real_score = discriminator(driving)
    golden.compare(fixed, "loss_gen_gan", hinge_generator(fake_score), RTOL)
    golden.compare(fixed, "loss_disc_gan", hinge_discriminator(real_score, fake_score), RTOL)
    golden.compare(fixed, "loss_feature_matching", 10 * feature_matching(real_features, fake_features), RTOL)


@pytest.mark.slow
def test_perceptual_pyramid(golden, fixed, images):
    vgg = VGG19Features()
    state = vgg.state_dict()
    # a part of the recorded network (it goes on to conv5_4), so its checksum does not apply
    filled = golden.fill.fill_net("vgg19", {k: tuple(v.shape) for k, v in state.items()})
    vgg.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in filled.items()})
    generated, driving = images
    for index, level in enumerate(pyramid(PYRAMID)):
        golden.compare(fixed, f"pyramid_pred_{index}", level(generated), RTOL)
    with torch.no_grad():
        for index, features in enumerate(vgg(generated)):
            golden.compare(fixed, f"vgg_pred_{index}", features, 1e-4)
        loss = 10 * VGGPyramid(vgg, PYRAMID)(generated, driving)
    golden.compare(fixed, "loss_perceptual", loss, RTOL)


def test_perceptual_terms_vanish_only_for_equal_pictures():
    picture = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    pixels = PixelPyramid(PYRAMID)
    assert pixels(picture, picture).item() == 0
    assert pixels(picture.flip(-1), picture).item() > 0.1


def test_keypoints_on_one_spot_cost_more_than_spread_ones():
    spread = torch.rand(1, 15, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    together = torch.full((1, 15, 3), 0.33)
    assert keypoint_prior(together) > keypoint_prior(spread) + 1


def test_warp_with_no_noise_is_the_identity():
    warp = RandomWarp.sample(2, torch.Generator().manual_seed(0), affine_sigma=0, spline_sigma=0)
    points = torch.rand(2, 7, 2)
    assert torch.allclose(warp.warp_coordinates(points), points, atol=1e-6)
