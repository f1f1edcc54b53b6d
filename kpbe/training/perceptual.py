"""Perceptual losses over an image pyramid: VGG-19 and VGGFace features, and pixels.

Pixels can stand in for missing weights of a VGG.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from kpbe.checkpoints import catalogue
from kpbe.errors import MissingWeights
from kpbe.frontend.geometry import full_precision, pixel_centres
from kpbe.frontend.layers import AntiAliasDownscale
from kpbe.params import PerceptualParams, PerceptualWeights
from kpbe.training.vgg import LEVELS, SMALLEST_INPUT, VGG19Features, VGGFaceFeatures, VGGFeatures
from kpbe.training.vgg_units import normalised_units

NETWORKS: dict[str, type[VGGFeatures]] = {"vgg19": VGG19Features, "vgg_face": VGGFaceFeatures}
"""Networks by loss term, which is also their name in the catalogue of weights."""

TORCHVISION = "vgg19_torchvision"
"""torchvision's own file in the catalogue; preferred to ours, since the published losses use it."""

PIXELS = "multi-scale L1 + gradient"


class ImagePyramid(nn.Module):
    """Anti-aliased downscaling of images (B, 3, H, W) to each scale, as FOMM's image pyramid.

    It always runs in float32.

    Args:
        scales: 1 and fractions 1/n.
    """

    def __init__(self, scales: Sequence[float]):
        super().__init__()
        self.levels = nn.ModuleList(
            AntiAliasDownscale(3, round(1 / scale)) if scale < 1 else nn.Identity() for scale in scales
        )

    @full_precision
    def forward(self, images: Tensor) -> list[Tensor]:
        """The images at each scale."""
        return [level(images) for level in self.levels]


