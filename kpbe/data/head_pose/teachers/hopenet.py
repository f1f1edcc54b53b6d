"""Hopenet (Ruiz, Chong and Rehg 2018), OSFV's own teacher: a ResNet-50 with 66 bins for each angle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kpbe.checkpoints.files import fill, read_state
from kpbe.data.head_pose.teachers.base import TO_FRONTEND
from kpbe.frontend.geometry import expected_degrees

SIDE = 224
BINS = 66
OFFSET = 99.0
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Bottleneck(nn.Module):
    """torchvision's ResNet bottleneck, with its names; the 3x3 convolution has the stride."""

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = None
        if channels_in != 4 * width:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Hopenet(nn.Module):
    """The network, with the names of its published state dict, without the unused `fc_finetune`."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        channels = 64
        for number, blocks in enumerate((3, 4, 6, 3), 1):
            width = 32 * 2**number
            layers = []
            for block in range(blocks):
                layers.append(Bottleneck(channels, width, stride=2 if number > 1 and block == 0 else 1))
                channels = 4 * width
            self.add_module(f"layer{number}", nn.Sequential(*layers))
        self.fc_yaw, self.fc_pitch, self.fc_roll = (nn.Linear(channels, BINS) for _ in range(3))
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of yaw, pitch and roll, each (B, 66), of images (B, 3, 224, 224) RGB in [0, 1]."""
        x = F.relu(self.bn1(self.conv1((images - self.mean) / self.std)))
        x = F.max_pool2d(x, 3, 2, 1)
        for number in range(1, 5):
            x = self.get_submodule(f"layer{number}")(x)
        x = x.mean((2, 3))
        return self.fc_yaw(x), self.fc_pitch(x), self.fc_roll(x)

    def degrees(self, images: Tensor, antialias: bool = True) -> Tensor:
        """300W-LP's yaw, pitch and roll (B, 3) in degrees of images (B, 3, H, W) RGB in [0, 1].

        See `to_input_size` for `antialias`.
        """
        logits = self(to_input_size(images, antialias))
        return torch.stack([expected_degrees(x, OFFSET) for x in logits], dim=-1)


def to_input_size(images: Tensor, antialias: bool = True) -> Tensor:
    """Images (B, 3, H, W) as (B, 3, 224, 224).

    Anti-aliased by default, like Hopenet's training pictures (PIL's resizing) and today's torchvision. OSFV's
    code was written when torchvision resized tensors without anti-aliasing.
    """
    return F.interpolate(images, (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=antialias)


def load_hopenet(path: Path) -> Hopenet:
    """Hopenet with published weights (CPU, eval mode).

    Raises:
        BadCheckpoint: the file is something else.
    """
    network = Hopenet()
    state, _ = read_state(path, "Hopenet")
    used = {name: tensor for name, tensor in state.items() if not name.startswith("fc_finetune.")}
    fill(network, used, path, "Hopenet network")
    return network.eval().requires_grad_(False)


class HopenetTeacher:
    """Hopenet as a `PoseTeacher`.

    Args:
        path: `hopenet_robust_alpha1.pkl`.
        device: torch device.
        batch: pictures per forward pass.

    Raises:
        BadCheckpoint: the file is something else.
    """

    def __init__(self, path: Path, device: torch.device, batch: int) -> None:
        self._device, self._batch = device, batch
        self._network = load_hopenet(path).to(device)

    @torch.inference_mode()
    def estimate(self, frames: np.ndarray) -> np.ndarray:
        """See `PoseTeacher.estimate`."""
        parts = []
        for begin in range(0, len(frames), self._batch):
            pictures = torch.from_numpy(np.ascontiguousarray(frames[begin : begin + self._batch]))
            images = pictures.to(self._device).permute(0, 3, 1, 2).float().div(255)
            parts.append(self._network.degrees(images).cpu().numpy())
        return np.concatenate(parts) * TO_FRONTEND
