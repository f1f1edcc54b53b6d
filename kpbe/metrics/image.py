"""SSIM, PSNR and L1 between batches of frames, with scikit-image's definitions.

Frames are RGB, channels last, uint8 or floating point, always on the scale 0..255. Differences are never
taken in uint8, where they wrap around (MCNet's published script takes them so and prints about 31 dB for any
frames).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

PEAK = 255.0
SSIM_RADIUS = 5
SSIM_SIGMA = 1.5
SSIM_K1 = 0.01
SSIM_K2 = 0.03
LUMINANCE = (0.299, 0.587, 0.114)

SETTINGS: dict[str, Any] = {
    "ssim": "Wang 2004, luminance BT.601",
    "ssim_rgb": "mean over R, G, B",
    "ssim_window": f"Gaussian {2 * SSIM_RADIUS + 1}x{2 * SSIM_RADIUS + 1}, sigma {SSIM_SIGMA}",
    "ssim_covariance": "population",
    "ssim_k1": SSIM_K1,
    "ssim_k2": SSIM_K2,
    "data_range": PEAK,
    "psnr": "RGB, per frame, then mean",
    "l1": "RGB, scale 0..1",
}

Frames = np.ndarray | Tensor


def psnr(truth: Frames, other: Frames) -> Tensor:
    """Peak signal-to-noise ratio of each pair of frames (the paper's IV.C: 10 log10(255^2 / MSE)).

    Args:
        truth: (N,H,W,3) frames, 0..255, uint8 or floating point; numpy or torch.
        other: frames of the same shape.

    Returns:
        (N,) float64, in dB. Identical frames give infinity: see `mean_psnr` for how a mean treats them.

    Raises:
        ValueError: shapes differ, are not (N,H,W,3), or values are not on the scale 0..255.
    """
    error = _difference(truth, other).square().mean((1, 2, 3), dtype=torch.float64)
    return 10 * torch.log10(PEAK**2 / error)


def mean_psnr(values: np.ndarray) -> float:
    """Mean PSNR in dB of frames; infinite ones (frames identical to the truth) are left out.

    One identical frame, such as the source image itself in a static video, would make any mean infinite, and
    any cap put in its place would be an invented number. When every frame is identical the mean is infinity.
    """
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("inf")


def l1(truth: Frames, other: Frames) -> Tensor:
    """Mean absolute difference of each pair of frames, on the scale 0..1.

    Arguments and errors are those of `psnr`; returns (N,) float64.
    """
    return _difference(truth, other).abs().mean((1, 2, 3), dtype=torch.float64) / PEAK


def ssim(truth: Frames, other: Frames) -> Tensor:
    """Structural similarity of the luminance of each pair of frames (Wang et al. 2004).

    Equals skimage.metrics.structural_similarity(gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=255) on unrounded luminance; arguments and errors as for `psnr`, H
    and W at least 11.

    Returns:
        (N,) float64, at most 1.
    """
    truth, other = frame_pair(truth, other)
    _check_window(truth)
    return _plane_ssim(_luminance(truth), _luminance(other))


def ssim_rgb(truth: Frames, other: Frames) -> Tensor:
    """As `ssim`, but the mean over R, G and B (skimage's channel_axis=-1)."""
    truth, other = frame_pair(truth, other)
    _check_window(truth)
    planes = [_plane_ssim(truth[..., c].double(), other[..., c].double()) for c in range(3)]
    return torch.stack(planes).mean(0)


def frame_pair(truth: Frames, other: Frames) -> tuple[Tensor, Tensor]:
    """Both arguments as tensors, checked as `psnr` describes; values and types stay as they are."""
    first, second = _as_tensor(truth), _as_tensor(other)
    if first.shape != second.shape:
        raise ValueError(
            f"frames of shape {tuple(first.shape)} and {tuple(second.shape)} cannot be compared."
        )
    if first.ndim != 4 or first.shape[-1] != 3 or not first.numel():
        raise ValueError(f"frames must be (N,H,W,3), N at least 1, not {tuple(first.shape)}.")
    for frames in (first, second):
        if frames.dtype != torch.uint8:
            _check_scale(frames)
    return first, second


def _difference(truth: Frames, other: Frames) -> Tensor:
    truth, other = frame_pair(truth, other)
    exact = torch.float32 if truth.dtype == other.dtype == torch.uint8 else torch.float64
    return truth.to(exact) - other.to(exact)


def _as_tensor(frames: Frames) -> Tensor:
    frames = torch.as_tensor(frames)
    if frames.dtype != torch.uint8 and not frames.is_floating_point():
        raise ValueError(f"frames must be uint8 or floating point, not {frames.dtype}.")
    return frames


def _check_scale(frames: Tensor) -> None:
    low, high = float(frames.min()), float(frames.max())
    if not (low >= 0 and high <= PEAK):
        raise ValueError(f"frame values must lie in 0..255, these lie in {low:g}..{high:g}.")
    if 0 < high <= 1:
        raise ValueError("these frames seem to be on the scale 0..1: multiply them by 255.")


def _check_window(frames: Tensor) -> None:
    window = 2 * SSIM_RADIUS + 1
    if min(frames.shape[1:3]) < window:
        raise ValueError(
            f"SSIM needs frames of at least {window}x{window} pixels, not {tuple(frames.shape[1:3])}."
        )


def _luminance(frames: Tensor) -> Tensor:
    return frames.double() @ frames.new_tensor(LUMINANCE, dtype=torch.float64)


def _plane_ssim(truth: Tensor, other: Tensor) -> Tensor:
    """Mean SSIM of (N,H,W) float64 planes over the windows that lie wholly inside."""
    block = len(truth) if truth.is_cuda else 1  # one plane's intermediate maps stay in a CPU's cache
    pairs = zip(truth.split(block), other.split(block), strict=True)
    return torch.cat([_ssim_map(x, y).mean((1, 2)) for x, y in pairs])


def _ssim_map(x: Tensor, y: Tensor) -> Tensor:
    c1, c2 = (SSIM_K1 * PEAK) ** 2, (SSIM_K2 * PEAK) ** 2
    mean_x, mean_y, power, product = _blur(torch.stack([x, y, x * x + y * y, x * y]))
    mean_power, mean_product = mean_x * mean_x + mean_y * mean_y, mean_x * mean_y
    variances, covariance = power - mean_power, product - mean_product
    return ((2 * mean_product + c1) * (2 * covariance + c2)) / ((mean_power + c1) * (variances + c2))


def _blur(planes: Tensor) -> Tensor:
    """Separable Gaussian over the last two axes, valid part only.

    Shifted sums run five times faster on a CPU than torch's one-channel convolutions.
    """
    offsets = np.arange(-SSIM_RADIUS, SSIM_RADIUS + 1)
    weights = np.exp(-0.5 * (offsets / SSIM_SIGMA) ** 2)
    weights /= weights.sum()
    for axis in (-1, -2):
        length = planes.shape[axis] - 2 * SSIM_RADIUS
        blurred = planes.narrow(axis, 0, length) * float(weights[0])
        for start, weight in enumerate(weights[1:], start=1):
            blurred.add_(planes.narrow(axis, start, length), alpha=float(weight))
        planes = blurred
    return planes
