"""Reading and writing the weights of backends: any layout to a plain state dict, filled into a network or refused in one sentence."""

from __future__ import annotations

import json
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from kpbe.core.files import whole
from kpbe.errors import BadCheckpoint, MissingWeights

FACTS = "kpbe"
"""The one metadata key of our files. Several would be written in another order by every process, and digests would differ."""

WRAPPINGS = ("state_dict", "model", "model_state_dict", "generator")
"""Keys under which trainings keep a network's weights beside other things."""


def read_state(path: Path, method: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by name, and the facts that `write_state` was given (none for other files).

    Four layouts are read: a pickled state dict, the same under a key of `WRAPPINGS`, a TorchScript archive (which torch.load refuses), and
    safetensors. The prefixes that DataParallel (`module.`) and torch.compile (`_orig_mod.`) put before names are dropped.

    Args:
        path: the file.
        method: whose weights are wanted, for messages.

    Raises:
        MissingWeights: there is no such file.
        BadCheckpoint: it is damaged or holds no state dict.
    """
    if not path.is_file():
        raise MissingWeights(
            f"{path} does not exist: give the path of a {method} checkpoint, or leave it empty to train one."
        )
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                return _plain(state), _facts(file.metadata() or {})
        content = _torchscript_state(path) if _is_torchscript(path) else _unpickled(path)
    except (
        SafetensorError,
        RuntimeError,
        UnpicklingError,
        EOFError,
        OSError,
        ValueError,
        zipfile.BadZipFile,
    ):
        # torch's own message advises weights_only=False, which runs whatever code the file holds.
        raise BadCheckpoint(
            f"{path} cannot be read as weights: it is cut off or no checkpoint; get it again."
        ) from None
    state = content if isinstance(content, dict) else None
    while isinstance(state, dict) and (
        inner := next((k for k in WRAPPINGS if isinstance(state.get(k), dict)), None)
    ):
        state = state[inner]
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise BadCheckpoint(
            f"{path} holds no state dict: expected tensors by name, or a dictionary with 'state_dict'."
        )
    return _plain(state), {}


def _plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {re.sub(r"^((module|_orig_mod)\.)+", "", name): tensor for name, tensor in state.items()}


def write_state(path: Path | str, network: nn.Module, facts: Mapping[str, Any]) -> None:
    """Write a network as safetensors, whole or not at all, with JSON-able `facts` in the header; equal inputs give equal bytes."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    with whole(path) as temporary:
        save_file(state, temporary, {FACTS: json.dumps(dict(facts), sort_keys=True)})


def fill(
    network: nn.Module, state: Mapping[str, Tensor], path: Path, what: str, optional: tuple[str, ...] = ()
) -> None:
    """Load `state` strictly; only the batch counters, which some converters drop, and names that begin with `optional` may be missing.

    Args:
        network: keeps what it has where `state` may lack a tensor.
        state: tensors by the network's names.
        path: file named in messages.
        what: the network in words, e.g. "Wav2Lip generator".
        optional: beginnings of names.

    Raises:
        BadCheckpoint: tensors are missing, unknown or of another shape.
    """
    expected = network.state_dict()
    missing = [
        name
        for name in expected
        if name not in state and not name.endswith("num_batches_tracked") and not name.startswith(optional)
    ]
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


def number_fact(facts: Mapping[str, Any], name: str, default: float, path: Path) -> float:
    """A positive number among the facts of a file, `default` where it is absent.

    Raises:
        BadCheckpoint: it is something else.
    """
    value = facts.get(name, default)
    if not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise BadCheckpoint(f"{path} has no number as {name} in its metadata: write it again.")
    return value


def _facts(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Facts of the one key, or of the older layout with a key for each; metadata of other programs is no fact."""
    try:
        if FACTS in metadata:
            return dict(json.loads(metadata[FACTS]))
        return {name: json.loads(value) for name, value in metadata.items()}
    except (ValueError, TypeError):
        return {}


def _unpickled(path: Path) -> Any:
    # Mapped files are read only where tensors are really used; the old format cannot be mapped.
    return torch.load(path, "cpu", weights_only=True, mmap=zipfile.is_zipfile(path))


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _torchscript_state(path: Path) -> dict[str, Tensor]:
    with warnings.catch_warnings():
        # The authors of Wav2Lip publish TorchScript, so its deprecation is nothing the user could act on.
        warnings.simplefilter("ignore", FutureWarning)
        return dict(torch.jit.load(str(path), map_location="cpu").state_dict())
