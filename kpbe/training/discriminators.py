"""Patch discriminator of the frontend's adversarial losses (as in zhanglonghao1992's OSFV code)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

SLOPE = 0.2


class PatchBlock(nn.Module):
    """Spectrally normalised 4x4 convolution without padding, instance norm, leaky ReLU, halving.

    The first block of a discriminator does not normalise, the last does not halve.
    """

    def __init__(self, channels_in: int, channels_out: int, normalise: bool, halve: bool) -> None:
        super().__init__()
        self.conv = spectral_norm(nn.Conv2d(channels_in, channels_out, 4))
        self.norm = nn.InstanceNorm2d(channels_out, affine=True) if normalise else nn.Identity()
        self.halve = halve

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.norm(self.conv(x)), SLOPE)
        return F.avg_pool2d(x, 2) if self.halve else x


SMALLEST_IMAGE = 61
"""Least side of an image, in pixels, for four blocks."""


class PatchDiscriminator(nn.Module):
    """Scores overlapping patches of an image as real (high) or generated (low), for hinge losses.

    Args:
        width: channels of the first block; each next block doubles them, up to `max_width`.
        blocks: 4 in OSFV; images must then be at least `SMALLEST_IMAGE` pixels wide and high.
    """

    def __init__(self, width: int = 64, blocks: int = 4, max_width: int = 512) -> None:
        super().__init__()
        channels = [3, *(min(max_width, width * 2**i) for i in range(blocks))]
        self.blocks = nn.ModuleList(
            PatchBlock(channels[i], channels[i + 1], normalise=i > 0, halve=i < blocks - 1)
            for i in range(blocks)
        )
        self.score = spectral_norm(nn.Conv2d(channels[-1], 1, 1))

    def forward(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        """Feature maps of every block, and scores (B, 1, h, w), of images (B, 3, H, W) in [0, 1]."""
        features: list[Tensor] = []
        for block in self.blocks:
            image = block(image)
            features.append(image)
        return features, self.score(image)
