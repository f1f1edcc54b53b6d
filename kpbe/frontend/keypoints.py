"""Canonical keypoint estimator: the keypoints of the face in a neutral, frontal head.

Paper Fig. 1, OSFV's kp_detector.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kpbe.errors import ParamsError
from kpbe.frontend.geometry import expected_coordinates
from kpbe.frontend.layers import (
    AntiAliasDownscale,
    DownBlock,
    UpBlock,
    same_convolution,
    widths,
)
from kpbe.params import ModelParams

LARGEST_DIFFERENCE = 50.0
"""Largest difference of the logits in a softmax: probabilities of e^-50 move no keypoint; smaller ones and
their gradients would be denormal numbers.
"""


class CanonicalKeypoints(nn.Module):
    """A 2D encoder, a lift of its channels to depth, a 3D decoder, and the expectation over 3D heat maps.

    Raises:
        ParamsError: the image size does not fit `input_scale` and `blocks`.
    """

    def __init__(self, model: ModelParams) -> None:
        super().__init__()
        params = model.canonical_keypoints
        factor = round(1 / params.input_scale)
        if abs(factor * params.input_scale - 1) > 1e-6 or model.image_size % (factor * 2**params.blocks):
            raise ParamsError(
                f"model.image_size = {model.image_size} does not fit model.canonical_keypoints: input_scale "
                "must be 1/n and image_size a multiple of n * 2^blocks, here input_scale = "
                f"{params.input_scale:g}, blocks = {params.blocks}."
            )
        channels = widths(params.width, params.blocks, params.max_width)
        self.depth, self.temperature = model.depth, params.temperature
        self.downscale = AntiAliasDownscale(3, factor) if factor > 1 else nn.Identity()
        self.encoder = nn.Sequential(
            *(DownBlock(2, 3 if i == 0 else channels[i], channels[i + 1]) for i in range(params.blocks))
        )
        self.lift = nn.Conv2d(channels[-1], channels[-1] * model.depth, 1)
        self.decoder = nn.Sequential(
            *(UpBlock(3, channels[i + 1], channels[i]) for i in reversed(range(params.blocks)))
        )
        self.heatmaps = same_convolution(3, channels[0], model.num_keypoints, 3)

    def heatmap_logits(self, image: Tensor) -> Tensor:
        """Logits (B, K, D, h, w) of where each keypoint lies, from images (B, 3, H, W) in [0, 1]."""
        lifted = self.lift(self.encoder(self.downscale(image)))
        return self.heatmaps(self.decoder(lifted.unflatten(1, (-1, self.depth))))

    def forward(self, image: Tensor) -> Tensor:
        """Canonical keypoints (B, K, 3) of images (B, 3, H, W) in [0, 1]."""
        logits = self.heatmap_logits(image)
        scaled = (logits / self.temperature).flatten(2)
        scaled = torch.maximum(scaled, scaled.detach().amax(-1, keepdim=True) - LARGEST_DIFFERENCE)
        return expected_coordinates(scaled.softmax(-1).view_as(logits))
