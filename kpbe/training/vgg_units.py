"""Units in which a VGG-19's layers count the same, whichever file its weights come from.

Rectified layers can be scaled without changing what a network sees, and the files differ in just that:
torchvision's has the activations that its training left, ours the style-transfer form, whose activations are
1 on average (Gatys et al. 2015). Their layers therefore weigh differently in a loss. The factor of a layer is
measured: how much its features change when pictures are blurred, which is what a loss between a generated and
a real picture sees, divided by the same number of our file. The pictures are dead leaves (discs of all sizes
that cover each other), whose statistics are those of photographs; every machine draws the same.
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
    """The pictures that units are measured with, (2, 3, 256, 256) in [0, 1]."""
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
    """Mean absolute change (5,) of a network's features when 5x5 pixels of the pictures are averaged; on the
    CPU.
    """
    pictures = dead_leaves()
    blurred = F.avg_pool2d(F.pad(pictures, (2, 2, 2, 2), mode="reflect"), 5, 1)
    pairs = zip(network(pictures), network(blurred), strict=True)
    return torch.stack([(sharp - soft).abs().mean() for sharp, soft in pairs])


def normalised_units(network: VGGFeatures) -> Tensor:
    """What a VGG-19's features (5 layers) are divided by so that they count as those of our normalised
    file.
    """
    return change_by_blur(network) / torch.tensor(OF_THE_NORMALISED_FILE)
