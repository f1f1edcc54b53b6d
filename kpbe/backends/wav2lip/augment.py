"""Augmentation of the sync expert's training windows: mouths and voices.

Mouths are moved, scaled, relit and mirrored; voices get louder or softer and another vocal tract. A window is
changed as a whole, so the motion of its five mouths stays. The amounts are ours; SyncNet's public code has no
augmentation.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

SHIFT = 0.08
"""Windows move by up to this share of their width and height, either way."""

SCALE = 0.12
"""Windows are enlarged or reduced by up to this share."""

LIGHT = 0.25
"""Brightness and contrast are scaled by up to 1 +- this, and each colour by a third of it."""

TRACT = 0.12
"""The mel axis is stretched by up to 1 +- this."""

LOUDNESS = 0.6
"""Mel values, which lie in [-4, 4] at 0.08 per decibel, rise or fall by up to this."""


def augmented_mouths(mouths: Tensor, rng: np.random.Generator) -> Tensor:
    """Windows (B, 15, 48, 96) in [0, 1], each moved, scaled, relit and maybe mirrored as a whole.

    Beyond the edges the border is repeated.
    """
    batch = len(mouths)
    mirrored = rng.integers(0, 2, batch) * 2 - 1
    scale = rng.uniform(1 - SCALE, 1 + SCALE, batch)
    theta = np.zeros((batch, 2, 3), np.float32)
    theta[:, 0, 0], theta[:, 1, 1] = mirrored / scale, 1 / scale
    theta[:, :, 2] = rng.uniform(-2 * SHIFT, 2 * SHIFT, (batch, 2))
    grid = F.affine_grid(torch.from_numpy(theta).to(mouths.device), list(mouths.shape), align_corners=False)
    moved = F.grid_sample(mouths, grid, padding_mode="border", align_corners=False)
    contrast = rng.uniform(1 - LIGHT, 1 + LIGHT, (batch, 1, 1, 1))
    brightness = rng.uniform(1 - LIGHT, 1 + LIGHT, (batch, 1, 1, 1))
    colour = rng.uniform(1 - LIGHT / 3, 1 + LIGHT / 3, (batch, 3, 1, 1))
    gain = np.tile(brightness * colour, (1, mouths.shape[1] // 3, 1, 1)).astype(np.float32)
    mean = moved.mean((1, 2, 3), keepdim=True)
    steeper = mean + (moved - mean) * torch.from_numpy(contrast.astype(np.float32)).to(mouths.device)
    return (steeper * torch.from_numpy(gain).to(mouths.device)).clamp(0, 1)


def augmented_sounds(sounds: Tensor, rng: np.random.Generator) -> Tensor:
    """Mel windows (B, 1, 80, 16) in [-4, 4], each louder or softer and of another vocal tract.

    The tract stretches the mel axis from its low end (after vocal tract length perturbation, Jaitly and
    Hinton 2013): another voice that says the same. Silence stays silence.
    """
    change = rng.uniform(-LOUDNESS, LOUDNESS, (len(sounds), 1, 1, 1)).astype(np.float32)
    louder = (sounds + torch.from_numpy(change).to(sounds.device)).clamp(-4, 4)
    louder = torch.where(sounds > -4, louder, sounds)
    stretch = rng.uniform(1 - TRACT, 1 + TRACT, len(sounds))
    theta = np.zeros((len(sounds), 2, 3), np.float32)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, 1, 2] = 1, stretch, stretch - 1
    grid = F.affine_grid(torch.from_numpy(theta).to(sounds.device), list(sounds.shape), align_corners=True)
    return F.grid_sample(louder, grid, padding_mode="border", align_corners=True)
