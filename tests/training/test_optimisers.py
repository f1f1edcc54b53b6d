"""Adam moves each weight by its own gradient in any memory layout; gradients are measured and clipped."""

from __future__ import annotations

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from kpbe.params import OptimiserParams
from kpbe.training.optimisers import TrainedModule, adam


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


def one_weight(clip_norm: float = 0.0) -> TrainedModule:
    layer = nn.Linear(2, 1, bias=False)
    nn.init.zeros_(layer.weight)
    fabric = Fabric(accelerator="cpu", devices=1)
    return TrainedModule(fabric, layer, OptimiserParams(lr=0.1, clip_norm=clip_norm, milestones=(5,)))


def weight_of(trained: TrainedModule) -> nn.Parameter:
    return next(trained.module.parameters())


def gradient_of(trained: TrainedModule) -> Tensor:
    gradient = weight_of(trained).grad
    assert gradient is not None
    return gradient


@pytest.mark.parametrize(("clip_norm", "left"), [(0.0, 5.0), (1.0, 1.0)])
def test_gradients_are_measured_and_clipped_only_when_asked(clip_norm, left):
    trained = one_weight(clip_norm)
    weight_of(trained).grad = torch.tensor([[3.0, 4.0]])
    assert trained.clip().item() == pytest.approx(5.0)
    assert gradient_of(trained).norm().item() == pytest.approx(left, rel=1e-4)


def test_parts_of_a_batch_give_the_gradients_of_the_whole():
    inputs = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    gradients = []
    for parts in (1, 2):
        trained = one_weight()
        trained.begin(0, parts)
        for part in inputs.chunk(parts):
            with trained.part():
                trained.backward(trained.module(part).mean())
        gradients.append(gradient_of(trained))
    assert torch.equal(*gradients)


def test_learning_rate_falls_at_milestones_and_old_gradients_are_gone():
    trained = one_weight()
    weight_of(trained).grad = torch.ones(1, 2)
    trained.begin(5)
    assert trained.optimiser.param_groups[0]["lr"] == pytest.approx(0.01)
    assert weight_of(trained).grad is None


@pytest.mark.parametrize("wrong", ["loss", "gradient"])
def test_what_is_not_finite_changes_no_weight(wrong):
    trained = one_weight()
    trained.begin(0)
    loss = trained.module(torch.ones(1, 2)).sum()
    trained.backward(loss)
    assert trained.finish(loss).isfinite()
    before = weight_of(trained).detach().clone()
    trained.begin(1)
    loss = trained.module(torch.ones(1, 2)).sum()
    trained.backward(loss)
    if wrong == "gradient":
        gradient_of(trained)[0, 0] = torch.inf
    told = trained.finish(loss * torch.nan if wrong == "loss" else loss)
    assert told.isnan(), "so that the training stops"
    assert torch.equal(weight_of(trained), before)
