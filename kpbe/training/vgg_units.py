"""Units that make a VGG-19's layers weigh the same for both files of its weights.

Rectified layers can be scaled without changing a network's function, and that is how the files differ:
torchvision's has the activations of its training, ours the style-transfer form, whose activations are 1 on
average (Gatys et al. 2015). So their layers weigh differently in a loss. The factor of a layer is measured:
the change of its features when pictures are blurred, which resembles the difference of a generated and a real
picture, divided by the same change of our file. The pictures are dead leaves (discs of all sizes that cover
each other), whose statistics are like those of photographs; every machine draws the same ones.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kpbe.training.vgg import VGGFeatures

OF_THE_NORMALISED_FILE = (0.19582, 0.24873, 0.54637, 0.48981, 0.60927)
"""`change_by_blur` of vgg19_imagenet_features_fp16.safetensors, relu1_1 .. relu5_1."""

PICTURES, SIDE, LEAVES = 2, 256, 400


def dead_leaves() -> Tensor:
    """The pictures for measuring units, (2, 3, 256, 256) in [0, 1]."""
    rng = np.random.default_rng(19)
    y, x = np.mgrid[:SIDE, :SIDE]
    pictures = np.full((PICTURES, SIDE, SIDE, 3), 0.5, np.float32)
    for picture in pictures:
        for _ in range(LEAVES):
            radius = 0.02 * SIDE / rng.uniform(0.04, 1.0)
            centre_x, centre_y = rng.uniform(0, SIDE, 2)
            colour = np.clip(rng.uniform(0, 1) + rng.normal(0, 0.1, 3), 0, 1)
            picture[(x - centre_x) ** 2 + (y - centre_y) ** 2 < radius**2] = colour
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()


@torch.no_grad()
def change_by_blur(network: VGGFeatures) -> Tensor:
    """Mean absolute change (5,) of a network's features when the pictures are blurred by 5x5 averages.

    The network must be on the CPU.
    """
    pictures = dead_leaves()
    blurred = F.avg_pool2d(F.pad(pictures, (2, 2, 2, 2), mode="reflect"), 5, 1)
    pairs = zip(network(pictures), network(blurred), strict=True)
    return torch.stack([(sharp - soft).abs().mean() for sharp, soft in pairs])


def normalised_units(network: VGGFeatures) -> Tensor:
    """Divisors (5,) that scale a VGG-19's features to those of our normalised file."""
    return change_by_blur(network) / torch.tensor(OF_THE_NORMALISED_FILE)
