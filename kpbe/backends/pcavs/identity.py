"""Identity encoder: a ResNeXt-50 (32x4d) that gives an identity vector and the generator's start map.

Layers and state-dict names are those of netV (reference: Hangz-nju-cuhk/Talking-Face_PC-AVS,
`ResNeXtEncoder`) and of torchvision's ResNet, whose import would cost five seconds.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from kpbe.backends.layers import scaled_channels

IDENTITY_DIM = 2048
START_CHANNELS = 512
STAGES = (3, 4, 6, 3)
GROUPS = 32
GROUP_WIDTH = 4


class Identity(NamedTuple):
    """The identity of the people to draw.

    Attributes:
        vector: (B, 2048 w).
        map: (B, 512 w, S / 32, S / 32), the generator's start.
    """

    vector: Tensor
    map: Tensor


class _Bottleneck(nn.Module):
    """1x1, grouped 3x3, 1x1 convolution, and the input (projected where the shape changes)."""

    def __init__(self, in_channels: int, inner: int, out_channels: int, stride: int, groups: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(self.bn3(self.conv3(y)) + shortcut)


class _ResNeXt(nn.Module):
    """Maps (B, 3, S, S) to (B, 2048 w, S / 32, S / 32)."""

    def __init__(self, width_multiplier: float):
        super().__init__()
        channels = scaled_channels(64, width_multiplier)
        self.conv1 = nn.Conv2d(3, channels, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        # A narrow network has fewer groups, since narrower groups would be slow.
        groups = max(1, round(GROUPS * width_multiplier))
        for stage, blocks in enumerate(STAGES):
            inner = groups * GROUP_WIDTH * 2**stage
            out = scaled_channels(IDENTITY_DIM >> (3 - stage), width_multiplier)
            layers = []
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                layers.append(_Bottleneck(channels, inner, out, stride, groups))
                channels = out
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if isinstance(module, _Bottleneck):
                nn.init.zeros_(module.bn3.weight)  # blocks that start as shortcuts train faster

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for stage in range(len(STAGES)):
            x = self.get_submodule(f"layer{stage + 1}")(x)
        return x


class IdentityEncoder(nn.Module):
    """netV: one or several pictures of a person to an `Identity` (24.0 M parameters).

    The official one has 38.0 M parameters, including both class heads.

    Args:
        width_multiplier: scales every channel count; 1.0 is the official network.
        image_size: edge S of the pictures in pixels, a multiple of 32.
    """

    def __init__(self, width_multiplier: float = 1.0, image_size: int = 224):
        super().__init__()
        self.start_size = image_size // 32
        self.vector_dim = scaled_channels(IDENTITY_DIM, width_multiplier)
        self.model = _ResNeXt(width_multiplier)
        self.conv1x1 = nn.Conv2d(self.vector_dim, scaled_channels(START_CHANNELS, width_multiplier), 1)

    def forward(self, images: Tensor) -> Identity:
        """Encode people.

        Args:
            images: (B, 3, S, S) RGB in [-1, 1], one picture of each; or (B, K, 3, S, S), K pictures of each,
                which are averaged.
        """
        if images.dim() == 5:
            identity = self(images.flatten(0, 1))
            return Identity(*(part.unflatten(0, images.shape[:2]).mean(1) for part in identity))
        features = self.model(images)
        start = F.adaptive_avg_pool2d(self.conv1x1(features), self.start_size)
        return Identity(features.mean((2, 3)), start)
