"""Optimisers, their learning rate over the steps, and the norm of gradients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from kpbe.params import OptimiserParams


def adam(parameters: Any, params: OptimiserParams, device: torch.device | str = "cpu") -> torch.optim.Adam:
    """Adam as params say; betas (0.5, 0.999) in the paper (IV.B).

    One fused kernel on a GPU. Not on a CPU: there torch pairs weights and gradients in memory order, also where one of them is
    channels last and the other is not, and moves the wrong weights.
    """
    fused = torch.device(device).type == "cuda"
    return torch.optim.Adam(parameters, lr=params.lr, betas=(params.beta1, params.beta2), fused=fused)


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
