"""LPIPS against the lpips package, on the real weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from kpbe.checkpoints import catalogue
from kpbe.errors import BadCheckpoint, MissingWeights
from kpbe.metrics.lpips import LPIPS, load_lpips


@pytest.fixture
def alexnet(shared_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KPBE_WEIGHTS", str(shared_weights))
    return catalogue.require("alexnet")


@pytest.fixture
def network(alexnet: Path) -> LPIPS:
    return load_lpips()


def frames(seed: int, count: int, side: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


@pytest.mark.slow
def test_distances_are_those_of_the_lpips_package(alexnet: Path, network: LPIPS) -> None:
    import lpips

    theirs = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    trunk = [layer for i in range(1, 6) for layer in getattr(theirs.net, f"slice{i}").named_children()]
    state = load_file(alexnet)
    for name, layer in trunk:
        if f"features.{name}.weight" in state:
            layer.load_state_dict({kind: state[f"features.{name}.{kind}"] for kind in ("weight", "bias")})
    truth = frames(0, 3)
    other = np.clip(truth + np.array([3.0, 30.0, 90.0]).reshape(3, 1, 1, 1), 0, 255).astype(np.uint8)
    signed = [torch.from_numpy(x).movedim(-1, 1) / 127.5 - 1 for x in (truth, other)]
    with torch.no_grad():
        expected = theirs(*signed).flatten()
    torch.testing.assert_close(network(truth, other), expected, rtol=1e-5, atol=1e-6)


def test_identical_frames_have_no_distance_and_blurred_ones_less_than_others(network: LPIPS) -> None:
    truth = np.kron(frames(1, 1, 8), np.ones((1, 8, 8, 1), np.uint8))
    noisy = np.clip(truth + np.random.default_rng(2).normal(0, 4, truth.shape), 0, 255).astype(np.uint8)
    assert network(truth, truth).item() == 0
    assert 0 < network(truth, noisy).item() < network(truth, frames(3, 1)).item()


def test_frames_smaller_than_the_network_are_refused(network: LPIPS) -> None:
    with pytest.raises(ValueError, match="at least 31"):
        network(frames(0, 1, 24), frames(1, 1, 24))
    assert network(frames(0, 1, 31), frames(1, 1, 31)).shape == (1,)


def test_missing_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KPBE_WEIGHTS", raising=False)
    with pytest.raises(MissingWeights, match=r"alexnet_imagenet_features\.safetensors"):
        load_lpips()


def test_a_damaged_weight_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = tmp_path / catalogue.CATALOGUE["alexnet"].file
    damaged.write_bytes(b"not a network")
    monkeypatch.setenv("KPBE_WEIGHTS", str(tmp_path))
    with pytest.raises(BadCheckpoint, match=str(damaged)):
        load_lpips()
