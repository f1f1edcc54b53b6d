"""Public checkpoints: networks in any wrapping, sizes that follow from shapes, and reported doubts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from kpbe.errors import BadCheckpoint, KPBEError
from kpbe.frontend.checkpoints import load_frontend, open_public_checkpoint, public_state_dicts, save_frontend
from kpbe.frontend.model import Frontend
from kpbe.frontend.public_networks import conventions_of, model_of, networks_in
from kpbe.params import ModelParams
from tests.frontend.test_checkpoints import tiny

Networks = Mapping[str, Mapping[str, Tensor]]
FILE = Path("00000189-checkpoint.pth.tar")


@pytest.fixture(params=["original", "spade"])
def frontend(request) -> Frontend:
    torch.manual_seed(0)
    return Frontend(tiny(request.param)).eval()


def flat(networks: Networks, prefix: str = "", **renamed: str) -> dict[str, Tensor]:
    return {
        f"{prefix}{renamed.get(network, network)}.{name}": tensor.contiguous()
        for network, state in networks.items()
        for name, tensor in state.items()
    }


def with_prefix(networks: Networks, prefix: str) -> dict[str, dict[str, Tensor]]:
    return {
        network: {prefix + name: tensor for name, tensor in state.items()}
        for network, state in networks.items()
    }


WRAPPINGS: dict[str, Callable[[Networks], dict[str, Any]]] = {
    "the authors' own": lambda n: {**n, "optimizer_generator": {"state": {0: torch.zeros(2)}}, "epoch": 189},
    "DataParallel": lambda n: with_prefix(n, "module."),
    "torch.compile": lambda n: with_prefix(n, "_orig_mod."),
    "compiled, then DataParallel": lambda n: with_prefix(n, "module._orig_mod."),
    "model": lambda n: {"model": n, "epoch": 3},
    "state_dict of everything": lambda n: {"state_dict": flat(n, "module.")},
    "a state_dict for each": lambda n: {network: {"state_dict": state} for network, state in n.items()},
    "SadTalker's names": lambda n: flat(n, kp_detector="kp_extractor"),
    "names of a compiled part": lambda n: flat(n, "_orig_mod.net_g."),
}


def same_weights(opened: Frontend, original: Frontend) -> bool:
    mine, other = opened.state_dict(), original.state_dict()
    return mine.keys() == other.keys() and all(torch.equal(mine[name], other[name]) for name in mine)


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_the_frontend_is_found_in_every_wrapping(frontend, wrapping, tmp_path):
    path = tmp_path / FILE
    torch.save(WRAPPINGS[wrapping](public_state_dicts(frontend)), path)
    opened = open_public_checkpoint(path)
    assert same_weights(opened, frontend)
    assert opened.params.generator.decoder == frontend.params.generator.decoder


def test_sadtalkers_packed_file_is_read_whatever_its_name(frontend, tmp_path):
    packed = flat(public_state_dicts(frontend), kp_detector="kp_extractor")
    packed |= {
        "audio2exp.netG.fc.weight": torch.zeros(2),
        "face_3drecon.net_recon.conv1.weight": torch.zeros(2),
    }
    for name in ("SadTalker_V0.0.2_256.safetensors", "model.bin"):
        save_file(packed, tmp_path / name)
        assert same_weights(open_public_checkpoint(tmp_path / name), frontend)


def test_an_own_file_of_a_compiled_frontend_is_read(tmp_path):
    frontend, path = Frontend(tiny()).eval(), tmp_path / "frontend.safetensors"
    save_frontend(path, frontend, {})
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    save_file({f"_orig_mod.{name}": tensor for name, tensor in load_file(path).items()}, path, header)
    assert same_weights(load_frontend(path), frontend)


# -- sizes and decoder -------------------------------------------------------------------------------------

SIZES = {
    "vox256": {},
    "vox256_spade": {"generator": {"decoder": "spade"}},
    "other sizes": {
        "num_keypoints": 10,
        "depth": 8,
        "canonical_keypoints": {"width": 16, "max_width": 100, "blocks": 4, "input_scale": 0.5},
        "pose_expression": {"width": 24, "stage_blocks": [1, 2, 3, 4], "bins": 60},
        "appearance": {
            "width": 48,
            "max_width": 90,
            "down_blocks": 1,
            "volume_channels": 24,
            "volume_blocks": 5,
        },
        "motion_field": {
            "width": 16,
            "max_width": 200,
            "blocks": 4,
            "compressed_channels": 2,
            "mask_kernel": 3,
        },
        "generator": {"decoder": "spade", "width": 128, "blocks": 3},
    },
}


def meta_networks(model: ModelParams) -> Any:
    with torch.device("meta"):
        return networks_in(public_state_dicts(Frontend(model)), "file")


@pytest.mark.parametrize("sizes", SIZES)
def test_sizes_and_decoder_are_read_from_the_shapes(sizes):
    model = ModelParams.model_validate(SIZES[sizes])
    told = model_of(meta_networks(model), FILE)
    assert told.model_dump(exclude={"name"}) == model.model_dump(exclude={"name"})


# -- what shapes do not tell -------------------------------------------------------------------------------

WHOLE_PICTURE = {"canonical_keypoints": {"input_scale": 1.0}}


@pytest.fixture(scope="module")
def on_the_whole_picture() -> Any:
    return meta_networks(ModelParams.model_validate(WHOLE_PICTURE))


def test_an_unclear_order_of_rotations_is_asked_for(on_the_whole_picture):
    with pytest.raises(BadCheckpoint, match=r"--model vox256_beta, or --model vox256 "):
        model_of(on_the_whole_picture, FILE)
    for word, rotation in (("vox256_beta", "beta"), ("vox256", "pitch_yaw_roll")):
        told = model_of(on_the_whole_picture, FILE, conventions_of(word))
        assert (told.conventions.rotation, told.canonical_keypoints.input_scale) == (rotation, 1.0)
    with pytest.raises(KPBEError, match="no --model vox512: choose one of vox256, vox256_beta"):
        conventions_of("vox512")


@pytest.mark.parametrize("path", ["vox-256-beta/00000120-checkpoint.pth.tar", "vox256_BETA.pth.tar"])
def test_the_name_of_file_or_folder_tells_beta(on_the_whole_picture, path):
    assert model_of(on_the_whole_picture, Path(path)).conventions.rotation == "beta"
    asked = model_of(on_the_whole_picture, Path(path), "vox256")
    assert asked.conventions.rotation == "pitch_yaw_roll", "the user's word comes first"


def test_a_reduced_picture_is_never_beta():
    networks = meta_networks(tiny())
    assert model_of(networks, Path("beta/x.pth.tar")).conventions.rotation == "pitch_yaw_roll"
    with pytest.raises(BadCheckpoint, match="which vox256_beta does not: leave --model out"):
        model_of(networks, FILE, "vox256_beta")


def test_public_conventions_hold_for_every_public_checkpoint(frontend, tmp_path):
    torch.save(public_state_dicts(frontend), tmp_path / FILE)
    conventions = open_public_checkpoint(tmp_path / FILE).params.conventions
    assert (conventions.pitch_sign, conventions.first_order, conventions.align_corners) == (
        -1,
        "translation",
        False,
    )


# -- wrong files -------------------------------------------------------------------------------------------


def test_two_networks_of_a_kind_are_refused_unless_one_has_the_usual_name():
    networks = public_state_dicts(Frontend(tiny()))
    doubled = {**networks, "generator_ema": {k: v + 1 for k, v in networks["generator"].items()}}
    found = networks_in(doubled, "model.pth")["generator"]
    assert torch.equal(found["second.weight"], networks["generator"]["second.weight"])
    doubled["generator_raw"] = doubled.pop("generator")
    with pytest.raises(
        BadCheckpoint, match=r"model\.pth holds several .* generator: generator_ema, generator_raw"
    ):
        networks_in(doubled, "model.pth")


def test_a_network_that_is_absent_is_named(tmp_path):
    networks = public_state_dicts(Frontend(tiny()))
    del networks["he_estimator"]
    torch.save(networks, tmp_path / FILE)
    with pytest.raises(BadCheckpoint, match=r"\.pth\.tar is not an OSFV .*: it lacks he_estimator\."):
        open_public_checkpoint(tmp_path / FILE)


def test_a_size_that_is_absent_is_named(tmp_path):
    networks = public_state_dicts(Frontend(tiny()))
    del networks["generator"]["third.conv.weight"]
    torch.save(networks, tmp_path / FILE)
    with pytest.raises(BadCheckpoint, match=r"\(generator\) lacks third\.conv\.weight: it is damaged"):
        open_public_checkpoint(tmp_path / FILE)
