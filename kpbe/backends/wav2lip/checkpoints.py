"""Read and write Wav2Lip weights.

Four layouts can be read: the classic `.pth` ({"state_dict": ...} with `module.` before every name), a plain
state dict, the TorchScript archives that the authors now publish, and safetensors, which KPBE writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from kpbe.backends.wav2lip.networks import SyncNet, Wav2LipGenerator
from kpbe.checkpoints.files import fill, number_fact, read_state, write_state


def load_generator(path: Path | str, device: str | torch.device = "cpu") -> Wav2LipGenerator:
    """The generator of a checkpoint, in eval mode.

    Width and kind are read from the metadata of our safetensors; every other layout is the official network.

    Raises:
        MissingWeights: there is no such file.
        BadCheckpoint: the file is damaged or holds another network.
    """
    path = Path(path)
    state, facts = read_state(path, "Wav2Lip")
    residual = facts.get("residual") is True
    generator = Wav2LipGenerator(number_fact(facts, "width_multiplier", 1.0, path), residual)
    fill(generator, state, path, "Wav2Lip generator")
    return generator.to(device).eval()


def save_generator(
    path: Path | str, generator: Wav2LipGenerator, metadata: Mapping[str, object] | None = None
) -> None:
    """Write the generator as safetensors, whole or not at all.

    The header holds its width and `metadata` (JSON-able).
    """
    facts = {
        "network": "wav2lip_generator",
        "width_multiplier": generator.width_multiplier,
        "residual": generator.residual,
    }
    write_state(path, generator, facts | dict(metadata or {}))


def load_sync_expert(path: Path | str, device: str | torch.device = "cpu") -> SyncNet:
    """The sync expert of a checkpoint, in eval mode and frozen.

    Its width and whether it is calibrated are read from the metadata, as in `load_generator`.

    Raises:
        MissingWeights: there is no such file.
        BadCheckpoint: the file is damaged or holds another network.
    """
    path = Path(path)
    state, facts = read_state(path, "Wav2Lip sync expert")
    calibrated = facts.get("calibrated") is True
    expert = SyncNet(number_fact(facts, "width_multiplier", 1.0, path), calibrated)
    fill(expert, state, path, "Wav2Lip sync expert")
    return expert.to(device).eval().requires_grad_(False)


def save_sync_expert(path: Path | str, expert: SyncNet, metadata: Mapping[str, object] | None = None) -> None:
    """Write the sync expert as `save_generator` writes the generator."""
    facts = {
        "network": "wav2lip_sync_expert",
        "width_multiplier": expert.width_multiplier,
        "calibrated": expert.calibrated,
    }
    write_state(path, expert, facts | dict(metadata or {}))
