"""Adam, its learning rate over the steps, and the training step of a module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from kpbe.params import OptimiserParams


class FusedAdam(torch.optim.Adam):
    """torch's Adam as one fused kernel, several times as fast as its other forms.

    On CPUs that kernel pairs weights, gradients and moments in memory order, even where one of them is
    channels last and another is not, and would then change the wrong weights. So gradients and moments first
    get their weight's layout.
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


class TrainedModule:
    """A module and its optimiser, with the steps that change its weights.

    A step is `begin`, then forward pass and `backward` for each part of the batch (inside `part` if there are
    several), then `finish`.

    Args:
        fabric: launched.
        module: the module; all of its weights are trained.
        params: learning rate, betas, milestones, largest norm of the gradients.
        groups: parameter groups for Adam, each with the `factor` of its learning rate; None puts all weights
            into one.

    Attributes:
        module: the module as Fabric wraps it, for forward passes.
        optimiser: Adam.
    """

    def __init__(
        self,
        fabric: Fabric,
        module: nn.Module,
        params: OptimiserParams,
        groups: list[dict[str, Any]] | None = None,
    ):
        self.params, self._fabric = params, fabric
        self.module, self.optimiser = fabric.setup(module, adam(groups or module.parameters(), params))
        self._parts = self._begun = 1

    def begin(self, step: int, parts: int = 1) -> None:
        """Start training step `step`, whose batch comes in `parts`.

        Sets training mode and the scheduled learning rate, and clears the gradients.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = scheduled_lr(self.params, step) * group.get("factor", 1.0)
        self.module.train()
        self.optimiser.zero_grad()
        self._parts, self._begun = parts, 0

    @contextmanager
    def part(self) -> Iterator[None]:
        """Context of one part's forward and backward pass; processes exchange gradients in the last one."""
        self._begun += 1
        with self._fabric.no_backward_sync(self.module, enabled=self._begun < self._parts):
            yield

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a part's loss; over all parts they sum to those of the mean."""
        self._fabric.backward(loss / self._parts)

    def clip(self) -> Tensor:
        """Scale the gradients down to norm `params.clip_norm` (0: no limit) and return their norm before."""
        return nn.utils.clip_grad_norm_(self.module.parameters(), self.params.clip_norm or float("inf"))

    def apply(self) -> None:
        """Update the weights by the gradients."""
        self.optimiser.step()

    def finish(self, loss: Tensor) -> Tensor:
        """Clip the gradients and update the weights, unless loss or gradients are not finite.

        Returns:
            The loss without its graph; NaN where the gradients are not finite.
        """
        norm = self.clip()
        if not norm.isfinite():
            return loss.detach() * float("nan")
        if loss.isfinite():
            self.apply()
        return loss.detach()
