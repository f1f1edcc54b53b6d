"""Non-identity encoder: a face alignment network whose feature is split into mouth shape and head pose.

Layers and state-dict names are those of netE (reference: Hangz-nju-cuhk/Talking-Face_PC-AVS, `FanEncoder`),
without its heads for training (`classifier`, `mouth_fc`, `headpose_fc`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kpbe.backends.layers import scaled_channels

FEATURE_DIM = 512
MOUTH_DIM = 500
POSE_DIM = 12
HOURGLASS_DEPTH = 4


class _PyramidBlock(nn.Module):
    """Three 3x3 convolutions in a row, their outputs concatenated, plus the input.

    Batch norm and ReLU come before each convolution. The input is projected where the width changes.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        half, quarter = out_channels // 2, out_channels // 4
        rest = out_channels - half - quarter
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, half, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv2 = nn.Conv2d(half, quarter, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(quarter)
        self.conv3 = nn.Conv2d(quarter, rest, 3, padding=1, bias=False)
        self.downsample = None
        if in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.BatchNorm2d(in_channels), nn.ReLU(), nn.Conv2d(in_channels, out_channels, 1, bias=False)
            )

    def forward(self, x: Tensor) -> Tensor:
        half = self.conv1(F.relu(self.bn1(x)))
        quarter = self.conv2(F.relu(self.bn2(half)))
        rest = self.conv3(F.relu(self.bn3(quarter)))
        shortcut = x if self.downsample is None else self.downsample(x)
        return torch.cat((half, quarter, rest), dim=1) + shortcut


class _HourGlass(nn.Module):
    """Four halvings and back, with a shortcut at every size.

    `b1_i` is beside, `b2_i` down, `b3_i` up, `b2_plus_1` at the bottom.
    """

    def __init__(self, channels: int):
        super().__init__()
        for level in range(HOURGLASS_DEPTH, 0, -1):
            for name in ("b1", "b2", "b3"):
                self.add_module(f"{name}_{level}", _PyramidBlock(channels, channels))
        self.b2_plus_1 = _PyramidBlock(channels, channels)

    def forward(self, x: Tensor, level: int = HOURGLASS_DEPTH) -> Tensor:
        beside = F.dropout(self.get_submodule(f"b1_{level}")(x), 0.5, self.training)
        low = self.get_submodule(f"b2_{level}")(F.max_pool2d(x, 2))
        low = self(low, level - 1) if level > 1 else self.b2_plus_1(low)
        low = self.get_submodule(f"b3_{level}")(low)
        return beside + F.interpolate(low, beside.shape[2:], mode="bilinear", align_corners=False)


class _FaceAlignmentTrunk(nn.Module):
    """Maps (B, 3, S, S) to (B, 512 w).

    The heat maps of 68 points are never supervised; they only feed the last layers.
    """

    def __init__(self, width_multiplier: float, image_size: int):
        super().__init__()
        c64, c128, c256, points = (scaled_channels(c, width_multiplier) for c in (64, 128, 256, 68))
        self.conv1 = nn.Conv2d(3, c64, 7, 2, 3)
        self.bn1 = nn.BatchNorm2d(c64)
        self.conv2 = _PyramidBlock(c64, c128)
        self.conv3 = _PyramidBlock(c128, c128)
        self.conv4 = _PyramidBlock(c128, c256)
        self.m0 = _HourGlass(c256)
        self.top_m_0 = _PyramidBlock(c256, c256)
        self.conv_last0 = nn.Conv2d(c256, c256, 1)
        self.bn_end0 = nn.BatchNorm2d(c256)
        self.l0 = nn.Conv2d(c256, points, 1)
        self.bn5 = nn.BatchNorm2d(points)
        self.conv6 = nn.Conv2d(points, 1, 3, 2, 1)
        self.fc = nn.Linear((image_size // 8) ** 2, scaled_channels(FEATURE_DIM, width_multiplier))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.conv4(self.conv3(F.max_pool2d(self.conv2(x), 2)))
        x = self.top_m_0(self.m0(x))
        heatmaps = self.l0(F.relu(self.bn_end0(self.conv_last0(x))))
        return self.fc(F.relu(self.conv6(F.relu(self.bn5(heatmaps))).flatten(1)))


class NonIdentityEncoder(nn.Module):
    """netE: pictures to non-identity features, and these to mouth shape and head pose (8.0 M parameters).

    Args:
        width_multiplier: scales every channel count but the pose's 12; 1.0 is the official network.
        image_size: edge S of the pictures in pixels, a multiple of 32, at least 64.
    """

    def __init__(self, width_multiplier: float = 1.0, image_size: int = 224):
        super().__init__()
        self.feature_dim = scaled_channels(FEATURE_DIM, width_multiplier)
        self.mouth_dim = scaled_channels(MOUTH_DIM, width_multiplier)
        self.model = _FaceAlignmentTrunk(width_multiplier, image_size)
        self.to_mouth = self._mapper()
        self.mouth_embed = nn.Sequential(nn.ReLU(), nn.Linear(self.feature_dim, self.mouth_dim))
        self.to_headpose = self._mapper()
        self.headpose_embed = nn.Sequential(nn.ReLU(), nn.Linear(self.feature_dim, POSE_DIM))

    def _mapper(self) -> nn.Sequential:
        width = self.feature_dim
        return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) RGB in [-1, 1] -> (B, 512 w) non-identity features."""
        return self.model(images)

    def pose(self, features: Tensor) -> Tensor:
        """(B, 512 w) non-identity features -> (B, 12) head poses."""
        return self.headpose_embed(self.to_headpose(features))

    def mouth(self, features: Tensor) -> Tensor:
        """(B, 512 w) non-identity features -> (B, 512 w) mouth features, the space of the audio's ones."""
        return self.to_mouth(features)

    def embed_mouth(self, mouth: Tensor) -> Tensor:
        """(B, 512 w) mouth features of pictures or of audio -> (B, 500 w), the mouth's part of the style."""
        return self.mouth_embed(mouth)
