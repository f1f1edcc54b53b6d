"""Disguise of the pose frames in training: the target with other colours, stretched and shifted.

At synthesis the pose frame is of another moment, maybe of another person. If training used the target itself,
the pose code could carry its colours, the shape of the face and the place of the mouth. The authors of PC-AVS
augment the pose source for that reason. The kinds and amounts of change are our choice: colours, and
deformations that keep the head's pose. Rotation in the picture's plane is part of the pose, so pictures are
not rotated.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kpbe.training.augment import jitter_colours

COLOUR = 0.2
"""Brightness, contrast and saturation are scaled by up to 1 +- this."""

STRETCH = 0.15
"""Width and height are scaled independently by up to 1 +- this."""

SHIFT = 0.1
"""Pictures shift by up to this share of half of their edge, across and down."""


def disguised(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Pictures (B, 3, S, S) in [-1, 1], each with random colours, width, height and shift.

    Beyond the edges the border is repeated.
    """
    batch = len(images)
    colours = np.zeros((batch, 4), np.float32)  # the hue stays
    colours[:, :3] = rng.uniform(1 - COLOUR, 1 + COLOUR, (3, batch)).T
    stretch = rng.uniform(1 - STRETCH, 1 + STRETCH, (batch, 2))
    shift = rng.uniform(-SHIFT, SHIFT, (batch, 2))
    order = np.tile(np.arange(4), (batch, 1))
    recoloured = jitter_colours(images.add(1).div(2), colours, order).mul(2).sub(1)
    theta = np.zeros((batch, 2, 3), np.float32)
    theta[:, 0, 0], theta[:, 1, 1] = (1 / stretch).T
    theta[:, :, 2] = shift
    grid = F.affine_grid(torch.from_numpy(theta).to(images.device), list(images.shape), align_corners=False)
    return F.grid_sample(recoloured, grid, padding_mode="border", align_corners=False)
