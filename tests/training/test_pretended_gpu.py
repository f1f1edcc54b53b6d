"""On a GPU that torch only pretends to have, no tensor of the CPU meets one of the GPU.

Fake tensors have shapes and devices but no numbers; test_on_gpu.py compares what a real GPU computes.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.training import model_of
from kpbe.backends.pcavs.model import PCAVSNetworks
from kpbe.backends.wav2lip.networks import SyncNet, Wav2LipGenerator
from kpbe.data.head_pose.teachers.hopenet import Hopenet
from kpbe.frontend.geometry import HeadPose
from kpbe.frontend.model import Frontend
from kpbe.params import FrontendLossParams, ModelParams, PerceptualParams
from kpbe.training.discriminators import PatchDiscriminator
from kpbe.training.frontend_trainee import Reconstruction
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
from kpbe.training.perceptual import PerceptualTerms, VGGDifference
from kpbe.training.vgg import VGG19Features

GPU = torch.device("cuda")


@pytest.fixture
def pretended() -> Iterator[None]:
    with FakeTensorMode():
        yield


def images(size: int = 64) -> torch.Tensor:
    return torch.rand(2, 3, size, size, device=GPU)


def test_a_step_of_training_stays_on_it(pretended):
    with GPU:  # networks alone: what they and the losses make themselves must find the way
        reconstruction = Reconstruction(Frontend(model_of(64, narrow=True)))
        discriminator = PatchDiscriminator()
        pixels = PerceptualTerms(PerceptualParams(), FrontendLossParams(vgg19=0, pixel=1))
        vgg = VGGDifference(VGG19Features())
    source, pose, backend_frame = images(), images(), images()
    warp = RandomWarp.sample(2, torch.Generator()).to(GPU)
    result = reconstruction(source, pose, backend_frame, warp.warp_image(pose))
    generated = result["generated"]
    fake_features, fake_score = discriminator(generated)
    real_features, real_score = discriminator(pose)
    terms = [
        *pixels(generated, pose).values(),
        vgg(pixels.pyramid(generated), pixels.pyramid(pose)),
        hinge_generator(fake_score),
        hinge_discriminator(real_score, fake_score),
        feature_matching(real_features, fake_features),
        equivariance(result["unwarped_keypoints"], result["warped_keypoints"], warp),
        keypoint_prior(result["driving_keypoints"]),
        expression_magnitude(result["expression"]),
        head_pose(result["degrees"], torch.rand(2, 3, device=GPU)),
    ]
    assert {term.device.type for term in (generated, *terms)} == {"cuda"}


@pytest.mark.parametrize("decoder", ["original", "spade"])
def test_rendering_from_one_source_stays_on_it(pretended, decoder):
    model = model_of(64, narrow=True)
    model = model.model_copy(update={"generator": model.generator.model_copy(update={"decoder": decoder})})
    with GPU:
        frontend = Frontend(model).eval()
    source = frontend.decompose(images()[:1])
    turned = HeadPose.from_degrees(
        torch.zeros(2, 3, device=GPU), source.pose.translation.expand(2, -1), ModelParams().conventions
    )
    driving = source.driven_by(turned, source.expression.expand(2, -1, -1))
    assert frontend.render(source, driving).frame.device.type == "cuda"


def test_backends_and_pose_teacher_stay_on_it(pretended):
    with GPU:
        wav2lip, expert = Wav2LipGenerator(0.125), SyncNet(0.125)
        pcavs, hopenet = PCAVSNetworks(0.0625, 64), Hopenet().eval()
    mels, faces = torch.rand(2, 1, 80, 16, device=GPU), torch.rand(2, 6, 96, 96, device=GPU)
    mouths = pcavs.encode_mouth_from_audio(torch.rand(2, 1, 80, 20, device=GPU))
    spoken = [
        wav2lip(mels, faces),
        *expert(mels, torch.rand(2, 15, 48, 96, device=GPU)),
        pcavs.render(pcavs.encode_identity(images()), mouths, pcavs.encode_pose(images())),
        hopenet.degrees(images(224)),
    ]
    assert {tensor.device.type for tensor in spoken} == {"cuda"}
