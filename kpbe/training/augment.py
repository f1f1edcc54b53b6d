"""Augmentation of image batches on the device that trains: mirroring, and FOMM's colour jitter.

The random numbers are drawn beforehand (`sampling.py`), so that every device does the same. The jitter uses
torchvision's definitions of brightness, contrast, saturation and hue, each clamped to [0, 1], in a random
order for each sample.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from kpbe.training.sampling import CONTRAST, HUE, SATURATION, UNCHANGED, Samples

LUMA = (0.2989, 0.587, 0.114)
"""Weights of BT.601, rounded as in torchvision."""


def as_images(frames: Tensor, device: torch.device) -> Tensor:
    """uint8 (N, H, W, 3) -> float32 (N, 3, H, W) in [0, 1] on `device`; only bytes are copied there."""
    frames = frames.to(device, non_blocking=True)
    return frames.permute(0, 3, 1, 2).contiguous().float().div_(255)


def augmented(images: Tensor, samples: Samples) -> Tensor:
    """Mirror and recolour images according to their samples.

    Args:
        images: float32 (n * b, 3, H, W) in [0, 1]: n images of each of b samples, image by image.
        samples: b samples.
    """
    times = len(images) // len(samples)
    images = mirror(images, np.tile(samples.mirrored, times))
    return jitter_colours(images, np.tile(samples.colours, (times, 1)), np.tile(samples.order, (times, 1)))


def mirror(images: Tensor, mirrored: np.ndarray) -> Tensor:
    """Swap left and right of the images (B, 3, H, W) where `mirrored` (B,) is true."""
    if not mirrored.any():
        return images
    which = torch.from_numpy(mirrored).to(images.device, non_blocking=True)
    return torch.where(which.view(-1, 1, 1, 1), images.flip(-1), images)


def jitter_colours(images: Tensor, colours: np.ndarray, order: np.ndarray) -> Tensor:
    """Change brightness, contrast, saturation and hue of each image, in its own order.

    Args:
        images: float32 (B, 3, H, W) in [0, 1].
        colours: float32 (B, 4) factors of brightness, contrast and saturation, and turn of the hue in [-.5,
            .5]; see `Samples`.
        order: (B, 4) the columns of `colours` in the order in which they are applied.

    Returns:
        float32 (B, 3, H, W) in [0, 1].
    """
    if (colours == UNCHANGED).all():
        return images
    amounts = np.take_along_axis(colours, order, axis=1)
    for kind, amount in zip(order.T, amounts.T, strict=True):
        # brightness, contrast and saturation are mixtures with black, the mean grey and the image's greys,
        # so one formula serves all
        mix = np.where(kind == HUE, np.float32(1), amount)
        share, of_mean, of_greys = _columns(images, mix, kind == CONTRAST, kind == SATURATION)
        greys = (images * images.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
        other = of_mean * greys.mean(dim=(2, 3), keepdim=True) + of_greys * greys
        images = (share * images + (1 - share) * other).clamp(0, 1)
        turned = np.flatnonzero((kind == HUE) & (amount != 0))
        if len(turned):
            rows = torch.from_numpy(turned).to(images.device, non_blocking=True)
            (turn,) = _columns(images, amount[turned])
            images[rows] = turn_hue(images[rows], turn)
    return images


def _columns(images: Tensor, *values: np.ndarray) -> list[Tensor]:
    """One number per image, (B, 1, 1, 1) on the images' device and of their type."""
    table = torch.from_numpy(np.stack([value.astype(np.float32) for value in values]))
    return list(table.to(images.device, images.dtype, non_blocking=True).view(len(values), -1, 1, 1, 1))


def turn_hue(images: Tensor, turn: Tensor) -> Tensor:
    """Rotate the hue of HSV; value and chroma stay.

    Args:
        images: (B, 3, H, W) in [0, 1].
        turn: (B, 1, 1, 1) shares of a full turn.
    """
    red, green, blue = images.unbind(1)
    value, low = images.amax(1), images.amin(1)
    chroma = value - low
    divisor = torch.where(chroma > 0, chroma, 1)
    sextant = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    sextant = sextant + 6 * turn.squeeze(1)
    # a channel falls from value to low within one sextant, two sextants after its peak
    distance = (sextant.unsqueeze(1) + images.new_tensor([5, 3, 1]).view(1, 3, 1, 1)).remainder(6)
    fall = torch.minimum(distance, 4 - distance).clamp(0, 1)
    return value.unsqueeze(1) - chroma.unsqueeze(1) * fall
