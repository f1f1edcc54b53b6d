"""Adam moves each weight by its own gradient, whatever the memory layouts; gradients are measured and clipped."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kpbe.params import OptimiserParams
from kpbe.training.optimisers import adam, clip_gradients


def test_adam_pairs_weights_and_gradients_of_different_layouts():
    torch.manual_seed(0)
    gradient = torch.randn(4, 3, 3, 3)
    moved = []
    for layout in (torch.contiguous_format, torch.channels_last):
        weight = nn.Parameter(torch.zeros(4, 3, 3, 3).contiguous(memory_format=layout))
        weight.grad = gradient.clone()
        adam([weight], OptimiserParams(lr=0.1)).step()
        moved.append(weight.detach())
    torch.testing.assert_close(moved[0], moved[1])
    assert torch.equal(moved[0].sign(), -gradient.sign())


def test_gradients_are_measured_and_clipped_only_when_asked():
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    assert clip_gradients([weight], 0.0).item() == pytest.approx(5.0)
    assert weight.grad.tolist() == [3.0, 4.0]
    assert clip_gradients([weight], 1.0).item() == pytest.approx(5.0)
    assert weight.grad.norm().item() == pytest.approx(1.0, rel=1e-4)
