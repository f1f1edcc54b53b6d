"""Perceptual losses: VGG-19 features over an image pyramid, and the pixel pyramid that stands in without weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from kpbe import weights
from kpbe.errors import BadCheckpoint
from kpbe.frontend.layers import AntiAliasDownscale
from kpbe.params import PerceptualParams

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
VGG19_PLAN = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, 256, "pool", 512, 512, 512, 512, "pool", 512)
# relu1_1, 2_1, 3_1, 4_1, 5_1 by torchvision's layer numbers
VGG19_TAPS = (1, 6, 11, 20, 29)
SMALLEST_VGG_INPUT = 16


class VGG19Features(nn.Module):
    """VGG-19 up to relu5_1 with torchvision's layer numbers (`features.N`); frozen.

    Args:
        path: safetensors file of `features.N.weight/bias`; None leaves random weights (parity tests fill them).

    Raises:
        BadCheckpoint: the file holds other tensors.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, path: Path | None = None):
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for item in VGG19_PLAN:
            if item == "pool":
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(channels, int(item), 3, padding=1), nn.ReLU()]
                channels = int(item)
        self.features = nn.Sequential(*layers)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        if path is not None:
            state = {name: value.float() for name, value in load_file(path).items()}
            try:
                self.load_state_dict(state)
            except RuntimeError as error:
                reason = str(error).splitlines()[-1].strip()
                raise BadCheckpoint(f"{path} is not a VGG-19 feature file: {reason}") from None
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features relu1_1 .. relu5_1 of images (B, 3, H, W) in [0, 1]."""
        x = (images - self.mean) / self.std
        features = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in VGG19_TAPS:
                features.append(x)
        return features


def pyramid(scales: Sequence[float]) -> nn.ModuleList:
    """Anti-aliased shrinking to each scale, as FOMM's image pyramid does it."""
    return nn.ModuleList(
        AntiAliasDownscale(3, round(1 / scale)) if scale < 1 else nn.Identity() for scale in scales
    )


class VGGPyramid(nn.Module):
    """Eq. (3) and OSFV's perceptual loss: L1 between VGG features, summed over layers and pyramid scales.

    Scales at which the image would be smaller than VGG's five levels need (16 px) are left out.
    """

    def __init__(self, vgg: VGG19Features, scales: Sequence[float]):
        super().__init__()
        self.vgg = vgg
        self.scales = tuple(scales)
        self.pyramid = pyramid(scales)

    def forward(self, generated: Tensor, real: Tensor) -> Tensor:
        """Loss of images (B, 3, H, W) in [0, 1]."""
        total = generated.new_zeros(())
        for scale, level in zip(self.scales, self.pyramid, strict=True):
            if min(real.shape[-2:]) * scale < SMALLEST_VGG_INPUT:
                continue
            with torch.no_grad():
                wanted = self.vgg(level(real))
            for got, want in zip(self.vgg(level(generated)), wanted, strict=True):
                total = total + (got - want).abs().mean()
        return total


class PixelPyramid(nn.Module):
    """Stand-in without pretrained weights: L1 of pixels and of their x and y differences, over the pyramid."""

    def __init__(self, scales: Sequence[float]):
        super().__init__()
        self.pyramid = pyramid(scales)

    def forward(self, generated: Tensor, real: Tensor) -> Tensor:
        """Loss of images (B, 3, H, W) in [0, 1]."""
        total = generated.new_zeros(())
        for level in self.pyramid:
            got, want = level(generated), level(real)
            total = total + (got - want).abs().mean()
            for dim in (-1, -2):
                total = total + (got.diff(dim=dim) - want.diff(dim=dim)).abs().mean()
        return total


def perceptual_loss(params: PerceptualParams) -> tuple[nn.Module, str]:
    """The perceptual term that params ask for, and a sentence that says which it is, for the report.

    Raises:
        MissingWeights: `vgg19` is asked for by name and its file is not there.
    """
    path = None if params.network == "pixels" else weights.find("vgg19")
    if params.network == "vgg19":
        path = weights.require("vgg19")
    if path is not None:
        return VGGPyramid(VGG19Features(path), params.scales), f"VGG-19 pyramid ({path.name})"
    why = "chosen" if params.network == "pixels" else "no VGG-19 weights found"
    return PixelPyramid(params.scales), f"multi-scale L1 + gradient ({why})"
