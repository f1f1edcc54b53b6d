"""The 3D convolution gives the result of torch's own, computed in other ways."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kpbe.frontend.convolution3d import SameConv3d


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("size", [(9, 8), (6, 5), (4, 3)])
@pytest.mark.parametrize("depth", [4, 2])  # half of 7 taps reach beyond 2
def test_training_convolves_as_torch_does_with_all_gradients(kernel, size, depth):
    torch.manual_seed(0)
    ours = SameConv3d(5, 3, kernel).double()
    theirs = nn.Conv3d(5, 3, kernel, padding=kernel // 2).double()
    theirs.load_state_dict(ours.state_dict())
    volume = torch.randn(2, 5, depth, *size, dtype=torch.double)
    weighting = torch.randn(2, 3, depth, *size, dtype=torch.double)
    found = []
    for convolution in (ours, theirs):
        seen = volume.clone().requires_grad_()
        result = convolution(seen)
        (result * weighting).sum().backward()
        found.append([result, seen.grad, *(parameter.grad for parameter in convolution.parameters())])
    for got, wanted in zip(*found, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)


def test_convolution_is_torchs_own_where_nothing_is_learnt():
    convolution = SameConv3d(5, 3, 3)
    volume = torch.randn(1, 5, 4, 4, 4)
    with torch.no_grad():
        assert torch.equal(convolution(volume), nn.Conv3d.forward(convolution, volume))


@pytest.mark.parametrize("kernel", [3, 7])
@torch.no_grad()
def test_a_folded_convolution_gives_the_same_for_images_of_any_size(kernel):
    torch.manual_seed(0)
    convolution = SameConv3d(5, 3, kernel).double()
    convolution.fold(torch.device("cpu"))
    for size in ((9, 8), (4, 3), (9, 8)):
        volume = torch.randn(2, 5, 4, *size, dtype=torch.double)
        expected = nn.Conv3d.forward(convolution, volume)
        torch.testing.assert_close(convolution(volume), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kernel", [3, 7])
@pytest.mark.parametrize("size", [4, 6])
def test_training_convolves_in_half_precision_where_torch_does(kernel, size):
    convolution, volume = SameConv3d(5, 3, kernel), torch.randn(1, 5, 4, size, size)
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = convolution(volume), nn.Conv3d.forward(convolution, volume)
    assert ours.dtype == theirs.dtype == torch.bfloat16
    torch.testing.assert_close(ours, theirs, rtol=0.05, atol=0.05)
