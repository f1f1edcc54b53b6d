"""Detail at the source's own resolution: warp sharp pictures and blend them pixel by pixel.

A network chooses among the pictures that the motion field moved. This is not part of the KPBE paper, whose
generator has the decoder alone. It follows Animating Through Warping (arXiv 2008.00362), which lifts a
low-resolution motion field to the picture's size, and FOMM's occlusion map.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kpbe.frontend.geometry import (
    coordinate_axis,
    coordinate_grid_2d,
    full_precision,
    picture_scale,
    pixel_centres,
)
from kpbe.frontend.images import resized
from kpbe.frontend.layers import ConvBlock, DownBlock, UpBlock, same_convolution
from kpbe.params import ModelParams

DECODER, SOURCE, BACKEND = range(3)
"""The pictures to choose from, in the order of `Composite.shares`."""

FIRST_CHOICE = (0.0, 1.0, 0.0)
"""Logits of the untrained choice: they prefer the warped source."""

MOST_GAIN = 0.7
"""Largest logarithm of the factor by which a colour of the backend's picture is scaled."""

LIP_KEYPOINTS = slice(0, 4)
"""The keypoints that `losses.guides` pulls to the mouth's corners (0 and 2) and its lips (1 and 3)."""

EYE_KEYPOINTS = slice(4, 6)
"""The keypoints that `losses.guides` draws to the eyes."""

SEAM = 0.15
"""Width of the fade at the edge of the backend's frame, as a share of its reach."""

LEAST_MOUTH = 0.1
"""Least width of a mouth in the picture's coordinates, also where no face was found."""

HALVINGS = 4
"""Halvings of the U-Net's input; colours are matched on a grid of image_size / 2^4 cells, which holds low
frequencies only.
"""


@full_precision
def image_displacement(deformation: Tensor, depth_weights: Tensor, align_corners: bool) -> Tensor:
    """A 3D motion field projected to a 2D one of the picture.

    Args:
        deformation: (B, D, h, w, 3), see `Motion`.
        depth_weights: (B, D, h, w) that sum to one over depth.
        align_corners: whether the outer samples of the volume lie at -1 and 1, as in `grid_sample`.

    Returns:
        (B, 2, h, w) displacements in x and y: a place in the rendered picture plus its displacement is the
        place in the source, in coordinates whose -1 and 1 are the picture's edges.
    """
    _, _, height, width, _ = deformation.shape
    moved = deformation[..., :2] - coordinate_grid_2d(height, width, deformation)
    moved = (moved * depth_weights[..., None]).sum(1)
    moved = moved * moved.new_tensor([picture_scale(cells, align_corners) for cells in (width, height)])
    return moved.permute(0, 3, 1, 2)


@full_precision
def plane_weights(depth: Tensor, planes: int) -> Tensor:
    """Weights of the depth planes at each pixel, by linear interpolation between the two nearest planes.

    Free weights would all go to one plane, and a turning head would be flat.

    Args:
        depth: (B, 1, h, w) in [-1, 1], from the first plane to the last.
        planes: D.

    Returns:
        (B, D, h, w) that sum to one over depth.
    """
    places = coordinate_axis(planes, depth).view(1, -1, 1, 1)
    return F.relu(1 - (depth - places).abs() * ((planes - 1) / 2))


@full_precision
def warp_image(image: Tensor, displacement: Tensor, size: tuple[int, int]) -> Tensor:
    """Sample pictures (1 or B, 3, H, W) at their own resolution by (B, 2, h, w) displacements: (B, 3, *size).

    Displacements are interpolated bilinearly; samples outside the picture repeat its border.
    """
    height, width = size
    fine = F.interpolate(displacement.contiguous(), size, mode="bilinear", align_corners=False)
    y, x = pixel_centres(height, fine), pixel_centres(width, fine)
    grid = torch.stack([x + fine[:, 0], y[:, None] + fine[:, 1]], dim=-1)
    image = image.expand(len(grid), -1, -1, -1)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)


@full_precision
def around_mouth(lips: Tensor, reach: float, size: int) -> Tensor:
    """The largest share that the backend's frame may have: one around the mouth, zero elsewhere.

    The width of the mouth is measured in the picture, and no gradient goes through it. With a
    three-dimensional width and a gradient, a training moved the corners apart in depth until the reach
    covered the whole face.

    Args:
        lips: (B, 4, 3) keypoints in the picture's coordinates (-1 and 1 are its edges): left corner, upper
            lip, right corner, lower lip.
        reach: radius in widths of the mouth.
        size: S, pixels.

    Returns:
        (B, 1, S, S): 1 around the mouth, 0.5 at the reach, 0 beyond.
    """
    lips = lips[..., :2].detach()
    width = (lips[:, 0] - lips[:, 2]).norm(dim=-1).clamp(min=LEAST_MOUTH)
    radius = (reach * width).view(-1, 1, 1)
    places = pixel_centres(size, lips)
    centre = lips.mean(1)
    across, down = places - centre[:, :1], places - centre[:, 1:]
    distance = (across[:, None, :] ** 2 + down[:, :, None] ** 2).sqrt()
    return ((radius - distance) / (SEAM * radius)).sigmoid()[:, None]


