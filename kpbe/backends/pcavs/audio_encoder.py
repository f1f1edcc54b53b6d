"""Audio encoder: a ResNetSE-34 with self-attentive pooling that maps 0.2 s of speech to a mouth feature.

Layers and state-dict names are those of netA_sync (reference: Hangz-nju-cuhk/Talking-Face_PC-AVS,
`ResSESyncEncoder`), without its class head.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from kpbe.backends.layers import scaled_channels
from kpbe.backends.pcavs.non_identity import FEATURE_DIM

MEL_BANDS = 80
STAGES = (3, 4, 6, 3)
WIDTHS = (32, 64, 128, 256)
SQUEEZE = 8


class _SqueezeExcitation(nn.Module):
    """Weighs channels by their means over the whole map."""

    def __init__(self, channels: int):
        super().__init__()
        squeezed = max(1, channels // SQUEEZE)
        self.fc = nn.Sequential(
            nn.Linear(channels, squeezed), nn.ReLU(), nn.Linear(squeezed, channels), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc(x.mean((2, 3)))[:, :, None, None]


class _ResidualBlock(nn.Module):
    """Two 3x3 convolutions, channel weights, and the input.

    The first ReLU comes before its batch norm, as in the reference.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.se = _SqueezeExcitation(out_channels)
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(F.relu(self.conv1(x)))
        y = self.se(self.bn2(self.conv2(y)))
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(y + shortcut)


class _AttentiveResNet(nn.Module):
    """Maps (B, 1, 80, 20) to (B, 512 w)."""

    def __init__(self, width_multiplier: float):
        super().__init__()
        widths = [scaled_channels(c, width_multiplier) for c in WIDTHS]
        self.conv1 = nn.Conv2d(1, widths[0], 3, padding=1)
        self.bn1 = nn.BatchNorm2d(widths[0])
        channels = widths[0]
        for stage, (width, blocks) in enumerate(zip(widths, STAGES, strict=True)):
            layers = []
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                layers.append(_ResidualBlock(channels, width, stride))
                channels = width
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
        flat, hidden = channels * MEL_BANDS // 8, scaled_channels(128, width_multiplier)
        self.attention = nn.Sequential(
            nn.Conv1d(flat, hidden, 1),
            nn.ReLU(),
            nn.BatchNorm1d(hidden),
            nn.Conv1d(hidden, flat, 1),
            nn.Softmax(dim=2),
        )
        self.fc = nn.Linear(flat, scaled_channels(FEATURE_DIM, width_multiplier))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, mel: Tensor) -> Tensor:
        x = self.bn1(F.relu(self.conv1(mel)))
        for stage in range(len(STAGES)):
            x = self.get_submodule(f"layer{stage + 1}")(x)
        x = x.flatten(1, 2)
        return self.fc((x * self.attention(x)).sum(2))


class AudioEncoder(nn.Module):
    """netA_sync: mel windows to mouth features (7.4 M parameters).

    Args:
        width_multiplier: scales every channel count; 1.0 is the official network.
    """

    def __init__(self, width_multiplier: float = 1.0):
        super().__init__()
        self.model = _AttentiveResNet(width_multiplier)

    def forward(self, windows: Tensor) -> Tensor:
        """(B, 1, 80, 20) mel windows in [0, 1] -> (B, 512 w) mouth features."""
        return self.model(windows)
