"""3D convolution that keeps the size, with shorter ways to train it on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from math import pi
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TINY_IMAGE = 16
"""Pixels up to which an image's convolution is trained faster as one matrix product on a CPU."""


class SameConv3d(nn.Conv3d):
    """A 3D convolution with bias that keeps the size.

    Where gradients are wanted on a CPU, all depth taps are convolved in two dimensions at once and their results are added up: tiny
    images as one matrix product, large kernels by the convolution theorem. Forward and backward pass together take a quarter to two
    thirds of the time; the forward pass alone gains little.
    """

    bias: Tensor

    def __init__(self, channels_in: int, channels_out: int, kernel: int) -> None:
        super().__init__(channels_in, channels_out, kernel, padding=kernel // 2)

    def forward(self, input: Tensor) -> Tensor:
        tiny = input.shape[-2] * input.shape[-1] <= TINY_IMAGE
        large = self.kernel_size[0] > 3
        if input.device.type != "cpu" or not torch.is_grad_enabled() or not (tiny or large):
            return super().forward(input)
        convolve = _convolve_as_matrix_product if tiny else _convolve_by_fourier
        convolved = convolve(input.movedim(1, -1), self.weight) + self.bias
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else input.dtype
        return convolved.to(dtype).movedim(-1, 1)


def _convolve_as_matrix_product(volume: Tensor, weight: Tensor) -> Tensor:
    """Convolution of (B, D, H, W, C) with (C', C, K, K, K), sizes kept: (B, D, H, W, C')."""
    batch, depth, height, width, _ = volume.shape
    taps = weight.shape[2]
    images = volume.movedim(-1, 2).flatten(0, 1)
    patches = F.unfold(images, weight.shape[-2:], padding=taps // 2).transpose(1, 2)
    by_tap = F.linear(patches, weight.movedim(2, 0).flatten(0, 1).flatten(1))
    return _SumOverDepthTaps.apply(by_tap.view(batch, depth, height, width, taps, -1))


def _convolve_by_fourier(volume: Tensor, weight: Tensor) -> Tensor:
    """As `_convolve_as_matrix_product`; a matrix product over channels for each frequency of height and width."""
    batch, depth, height, width, channels = volume.shape
    taps = weight.shape[2]
    # room for what a periodic image would bring in from its other side
    size = [-(-(length + taps // 2) // 4) * 4 for length in (height, width)]
    spectrum = torch.fft.rfft2(volume.to(weight.dtype), s=size, dim=(2, 3))
    rows, columns = spectrum.shape[2:4]
    spectrum = spectrum.permute(2, 3, 0, 1, 4).reshape(rows * columns, batch * depth, channels)
    waves = torch.kron(_waves(rows, size[0], taps), _waves(columns, size[1], taps)).to(spectrum)
    kernels = waves @ weight.permute(3, 4, 1, 2, 0).flatten(0, 1).flatten(1).to(waves)
    by_tap = spectrum @ kernels.view(rows * columns, channels, -1)
    summed = _SumOverDepthTaps.apply(by_tap.view(rows * columns * batch, depth, taps, -1))
    summed = summed.view(rows, columns, batch, depth, -1).permute(2, 3, 0, 1, 4)
    return torch.fft.irfft2(summed, s=size, dim=(2, 3))[:, :, :height, :width]


def _waves(frequencies: int, size: int, taps: int) -> Tensor:
    """Values (frequencies, taps) at a centred kernel's taps of the waves that `size` pixels can hold."""
    places = torch.arange(taps, dtype=torch.double) - taps // 2
    angles = torch.outer(torch.arange(frequencies, dtype=torch.double), places) * (2 * pi / size)
    return torch.polar(torch.ones_like(angles), angles)


class _SumOverDepthTaps(torch.autograd.Function):
    """Sum of a depth kernel's taps, each shifted to where it belongs: (B, D, ..., K, C) to (B, D, ..., C).

    By hand, since autograd would fill and add up one tensor of the size of them all for each tap.
    """

    @staticmethod
    def forward(ctx: Any, by_tap: Tensor) -> Tensor:
        depth, ctx.taps = by_tap.shape[1], by_tap.shape[-2]
        summed = by_tap.new_zeros(*by_tap.shape[:-2], by_tap.shape[-1])
        for tap, begin, end in _depths_within(depth, ctx.taps):
            summed[:, begin:end] += by_tap[:, begin + tap : end + tap, ..., tap + ctx.taps // 2, :]
        return summed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        by_tap = gradient.new_zeros(*gradient.shape[:-1], ctx.taps, gradient.shape[-1])
        for tap, begin, end in _depths_within(gradient.shape[1], ctx.taps):
            by_tap[:, begin + tap : end + tap, ..., tap + ctx.taps // 2, :] = gradient[:, begin:end]
        return by_tap


def _depths_within(depth: int, taps: int) -> Iterator[tuple[int, int, int]]:
    """Each tap as its distance from the middle one, and the depths at which it meets the volume."""
    for tap in range(-(taps // 2), taps // 2 + 1):
        begin, end = max(0, -tap), depth - max(0, tap)
        if begin < end:
            yield tap, begin, end
