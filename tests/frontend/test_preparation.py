"""Preparing networks for rendering and training changes their speed, not their results."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from kpbe.frontend.generator import Generator
from kpbe.frontend.layers import ConvBlock, UpBlock, doubling_convolution, same_convolution
from kpbe.frontend.model import Frontend
from kpbe.frontend.motion_field import FewMaps
from kpbe.frontend.preparation import denormals_as_zero, prepare_for
from kpbe.params import ModelParams
from tests.frontend.tiny import tiny_frontend, tiny_model

CPU = torch.device("cpu")


@pytest.mark.parametrize("dims", [2, 3])
@torch.no_grad()
def test_a_doubling_convolution_gives_what_the_doubled_picture_gives(dims):
    torch.manual_seed(0)
    conv = same_convolution(dims, 3, 5, 3).double()
    picture = torch.randn(2, 3, *(4, 6, 5)[3 - dims :], dtype=torch.double)
    scale = (1.0, 2.0, 2.0)[3 - dims :]
    expected = conv(F.interpolate(picture, scale_factor=scale, mode="nearest"))
    torch.testing.assert_close(doubling_convolution(conv)(picture), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("kernel", "maps"), [(7, 1), (3, 4)])
def test_few_maps_are_those_of_a_convolution_with_all_gradients(kernel, maps):
    torch.manual_seed(0)
    ours = FewMaps(5, 3, maps, kernel).double()
    theirs = nn.Conv2d(15, maps, kernel, padding=kernel // 2).double()
    theirs.load_state_dict(ours.state_dict())
    volume = torch.randn(2, 5, 3, 6, 9, dtype=torch.double)
    weighting = torch.randn(2, maps, 6, 9, dtype=torch.double)
    found = []
    for convolution, flatten in ((ours, False), (theirs, True)):
        seen = volume.clone().requires_grad_()
        result = convolution(seen.flatten(1, 2) if flatten else seen)
        (result * weighting).sum().backward()
        found.append([result, seen.grad, *(parameter.grad for parameter in convolution.parameters())])
    for got, wanted in zip(*found, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("block", [ConvBlock, UpBlock])
@torch.no_grad()
def test_batch_norms_are_divided_into_the_weights_of_a_frozen_network(block):
    torch.manual_seed(0)
    network = block(3, 4, 6)
    for _ in range(5):
        network(3 * torch.randn(4, 4, 2, 8, 8) + 1)
    picture = torch.randn(2, 4, 2, 8, 8)
    expected = network.eval()(picture)
    prepare_for(network, CPU, training=False)
    torch.testing.assert_close(network(picture), expected, rtol=1e-4, atol=1e-5)
    assert not [module for module in network.modules() if isinstance(module, nn.BatchNorm3d)]


def test_a_network_in_training_keeps_what_it_learns():
    frontend = tiny_frontend(generator={"width": 16, "blocks": 1, "decoder": "spade"})
    names = list(frontend.state_dict())
    prepare_for(frontend, CPU, training=True)
    assert list(frontend.state_dict()) == names
    assert all(parameter.requires_grad for parameter in frontend.parameters())


def test_weights_lie_as_the_task_asks():
    kinds = {4: torch.channels_last, 5: torch.channels_last_3d}

    def layouts(network: nn.Module) -> dict[int, set[bool]]:
        found: dict[int, set[bool]] = {4: set(), 5: set()}
        for weight in network.parameters():
            if weight.dim() in found and weight.shape[1] > 1 and weight[0, 0].numel() > 1:
                found[weight.dim()].add(weight.is_contiguous(memory_format=kinds[weight.dim()]))
        return found

    assert layouts(prepare_for(tiny_frontend(), CPU, training=True)) == {4: {False}, 5: {True}}
    assert layouts(prepare_for(tiny_frontend(), CPU, training=False)) == {4: {True}, 5: {True}}


class DenormalCount(TorchDispatchMode):
    """Counts denormal numbers in all results of torch's operations."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.dtype == torch.float32 and "empty" not in str(func):
            size = result.abs()
            count = int(((size > 0) & (size < torch.finfo(torch.float32).tiny)).sum())
            self.found += Counter({str(func): count})
        return result


def test_neither_frames_nor_gradients_hold_denormal_numbers():
    frontend = tiny_frontend(generator={"width": 16, "blocks": 1, "detail": "warp_both"}).train()
    with torch.no_grad():  # as confident of its keypoints as a trained network
        frontend.canonical_keypoints.heatmaps.weight *= 100
    images = torch.rand(3, 2, 3, 64, 64)
    with DenormalCount() as count:
        source = frontend.decompose(images[0])
        pose, _ = frontend.estimate_pose_expression(images[1])
        frontend.reenact(source, pose, images[2]).frame.sum().backward()
    assert not count.found


def test_denormal_numbers_count_as_nothing_in_a_training_and_again_afterwards():
    small = torch.tensor([1e-39])
    with denormals_as_zero():
        assert (small * 1).item() == 0
    assert (small * 1).item() > 0


@torch.no_grad()
def test_frames_are_the_same_where_the_mask_s_kernel_is_large():
    torch.manual_seed(0)
    motion_field = {"width": 4, "blocks": 2, "compressed_channels": 1, "mask_kernel": 7}
    frontend = Frontend(ModelParams.model_validate(tiny_model(motion_field=motion_field))).eval()
    assert isinstance(frontend.generator, Generator)
    images = torch.rand(3, 3, 64, 64)
    source = frontend.decompose(images[:1])
    expected = frontend.reenact(source, None, images).frame
    frontend.for_rendering()
    torch.testing.assert_close(frontend.reenact(source, None, images).frame, expected, rtol=0, atol=1e-5)
