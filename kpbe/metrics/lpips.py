"""LPIPS with the AlexNet trunk, version 0.1 (Zhang et al. 2018), without importing lpips or torchvision.

The trunk's convolutions come from the weights catalogue (torchvision's key names), the linear heads from the
file inside the `lpips` package.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn

from kpbe.checkpoints import catalogue
from kpbe.checkpoints.files import fill, read_content
from kpbe.errors import MissingWeights
from kpbe.metrics.image import PEAK, Frames, frame_pair

NAME = "LPIPS-alex v0.1 on frames scaled to -1..1"
CHANNELS = (64, 192, 384, 256, 256)
SMALLEST_SIDE = 31
INPUT_SHIFT = (-0.030, -0.088, -0.188)
INPUT_SCALE = (0.458, 0.448, 0.450)


class LPIPS(nn.Module):
    """Perceptual distance of frames: weighted squared differences of unit-length AlexNet features.

    Frames are (N,H,W,3) RGB, 0..255, H and W at least 31, as in kpbe.metrics.image.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        first, second, third, fourth, fifth = CHANNELS
        self.features = nn.Sequential(
            nn.Conv2d(3, first, 11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(first, second, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(second, third, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(third, fourth, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(fourth, fifth, 3, padding=1),
            nn.ReLU(),
        )
        self.heads = nn.ModuleList(nn.Conv2d(width, 1, 1, bias=False) for width in CHANNELS)
        self.register_buffer("shift", torch.tensor(INPUT_SHIFT).view(3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(INPUT_SCALE).view(3, 1, 1), persistent=False)

    def embed(self, frames: Tensor) -> list[Tensor]:
        """Five feature maps (N,C,h,w) of frames, each vector over C of unit length."""
        signed = frames.movedim(-1, 1).float() * (2 / PEAK) - 1
        activation, embedding = (signed - self.shift) / self.scale, []
        for layer in self.features:
            activation = layer(activation)
            if isinstance(layer, nn.ReLU):
                length = activation.square().sum(1, keepdim=True).sqrt()
                embedding.append(activation / (length + 1e-10))
        return embedding

    def distance(self, first: list[Tensor], second: list[Tensor]) -> Tensor:
        """LPIPS (N,) between two results of `embed`."""
        layers = [
            head((a - b).square()).mean((1, 2, 3))
            for head, a, b in zip(self.heads, first, second, strict=True)
        ]
        return torch.stack(layers).sum(0)

    @torch.inference_mode()
    def forward(self, truth: Frames, other: Frames) -> Tensor:
        """LPIPS (N,) float32 of each pair of frames, 0 for identical ones.

        Raises:
            ValueError: as `metrics.psnr`, or H or W is below 31.
        """
        truth, other = frame_pair(truth, other)
        if min(truth.shape[1:3]) < SMALLEST_SIDE:
            size = tuple(truth.shape[1:3])
            raise ValueError(
                f"LPIPS needs frames of at least {SMALLEST_SIDE}x{SMALLEST_SIDE} pixels, not {size}."
            )
        return self.distance(self.embed(truth), self.embed(other))


def load_lpips(device: str | torch.device = "cpu") -> LPIPS:
    """The LPIPS network with its public weights.

    Raises:
        MissingWeights: AlexNet's convolutions or the `lpips` package, which holds the heads, are missing.
        BadCheckpoint: one of the files does not hold the tensors of LPIPS-alex.
    """
    trunk, heads = catalogue.require("alexnet"), _heads_file()
    network = LPIPS()
    fill(
        network.features,
        read_content(trunk),
        trunk,
        "file of AlexNet's convolutions",
        {name: f"features.{name}" for name in network.features.state_dict()},
    )
    fill(
        network.heads,
        read_content(heads),
        heads,
        "file of the heads of LPIPS-alex",
        {f"{i}.weight": f"lin{i}.model.1.weight" for i in range(len(CHANNELS))},
    )
    return network.to(device).eval().requires_grad_(False)


def _heads_file() -> Path:
    package = importlib.util.find_spec("lpips")
    if package is None or not package.submodule_search_locations:
        raise MissingWeights(
            "LPIPS takes its linear heads from the Python package lpips, which is missing: pip install lpips."
        )
    heads = Path(package.submodule_search_locations[0]) / "weights" / "v0.1" / "alex.pth"
    if not heads.is_file():
        raise MissingWeights(f"LPIPS's linear heads {heads} are missing: reinstall the Python package lpips.")
    return heads
