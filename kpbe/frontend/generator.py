"""Generator: warped feature volume to frame (paper Fig. 1), with OSFV's plain or SPADE decoder."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from kpbe.errors import ParamsError
from kpbe.frontend.geometry import warp_volume
from kpbe.frontend.layers import ConvBlock, ResidualBlock, UpBlock, double, same_convolution
from kpbe.frontend.motion_field import Motion
from kpbe.params import ModelParams

SPADE_SLOPE = 0.2


class PlainDecoder(nn.Module):
    """Residual blocks, blocks that double the size, a 7x7 convolution to RGB (OSFV's `original`)."""

    def __init__(self, width: int, blocks: int, doublings: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(*(ResidualBlock(2, width) for _ in range(blocks)))
        self.up = nn.Sequential(*(UpBlock(2, width // 2**i, width // 2 ** (i + 1)) for i in range(doublings)))
        self.rgb = same_convolution(2, width // 2**doublings, 3, 7)

    def forward(self, features: Tensor) -> Tensor:
        return self.rgb(self.up(self.residual(features)))


class SpadeNorm(nn.Module):
    """Instance norm whose scale and shift are convolved from a feature map (SPADE, Park et al. 2019)."""

    def __init__(self, channels: int, map_channels: int, hidden: int) -> None:
        super().__init__()
        self.shared = same_convolution(2, map_channels, hidden, 3)
        self.gamma = same_convolution(2, hidden, channels, 3)
        self.beta = same_convolution(2, hidden, channels, 3)

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        hidden = F.relu(self.shared(features))
        return F.instance_norm(x) * (1 + self.gamma(hidden)) + self.beta(hidden)


class SpadeBlock(nn.Module):
    """Residual block of SPADE norms and spectrally normalised convolutions."""

    def __init__(self, channels_in: int, channels_out: int, map_channels: int, hidden: int) -> None:
        super().__init__()
        middle = min(channels_in, channels_out)
        self.norm_0 = SpadeNorm(channels_in, map_channels, hidden)
        self.conv_0 = spectral_norm(same_convolution(2, channels_in, middle, 3))
        self.norm_1 = SpadeNorm(middle, map_channels, hidden)
        self.conv_1 = spectral_norm(same_convolution(2, middle, channels_out, 3))
        self.widens = channels_in != channels_out
        if self.widens:
            self.norm_s = SpadeNorm(channels_in, map_channels, hidden)
            self.conv_s = spectral_norm(nn.Conv2d(channels_in, channels_out, 1, bias=False))

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        y = self.conv_0(F.leaky_relu(self.norm_0(x, features), SPADE_SLOPE))
        y = self.conv_1(F.leaky_relu(self.norm_1(y, features), SPADE_SLOPE))
        return y + (self.conv_s(self.norm_s(x, features)) if self.widens else x)


class SpadeDecoder(nn.Module):
    """SPADE blocks, one more per doubling, a 3x3 convolution to RGB (OSFV's `spade`).

    The map that modulates every block is the decoder's own input, repeated to the block's size.
    """

    def __init__(self, width: int, blocks: int, doublings: int) -> None:
        super().__init__()
        hidden, last = width // 2, width // 4
        channels = [*(2 * width // 2**i for i in range(doublings)), last]
        self.first = same_convolution(2, width, channels[0], 3)
        self.middle = nn.ModuleList(
            SpadeBlock(channels[0], channels[0], width, hidden) for _ in range(blocks)
        )
        self.up = nn.ModuleList(
            SpadeBlock(channels[i], channels[i + 1], width, hidden) for i in range(doublings)
        )
        self.rgb = same_convolution(2, last, 3, 3)

    def forward(self, features: Tensor) -> Tensor:
        x = self.first(features)
        for block in self.middle:
            x = block(x, features)
        for block in self.up:
            x, features = double(x), double(features)
            x = block(x, features)
        return self.rgb(F.leaky_relu(x, SPADE_SLOPE))


class Generator(nn.Module):
    """Warps the volume, folds depth into channels, dims occluded features, decodes.

    Raises:
        ParamsError: `generator.width` is not a multiple of what the decoder needs.
    """

    def __init__(self, model: ModelParams) -> None:
        super().__init__()
        params, doublings = model.generator, model.appearance.down_blocks
        decoder, factor = (PlainDecoder, 2**doublings) if params.decoder == "original" else (SpadeDecoder, 4)
        if params.width % factor:
            raise ParamsError(
                f"model.generator.width = {params.width} must be a multiple of {factor} for the "
                f"{params.decoder} decoder with model.appearance.down_blocks = {doublings}."
            )
        self.align_corners = model.conventions.align_corners
        self.flatten = ConvBlock(2, model.appearance.volume_channels * model.depth, params.width, slope=0.01)
        self.mix = nn.Conv2d(params.width, params.width, 1)
        self.decoder = decoder(params.width, params.blocks, doublings)

    def forward(self, appearance: Tensor, motion: Motion) -> Tensor:
        """Frames (B, 3, S, S) in [0, 1] from a volume (1 or B, C, D, h, w) and its motion."""
        warped = warp_volume(appearance, motion.deformation, self.align_corners)
        features = self.mix(self.flatten(warped.flatten(1, 2))) * motion.occlusion
        return self.decoder(features).sigmoid()
