"""Which device the networks run on."""

from __future__ import annotations

import torch

from kpbe.errors import ParamsError
from kpbe.params import ComputeParams


def torch_device(compute: ComputeParams) -> torch.device:
    """The device that params name; `auto` takes a GPU when there is one.

    Raises:
        ParamsError: params name a GPU and torch sees none.
    """
    if compute.device == "cuda" and not torch.cuda.is_available():
        raise ParamsError("compute.device is cuda but torch sees no GPU: choose auto or cpu.")
    best = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(best if compute.device == "auto" else compute.device)
