"""Motion field estimator: moves the source's features to the driving keypoints.

OSFV's dense motion network.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kpbe.errors import ParamsError
from kpbe.frontend.appearance import feature_size
from kpbe.frontend.detail import image_displacement, plane_weights
from kpbe.frontend.geometry import (
    combine_motions,
    keypoint_heatmaps,
    motion_shifts,
    moved_volumes,
    translated_volumes,
)
from kpbe.frontend.layers import (
    ConvBlock,
    DownBlock,
    UpBlock,
    same_convolution,
    widths,
)
from kpbe.params import ModelParams


@dataclass(frozen=True)
class Motion:
    """Where every voxel of the rendered frame comes from.

    Attributes:
        mask: (B, K + 1, D, h, w) share of the background's and each keypoint's motion; sums to one.
        deformation: (B, D, h, w, 3) coordinates in the source's volume.
        occlusion: (B, 1, h, w) in [0, 1]; 0 where the source shows nothing usable.
        displacement: (B, 2, h, w) the deformation projected to the picture, see `image_displacement`; None
            with `generator.detail` = none.
    """

    mask: Tensor
    deformation: Tensor
    occlusion: Tensor
    displacement: Tensor | None = None

    def rows(self, rows: slice) -> Motion:
        """The motion of some samples of the batch, without copying."""
        displacement = None if self.displacement is None else self.displacement[rows]
        return Motion(self.mask[rows], self.deformation[rows], self.occlusion[rows], displacement)


class FewMaps(nn.Conv2d):
    """A convolution of a volume's channels and depth together to few maps; keeps the size.

    Maps (B, C, D, h, w) to (B, C', h, w). On a CPU, where a convolution with so few outputs leaves most of
    the processor idle, it is one matrix product for all taps, whose results are then shifted and summed.
    """

    bias: Tensor

    def __init__(self, channels_in: int, depth: int, channels_out: int, kernel: int) -> None:
        super().__init__(channels_in * depth, channels_out, kernel, padding=kernel // 2)
        self.depth = depth

    def forward(self, input: Tensor) -> Tensor:
        if input.device.type != "cpu":
            return super().forward(input.flatten(1, 2))
        size = (input.shape[3], input.shape[4])
        # (B, D, h w, C) by (D, C, C' taps); flipped, since `fold` counts taps the other way round
        weight = (
            self.weight.flip(2, 3).flatten(2).unflatten(1, (-1, self.depth)).permute(2, 1, 0, 3).flatten(2)
        )
        by_tap = (input.movedim(1, -1).flatten(2, 3) @ weight).sum(1)
        maps = F.fold(by_tap.mT, size, self.kernel_size, padding=self.kernel_size[0] // 2)
        return maps + self.bias.view(-1, 1, 1)


class Hourglass(nn.Module):
    """3D U-Net that halves height and width `blocks` times; its input is part of its output."""

    def __init__(self, channels_in: int, width: int, blocks: int, max_width: int) -> None:
        super().__init__()
        channels = widths(width, blocks, max_width)
        self.channels_out = channels_in + channels[0]
        self.encoder = nn.ModuleList(
            DownBlock(3, channels_in if i == 0 else channels[i], channels[i + 1]) for i in range(blocks)
        )
        self.decoder = nn.ModuleList(
            UpBlock(3, channels[i + 1] * (1 if i == blocks - 1 else 2), channels[i])
            for i in reversed(range(blocks))
        )
        self.last = ConvBlock(3, self.channels_out, self.channels_out)

    def forward(self, x: Tensor) -> Tensor:
        skips = [x]
        for down in self.encoder:
            skips.append(down(skips[-1]))
        x = skips.pop()
        for up in self.decoder:
            x = torch.cat([up(x), skips.pop()], dim=1)
        return self.last(x)


class MotionField(nn.Module):
    """Weighs one motion per keypoint and a still background, and predicts the occlusion.

    Motions are translations; with `conventions.first_order` = rotation they also turn about their keypoints.

    Raises:
        ParamsError: the feature volume cannot be halved `motion_field.blocks` times.
    """

    def __init__(self, model: ModelParams) -> None:
        super().__init__()
        params = model.motion_field
        size, factor = feature_size(model), 2**params.blocks
        if size % factor:
            raise ParamsError(
                f"model.image_size = {model.image_size} gives features of {size}x{size}, which "
                f"model.motion_field.blocks = "
                f"{params.blocks} cannot halve: they must be a multiple of {factor}."
            )
        motions = model.num_keypoints + 1
        self.align_corners = model.conventions.align_corners
        self.compress = ConvBlock(3, model.appearance.volume_channels, params.compressed_channels, kernel=1)
        self.hourglass = Hourglass(
            motions * (params.compressed_channels + 1), params.width, params.blocks, params.max_width
        )
        self.mask = same_convolution(3, self.hourglass.channels_out, motions, params.mask_kernel)
        self.occlusion = FewMaps(self.hourglass.channels_out, model.depth, 1, 7)
        self.relief = None
        if model.generator.detail != "none":
            self.relief = FewMaps(self.hourglass.channels_out, model.depth, 1, 3)
            with torch.no_grad():  # flat at first
                self.relief.weight.zero_()
                self.relief.bias.zero_()

    def forward(
        self,
        appearance: Tensor,
        source_keypoints: Tensor,
        driving_keypoints: Tensor,
        rotation: Tensor | None = None,
    ) -> Motion:
        """Motion from the source to the driving keypoints.

        Args:
            appearance: (1 or B, C, D, h, w) feature volume of the source.
            source_keypoints: (1 or B, K, 3).
            driving_keypoints: (B, K, 3).
            rotation: (B, 3, 3) by which the neighbourhoods of keypoints turn (`relative_rotation`); None
                translates them only.
        """
        shifts = motion_shifts(source_keypoints, driving_keypoints, rotation)
        features = self.hourglass(self.hypotheses(appearance, source_keypoints, driving_keypoints, rotation))
        mask = self.mask(features).softmax(1)
        occlusion = self.occlusion(features).sigmoid()
        deformation = combine_motions(mask, shifts, rotation)
        displacement = None
        if self.relief is not None:
            weights = plane_weights(self.relief(features).tanh(), appearance.shape[2])
            displacement = image_displacement(deformation, weights, self.align_corners)
        return Motion(mask, deformation, occlusion, displacement)

    def hypotheses(
        self,
        appearance: Tensor,
        source_keypoints: Tensor,
        driving_keypoints: Tensor,
        rotation: Tensor | None = None,
    ) -> Tensor:
        """Input of the hourglass: for every motion, its heat map difference and the features moved by it.

        Arguments are those of `forward`.

        Returns:
            (B, (K + 1) * (1 + compressed channels), D, h, w).
        """
        size = (appearance.shape[2], appearance.shape[3], appearance.shape[4])
        heatmaps = keypoint_heatmaps(driving_keypoints, size) - keypoint_heatmaps(source_keypoints, size)
        with_background = F.pad(heatmaps, (0, 0, 0, 0, 0, 0, 1, 0)).unsqueeze(2)
        shifts = motion_shifts(source_keypoints, driving_keypoints, rotation)
        compressed = self.compress(appearance)
        if rotation is None:
            moved = translated_volumes(compressed, shifts, self.align_corners)
        else:
            moved = moved_volumes(compressed, shifts, rotation, self.align_corners)
        return torch.cat([with_background, moved], dim=2).flatten(1, 2)
