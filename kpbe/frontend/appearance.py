"""Appearance feature extractor: source image to feature volume (paper Fig. 1, front of OSFV's generator)."""

from __future__ import annotations

from torch import Tensor, nn

from kpbe.errors import ParamsError
from kpbe.frontend.layers import ConvBlock, DownBlock, ResidualBlock, widths
from kpbe.params import ModelParams


def feature_size(model: ModelParams) -> int:
    """Height and width of the feature volume.

    Raises:
        ParamsError: the image size cannot be halved `appearance.down_blocks` times.
    """
    factor = 2**model.appearance.down_blocks
    if model.image_size % factor:
        raise ParamsError(
            f"model.image_size = {model.image_size} does not fit model.appearance.down_blocks = "
            f"{model.appearance.down_blocks}: it must be a multiple of {factor}."
        )
    return model.image_size // factor


class Appearance(nn.Module):
    """2D convolutions that halve the image, a 1x1 convolution from channels to depth, 3D residual blocks.

    Raises:
        ParamsError: see `feature_size`.
    """

    def __init__(self, model: ModelParams) -> None:
        super().__init__()
        feature_size(model)
        params = model.appearance
        channels = widths(params.width, params.down_blocks, params.max_width)
        first_kernel = 7 if model.generator.decoder == "original" else 3
        self.depth = model.depth
        self.first = ConvBlock(2, 3, channels[0], first_kernel)
        self.down = nn.Sequential(
            *(DownBlock(2, channels[i], channels[i + 1]) for i in range(params.down_blocks))
        )
        self.lift = nn.Conv2d(channels[-1], params.volume_channels * model.depth, 1)
        self.volume = nn.Sequential(
            *(ResidualBlock(3, params.volume_channels) for _ in range(params.volume_blocks))
        )

    def forward(self, image: Tensor) -> Tensor:
        """Feature volumes (B, C, D, h, w) of images (B, 3, H, W) in [0, 1]."""
        lifted = self.lift(self.down(self.first(image)))
        return self.volume(lifted.unflatten(1, (-1, self.depth)))
