"""Read and write frontends: our own safetensors files, and the checkpoints of the public OSFV code.

Public checkpoints come as a pickled dictionary with `generator`, `kp_detector` and `he_estimator`
(`*.pth.tar`), as SadTalker's safetensors with the prefixes `generator.`, `kp_extractor.` and `he_estimator.`,
or in other wrappings. `public_networks` finds the networks in them, `public_keys` maps their names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from kpbe.checkpoints.files import fill, read_content, read_metadata, write_state
from kpbe.errors import BadCheckpoint
from kpbe.frontend.layers import AntiAliasDownscale
from kpbe.frontend.model import Frontend
from kpbe.frontend.public_keys import frontend_tables, public_keys
from kpbe.frontend.public_networks import (
    BLUR_KERNEL,
    SIGNATURES,
    Conventions,
    Network,
    blur_reduction,
    model_of,
    networks_in,
    plain_name,
)
from kpbe.params import ModelParams

FORMAT = "kpbe-frontend"
PUBLIC_CONVENTIONS = {"pitch_sign": -1, "first_order": "translation"}
"""Conventions of all public OSFV checkpoints: their labels were Hopenet's, whose pitch is positive for a head
that looks up, and the neighbourhoods of their keypoints do not turn."""

OTHER_NETWORKS = {
    "face_encoder_blocks.": "a Wav2Lip checkpoint",
    "face_encoder.0.conv_block.": "a Wav2Lip SyncNet checkpoint",
    "netcnnlip.": "a SyncNet (LSE) checkpoint",
    "fc_finetune.": "a Hopenet checkpoint",
    "predictor.encoder.": "a first-order-model (FOMM) checkpoint",
    "modulation_scale.": "a LivePortrait checkpoint",
    "dense_motion_network.": "a LivePortrait checkpoint",
    "canonical_keypoints.": "a KPBE frontend without its params (write it with save_frontend)",
    "features.0.": "a VGG checkpoint",
    "conv1_1.": "a VGGFace checkpoint",
}


# -- our own files -----------------------------------------------------------------------------------------


def save_frontend(path: Path | str, frontend: Frontend, metadata: Mapping[str, Any]) -> None:
    """Write weights, `ModelParams` and JSON-able facts as one safetensors file, whole or not at all."""
    facts = {"model": frontend.params.model_dump(mode="json"), "facts": dict(metadata)}
    write_state(path, frontend, facts, FORMAT)


def load_frontend(path: Path | str, device: torch.device | str = "cpu") -> Frontend:
    """Read a file of `save_frontend`; the frontend is in eval mode.

    Raises:
        MissingWeights: the file does not exist.
        BadCheckpoint: it is damaged or not such a file.
    """
    path = Path(path)
    header = read_metadata(path)
    if FORMAT not in header:
        raise BadCheckpoint(
            f"{path} was not written by KPBE: public checkpoints are read by load_public_checkpoint."
        )
    try:
        model = ModelParams.model_validate(json.loads(header[FORMAT])["model"])
    except ValidationError as error:
        wrong = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise BadCheckpoint(
            f"{path} was written by another version of KPBE: its model.{wrong} is not known here."
        ) from None
    frontend = Frontend(model)
    tensors = {plain_name(name): tensor for name, tensor in read_content(path).items()}
    fill(frontend, tensors, path, f"frontend {model.name!r}")
    return frontend.to(device).eval()


def is_frontend_file(path: Path | str) -> bool:
    """Whether `save_frontend` wrote the file; False also for files that are not safetensors.

    Raises:
        MissingWeights: the file does not exist.
    """
    try:
        return FORMAT in read_metadata(Path(path))
    except BadCheckpoint:
        return False


# -- public checkpoints ------------------------------------------------------------------------------------


def load_public_checkpoint(checkpoint: Path | str | Mapping[str, Any], model: ModelParams) -> Frontend:
    """A frontend (CPU, eval mode) with the weights of a public OSFV checkpoint.

    Its params are those of `model`, but with the pitch sign and the first-order motion that all public
    checkpoints were trained with.

    Args:
        checkpoint: a `.pth.tar` or SadTalker safetensors file, or the content of one.
        model: sizes and other conventions that the checkpoint was trained with.

    Raises:
        MissingWeights: the file does not exist.
        BadCheckpoint: it is not an OSFV checkpoint, or one for other sizes or another decoder than `model`.
    """
    origin = "the checkpoint" if isinstance(checkpoint, Mapping) else str(checkpoint)
    content = checkpoint if isinstance(checkpoint, Mapping) else read_content(Path(checkpoint))
    return _filled(_networks(content, origin), model, origin)


def open_public_checkpoint(path: Path, conventions: Conventions | None = None) -> Frontend:
    """As `load_public_checkpoint`, with the sizes and the decoder read from the file itself.

    Args:
        path: a file that `load_public_checkpoint` takes.
        conventions: those that the user names; None derives them (`public_networks.model_of`).

    Raises:
        MissingWeights: the file does not exist.
        BadCheckpoint: it is no OSFV checkpoint, or its conventions are unclear.
    """
    networks = _networks(read_content(path), str(path))
    return _filled(networks, model_of(networks, path, conventions), str(path))


def _filled(networks: Mapping[Network, Mapping[str, Tensor]], model: ModelParams, origin: str) -> Frontend:
    _refuse_other_decoder(networks["generator"], model, origin)
    _refuse_other_input_scale(networks["kp_detector"], model, origin)
    conventions = model.conventions.model_copy(update=PUBLIC_CONVENTIONS)
    frontend = Frontend(model.model_copy(update={"conventions": conventions}))
    tables = frontend_tables(model)
    for network, state in networks.items():
        names = public_keys(frontend.state_dict(), tables[network])
        parts = {name.split(".")[0] for name in names.values()}
        known = {
            name: tensor
            for name, tensor in state.items()
            if name.split(".")[0] in parts and name != BLUR_KERNEL
        }
        fill(frontend, known, f"{origin} ({network})", "network with these model parameters", names)
    return frontend.eval()


def public_state_dicts(frontend: Frontend) -> dict[str, dict[str, Tensor]]:
    """The weights in the public layout: state dicts of `generator`, `kp_detector` and `he_estimator`."""
    state = frontend.state_dict()
    networks = {
        network: {public: state[ours] for ours, public in public_keys(state, table).items()}
        for network, table in frontend_tables(frontend.params).items()
    }
    downscale = frontend.canonical_keypoints.downscale
    if isinstance(downscale, AntiAliasDownscale):
        networks["kp_detector"][BLUR_KERNEL] = downscale.kernel
    return networks


def _networks(content: Mapping[str, Any], origin: str) -> dict[Network, dict[str, Tensor]]:
    """State dicts of all three networks, by public network name.

    Raises:
        BadCheckpoint: one of them is missing.
    """
    networks = networks_in(content, origin)
    missing = set(SIGNATURES) - set(networks)
    if missing:
        names = set() if networks else _entry_names(content)
        other = next(
            (what for part, what in OTHER_NETWORKS.items() if any(n.startswith(part) for n in names)), None
        )
        if other is not None:
            raise BadCheckpoint(f"{origin} is {other}, not an OSFV (face-vid2vid) checkpoint.")
        raise BadCheckpoint(
            f"{origin} is not an OSFV (face-vid2vid) checkpoint: it lacks {' and '.join(sorted(missing))}."
        )
    return networks


def _entry_names(content: Mapping[str, Any]) -> set[str]:
    """Names of all entries, including those of nested state dicts, without wrapper prefixes."""
    names: set[str] = set()
    for key, value in content.items():
        names |= _entry_names(value) if isinstance(value, Mapping) else {plain_name(str(key))}
    return names


def _refuse_other_decoder(generator: Mapping[str, Tensor], model: ModelParams, origin: str) -> None:
    stored = "spade" if any(name.startswith("decoder.") for name in generator) else "original"
    if stored != model.generator.decoder:
        raise BadCheckpoint(
            f"{origin} has the {stored} decoder: set model.generator.decoder = {stored} instead of "
            f"{model.generator.decoder}."
        )


def _refuse_other_input_scale(kp_detector: Mapping[str, Tensor], model: ModelParams, origin: str) -> None:
    reduction = blur_reduction(kp_detector)
    if reduction == round(1 / model.canonical_keypoints.input_scale):
        return
    if reduction == 1:
        raise BadCheckpoint(
            f"{origin} finds canonical keypoints at full resolution, as the beta checkpoint does: set "
            f"model.canonical_keypoints.input_scale = 1 and model.conventions.rotation = beta."
        )
    raise BadCheckpoint(
        f"{origin} finds canonical keypoints on a reduced image: set model.canonical_keypoints.input_scale = "
        f"{1 / reduction:g}."
    )
