"""Faster rendering: what only training needs is computed once and put into the convolutions."""

from __future__ import annotations

import copy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.nn.utils.parametrize import is_parametrized

from kpbe.frontend.layers import ConvBlock, ResidualBlock, channels_last
from kpbe.frontend.model import Frontend
from kpbe.frontend.pose_expression import Bottleneck, PoseExpression, Stage

# convolutions whose output goes straight into a batch norm
NORM_AFTER_CONVOLUTION: dict[type[nn.Module], tuple[tuple[str, str], ...]] = {
    ConvBlock: (("conv", "norm"),),
    ResidualBlock: (("conv1", "norm2"),),
    PoseExpression: (("conv", "norm"),),
    Stage: (("conv", "norm"),),
    Bottleneck: (("conv1", "norm1"), ("conv2", "norm2"), ("conv3", "norm3"), ("skip", "norm4")),
}


def folded(frontend: Frontend) -> Frontend:
    """A copy of the frontend that renders the same frames faster; it can be neither trained nor saved.

    Batch norms are folded into the convolutions before them, and spectrally normalised weights are divided once.
    """
    frontend = copy.deepcopy(frontend).eval().requires_grad_(False)
    for module in list(frontend.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Conv2d) and is_parametrized(child, "weight"):
                setattr(module, name, _plain(child))
        for kind, pairs in NORM_AFTER_CONVOLUTION.items():
            if isinstance(module, kind):
                _fold_norms(module, pairs)
    channels_last(frontend)
    return frontend


def _plain(convolution: nn.Conv2d) -> nn.Conv2d:
    """The convolution with its weight as it stands; torch cannot take the spectral norm off a copy without harming the original."""
    weight, bias = convolution.weight, convolution.bias
    kernel, padding = weight.shape[-1], convolution.padding[0]
    plain = nn.Conv2d(weight.shape[1], weight.shape[0], kernel, padding=padding, bias=bias is not None)
    plain.load_state_dict({"weight": weight} if bias is None else {"weight": weight, "bias": bias})
    return plain.to(weight.device).requires_grad_(False)


def _fold_norms(module: nn.Module, pairs: tuple[tuple[str, str], ...]) -> None:
    for conv_name, norm_name in pairs:
        conv, norm = getattr(module, conv_name), getattr(module, norm_name)
        if norm is not None:
            setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
            setattr(module, norm_name, nn.Identity())
