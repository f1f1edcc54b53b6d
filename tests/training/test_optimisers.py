"""Adam moves each weight by its own gradient, whatever the memory layouts; gradients are measured and clipped."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kpbe.params import OptimiserParams
from kpbe.training.optimisers import adam, clip_gradients


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("other", [torch.contiguous_format, torch.channels_last])
def test_adam_pairs_weights_with_gradients_and_moments_of_another_layout(layout, other):
    torch.manual_seed(0)
    gradients = torch.randn(3, 4, 3, 3, 3)
    plain = nn.Parameter(torch.zeros(4, 3, 3, 3))
    weight = nn.Parameter(torch.zeros(4, 3, 3, 3).contiguous(memory_format=layout))
    theirs = torch.optim.Adam([plain], 0.1, (0.5, 0.999), fused=False)
    ours = adam([weight], OptimiserParams(lr=0.1, beta1=0.5, beta2=0.999))
    for step, gradient in enumerate(gradients):
        if step == 2:  # a state that another device left
            state = ours.state_dict()
            moments = state["state"][0]
            for name in ("exp_avg", "exp_avg_sq"):
                moments[name] = moments[name].contiguous(memory_format=other)
            ours.load_state_dict(state)
        plain.grad, weight.grad = gradient.clone(), gradient.contiguous(memory_format=other)
        theirs.step()
        ours.step()
        torch.testing.assert_close(weight.detach(), plain.detach())


def test_gradients_are_measured_and_clipped_only_when_asked():
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    assert clip_gradients([weight], 0.0).item() == pytest.approx(5.0)
    assert weight.grad.tolist() == [3.0, 4.0]
    assert clip_gradients([weight], 1.0).item() == pytest.approx(5.0)
    assert weight.grad.norm().item() == pytest.approx(1.0, rel=1e-4)