@dataclass(frozen=True)
class Composite:
    """A frame and the parts it was blended from.

    Attributes:
        frame: (B, 3, H, W) in [0, 1].
        shares: (B, 2 or 3, H, W) of the decoder's picture, the moved source and the moved backend's frame;
            they sum to one.
        matched_backend: (B, 3, H, W) the moved backend's frame in the source's colours; None without one.
    """

    frame: Tensor
    shares: Tensor
    matched_backend: Tensor | None


def put_together(shares: Tensor, decoded: Tensor, source: Tensor, matched_backend: Tensor | None) -> Tensor:
    """Blend pictures by their shares into frames (B, 3, H, W), see `Composite`.

    The decoder's picture (B, 3, S, S) is enlarged.
    """
    decoded = resized(decoded.contiguous(), (source.shape[-2], source.shape[-1])).float()
    frame = shares[:, DECODER, None] * decoded + shares[:, SOURCE, None] * source
    return frame if matched_backend is None else frame + shares[:, BACKEND, None] * matched_backend


class Compositor(nn.Module):
    """A U-Net at the frontend's inner size that gives each candidate picture a share of every pixel.

    It first matches the backend's colours to the source's skin: one gain per colour on a coarse grid, so that
    low frequencies change and lips do not. There is no offset: with one, a training removed contrast wherever
    the motion was uncertain, and faces looked veiled.
    """

    def __init__(self, model: ModelParams) -> None:
        super().__init__()
        self.image_size, self.takes_backend = model.image_size, model.generator.detail == "warp_both"
        self.backend_reach, width = model.generator.backend_reach, model.generator.detail_width
        channels_in = 3 + 3 + 1 + (3 + 1 if self.takes_backend else 0)
        channels = [width] + [2 * width] * HALVINGS
        self.first = ConvBlock(2, channels_in, width)
        self.down = nn.ModuleList(DownBlock(2, channels[i], channels[i + 1]) for i in range(HALVINGS))
        self.up = nn.ModuleList(
            UpBlock(2, channels[i + 1] * (1 if i == HALVINGS - 1 else 2), channels[i])
            for i in reversed(range(HALVINGS))
        )
        pictures = 3 if self.takes_backend else 2
        self.choice = same_convolution(2, 2 * width, pictures, 3)
        with torch.no_grad():
            self.choice.weight.zero_()
            assert self.choice.bias is not None
            self.choice.bias.copy_(torch.tensor(FIRST_CHOICE[:pictures]))
        if self.takes_backend:
            self.colours = nn.Conv2d(channels[-1], 3, 1)
            nn.init.zeros_(self.colours.weight)
            assert self.colours.bias is not None
            nn.init.zeros_(self.colours.bias)

    def forward(
        self,
        decoded: Tensor,
        occlusion: Tensor,
        source: Tensor,
        backend: Tensor | None = None,
        backend_seen: Tensor | None = None,
        lips: Tensor | None = None,
    ) -> Composite:
        """Blend the candidate pictures into frames.

        Args:
            decoded: (B, 3, S, S) in [0, 1], the decoder's picture, S the inner size.
            occlusion: (B, 1, h, w) of the motion field.
            source: (B, 3, H, W) in [0, 1], the moved source.
            backend: (B, 3, H, W) in [0, 1], the moved backend's frame; None where there is none.
            backend_seen: (B,) bool, the samples whose backend is used; None uses all.
            lips: (B, 4, 3) of the rendered frames, see `around_mouth`; needed with a backend whose reach is
                bounded.
        """
        size = (source.shape[-2], source.shape[-1])
        inner = (self.image_size, self.image_size)
        inputs = [decoded, resized(source, inner), resized(occlusion, inner)]
        if self.takes_backend:
            counts = decoded.new_zeros(len(decoded), 1, 1, 1)
            small = torch.zeros_like(decoded)
            if backend is not None:
                counts = counts + (1.0 if backend_seen is None else backend_seen.view(-1, 1, 1, 1).to(counts))
                small = resized(backend, inner) * counts
            inputs += [small, counts.expand(-1, 1, *inner)]
        skips = [self.first(torch.cat(inputs, 1))]
        for down in self.down:
            skips.append(down(skips[-1]))
        x = coarse = skips.pop()
        for up in self.up:
            x = torch.cat([up(x), skips.pop()], dim=1)
        # contiguous: torch enlarges and sums such pictures several times as fast as channels-last ones
        logits, matched = self.choice(x).contiguous(), None
        if backend is None:
            logits = logits[:, :BACKEND]
        else:
            gain = F.interpolate(
                self.colours(coarse).float().contiguous(), size, mode="bilinear", align_corners=False
            )
            matched = (backend * (MOST_GAIN * gain.tanh()).exp()).clamp(0, 1)
            if backend_seen is not None:
                absent = torch.zeros_like(logits)
                absent[~backend_seen, BACKEND] = -1e4
                logits = logits + absent
        fine = F.interpolate(logits.float(), size, mode="bilinear", align_corners=False)
        shares = fine.softmax(1)
        if backend is not None and self.backend_reach is not None:
            assert lips is not None
            allowed = resized(around_mouth(lips, self.backend_reach, self.image_size), size)
            taken = shares[:, BACKEND, None] * allowed
            shares = torch.cat([fine[:, :BACKEND].softmax(1) * (1 - taken), taken], 1)
        return Composite(put_together(shares, decoded, source, matched), shares, matched)
