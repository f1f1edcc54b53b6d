"""A step of stage 1 as the reference code makes it, for comparison.

The reference is zhanglonghao1992's OSFV training, of which facts only were used. The code is plain on
purpose: the pose teacher sees every driving frame, VGG sees real and generated images one after the other,
the generator's backward pass also fills the discriminator's gradients, which are then discarded, and four
Adam optimisers step in turn. Networks are KPBE's own with torch's own 3D convolutions and default layout of
weights.
"""

from __future__ import annotations

import copy
from types import MethodType
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kpbe.data.head_pose.teachers.hopenet import Hopenet
from kpbe.frontend.convolution3d import SameConv3d
from kpbe.frontend.model import Frontend
from kpbe.frontend.preparation import default_layout
from kpbe.params import FrontendLossParams, OptimiserParams
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
from kpbe.training.perceptual import VGG19Features, VGGPyramid

Network = TypeVar("Network", bound=nn.Module)


class PlainStep:
    """The reference's generator and discriminator step.

    Args:
        frontend: the network, which is copied.
        vgg: the perceptual network, which is copied.
        weights: of the losses.
        optimiser: of all four Adams.
        scales: of the image pyramid.
        device: where it runs.
    """

    def __init__(
        self,
        frontend: Frontend,
        vgg: VGG19Features,
        weights: FrontendLossParams,
        optimiser: OptimiserParams,
        scales: tuple[float, ...],
        device: torch.device,
    ):
        self.weights, self.device = weights, device
        self.frontend = plain_layout(plain_convolutions(copy.deepcopy(frontend))).to(device).train()
        self.discriminator = plain_layout(PatchDiscriminator()).to(device).train()
        self.perceptual = VGGPyramid(plain_layout(copy.deepcopy(vgg)), scales).to(device)
        self.teacher = plain_layout(Hopenet()).to(device).eval()
        generator = (self.frontend.appearance, self.frontend.motion_field, self.frontend.generator)
        groups = (
            [parameter for network in generator for parameter in network.parameters()],
            self.frontend.canonical_keypoints.parameters(),
            self.frontend.pose_expression.parameters(),
        )
        betas = (optimiser.beta1, optimiser.beta2)
        self.optimisers = [torch.optim.Adam(group, optimiser.lr, betas) for group in groups]
        self.discriminator_optimiser = torch.optim.Adam(self.discriminator.parameters(), optimiser.lr, betas)

    def __call__(self, source: Tensor, driving: Tensor, warp: RandomWarp) -> float:
        """Make one step on images (B, 3, H, W) in [0, 1] and return the generator's loss."""
        frontend, weights = self.frontend, self.weights
        decomposed = frontend.decompose(source)
        pose, expression = frontend.estimate_pose_expression(driving)
        keypoints = decomposed.driven_by(pose, expression)
        generated = frontend.render(decomposed, keypoints, pose).frame
        loss = weights.vgg19 * self.perceptual(generated, driving)
        fake_features, fake_score = self.discriminator(generated)
        real_features, _ = self.discriminator(driving)
        loss = loss + weights.gan * hinge_generator(fake_score)
        loss = loss + weights.feature_matching * feature_matching(real_features, fake_features)
        warped = decomposed.driven_by(*frontend.estimate_pose_expression(warp.warp_image(driving)))
        loss = loss + weights.equivariance * equivariance(keypoints, warped, warp)
        loss = loss + weights.keypoint_prior * keypoint_prior(keypoints)
        with torch.no_grad():
            labels = self.teacher.degrees(F.interpolate(driving, (224, 224), mode="bilinear"))
        loss = loss + weights.head_pose * head_pose(pose.degrees, labels)
        loss = loss + weights.expression * expression_magnitude(expression)
        loss.backward()
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad()
        self.discriminator_optimiser.zero_grad()
        _, real_score = self.discriminator(driving)
        _, fake_score = self.discriminator(generated.detach())
        hinge_discriminator(real_score, fake_score).backward()
        self.discriminator_optimiser.step()
        self.discriminator_optimiser.zero_grad()
        return loss.item()


def plain_layout(network: Network) -> Network:
    """Lay out all weights as torch does by default, which outputs then follow."""
    default_layout(network)
    return network


def plain_convolutions(frontend: Frontend) -> Frontend:
    """Let all 3D convolutions compute as torch's own."""
    for module in frontend.modules():
        if isinstance(module, SameConv3d):
            module.forward = MethodType(nn.Conv3d.forward, module)
    return frontend
