"""Exponential moving average of a network's weights, which is validated and exported."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class MovingAverage:
    """The average of a network over its training (a `state.Stateful`).

    In the first updates the decay is (1 + n) / (10 + n), so that the untrained weights soon fade.

    Args:
        network: the network to average; its floating-point buffers (batch norm's statistics) are averaged
            too, others are copied.
        decay: share of the average that an update keeps, below 1.
    """

    def __init__(self, network: nn.Module, decay: float):
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Add the network's present weights to the average."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        mine, theirs = (list(n.state_dict(keep_vars=True).values()) for n in (self.network, network))
        floating = [tensor.is_floating_point() for tensor in mine]
        get_ema_multi_avg_fn(decay)(_where(mine, floating), _where(theirs, floating), torch.tensor(0))
        for average, now, is_floating in zip(mine, theirs, floating, strict=True):
            if not is_floating:
                average.copy_(now)
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        """See `Stateful`."""
        return {"network": self.network.state_dict(), "updates": self.updates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See `Stateful`."""
        self.network.load_state_dict(state_dict["network"])
        self.updates = int(state_dict["updates"])


def _where(tensors: list[Tensor], chosen: list[bool]) -> list[Tensor]:
    return [tensor for tensor, yes in zip(tensors, chosen, strict=True) if yes]
