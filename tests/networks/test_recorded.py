"""The networks still give the numbers recorded when they equalled the reference implementations.

These tests need no fixtures from elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from torch import nn
from torch.nn import functional as F

from tests.networks.recorded import FILE, NETWORKS, outputs
from tests.sampled import compare

MOTION, STAGES, WAV2LIP, PCAVS = 2e-4, 1e-3, 1e-4, 3e-4
TOLERANCES = {
    "osfv_motion": MOTION,
    "osfv_generator": STAGES,
    "osfv_generator_spade": STAGES,
    "wav2lip": WAV2LIP,
    "pcavs": PCAVS,
}
"""Largest difference in parts of the largest magnitude: what other numbers of threads and other CPUs change
stays well below.
"""


def changed(network: str) -> dict[str, str]:
    """Output name to its difference; empty if the network gives what was recorded."""
    with np.load(FILE) as recorded:
        known = {key.partition("__")[0] for key in recorded if key.startswith(f"{network}/")}
        found = outputs(network)
        assert known == {f"{network}/{name}" for name in found}
        differs = {}
        for name, values in found.items():
            try:
                compare(recorded, f"{network}/{name}", values, TOLERANCES[network])
            except AssertionError as error:
                differs[name] = str(error)
    return differs


@pytest.mark.parametrize("network", NETWORKS)
def test_network_gives_what_was_recorded(network: str) -> None:
    assert changed(network) == {}


def without_align_corners(*args, **options):
    return ORIGINAL_SAMPLING(*args, **options | {"align_corners": True})


def leaky_relu(x, slope=0.01, inplace=False):
    return ORIGINAL_LEAKY(x, slope + 0.05)


ORIGINAL_SAMPLING, ORIGINAL_LEAKY, ORIGINAL_NORM = F.grid_sample, F.leaky_relu, nn.BatchNorm2d.__init__


def imprecise_norm(self, *args, **options):
    ORIGINAL_NORM(self, *args, **options | {"eps": 1e-3})


@pytest.mark.parametrize(
    ("network", "place", "name", "other"),
    [
        ("osfv_generator", F, "grid_sample", without_align_corners),
        ("osfv_motion", nn.BatchNorm2d, "__init__", imprecise_norm),
        ("osfv_generator_spade", F, "leaky_relu", leaky_relu),
        ("wav2lip", nn.BatchNorm2d, "__init__", imprecise_norm),
        ("pcavs", F, "leaky_relu", leaky_relu),
    ],
)
def test_changed_network_is_noticed(
    monkeypatch: pytest.MonkeyPatch, network: str, place: object, name: str, other: Callable[..., object]
) -> None:
    monkeypatch.setattr(place, name, other)
    assert changed(network)


def test_files_stay_small() -> None:
    assert FILE.stat().st_size < 300_000