class VGGDifference(nn.Module):
    """Eq. (3) and OSFV's perceptual loss: L1 between VGG features, summed over layers and pyramid scales.

    Scales at which the image would be too small for VGG's five levels (16 px) are left out.

    Args:
        vgg: the network.
        layer_weights: weights of relu1_1 .. relu5_1; levels after the last non-zero one are not computed.
    """

    layer_weights: Tensor

    def __init__(self, vgg: VGGFeatures, layer_weights: Sequence[float] = (1.0,) * LEVELS):
        super().__init__()
        self.vgg = vgg
        self.levels = max((i for i, weight in enumerate(layer_weights, 1) if weight), default=1)
        self.register_buffer("layer_weights", torch.tensor(layer_weights[: self.levels]), persistent=False)

    def forward(self, generated: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
        """Loss of the levels of two image pyramids."""
        return (self.by_scale_and_layer(generated, real) * self.layer_weights).sum()

    def by_scale_and_layer(self, generated: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
        """Mean absolute difference of the features, (scales used, layers)."""
        rows = [
            self._by_layer(got, want)
            for got, want in zip(generated, real, strict=True)
            if min(want.shape[-2:]) >= SMALLEST_INPUT
        ]
        return torch.stack(rows) if rows else self.layer_weights.new_zeros(0, self.levels)

    def _by_layer(self, generated: Tensor, real: Tensor) -> Tensor:
        with torch.no_grad():
            real_features = self.vgg(real, self.levels)
        pairs = zip(self.vgg(generated, self.levels), real_features, strict=True)
        differences = torch.stack([_mean_difference(got, want) for got, want in pairs])
        return differences / self.vgg.units[: self.levels]


class VGGPyramid(nn.Module):
    """One VGG's term with its own pyramid; see `VGGDifference`."""

    def __init__(
        self, vgg: VGGFeatures, scales: Sequence[float], layer_weights: Sequence[float] = (1.0,) * LEVELS
    ):
        super().__init__()
        self.pyramid = ImagePyramid(scales)
        self.difference = VGGDifference(vgg, layer_weights)

    def forward(self, generated: Tensor, real: Tensor) -> Tensor:
        """Loss of images (B, 3, H, W) in [0, 1]."""
        return self.difference(self.pyramid(generated), self.pyramid(real.detach()))


class PixelDifference(nn.Module):
    """L1 of pixels and of their x and y differences, summed over the pyramid; needs no weights."""

    def forward(
        self, generated: Sequence[Tensor], real: Sequence[Tensor], attention: Attention | None = None
    ) -> Tensor:
        """Loss of the levels of two image pyramids, weighted by `attention`."""
        total = generated[0].new_zeros(())
        for got, want in zip(generated, real, strict=True):
            weights = None if attention is None else attention.weights(got)
            total = total + _weighted_difference(got, want, weights)
            for dim in (-1, -2):
                of_pairs = None if weights is None else weights.narrow(dim, 0, weights.shape[dim] - 1)
                total = total + _weighted_difference(got.diff(dim=dim), want.diff(dim=dim), of_pairs)
        return total


@dataclass(frozen=True)
class Attention:
    """Weights of places: more near the mouth than in the rest of a picture.

    Attributes:
        centres: (B, 2) of the mouths, -1 and 1 at the picture's edges; where NaN (unknown), all places weigh
            the same.
        spread: (B,) standard deviation of the Gaussian around them, in the same unit.
        most: weight of the centre over that of the rest.
    """

    centres: Tensor
    spread: Tensor
    most: float

    def weights(self, images: Tensor) -> Tensor:
        """Weights (B, 1, H, W) for images (B, C, H, W); their mean over each image is one."""
        weights = 1 + (self.most - 1) * self.nearness(images)
        return weights / weights.mean((2, 3), keepdim=True)

    def nearness(self, images: Tensor) -> Tensor:
        """(B, 1, H, W) for images (B, C, H, W): one at the mouth's centre, falling to zero away from it.

        Zero everywhere where the mouth is unknown.
        """
        height, width = images.shape[-2:]
        y, x = pixel_centres(height, self.centres), pixel_centres(width, self.centres)
        away = [
            torch.exp(-0.5 * ((axis - self.centres[:, i, None]) / self.spread[:, None]) ** 2)
            for i, axis in enumerate((x, y))
        ]
        return (away[1][:, :, None] * away[0][:, None]).nan_to_num().unsqueeze(1)


def _weighted_difference(got: Tensor, want: Tensor, weights: Tensor | None) -> Tensor:
    return _mean_difference(got, want) if weights is None else ((got - want).abs() * weights).mean()


def _mean_difference(got: Tensor, want: Tensor) -> Tensor:
    """Mean absolute difference, summed in float32 where features are in half precision."""
    dtype = torch.float32 if got.dtype in (torch.bfloat16, torch.float16) else got.dtype
    return (got - want).abs().mean(dtype=dtype)


class PerceptualTerms(nn.Module):
    """The terms `vgg19`, `vgg_face` and `pixel` with weights above 0, over one pyramid of their scales.

    Args:
        params: scales and layer weights of the terms, and what to do where a VGG's weight file is missing.
        weights_of: weights of the three terms; terms of weight 0 are left out, the others are not scaled.

    Raises:
        MissingWeights: a term needs a VGG whose file is missing, and `params.missing` is `refuse`.
        BadCheckpoint: a file is damaged or holds other weights.

    Attributes:
        description: the terms and their networks or substitutes, for the report.
    """

    def __init__(self, params: PerceptualParams, weights_of: PerceptualWeights):
        super().__init__()
        self.terms = nn.ModuleDict()
        scales: dict[str, tuple[float, ...]] = {}
        descriptions = []
        for name, network in NETWORKS.items():
            if not getattr(weights_of, name):
                continue
            scales[name], layer_weights = params.of_vgg(name)
            file, path = _weight_file(name)
            if path is None and params.missing == "refuse":
                raise MissingWeights(_how_to_do_without(name))
            if path is None:
                self.terms[name], scales[name] = PixelDifference(), params.scales
                descriptions.append(
                    f"{PIXELS} instead of {network.what} ({catalogue.CATALOGUE[name].file} was not found)"
                )
            else:
                vgg = network(path)
                if file == TORCHVISION and params.vgg19_unit == "normalised":
                    vgg.units.copy_(normalised_units(vgg))
                self.terms[name] = VGGDifference(vgg, layer_weights)
                descriptions.append(f"{network.what} pyramid ({path.name})")
        if weights_of.pixel:
            self.terms["pixel"], scales["pixel"] = PixelDifference(), params.scales
            descriptions.append(PIXELS)
        self.description = ", ".join(descriptions) or "none"
        all_scales = list(dict.fromkeys(scale for of_term in scales.values() for scale in of_term))
        self.pyramid = ImagePyramid(all_scales)
        self.levels_of = {name: [all_scales.index(s) for s in of_term] for name, of_term in scales.items()}

    def forward(
        self,
        generated: Tensor,
        real: Tensor,
        attention: Attention | None = None,
        for_pixels: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The unweighted terms, by name.

        Args:
            generated: (B, 3, H, W) in [0, 1].
            real: the same.
            attention: places that the pixel terms count more.
            for_pixels: the images of `generated` with other gradients, for the pixel terms; ignored without a
                VGG, since the pixel terms must then train everything.
        """
        if not self.terms:
            return {}
        levels, real_levels = self.pyramid(generated), self.pyramid(real.detach())
        has_vgg = any(isinstance(term, VGGDifference) for term in self.terms.values())
        pixel_levels = self.pyramid(for_pixels) if has_vgg and for_pixels is not None else levels
        terms: dict[str, Tensor] = {}
        pixels: list[str] = []
        for name, term in self.terms.items():
            if isinstance(term, PixelDifference) and pixels:
                terms[name] = terms[pixels[0]]  # computed once, even if it replaces several terms
                continue
            of_pixels = isinstance(term, PixelDifference)
            got, want = (
                [of_all[i] for i in self.levels_of[name]]
                for of_all in (pixel_levels if of_pixels else levels, real_levels)
            )
            if of_pixels:
                terms[name] = term(got, want, attention)
                pixels.append(name)
            else:
                terms[name] = term(got, want)
        return terms


def _weight_file(term: str) -> tuple[str, Path | None]:
    """Catalogue name and path of a VGG term's weight file; the path is None if there is no file."""
    for name in catalogue.serving(term):
        path = catalogue.find(name)
        if path is not None:
            return name, path
    return term, None


def _how_to_do_without(name: str) -> str:
    entry = catalogue.CATALOGUE[name]
    return (
        f"the loss weight {name} is not 0, but {entry.file} is missing: get it from {entry.source} (licence: "
        f"{entry.licence}) and put it into weights/ or a folder named by the environment variable "
        "KPBE_WEIGHTS, or set perceptual.missing to pixels."
    )
