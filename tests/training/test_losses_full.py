"""All losses of stage 1 with full-size networks, against the reference's training code (golden fixture)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kpbe.checkpoints.files import fill
from kpbe.data.head_pose.teachers.hopenet import Hopenet
from kpbe.frontend.checkpoints import load_public_checkpoint, public_state_dicts
from kpbe.frontend.geometry import coordinate_grid_2d
from kpbe.frontend.model import Frontend
from kpbe.frontend.public_keys import discriminator_table, public_keys
from kpbe.params import ModelParams
from kpbe.training.discriminators import PatchDiscriminator
from kpbe.training.losses import (
    RandomWarp,
    equivariance,
    expression_magnitude,
    feature_matching,
    head_pose,
    hinge_discriminator,
    hinge_generator,
    keypoint_prior,
)
from kpbe.training.perceptual import VGGPyramid
from kpbe.training.vgg import VGG19Features

LOSSES = 1e-4
PREDICTION = 1e-3
NETWORKS = {
    "kp_detector": "osfv_kp_detector",
    "he_estimator": "osfv_he_estimator",
    "generator": "osfv_generator_original",
}


def fill_by_rule(golden: Any, name: str, network: nn.Module) -> None:
    """Weights by the fixtures' rule for a network that has the official names, or some of them."""
    shapes = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    filled = golden.fill.fill_net(name, shapes)
    network.load_state_dict({key: torch.from_numpy(np.array(array)) for key, array in filled.items()})


@pytest.fixture(scope="module")
def frontend(golden) -> Frontend:
    model = ModelParams()
    states = public_state_dicts(Frontend(model))
    for network, name in NETWORKS.items():
        filled = golden.load_filled(name, {key: tuple(t.shape) for key, t in states[network].items()})
        states[network].update({key: torch.from_numpy(np.array(array)) for key, array in filled.items()})
    return load_public_checkpoint(states, model)


@pytest.fixture(scope="module")
def discriminator(golden) -> PatchDiscriminator:
    network = PatchDiscriminator().eval()
    state = network.state_dict()
    names = public_keys(state, discriminator_table(blocks=4))
    filled = golden.load_filled("osfv_discriminator", {names[key]: tuple(state[key].shape) for key in state})
    fill(network, {k: torch.from_numpy(v) for k, v in filled.items()}, "fixture", "fixture", names)
    return network


@pytest.mark.slow
@torch.no_grad()
def test_every_loss_of_one_training_step(golden, frontend, discriminator):
    full = golden("osfv_losses_full")
    label = str(full["input_label"])
    pictures = [golden.fill.image_chw(f"osfv/{name}/{label}", 256, 256) for name in ("source", "driving")]
    source = torch.from_numpy(np.stack(pictures))
    driving = source.flip(0)
    noise = golden.fill.normal
    theta = torch.eye(2, 3) + torch.from_numpy(noise(f"osfv/theta/{label}", (2, 2, 3), 0.05))
    control = torch.from_numpy(noise(f"osfv/tps/{label}", (2, 1, 25), 0.005))
    warp = RandomWarp(theta, coordinate_grid_2d(5, 5).view(1, -1, 2), control)

    decomposed = frontend.decompose(source)
    source_pose = frontend.estimate_pose_expression(source)
    pose, expression = frontend.estimate_pose_expression(driving)
    warped_pose = frontend.estimate_pose_expression(warp.warp_image(driving))
    keypoints = decomposed.driven_by(pose, expression)
    warped_keypoints = decomposed.driven_by(*warped_pose)
    generated = frontend.render(decomposed, keypoints).frame
    golden.compare(full, "kp_source", decomposed.driven_by(*source_pose), LOSSES)
    golden.compare(full, "kp_driving", keypoints, LOSSES)
    golden.compare(full, "transformed_kp", warped_keypoints, LOSSES)
    golden.compare(full, "prediction", generated, PREDICTION)

    vgg, teacher = VGG19Features(), Hopenet().eval()
    fill_by_rule(golden, "vgg19", vgg)
    fill_by_rule(golden, "hopenet", teacher)
    fake_features, fake_score = discriminator(generated)
    real_features, real_score = discriminator(driving)
    losses: dict[str, Tensor] = {
        "loss_perceptual": 10 * VGGPyramid(vgg, (1.0, 0.5, 0.25, 0.125))(generated, driving),
        "loss_gen_gan": hinge_generator(fake_score),
        "loss_disc_gan": hinge_discriminator(real_score, fake_score),
        "loss_feature_matching": 10 * feature_matching(real_features, fake_features),
        "loss_equivariance_value": 10 * equivariance(keypoints, warped_keypoints, warp),
        "loss_keypoint": 10 * keypoint_prior(keypoints),
        "loss_headpose": 20 * head_pose(pose.degrees, teacher.degrees(driving, antialias=True)),
        "loss_headpose_without_antialias": 20
        * head_pose(pose.degrees, teacher.degrees(driving, antialias=False)),
        "loss_expression": 5 * expression_magnitude(expression),
    }
    for key, loss in losses.items():
        golden.compare(full, key, loss, LOSSES)
    checked = {*losses, "kp_source", "kp_driving", "transformed_kp"}
    assert {key for key in full.files if key.startswith(("loss_", "kp_"))} <= checked
