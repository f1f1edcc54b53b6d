"""3D convolution that keeps the size, with faster ways to train it on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from math import pi
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kpbe.frontend.preparation import Foldable

LARGEST_DIRECT = 3
"""Largest kernel side, in taps, for which torch's own convolution is fast enough."""

TINY_IMAGE = 16
"""Pixels of an image up to which one matrix product trains faster on a CPU than a convolution."""


class SameConv3d(nn.Conv3d, Foldable):
    """A 3D convolution with bias that keeps the size.

    On a CPU all depth taps are convolved in two dimensions at once and their results are summed: tiny images
    as one matrix product, large kernels by the convolution theorem. With gradients, forward and backward pass
    together then take a quarter to two thirds of torch's time. Without gradients torch's own convolution is
    about as fast, except for large kernels whose spectrum is kept (`fold`), which take a third of its time.
    """

    bias: Tensor

    def __init__(self, channels_in: int, channels_out: int, kernel: int) -> None:
        super().__init__(channels_in, channels_out, kernel, padding=kernel // 2)
        self.large = kernel > LARGEST_DIRECT
        self.spectra: dict[tuple[int, ...], Tensor] | None = None

    def fold(self, device: torch.device) -> None:
        if self.large and device.type == "cpu":
            self.spectra = {}

    def forward(self, input: Tensor) -> Tensor:
        if input.device.type != "cpu" or not (torch.is_grad_enabled() or self.spectra is not None):
            return super().forward(input)
        if input.shape[-2] * input.shape[-1] <= TINY_IMAGE and self.spectra is None:
            convolved = _convolve_as_matrix_product(input.movedim(1, -1), self.weight)
        elif self.large:
            convolved = self._by_fourier(input.movedim(1, -1))
        else:
            return super().forward(input)
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else input.dtype
        return (convolved + self.bias).to(dtype).movedim(-1, 1)

    def _by_fourier(self, volume: Tensor) -> Tensor:
        # padding, so that the periodic convolution does not wrap around into the result
        size = tuple(-(-(length + self.kernel_size[0] // 2) // 4) * 4 for length in volume.shape[2:4])
        if self.spectra is None:
            return _convolve_by_fourier(volume, _spectrum(self.weight, size), size)
        if size not in self.spectra:
            self.spectra[size] = _spectrum(self.weight, size)
        # one image at a time, which fits into the CPU's caches and is faster
        return torch.cat([_convolve_by_fourier(image, self.spectra[size], size) for image in volume.split(1)])


def _convolve_as_matrix_product(volume: Tensor, weight: Tensor) -> Tensor:
    """Convolution of (B, D, H, W, C) with (C', C, K, K, K), sizes kept: (B, D, H, W, C')."""
    batch, depth, height, width, _ = volume.shape
    taps = weight.shape[2]
    images = volume.movedim(-1, 2).flatten(0, 1)
    patches = F.unfold(images, weight.shape[-2:], padding=taps // 2).transpose(1, 2)
    by_tap = F.linear(patches, weight.movedim(2, 0).flatten(0, 1).flatten(1))
    return _SumOverDepthTaps.apply(by_tap.view(batch, depth, height, width, taps, -1))


def _spectrum(weight: Tensor, size: tuple[int, ...]) -> Tensor:
    """Spectrum over height and width of a kernel (C', C, K, K, K), for images of `size`.

    Returns (frequencies, C, K, C').
    """
    rows, columns, taps = size[0], size[1] // 2 + 1, weight.shape[2]
    waves = torch.kron(_waves(rows, size[0], taps), _waves(columns, size[1], taps)).to(weight.device)
    waves = waves.to(torch.promote_types(weight.dtype, torch.complex64))
    kernels = waves @ weight.permute(3, 4, 1, 2, 0).flatten(0, 1).flatten(1).to(waves)
    return kernels.view(rows * columns, weight.shape[1], taps, -1)


def _convolve_by_fourier(volume: Tensor, spectrum: Tensor, size: tuple[int, ...]) -> Tensor:
    """Convolution of (B, D, H, W, C) with a kernel of a `_spectrum`, sizes kept.

    It is a matrix product over channels for each frequency.
    """
    batch, depth, height, width, channels = volume.shape
    of_volume = torch.fft.rfft2(volume.to(spectrum.real.dtype), s=size, dim=(2, 3))
    rows, columns = of_volume.shape[2:4]
    of_volume = of_volume.permute(2, 3, 0, 1, 4).reshape(rows * columns, batch * depth, channels)
    by_tap = of_volume @ spectrum.flatten(2)
    summed = _SumOverDepthTaps.apply(by_tap.view(rows * columns * batch, depth, *spectrum.shape[2:]))
    summed = summed.view(rows, columns, batch, depth, -1).permute(2, 3, 0, 1, 4)
    return torch.fft.irfft2(summed, s=size, dim=(2, 3))[:, :, :height, :width]


def _waves(frequencies: int, size: int, taps: int) -> Tensor:
    """Values (frequencies, taps) at a centred kernel's taps of the waves that `size` pixels can hold."""
    places = torch.arange(taps, dtype=torch.double) - taps // 2
    angles = torch.outer(torch.arange(frequencies, dtype=torch.double), places) * (2 * pi / size)
    return torch.polar(torch.ones_like(angles), angles)


class _SumOverDepthTaps(torch.autograd.Function):
    """Sum of a depth kernel's taps, each shifted to where it belongs: (B, D, ..., K, C) to (B, D, ..., C).

    Written by hand, since autograd would fill and sum a full-size tensor for each tap.
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
    """Each tap as its distance from the middle one, and the depths [begin, end) where it meets the volume."""
    for tap in range(-(taps // 2), taps // 2 + 1):
        begin, end = max(0, -tap), depth - max(0, tap)
        if begin < end:
            yield tap, begin, end
