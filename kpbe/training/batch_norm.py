"""Batch norm over the batches of all processes of a data-parallel training."""

from __future__ import annotations

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm


class GlooBatchNorm(_BatchNorm):
    """`torch.nn.SyncBatchNorm` for CPUs, which torch's own does not support.

    Moments are summed over all processes and gradients flow back through the sums. It normalises with the
    mean and variance of the whole batch; the running variance is the unbiased one, as in torch.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, ...)."""
        if not self.training:
            return super().forward(input)
        axes = [0, *range(2, input.dim())]
        shape = (1, -1, *(1 for _ in input.shape[2:]))
        count = input.new_full((1,), input.numel() / input.shape[1])
        # all_reduce sums over processes, and sums their gradients in the backward pass; two passes, since
        # E[x^2] - E[x]^2 would lose digits
        total, (count,) = all_reduce(torch.cat([input.sum(axes), count])).split([self.num_features, 1])
        mean = total / count
        centred = input - mean.view(shape)
        variance = all_reduce(centred.square().sum(axes)) / count
        self._remember(mean.detach(), (variance * count / (count - 1)).detach())
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return centred * scale.view(shape) + self.bias.view(shape)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


def convert_to_sync_batch_norm(network: nn.Module, fabric: Fabric) -> None:
    """Make the batch norms below `network` use the batches of all processes; parameter names stay."""
    if fabric.world_size == 1:
        return
    if fabric.device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return
    for name, child in network.named_children():
        if isinstance(child, _BatchNorm):
            synchronised = GlooBatchNorm(child.num_features, child.eps, child.momentum)
            synchronised.load_state_dict(child.state_dict())
            setattr(network, name, synchronised)
        else:
            convert_to_sync_batch_norm(child, fabric)
