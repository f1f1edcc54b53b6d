"""Optimisers, their learning rate over the steps, and the norm of gradients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from kpbe.params import OptimiserParams


class FusedAdam(torch.optim.Adam):
    """torch's Adam as one fused kernel, several times as fast as its other forms.

    On CPUs that kernel pairs weights, gradients and moments in memory order, also where one of them is channels last and another is not,
    and would move the wrong weights; so all get their weight's layout first.
    """

    def __init__(self, parameters: Any, lr: float, betas: tuple[float, float]):
        super().__init__(parameters, lr=lr, betas=betas, fused=True)

    def step(self, closure: Any = None) -> Any:
        """See `torch.optim.Optimizer`."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    weight.grad = _laid_out_like(weight, weight.grad)
                moments = self.state.get(weight, {})
                for name in moments.keys() & {"exp_avg", "exp_avg_sq"}:
                    moments[name] = _laid_out_like(weight, moments[name])
        return super().step(closure)


def _laid_out_like(weight: Tensor, other: Tensor) -> Tensor:
    return other if other.stride() == weight.stride() else torch.empty_like(weight).copy_(other)


def adam(parameters: Any, params: OptimiserParams) -> FusedAdam:
    """Adam as params say; betas (0.5, 0.999) in the paper (IV.B)."""
    return FusedAdam(parameters, params.lr, (params.beta1, params.beta2))


def scheduled_lr(params: OptimiserParams, step: int) -> float:
    """Learning rate at a step: divided by ten at each milestone."""
    return params.lr * 0.1 ** sum(step >= milestone for milestone in params.milestones)


def set_learning_rate(optimiser: torch.optim.Optimizer, params: OptimiserParams, step: int) -> None:
    """Give every parameter group the scheduled learning rate of a step, times the group's `factor` where it has one."""
    for group in optimiser.param_groups:
        group["lr"] = scheduled_lr(params, step) * group.get("factor", 1.0)


def clip_gradients(parameters: Iterable[nn.Parameter], clip_norm: float) -> Tensor:
    """Norm of all gradients before they are scaled down to `clip_norm` (0 leaves them as they are)."""
    return nn.utils.clip_grad_norm_(parameters, clip_norm or float("inf"))
