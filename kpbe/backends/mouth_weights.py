"""Weights of L1 terms that are larger around the mouth."""

from __future__ import annotations

import torch
from torch import Tensor


def mouth_weights(size: int, mouth: float, place: tuple[float, float], spread: tuple[float, float]) -> Tensor:
    """Weights (size, size) of a picture's L1 term: larger around the mouth (a Gaussian), with mean 1.

    Args:
        size: edge of the picture in pixels.
        mouth: weight added in the middle of the mouth to the 1 elsewhere; 0 weighs all pixels alike.
        place: middle of the mouth, down and across, as shares of the edge.
        spread: the Gaussian's standard deviations, likewise.
    """
    pixels = (torch.arange(size) + 0.5) / size
    down, across = (
        torch.exp(-(((pixels - middle) / deviation) ** 2) / 2)
        for middle, deviation in zip(place, spread, strict=True)
    )
    weights = 1 + mouth * down[:, None] * across
    return weights / weights.mean()
