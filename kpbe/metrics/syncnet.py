"""SyncNet, version 2 (Chung and Zisserman 2016): embeds lips and sound so that matching ones lie close.

The layers carry the public file's names, so that it loads as it is.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kpbe.checkpoints import catalogue
from kpbe.checkpoints.files import fill, read_state

EMBEDDING = 1024
FEATURES = 512
SIDE = 224
WINDOW_FRAMES = 5
WINDOW_MFCC = 20


class SyncNet(nn.Module):
    """Two convolutional streams, each ending in two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_layer(nn.Conv2d(1, 64, 3, padding=1)),
            nn.MaxPool2d(1, 1),
            *_layer(nn.Conv2d(64, 192, 3, padding=1)),
            nn.MaxPool2d(3, (1, 2)),
            *_layer(nn.Conv2d(192, 384, 3, padding=1)),
            *_layer(nn.Conv2d(384, 256, 3, padding=1)),
            *_layer(nn.Conv2d(256, 256, 3, padding=1)),
            nn.MaxPool2d(3, 2),
            *_layer(nn.Conv2d(256, FEATURES, (5, 4))),
        )
        # only the first layer looks across frames
        self.netcnnlip = nn.Sequential(
            *_layer(nn.Conv3d(3, 96, (WINDOW_FRAMES, 7, 7), (1, 2, 2))),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_layer(nn.Conv3d(96, 256, (1, 5, 5), (1, 2, 2), (0, 1, 1))),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *_layer(nn.Conv3d(256, 256, (1, 3, 3), padding=(0, 1, 1))),
            *_layer(nn.Conv3d(256, 256, (1, 3, 3), padding=(0, 1, 1))),
            *_layer(nn.Conv3d(256, 256, (1, 3, 3), padding=(0, 1, 1))),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_layer(nn.Conv3d(256, FEATURES, (1, 6, 6))),
        )
        self.netfcaud = _head()
        self.netfclip = _head()

    def embed_audio(self, windows: Tensor) -> Tensor:
        """Sound of five frames: (N, 1, 13, 20) MFCC, coefficients by time, to (N, 1024)."""
        return self.netfcaud(self.netcnnaud(windows).flatten(1))

    def lip_features(self, frames: Tensor) -> Tensor:
        """Lip features of every five consecutive frames: (N (T - 4), 512).

        Takes (N, 3, T, 224, 224) BGR frames, 0..255, T at least 5.
        """
        return self.netcnnlip(frames).flatten(2).transpose(1, 2).flatten(0, 1)

    def embed_lips(self, frames: Tensor) -> Tensor:
        """As `lip_features`, to (N (T - 4), 1024)."""
        return self.netfclip(self.lip_features(frames))


def _layer(convolution: nn.Conv2d | nn.Conv3d) -> tuple[nn.Module, ...]:
    norm = nn.BatchNorm2d if isinstance(convolution, nn.Conv2d) else nn.BatchNorm3d
    return convolution, norm(convolution.out_channels), nn.ReLU()


def _head() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(FEATURES, FEATURES), nn.BatchNorm1d(FEATURES), nn.ReLU(), nn.Linear(FEATURES, EMBEDDING)
    )


def load_syncnet(device: str | torch.device = "cpu") -> SyncNet:
    """SyncNet with its published weights.

    Raises:
        MissingWeights: the file syncnet_v2.model is missing.
        BadCheckpoint: the file is something else.
    """
    path = catalogue.require("syncnet_v2")
    network = SyncNet()
    state, _ = read_state(path, "SyncNet")
    fill(network, state, path, "SyncNet of version 2")
    return network.to(device).eval().requires_grad_(False)
