"""The two VGG networks of the perceptual losses, up to relu5_1: VGG-19 of ImageNet, and VGGFace.

VGGFace is the VGG-16 of Parkhi et al. 2015.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from kpbe.checkpoints.files import fill, read_content

WIDTHS = (64, 128, 256, 512, 512)
LEVELS = len(WIDTHS)
"""Features are taken after the first convolution of each of the five blocks: relu1_1, 2_1, 3_1, 4_1, 5_1."""
SMALLEST_INPUT = 2 ** (LEVELS - 1)
"""Least side of an image, in pixels, that leaves one pixel at the fifth level."""


class VGGFeatures(nn.Module):
    """A VGG up to relu5_1 with torchvision's layer numbers (`features.N`); frozen.

    Args:
        path: file of its weights; None leaves random weights (parity tests fill them).

    Raises:
        BadCheckpoint: the file holds other tensors.

    Attributes:
        what: the network's name in messages.
        convolutions: their number in the first four blocks; the fifth ends after its first.
        unit: divisor of all features before they are compared.
        units: (5,) the same by level, where levels differ (`vgg_units`).
    """

    what: ClassVar[str]
    convolutions: ClassVar[tuple[int, int, int, int]]
    pixel_mean: ClassVar[tuple[float, float, float]]
    pixel_deviation: ClassVar[tuple[float, float, float]]
    unit: ClassVar[float] = 1.0

    mean: Tensor
    deviation: Tensor
    units: Tensor

    def __init__(self, path: Path | None = None):
        super().__init__()
        layers: list[nn.Module] = []
        taps, names = [], {}
        channels = 3
        for block, (width, count) in enumerate(zip(WIDTHS, (*self.convolutions, 1), strict=True), 1):
            if layers:
                layers.append(nn.MaxPool2d(2))
            taps.append(len(layers) + 1)
            for place in range(1, count + 1):
                names[f"features.{len(layers)}"] = self.stored_name(block, place, len(layers))
                # nothing reads a convolution's output before its ReLU, so in place saves half of the memory
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
        self.features = nn.Sequential(*layers)
        self.taps = tuple(taps)
        self.register_buffer("mean", torch.tensor(self.pixel_mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer(
            "deviation", torch.tensor(self.pixel_deviation).view(1, 3, 1, 1), persistent=False
        )
        self.register_buffer("units", torch.full((LEVELS,), self.unit), persistent=False)
        if path is not None:
            self._load(read_content(path), names, path)
        self.requires_grad_(False)

    def forward(self, images: Tensor, levels: int = LEVELS) -> list[Tensor]:
        """The first `levels` of the features relu1_1 .. relu5_1.

        Takes images (B, 3, H, W), RGB in [0, 1], of 16 pixels or more.
        """
        x = (images - self.mean) / self.deviation
        features = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.taps:
                features.append(x)
                if len(features) == levels:
                    break
        return features

    @staticmethod
    def stored_name(block: int, place: int, layer: int) -> str:
        """A convolution's name in the published file.

        Args:
            block: from 1.
            place: in the block, from 1.
            layer: torchvision's number of the layer.
        """
        raise NotImplementedError

    def _load(self, stored: Mapping[str, Tensor], names: Mapping[str, str], path: Path) -> None:
        """Copy the weights from a file's tensors; further tensors (later layers) are ignored.

        Raises:
            BadCheckpoint: a tensor is missing or has another shape.
        """
        own = (name.rsplit(".", 1) for name in self.state_dict())
        stored_names = {f"{layer}.{kind}": f"{names[layer]}.{kind}" for layer, kind in own}
        used = {name: stored[name] for name in stored_names.values() if name in stored}
        fill(self, used, path, f"{self.what} file", stored_names)


class VGG19Features(VGGFeatures):
    """VGG-19 with torchvision's names, `features.N.weight` and `.bias`.

    The file is torchvision's own, or safetensors, which may be in half precision.
    """

    what = "VGG-19"
    convolutions = (2, 2, 4, 4)
    pixel_mean = (0.485, 0.456, 0.406)
    pixel_deviation = (0.229, 0.224, 0.225)

    @staticmethod
    def stored_name(block: int, place: int, layer: int) -> str:
        """See `VGGFeatures.stored_name`."""
        return f"features.{layer}"


class VGGFaceFeatures(VGGFeatures):
    """Parkhi's VGG-16 of faces from `vgg_face_dag.pth` (`conv1_1` .. `conv5_1`; the rest is ignored).

    It takes pixels in 0..255 minus the means of its training set. So its features are about 255 times those
    of a network that takes [0, 1], and zhengkw18's face-vid2vid, whose layout and use this follows, divides
    their differences by 255.
    """

    what = "VGGFace"
    convolutions = (2, 2, 3, 3)
    pixel_mean = (129.186 / 255, 104.762 / 255, 93.594 / 255)
    pixel_deviation = (1 / 255, 1 / 255, 1 / 255)
    unit = 255.0

    @staticmethod
    def stored_name(block: int, place: int, layer: int) -> str:
        """See `VGGFeatures.stored_name`."""
        return f"conv{block}_{place}"
