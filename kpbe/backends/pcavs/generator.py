"""StyleGAN2's synthesis network; its style is [identity, mouth, pose], its start is the identity map.

Layers and state-dict names are those of netG (reference: Hangz-nju-cuhk/Talking-Face_PC-AVS,
`ModulateGenerator`, after rosinality/stylegan2-pytorch). Its mapping network and its learned start, 52 M
parameters that the reference never runs, are not built.

The reference convolves every sample with its own weight, in groups. One shared weight gives the same numbers:
scale the input channels by the style, convolve, scale the output channels by the demodulation 1 / |w s|. Maps
are channels last, which is fastest on CPUs and tensor cores.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kpbe.backends.layers import scaled_channels
from kpbe.backends.pcavs.identity import IDENTITY_DIM, START_CHANNELS
from kpbe.backends.pcavs.non_identity import MOUTH_DIM, POSE_DIM

OCTAVE_CHANNELS = (512, 512, 512, 256, 128)
SLOPE = 0.2
DEMODULATION_EPS = 1e-8

ONE_BY_ONE = 2**20
"""From this size of one picture's feature map on, a CPU draws the pictures of a batch one by one."""

Noise = Literal["stored", "off"] | torch.Generator | Sequence[Tensor]
"""Per-pixel noise of the generator: the checkpoint's buffers, none, random from a generator, or eleven maps
(1 or B, 1, h, w).
"""


def blur_kernel(gain: float) -> Tensor:
    """The 4x4 binomial low pass [1, 3, 3, 1] x [1, 3, 3, 1] whose sum is `gain`."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(taps, taps) * (gain / 64)


class _Modulation(nn.Module):
    """Maps the style to one factor per channel, around 1.

    The weight is scaled at run time (equalised learning rate).
    """

    def __init__(self, style_dim: int, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, style_dim))
        self.bias = nn.Parameter(torch.ones(channels))

    def forward(self, style: Tensor) -> Tensor:
        return F.linear(style * style.shape[1] ** -0.5, self.weight, self.bias)


class _ModulatedConv(nn.Module):
    """Convolution of unit-variance weights that the style modulates."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, style_dim: int):
        super().__init__()
        self.scale = (in_channels * kernel**2) ** -0.5
        self.kernel = kernel
        self.weight = nn.Parameter(self.new_weight(in_channels, out_channels, kernel)[None])
        self.modulation = _Modulation(style_dim, in_channels)
        self._energy: tuple[object, Tensor] | None = None

    @staticmethod
    def new_weight(in_channels: int, out_channels: int, kernel: int) -> Tensor:
        """Random weight (out, in, k, k) in the convolution's memory layout."""
        weight = torch.randn(out_channels, in_channels, kernel, kernel)
        return weight.contiguous(memory_format=torch.channels_last)

    def energy(self) -> Tensor:
        """(out, in) sums of the squared weights over the kernel, cached outside of training."""
        if torch.is_grad_enabled() or self.weight.is_inference():
            return self.weight[0].square().sum((2, 3))
        state = (self.weight._version, self.weight.data_ptr(), self.weight.dtype)
        if self._energy is None or self._energy[0] != state:
            self._energy = (state, self.weight[0].square().sum((2, 3)))
        return self._energy[1]

    def forward(self, x: Tensor, style: Tensor, bias: Tensor, gain: float) -> Tensor:
        """`gain` times the demodulated convolution, plus `bias` (out,)."""
        inward = self.modulation(style) * self.scale
        outward = torch.rsqrt(F.linear(inward.square(), self.energy()) + DEMODULATION_EPS) * gain
        if len(x) == 1:  # the weight is smaller than the maps, so it is cheaper to scale
            factors = outward.T * inward
            return self.convolve(x, self.weight[0] * factors[:, :, None, None], bias)
        x = self.convolve(x * inward[:, :, None, None], self.weight[0], None)
        return torch.addcmul(bias[:, None, None], x, outward[:, :, None, None])

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(x, weight, bias, padding=self.kernel // 2)


class _ModulatedUpConv(_ModulatedConv):
    """Doubles the size: transposed convolution with stride 2, then a low pass."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, style_dim: int):
        super().__init__(in_channels, out_channels, kernel, style_dim)
        self.register_buffer("blur", blur_kernel(gain=4), persistent=False)
        self.blur: Tensor

    @staticmethod
    def new_weight(in_channels: int, out_channels: int, kernel: int) -> Tensor:
        weight = torch.randn(in_channels, out_channels, kernel, kernel)
        return weight.contiguous(memory_format=torch.channels_last).transpose(0, 1)

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
        channels = x.shape[1]
        return F.conv2d(x, self.blur.expand(channels, 1, 4, 4), bias, padding=1, groups=channels)


class _NoiseInjection(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


class _Activation(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))


class _StyledConv(nn.Module):
    """Modulated convolution, noise, bias, leaky ReLU times sqrt(2)."""

    def __init__(self, in_channels: int, out_channels: int, style_dim: int, up: bool = False):
        super().__init__()
        kind = _ModulatedUpConv if up else _ModulatedConv
        self.conv = kind(in_channels, out_channels, 3, style_dim)
        self.noise = _NoiseInjection()
        self.activate = _Activation(out_channels)

    def forward(self, x: Tensor, style: Tensor, noise: Tensor | None) -> Tensor:
        # positive factors commute with a leaky ReLU, so the gain is applied where it costs nothing
        gain = sqrt(2)
        x = self.conv(x, style, self.activate.bias.flatten() * gain, gain)
        training = torch.is_grad_enabled()
        if noise is not None:
            noise = noise * (self.noise.weight * gain)
            x = x + noise if training else x.add_(noise)
        return F.leaky_relu(x, SLOPE, inplace=not training)


class _ToRGB(nn.Module):
    """Adds the features' picture to the enlarged picture of the previous octave."""

    def __init__(self, in_channels: int, style_dim: int):
        super().__init__()
        self.conv = _ModulatedConv(in_channels, 3, 1, style_dim)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))
        self.register_buffer("blur", blur_kernel(gain=4), persistent=False)
        self.blur: Tensor

    def forward(self, x: Tensor, style: Tensor, skip: Tensor | None) -> Tensor:
        factors = self.conv.modulation(style) * self.conv.scale  # not demodulated
        weight = self.conv.weight.view(1, 3, -1) * factors[:, None]
        pixels = x.permute(0, 2, 3, 1)  # their order in memory
        rgb = (pixels.flatten(1, 2) @ weight.transpose(1, 2)).view(*pixels.shape[:3], 3)
        rgb = rgb.permute(0, 3, 1, 2) + self.bias
        if skip is None:
            return rgb
        return rgb + F.conv_transpose2d(skip, self.blur.expand(3, 1, 4, 4), stride=2, padding=1, groups=3)


