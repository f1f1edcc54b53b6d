"""Head pose and expression estimator: a bottleneck ResNet with binned angles.

Paper Fig. 1, OSFV's he_estimator.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kpbe.frontend.geometry import HeadPose, expected_degrees
from kpbe.frontend.preparation import Foldable
from kpbe.params import ConventionParams, ModelParams

REDUCTION = 32
"""Factor by which the stem and the stages reduce the picture's sides."""


@dataclass(frozen=True)
class PoseExpressionHeads:
    """Raw outputs of the estimator.

    Attributes:
        yaw, pitch, roll: (B, bins) logits over bins of 3 degrees.
        translation: (B, 3).
        expression: (B, K, 3) shifts of the keypoints.
    """

    yaw: Tensor
    pitch: Tensor
    roll: Tensor
    translation: Tensor
    expression: Tensor

    def pose(self, conventions: ConventionParams) -> HeadPose:
        """The head pose expected under the logits."""
        angles = [
            expected_degrees(logits, conventions.degree_offset)
            for logits in (self.yaw, self.pitch, self.roll)
        ]
        return HeadPose.from_degrees(torch.stack(angles, dim=-1), self.translation.float(), conventions)


class Bottleneck(Foldable):
    """ResNet bottleneck that keeps its channels; with stride 2 it has a convolution on its skip path."""

    NORMS = (("conv1", "norm1"), ("conv2", "norm2"), ("conv3", "norm3"), ("skip", "norm4"))

    def __init__(self, channels: int, stride: int = 1) -> None:
        super().__init__()
        narrow = channels // 4
        self.conv1 = nn.Conv2d(channels, narrow, 1)
        self.norm1 = nn.BatchNorm2d(narrow)
        self.conv2 = nn.Conv2d(narrow, narrow, 3, stride, 1)
        self.norm2 = nn.BatchNorm2d(narrow)
        self.conv3 = nn.Conv2d(narrow, channels, 1)
        self.norm3 = nn.BatchNorm2d(channels)
        self.skip = nn.Conv2d(channels, channels, 1, stride) if stride > 1 else None
        self.norm4 = nn.BatchNorm2d(channels) if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        y = F.relu(self.norm2(self.conv2(y)))
        y = self.norm3(self.conv3(y))
        if self.skip is not None and self.norm4 is not None:
            x = self.norm4(self.skip(x))
        return F.relu(x + y)


class Stage(Foldable):
    """1x1 convolution that widens, batch norm, ReLU, then bottlenecks.

    The first bottleneck has stride 2 unless this is the first stage.
    """

    NORMS = (("conv", "norm"),)

    def __init__(self, channels_in: int, channels_out: int, blocks: int, reduce: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 1)
        self.norm = nn.BatchNorm2d(channels_out)
        self.reduce = Bottleneck(channels_out, stride=2) if reduce else nn.Identity()
        self.blocks = nn.Sequential(*(Bottleneck(channels_out) for _ in range(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.reduce(F.relu(self.norm(self.conv(x)))))


class GridPooling(Foldable):
    """Features (B, C, h, w) to (B, C) that keep their place in the picture.

    Few channels of every cell go through one linear layer.
    """

    NORMS = (("conv", "norm"),)
    CHANNELS = 32

    def __init__(self, channels: int, cells: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, self.CHANNELS, 1)
        self.norm = nn.BatchNorm2d(self.CHANNELS)
        self.linear = nn.Linear(self.CHANNELS * cells**2, channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.linear(F.relu(self.norm(self.conv(x))).flatten(1)))


class PoseExpression(Foldable):
    """Stem, four stages of 4, 8, 16 and 32 times `width` channels, pooling, five linear heads.

    Pooling is the global average or `GridPooling`.
    """

    NORMS = (("conv", "norm"),)

    def __init__(self, model: ModelParams) -> None:
        super().__init__()
        params = model.pose_expression
        width = params.width
        self.conv = nn.Conv2d(3, width, 7, 2, 3)
        self.norm = nn.BatchNorm2d(width)
        channels = [width, *(width * 4 * 2**i for i in range(4))]
        self.stages = nn.Sequential(
            *(Stage(channels[i], channels[i + 1], params.stage_blocks[i], reduce=i > 0) for i in range(4))
        )
        self.grid = None
        if params.pooling == "grid":
            self.grid = GridPooling(channels[-1], -(-model.image_size // REDUCTION))
        self.yaw = nn.Linear(channels[-1], params.bins)
        self.pitch = nn.Linear(channels[-1], params.bins)
        self.roll = nn.Linear(channels[-1], params.bins)
        self.translation = nn.Linear(channels[-1], 3)
        self.expression = nn.Linear(channels[-1], 3 * model.num_keypoints)

    def forward(self, image: Tensor) -> PoseExpressionHeads:
        """Heads for images (B, 3, H, W) in [0, 1]."""
        x = F.max_pool2d(F.relu(self.norm(self.conv(image))), 3, 2, 1)
        x = self.stages(x)
        x = x.mean((2, 3)) if self.grid is None else self.grid(x)
        return PoseExpressionHeads(
            self.yaw(x),
            self.pitch(x),
            self.roll(x),
            self.translation(x),
            self.expression(x).unflatten(1, (-1, 3)),
        )
