"""Memory layout and folding of networks, for training and for rendering; nothing else decides them.

Measured on CPUs: convolutions run fastest channels last. The gradients of 2D weights take up to three times
as long that way, those of 3D weights do not. Values that stay the same from frame to frame (spectral norms,
batch norms' statistics) are computed once.
"""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import ClassVar, TypeVar

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

Network = TypeVar("Network", bound=nn.Module)

LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}
"""Layouts by the number of dimensions of a convolution's weights; its output has the weights' layout."""


class Foldable(nn.Module):
    """A module that can change itself to render the same frames faster.

    Attributes:
        NORMS: pairs of a convolution's name and the name of the batch norm that is its only reader.
    """

    NORMS: ClassVar[tuple[tuple[str, str], ...]] = ()

    def fold(self, device: torch.device) -> None:
        """Fold this module, which is in eval mode; it can be neither trained nor saved afterwards."""
        for conv, norm in self.NORMS:
            if getattr(self, norm) is not None:
                setattr(self, conv, fuse_conv_bn_eval(getattr(self, conv), getattr(self, norm)))
                setattr(self, norm, nn.Identity())


def prepare_for(network: Network, device: torch.device | str, training: bool) -> Network:
    """Prepare a network for training or rendering; it is changed and returned.

    On a CPU the process keeps the memory that it frees from here on.

    Args:
        network: any network; its `Foldable` parts are folded for rendering.
        device: where the network goes.
        training: True to train its weights. False freezes the network: eval mode, no gradients, and it can
            be neither trained nor saved afterwards.
    """
    device = torch.device(device)
    if device.type == "cpu":
        _keep_freed_memory()
    network.to(device)
    if not training:
        _fold(network.eval().requires_grad_(False), device)
    default_layout(network, (2,) if training and device.type == "cpu" else ())
    _channels_last(network, (3,) if training and device.type == "cpu" else (2, 3))
    return network


@contextmanager
def denormals_as_zero() -> Iterator[None]:
    """Treat denormal numbers as 0 in this thread; CPUs compute many times slower with them.

    For trainings, whose optimisers leave such numbers where a weight no longer gets gradients. Do not set it
    for a whole process: other code may need them (Hypothesis refuses to work without).
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _keep_freed_memory() -> None:
    """Let glibc reuse freed memory instead of returning it to the system.

    The system would have to clear it for every large result. Measured: `vox256` renders in 1.16 instead of
    1.43 s (four frames at once), `small` in 74 instead of 91 ms at 512x512.
    """
    trim_threshold, mmap_max = -1, -4  # numbers of malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        return
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(mmap_max, 0)


def default_layout(network: nn.Module, dims: Collection[int] = (2, 3)) -> None:
    """Lay out the weights of 2D or 3D convolutions as torch does by default."""
    for parameter in network.parameters():
        if parameter.dim() - 2 in dims:
            parameter.data = parameter.data.contiguous()


def _channels_last(network: nn.Module, dims: Collection[int]) -> None:
    for parameter in network.parameters():
        if parameter.dim() in LAYOUTS and parameter.dim() - 2 in dims:
            parameter.data = parameter.data.contiguous(memory_format=LAYOUTS[parameter.dim()])


def _fold(network: nn.Module, device: torch.device) -> None:
    for module in network.modules():
        if is_parametrized(module, "weight"):  # spectral norm
            remove_parametrizations(module, "weight")
    for module in list(network.modules()):
        if isinstance(module, Foldable):
            module.fold(device)