class StyleGenerator(nn.Module):
    """netG: identity, mouth and pose to a picture (37.1 M parameters).

    The official one has 89.6 M parameters, including the parts that are never run.

    Args:
        width_multiplier: scales every channel count; 1.0 is the official network.
        image_size: edge S of the pictures in pixels, a multiple of 32.
    """

    def __init__(self, width_multiplier: float = 1.0, image_size: int = 224):
        super().__init__()
        self.style_dim = (
            sum(scaled_channels(c, width_multiplier) for c in (IDENTITY_DIM, MOUTH_DIM)) + POSE_DIM
        )
        start, *octaves = (scaled_channels(c, width_multiplier) for c in (START_CHANNELS, *OCTAVE_CHANNELS))
        self.conv1 = _StyledConv(start, start, self.style_dim)
        self.to_rgb1 = _ToRGB(start, self.style_dim)
        self.convs = nn.ModuleList()
        self.to_rgbs = nn.ModuleList()
        channels = start
        for out in octaves:
            self.convs.append(_StyledConv(channels, out, self.style_dim, up=True))
            self.convs.append(_StyledConv(out, out, self.style_dim))
            self.to_rgbs.append(_ToRGB(out, self.style_dim))
            channels = out
        sizes = [image_size >> i for i in range(len(octaves) - 1, -1, -1)]
        small = [c * size**2 < ONE_BY_ONE for c, size in zip(octaves, sizes, strict=True)]
        self.together = small.index(False) if False in small else len(small)
        self.noises = nn.Module()
        fixed = torch.Generator().manual_seed(0)  # equal networks have equal noise
        for i, size in enumerate(self.noise_sizes(image_size)):
            self.noises.register_buffer(f"noise_{i}", torch.randn(1, 1, size, size, generator=fixed))

    @staticmethod
    def noise_sizes(image_size: int) -> list[int]:
        """Edges of the eleven noise maps."""
        start = image_size >> len(OCTAVE_CHANNELS)
        return [start << (i + 1) // 2 for i in range(2 * len(OCTAVE_CHANNELS) + 1)]

    def forward(self, style: Tensor, start: Tensor, noise: Noise = "stored") -> Tensor:
        """Draw pictures.

        Args:
            style: (B, 2048 w + 500 w + 12), identity, mouth and pose.
            start: (B, 512 w, S / 32, S / 32), or (1, ...) for all.
            noise: see `Noise`. The reference draws new noise for every frame, which flickers; the stored maps
                make the output repeatable and steady.

        Returns:
            (B, 3, S, S) RGB in [-1, 1].
        """
        batch = len(style)
        noises = self._noise_maps(noise, batch, start)
        x = start.expand(batch, -1, -1, -1).contiguous(memory_format=torch.channels_last)
        x = self.conv1(x, style, noises[0])
        skip = self.to_rgb1(x, style, None)
        octaves = len(self.to_rgbs)
        together = octaves if batch == 1 or torch.is_grad_enabled() or x.is_cuda else self.together
        x, skip = self._octaves(x, style, skip, noises, 0, together)
        if together < octaves:
            # maps of several pictures no longer fit into a CPU's caches
            pictures = []
            for i in range(batch):
                one = slice(i, i + 1)
                own = [n if n is None or len(n) == 1 else n[one] for n in noises]
                pictures.append(self._octaves(x[one], style[one], skip[one], own, together, octaves)[1])
            skip = torch.cat(pictures)
        return torch.tanh(skip)

    def _octaves(
        self, x: Tensor, style: Tensor, skip: Tensor, noises: Sequence[Tensor | None], first: int, end: int
    ) -> tuple[Tensor, Tensor]:
        """Run the octaves `first` to `end` - 1; returns features and picture."""
        for i in range(first, end):
            x = self.convs[2 * i](x, style, noises[2 * i + 1])
            x = self.convs[2 * i + 1](x, style, noises[2 * i + 2])
            skip = self.to_rgbs[i](x, style, skip)
        return x, skip

    def _noise_maps(self, noise: Noise, batch: int, like: Tensor) -> Sequence[Tensor | None]:
        stored = [buffer for _, buffer in self.noises.named_buffers()]
        if noise == "stored":
            return stored
        if noise == "off":
            return [None] * len(stored)
        if isinstance(noise, torch.Generator):
            sizes = [(batch, *buffer.shape[1:]) for buffer in stored]
            return [torch.randn(size, generator=noise, device=noise.device).to(like) for size in sizes]
        if isinstance(noise, str) or len(noise) != len(stored):
            raise ValueError(f"noise must be stored, off, a torch.Generator or {len(stored)} maps")
        return list(noise)
