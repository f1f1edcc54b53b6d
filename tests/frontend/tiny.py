"""A small untrained frontend for tests of the code around it, with the same weights every time."""

from __future__ import annotations

from typing import Any

import torch

from kpbe.frontend.model import Frontend
from kpbe.params import ModelParams

SIZE = 64


def tiny_model(**changes: Any) -> dict[str, Any]:
    """The section `model` of params.yaml."""
    return {
        "image_size": SIZE, "num_keypoints": 5, "depth": 4,
        "canonical_keypoints": {"width": 4, "blocks": 3, "input_scale": 0.5},
        "pose_expression": {"width": 4, "stage_blocks": (1, 1, 1, 1)},
        "appearance": {"width": 4, "volume_channels": 4, "volume_blocks": 1},
        "motion_field": {"width": 4, "blocks": 2, "compressed_channels": 1},
        "generator": {"width": 16, "blocks": 1},
    } | changes  # fmt: skip


def tiny_frontend(**changes: Any) -> Frontend:
    """The network, in eval mode."""
    torch.manual_seed(0)
    return Frontend(ModelParams.model_validate(tiny_model(**changes))).eval()
