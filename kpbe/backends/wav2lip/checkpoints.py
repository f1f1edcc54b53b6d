"""Reading and writing Wav2Lip weights.

Four layouts are read: the classic `.pth` ({"state_dict": ...} with `module.` before every name), a plain state dict, the TorchScript
archives that the authors link to now (torch.load refuses them), and safetensors, which KPBE writes.
"""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from kpbe.backends.wav2lip.networks import SyncNet, Wav2LipGenerator
from kpbe.errors import BadCheckpoint, MissingWeights
from kpbe.work import whole


def load_generator(path: Path | str, device: str | torch.device = "cpu") -> Wav2LipGenerator:
    """The generator of a checkpoint, in eval mode.

    The width is read from the metadata of our safetensors; every other layout is the official width.

    Raises:
        MissingWeights: there is no such file.
        BadCheckpoint: the file is damaged or holds another network.
    """
    state, metadata = _read_state(Path(path))
    generator = Wav2LipGenerator(_width(metadata, Path(path)))
    _fill(generator, state, Path(path), "Wav2Lip generator")
    return generator.to(device).eval()


def save_generator(
    path: Path | str, generator: Wav2LipGenerator, metadata: Mapping[str, object] | None = None
) -> None:
    """Write the generator as safetensors, whole or not at all, with its width and `metadata` (JSON-able) in the header."""
    header = {
        "network": "wav2lip_generator",
        "width_multiplier": generator.width_multiplier,
        **(metadata or {}),
    }
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in generator.state_dict().items()}
    with whole(path) as temporary:
        save_file(state, temporary, {key: json.dumps(value) for key, value in header.items()})


def load_sync_expert(path: Path | str, device: str | torch.device = "cpu") -> SyncNet:
    """The sync expert of a checkpoint, in eval mode and frozen.

    Raises:
        MissingWeights: there is no such file.
        BadCheckpoint: the file is damaged or holds another network.
    """
    state, _ = _read_state(Path(path))
    expert = SyncNet()
    _fill(expert, state, Path(path), "Wav2Lip sync expert")
    return expert.to(device).eval().requires_grad_(False)


def _read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if not path.is_file():
        raise MissingWeights(
            f"{path} does not exist: give the path of a Wav2Lip checkpoint, or leave it empty to train one."
        )
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                names = file.keys()
                return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
        content = (
            _torchscript_state(path) if _is_torchscript(path) else torch.load(path, "cpu", weights_only=True)
        )
    except (SafetensorError, RuntimeError, UnpicklingError, EOFError, OSError, zipfile.BadZipFile):
        # torch's own message advises weights_only=False, which runs whatever code the file holds.
        raise BadCheckpoint(
            f"{path} cannot be read as weights: it is cut off or no checkpoint; get it again."
        ) from None
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise BadCheckpoint(
            f"{path} holds no state dict: expected tensors by name, or a dictionary with 'state_dict'."
        )
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}, {}


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _torchscript_state(path: Path) -> dict[str, Tensor]:
    with warnings.catch_warnings():
        # The authors publish TorchScript, so its deprecation is nothing the user could act on.
        warnings.simplefilter("ignore", FutureWarning)
        return dict(torch.jit.load(str(path), map_location="cpu").state_dict())


def _width(metadata: Mapping[str, str], path: Path) -> float:
    try:
        return float(json.loads(metadata.get("width_multiplier", "1.0")))
    except (ValueError, TypeError):
        raise BadCheckpoint(
            f"{path} has no number as width_multiplier in its metadata: write it again."
        ) from None


def _fill(network: nn.Module, state: Mapping[str, Tensor], path: Path, what: str) -> None:
    """Load `state` strictly; only the batch counters, which some converters drop, may be missing."""
    expected = network.state_dict()
    missing = [name for name in expected if name not in state and not name.endswith("num_batches_tracked")]
    unknown = [name for name in state if name not in expected]
    reshaped = [name for name in expected if name in state and state[name].shape != expected[name].shape]
    if missing or unknown:
        counts = f"{len(missing)} tensors are missing and {len(unknown)} are unknown, such as {(missing + unknown)[0]}"
        raise BadCheckpoint(f"{path} is not a {what}: {counts}.")
    if reshaped:
        name = reshaped[0]
        shapes = f"{tuple(state[name].shape)} instead of {tuple(expected[name].shape)}"
        raise BadCheckpoint(f"{path} is a {what} of another size: {name} is {shapes}.")
    network.load_state_dict(expected | dict(state))
