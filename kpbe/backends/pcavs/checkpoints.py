"""Read and write PC-AVS weights: the official folder of four files, and our one safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from kpbe.backends.pcavs.generator import blur_kernel
from kpbe.backends.pcavs.model import PCAVSNetworks
from kpbe.checkpoints.files import fill, number_fact, read_state, write_state
from kpbe.errors import BadCheckpoint, MissingWeights

NETWORK = "pcavs"

OFFICIAL_FILES = {
    "generator": "latest_net_G.pth",
    "identity": "latest_net_V.pth",
    "non_identity": "latest_net_E.pth",
    "audio": "latest_net_A_sync.pth",
}
"""Official file of each attribute of `PCAVSNetworks`."""

DROPPED = {
    # The reference never runs the mapping network and the learned start: the style is used as it is, the
    # start is the identity map.
    "generator": ("style.", "input.input"),
    # Class scores of VoxCeleb2's 5830 training people, and of ImageNet.
    "identity": ("fc.", "model.fc."),
    # Heads of the training losses.
    "non_identity": ("classifier.", "mouth_fc.", "headpose_fc."),
    "audio": ("fc.",),
}
"""Beginnings of official tensor names that are ignored: inference does not use them, and training here starts
its own heads. The generator's constant `*.kernel` tensors are compared with ours instead."""


def load_networks(path: Path | str, device: str | torch.device = "cpu") -> PCAVSNetworks:
    """The networks of a checkpoint, in eval mode.

    Args:
        path: a file of `save_networks`, which holds its sizes, or an official folder (official sizes).
        device: where the networks go.

    Raises:
        MissingWeights: there is no such file or folder, or the folder lacks one of the four official files.
        BadCheckpoint: a file is damaged or holds another network.
    """
    path = Path(path)
    networks = _official(path) if path.is_dir() else _ours(path)
    return networks.to(device).eval()


def save_networks(
    path: Path | str, networks: PCAVSNetworks, facts: Mapping[str, object] | None = None
) -> None:
    """Write all four networks as one safetensors file, whole or not at all.

    The header holds their sizes and `facts` (JSON-able).
    """
    sizes = {
        "network": NETWORK,
        "width_multiplier": networks.width_multiplier,
        "image_size": networks.image_size,
        "hidden_mouth": networks.hidden_mouth,
    }
    write_state(path, networks, sizes | dict(facts or {}))


def fill_official(network: nn.Module, part: str, state: Mapping[str, Tensor], path: Path) -> None:
    """Fill one of the four networks with an official state dict, without the tensors of `DROPPED`.

    Args:
        network: of the official size.
        part: its attribute in `PCAVSNetworks`.
        state: official names to tensors.
        path: file named in messages.

    Raises:
        BadCheckpoint: the tensors are those of another network.
    """
    own_names = {name for name in network.state_dict() if name.startswith(DROPPED[part])}
    used = {n: t for n, t in state.items() if n in own_names or not n.startswith(DROPPED[part])}
    if part == "generator":
        kernels = {name: used.pop(name) for name in list(used) if name.endswith(".kernel")}
        for name, kernel in kernels.items():
            if kernel.shape != (4, 4) or not torch.allclose(kernel, blur_kernel(gain=4)):
                raise BadCheckpoint(
                    f"{path} cannot be used: its {name} is another low pass than [1, 3, 3, 1]."
                )
    optional = ("noises.",) if part == "generator" else ()
    fill(network, used, path, f"PC-AVS {part.replace('_', '-')} network", optional=optional)


def _official(folder: Path) -> PCAVSNetworks:
    missing = [file for file in OFFICIAL_FILES.values() if not (folder / file).is_file()]
    if missing:
        raise MissingWeights(
            f"{folder} lacks {', '.join(missing)}: give the folder of the official PC-AVS checkpoint with "
            f"its four files."
        )
    networks = PCAVSNetworks()
    for part, file in OFFICIAL_FILES.items():
        state, _ = read_state(folder / file, "PC-AVS")
        fill_official(networks.get_submodule(part), part, state, folder / file)
    return networks


def _ours(path: Path) -> PCAVSNetworks:
    if path.is_file() and path.suffix != ".safetensors":
        raise BadCheckpoint(
            f"{path} is one file: give the folder of the four official PC-AVS files, or one .safetensors "
            f"file of KPBE."
        )
    state, facts = read_state(path, "PC-AVS")
    if facts.get("network") != NETWORK:
        raise BadCheckpoint(f"{path} is not a PC-AVS checkpoint of KPBE: its header does not say so.")
    width = number_fact(facts, "width_multiplier", 1.0, path)
    hidden = facts.get("hidden_mouth") is True
    try:
        networks = PCAVSNetworks(width, int(number_fact(facts, "image_size", 224, path)), hidden_mouth=hidden)
    except ValueError as error:
        raise BadCheckpoint(f"{path} has sizes that no PC-AVS network has: {error}.") from None
    fill(networks, state, path, "PC-AVS checkpoint")
    return networks
