"""The networks of PC-AVS filled with the weights of the parity fixtures, and the fixtures' inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from kpbe.backends.pcavs import PCAVSNetworks
from kpbe.backends.pcavs.checkpoints import fill_official
from kpbe.media.mel import pcavs_mel

OFFICIAL = {
    "generator": "pcavs_netG",
    "identity": "pcavs_netV",
    "non_identity": "pcavs_netE",
    "audio": "pcavs_netA_sync",
}


def official_state(golden, net: str) -> dict[str, torch.Tensor]:
    """Every official tensor of a network, also those that KPBE does not use, by the fill rule."""
    weights = golden.load_filled(net, golden.shapes(net))
    return {name: torch.from_numpy(np.array(value)) for name, value in weights.items()}


@pytest.fixture(scope="package")
def reference(golden):
    return golden("pcavs_nets")


@pytest.fixture(scope="package")
def networks(golden):
    """All four networks with the fixtures' weights, filled as an official folder is."""
    filled = PCAVSNetworks()
    for part, net in OFFICIAL.items():
        fill_official(filled.get_submodule(part), part, official_state(golden, net), Path(net))
    return filled.eval()


@pytest.fixture(scope="package")
def pictures(golden, reference):
    """(2, 3, 224, 224): the picture of the identity and the one whose pose is followed."""
    label = str(reference["input_label"])
    names = (f"pcavs/id/{label}", f"pcavs/pose/{label}")
    return torch.from_numpy(np.stack([golden.fill.image_chw(name, 224, 224) for name in names]) * 2 - 1)


@pytest.fixture(scope="package")
def mel(golden, reference):
    """(207, 80), through our own mel front end."""
    return pcavs_mel(golden.fill.waveform(f"pcavs/wave/{reference['input_label']}", 2.0))
