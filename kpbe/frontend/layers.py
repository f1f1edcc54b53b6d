"""Building blocks of the frontend, structured as OSFV's (reference code: zhanglonghao1992).

Blocks are two- or three-dimensional (`dims`); three-dimensional ones change height and width only, never
depth.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kpbe.frontend.convolution3d import SameConv3d
from kpbe.frontend.preparation import Foldable

BATCH_NORM: dict[int, type[nn.BatchNorm2d] | type[nn.BatchNorm3d]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def same_convolution(dims: int, channels_in: int, channels_out: int, kernel: int) -> nn.Conv2d | nn.Conv3d:
    """A convolution with bias that keeps the size."""
    if dims == 3:
        return SameConv3d(channels_in, channels_out, kernel)
    return nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2)


def halve(x: Tensor) -> Tensor:
    """Average 2x2 pixels of (B, C, H, W) or (B, C, D, H, W)."""
    return F.avg_pool2d(x, 2) if x.dim() == 4 else F.avg_pool3d(x, (1, 2, 2))


def double(x: Tensor) -> Tensor:
    """Repeat every pixel 2x2 of (B, C, H, W) or (B, C, D, H, W)."""
    scale = (2.0, 2.0) if x.dim() == 4 else (1.0, 2.0, 2.0)
    return F.interpolate(x, scale_factor=scale, mode="nearest")


def doubling_convolution(conv: nn.Conv2d | nn.Conv3d) -> nn.ConvTranspose2d | nn.ConvTranspose3d:
    """One transposed convolution that equals doubling a picture and then convolving it with 3 taps a side.

    Taps that meet copies of the same pixel are summed: four ninths of the products remain.

    Args:
        conv: a convolution of 3 taps a side that keeps the size.
    """
    dims = conv.weight.dim() - 2
    wide = F.pad(conv.weight, (1, 1, 1, 1))
    summed = wide[..., :-1, :] + wide[..., 1:, :]
    summed = summed[..., :-1] + summed[..., 1:]
    channels = (conv.in_channels, conv.out_channels)
    if dims == 3:
        result = nn.ConvTranspose3d(*channels, (3, 4, 4), (1, 2, 2), 1, device="meta")
    else:
        result = nn.ConvTranspose2d(*channels, 4, 2, 1, device="meta")
    result.weight = nn.Parameter(summed.transpose(0, 1).flip(list(range(2, 2 + dims))), False)
    result.bias = conv.bias
    return result


class ConvBlock(Foldable):
    """Convolution, batch norm, rectifier; `slope` 0 is ReLU."""

    NORMS = (("conv", "norm"),)

    def __init__(
        self, dims: int, channels_in: int, channels_out: int, kernel: int = 3, slope: float = 0.0
    ) -> None:
        super().__init__()
        self.conv: nn.Module = same_convolution(dims, channels_in, channels_out, kernel)
        self.norm = BATCH_NORM[dims](channels_out)
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        # in place is safe: nobody else uses the output of a convolution or a norm
        return F.leaky_relu(x, self.slope, inplace=True) if self.slope else F.relu(x, inplace=True)


class DownBlock(ConvBlock):
    """`ConvBlock`, then height and width halved."""

    def forward(self, x: Tensor) -> Tensor:
        return halve(super().forward(x))


class UpBlock(ConvBlock):
    """Height and width doubled, then `ConvBlock`."""

    doubles = True

    def fold(self, device: torch.device) -> None:
        super().fold(device)
        if device.type == "cpu":
            assert isinstance(self.conv, nn.Conv2d | nn.Conv3d)
            self.conv, self.doubles = doubling_convolution(self.conv), False

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(double(x) if self.doubles else x)


class ResidualBlock(Foldable):
    """Pre-activation residual block: twice (batch norm, ReLU, convolution), plus the input."""

    NORMS = (("conv1", "norm2"),)

    def __init__(self, dims: int, channels: int) -> None:
        super().__init__()
        self.norm1 = BATCH_NORM[dims](channels)
        self.conv1 = same_convolution(dims, channels, channels, 3)
        self.norm2 = BATCH_NORM[dims](channels)
        self.conv2 = same_convolution(dims, channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.norm1(x)))
        return x + self.conv2(F.relu(self.norm2(y)))


class AntiAliasDownscale(nn.Module):
    """Gaussian blur, then every n-th pixel (FOMM's anti-alias interpolation).

    Sigma is (n - 1) / 2, padding is zero.
    """

    kernel: Tensor

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        sigma = (factor - 1) / 2
        radius = round(4 * sigma)
        gaussian = torch.exp(-torch.arange(-radius, radius + 1.0).square() / (2 * sigma**2))
        kernel = torch.outer(gaussian, gaussian) / gaussian.sum().square()
        self.register_buffer("kernel", kernel.repeat(channels, 1, 1, 1), persistent=False)
        self.factor = factor

    def forward(self, image: Tensor) -> Tensor:
        return F.conv2d(
            image,
            self.kernel,
            stride=self.factor,
            padding=self.kernel.shape[-1] // 2,
            groups=len(self.kernel),
        )


def widths(first: int, blocks: int, largest: int) -> list[int]:
    """The blocks + 1 channel counts around `blocks` blocks that each double them, up to `largest`."""
    return [min(largest, first * 2**i) for i in range(blocks + 1)]
