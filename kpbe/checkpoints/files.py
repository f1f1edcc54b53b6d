"""Strict reader and writer of weights: any layout becomes a plain state dict, which fits or is refused."""

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
"""The one metadata key of a file. With several, their order would differ between processes, and so would
digests.
"""

WRAPPINGS = ("state_dict", "model", "model_state_dict", "generator")
"""Keys under which trainings keep a network's weights beside other things."""

UNREADABLE = (
    SafetensorError,
    RuntimeError,
    UnpicklingError,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    zipfile.BadZipFile,
)
"""What torch and safetensors raise for damaged and foreign files."""


# -- reading -----------------------------------------------------------------------------------------------


def read_content(path: Path, mapped: bool = True) -> Mapping[str, Any]:
    """The content of a weight file, as it is stored.

    Reads pickled dictionaries (none of their code is run), TorchScript archives (which torch.load refuses)
    and safetensors, whatever the file is called.

    Args:
        path: the file.
        mapped: map the tensors of a pickle, so that they are read when used. False reads them at once; use it
            for tensors that outlive the file, such as an optimiser's.

    Raises:
        MissingWeights: there is no such file.
        BadCheckpoint: it is damaged or holds something else.
    """
    _require(path)
    try:
        if _is_safetensors(path):
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        content = _torchscript_state(path) if _is_torchscript(path) else _unpickled(path, mapped)
    except UNREADABLE:
        raise _unreadable(path) from None
    if not isinstance(content, Mapping):
        raise _no_state_dict(path)
    return content


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file; empty for other files.

    Raises:
        MissingWeights: there is no such file.
        BadCheckpoint: a file that begins like safetensors is damaged.
    """
    _require(path)
    if not _is_safetensors(path):
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except UNREADABLE:
        raise _unreadable(path) from None


def read_state(path: Path, method: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors of one network by name, and the facts that `write_state` stored (none in other files).

    The state dict may lie under a key of `WRAPPINGS`. The prefixes that DataParallel (`module.`) and
    torch.compile (`_orig_mod.`) put before names are dropped.

    Args:
        path: see `read_content`.
        method: the method that needs the weights, for messages.

    Raises:
        MissingWeights: there is no such file.
        BadCheckpoint: it is damaged or holds no state dict.
    """
    if not path.is_file():
        raise MissingWeights(
            f"{path} does not exist: give the path of a {method} checkpoint, or leave it empty to train one."
        )
    state = read_content(path)
    while inner := next((key for key in WRAPPINGS if isinstance(state.get(key), Mapping)), None):
        state = state[inner]
    if not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise _no_state_dict(path)
    return {without_wrapper(name): tensor for name, tensor in state.items()}, _facts(read_metadata(path))


def without_wrapper(name: str) -> str:
    """A tensor's name without the prefixes of DataParallel and torch.compile."""
    return re.sub(r"^((module|_orig_mod)\.)+", "", name)


# -- writing -----------------------------------------------------------------------------------------------


def write_state(path: Path | str, network: nn.Module, facts: Mapping[str, Any], key: str = FACTS) -> None:
    """Write a network as safetensors, whole or not at all; equal inputs give equal bytes.

    Args:
        path: the file.
        network: the network to write.
        facts: JSON-able values for the header.
        key: the metadata key of the facts.
    """
    write_tensors(path, network.state_dict(), {key: json.dumps(dict(facts), sort_keys=True)})


def write_tensors(path: Path | str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and header metadata as safetensors, whole or not at all."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with whole(path) as temporary:
        save_file(plain, temporary, dict(metadata))


# -- filling -----------------------------------------------------------------------------------------------


def fill(
    network: nn.Module,
    state: Mapping[str, Tensor],
    origin: Path | str,
    what: str,
    names: Mapping[str, str] | None = None,
    optional: tuple[str, ...] = (),
) -> None:
    """Load `state` strictly: no tensor may be unknown, and only some may be missing.

    May be missing: the batch counters, which some converters drop, and tensors named by `optional`.

    Args:
        network: keeps its own values for missing tensors.
        state: tensors by stored name.
        origin: file named in messages.
        what: the network in words, e.g. "Wav2Lip generator".
        names: the network's own names to stored ones; tensors of the network that it leaves out keep their
            values. None: the names are equal.
        optional: beginnings of the stored names that may be missing.

    Raises:
        BadCheckpoint: tensors are missing, unknown or of another shape.
    """
    own = network.state_dict()
    stored_names = {name: name for name in own} if names is None else names
    expected = set(stored_names.values())
    missing = [
        stored
        for stored in stored_names.values()
        if stored not in state
        and not stored.endswith("num_batches_tracked")
        and not stored.startswith(optional)
    ]
    unknown = [stored for stored in state if stored not in expected]
    if missing:
        raise BadCheckpoint(f"{origin} is not a {what}: it lacks {_first_of(missing)}.")
    if unknown:
        raise BadCheckpoint(f"{origin} is not a {what}: it has no place for {_first_of(unknown)}.")
    loaded = {name: state[stored] for name, stored in stored_names.items() if stored in state}
    for name, tensor in loaded.items():
        if tensor.shape != own[name].shape:
            raise BadCheckpoint(
                f"{origin} is not a {what} of this size: {stored_names[name]} has the shape "
                f"{tuple(tensor.shape)} instead of {tuple(own[name].shape)}."
            )
    network.load_state_dict(own | loaded)


def number_fact(facts: Mapping[str, Any], name: str, default: float, path: Path) -> float:
    """A positive finite number among the facts of a file, `default` where it is absent.

    Raises:
        BadCheckpoint: the value is not such a number.
    """
    value = facts.get(name, default)
    if not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise BadCheckpoint(f"{path} has no number as {name} in its metadata: write it again.")
    return value


def _facts(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Facts under the one key, or in the older layout with a key for each; other metadata is ignored."""
    try:
        if FACTS in metadata:
            return dict(json.loads(metadata[FACTS]))
        return {name: json.loads(value) for name, value in metadata.items()}
    except (ValueError, TypeError):
        return {}


def _first_of(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more tensors"


def _require(path: Path) -> None:
    if not path.is_file():
        raise MissingWeights(f"{path} does not exist.")


def _unreadable(path: Path) -> BadCheckpoint:
    # torch's own message advises weights_only=False, which runs whatever code the file holds
    return BadCheckpoint(f"{path} cannot be read as weights: it is cut off or no checkpoint; get it again.")


def _no_state_dict(path: Path) -> BadCheckpoint:
    return BadCheckpoint(
        f"{path} holds no state dict: expected tensors by name, or a dictionary with 'state_dict'."
    )


def _is_safetensors(path: Path) -> bool:
    """Whether a file has the suffix of safetensors or begins like it: eight bytes of length, then JSON."""
    if path.suffix == ".safetensors":
        return True
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _unpickled(path: Path, mapped: bool) -> Any:
    # pickles of the old format (no zip) cannot be mapped
    return torch.load(path, "cpu", weights_only=True, mmap=mapped and zipfile.is_zipfile(path))


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
