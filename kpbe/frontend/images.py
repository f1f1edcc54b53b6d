"""Conversion between pictures (uint8 arrays) and network inputs (float tensors), and between sizes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

MOST_PIXELS = 16 * 512 * 512
"""Most pixels rendered at once; about 1.5 GB of memory."""


def to_tensor(frames: np.ndarray) -> Tensor:
    """uint8 (N, H, W, 3) -> float32 (N, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2))).float().div_(255)


def to_uint8(images: Tensor) -> np.ndarray:
    """float (N, 3, H, W) in [0, 1] -> uint8 (N, H, W, 3), rounded to nearest."""
    return images.detach().clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (B, C, H, W) at another size (height, width).

    Averages pixels where neither side grows, else interpolates bilinearly.
    """
    height, width = images.shape[-2:]
    if (height, width) == size:
        return images
    if height % size[0] == 0 and width % size[1] == 0:  # same averages, faster
        return F.avg_pool2d(images, (height // size[0], width // size[1]))
    if size[0] <= height and size[1] <= width:
        return F.interpolate(images, size, mode="area")
    return F.interpolate(images, size, mode="bilinear", align_corners=False)


def frames_at_once(batch_size: int, height: int, width: int) -> int:
    """`batch_size`, or fewer, so that the frames of one batch have at most `MOST_PIXELS` pixels."""
    return max(1, min(batch_size, MOST_PIXELS // (height * width)))
