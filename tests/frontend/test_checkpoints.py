"""Frontends can be written and read in both layouts; messages about other files say what they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from kpbe.checkpoints.files import read_metadata
from kpbe.errors import BadCheckpoint, MissingWeights
from kpbe.frontend.checkpoints import (
    FORMAT,
    load_frontend,
    load_public_checkpoint,
    public_state_dicts,
    save_frontend,
)
from kpbe.frontend.model import Frontend
from kpbe.params import ModelParams


def tiny(decoder: str = "original", **changes: Any) -> ModelParams:
    """The smallest sensible parameters."""
    values: dict[str, Any] = {
        "name": "tiny",
        "image_size": 32,
        "num_keypoints": 4,
        "depth": 2,
        "canonical_keypoints": {"width": 4, "blocks": 2, "input_scale": 0.5},
        "pose_expression": {"width": 4, "stage_blocks": (1, 2, 1, 1)},
        "appearance": {"width": 4, "volume_channels": 4, "volume_blocks": 2},
        "motion_field": {"width": 4, "blocks": 2, "compressed_channels": 1},
        "generator": {"width": 8, "blocks": 2, "decoder": decoder},
    }
    for name, change in changes.items():
        values[name] = {**values.get(name, {}), **change} if isinstance(change, dict) else change
    return ModelParams.model_validate(values)


@pytest.fixture(params=["original", "spade"])
def frontend(request) -> Frontend:
    """A tiny frontend whose norms have seen data."""
    torch.manual_seed(0)
    network = Frontend(tiny(request.param)).train()
    source = network.decompose(torch.rand(2, 3, 32, 32))
    network.render(source, source.keypoints)
    return network.eval()


def _same(a: Frontend, b: Frontend) -> bool:
    mine, other = a.state_dict(), b.state_dict()
    return mine.keys() == other.keys() and all(torch.equal(mine[name], other[name]) for name in mine)


def _sadtalker(networks: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    prefixes = {"kp_detector": "kp_extractor."}
    return {
        prefixes.get(network, f"{network}.") + name: tensor.contiguous()
        for network, state in networks.items()
        for name, tensor in state.items()
    }


# -- our own layout ----------------------------------------------------------------------------------------


def test_own_file_gives_the_same_frontend_and_facts(frontend, tmp_path):
    path = tmp_path / "frontend.safetensors"
    save_frontend(path, frontend, {"stage": "stage1", "steps": 7})
    again = load_frontend(path)
    assert _same(frontend, again) and not again.training and again.params == frontend.params
    assert json.loads(read_metadata(path)[FORMAT])["facts"] == {"stage": "stage1", "steps": 7}
    assert [p.name for p in tmp_path.iterdir()] == ["frontend.safetensors"]


def test_own_file_damaged_foreign_or_absent(tmp_path):
    path = tmp_path / "frontend.safetensors"
    with pytest.raises(MissingWeights, match=r"frontend\.safetensors does not exist"):
        load_frontend(path)
    save_frontend(path, Frontend(tiny()), {})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadCheckpoint, match=r"frontend\.safetensors cannot be read"):
        load_frontend(path)
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(BadCheckpoint, match="was not written by KPBE"):
        load_frontend(path)


def test_own_file_of_another_version(tmp_path):
    path = tmp_path / "frontend.safetensors"
    save_frontend(path, Frontend(tiny()), {})
    model = {**json.loads(tiny().model_dump_json()), "wings": 2}
    save_file(load_file(path), path, {"kpbe-frontend": json.dumps({"model": model, "facts": {}})})
    with pytest.raises(BadCheckpoint, match=r"another version of KPBE: its model\.wings"):
        load_frontend(path)


def test_an_older_file_without_pitch_sign_and_first_order_has_what_it_was_trained_with(tmp_path):
    path = tmp_path / "frontend.safetensors"
    save_frontend(path, Frontend(tiny()), {})
    model = json.loads(tiny().model_dump_json())
    del model["conventions"]["pitch_sign"], model["conventions"]["first_order"]
    save_file(load_file(path), path, {"kpbe-frontend": json.dumps({"model": model, "facts": {}})})
    conventions = load_frontend(path).params.conventions
    assert (conventions.pitch_sign, conventions.first_order) == (1, "translation")


def test_conventions_are_stored_with_the_weights(tmp_path):
    path = tmp_path / "frontend.safetensors"
    own = {"pitch_sign": -1, "first_order": "rotation"}
    save_frontend(path, Frontend(tiny(conventions=own)), {})
    conventions = load_frontend(path).params.conventions
    assert (conventions.pitch_sign, conventions.first_order) == (-1, "rotation")


# -- public layout -----------------------------------------------------------------------------------------


def test_public_checkpoints_have_the_public_pitch_sign_and_first_order_whatever_is_asked_for():
    networks = public_state_dicts(Frontend(tiny()))
    asked = tiny(conventions={"pitch_sign": 1, "first_order": "rotation", "align_corners": True})
    conventions = load_public_checkpoint(networks, asked).params.conventions
    assert (conventions.pitch_sign, conventions.first_order) == (-1, "translation")
    assert conventions.align_corners, "the other conventions are those asked for"


def test_public_pickle_gives_the_same_frontend(frontend, tmp_path):
    path = tmp_path / "00000189-checkpoint.pth.tar"
    content = {
        **public_state_dicts(frontend),
        "optimizer_generator": {"state": {}},
        "discriminator": {},
        "epoch": 189,
    }
    torch.save(content, path)
    assert _same(load_public_checkpoint(path, frontend.params), frontend)
    torch.save(content, path, _use_new_zipfile_serialization=False)
    assert _same(load_public_checkpoint(path, frontend.params), frontend)


def test_sadtalker_safetensors_give_the_same_frontend(frontend, tmp_path):
    path = tmp_path / "SadTalker_V0.0.2_256.safetensors"
    save_file({**_sadtalker(public_state_dicts(frontend)), "audio2exp.netG.fc.weight": torch.zeros(2)}, path)
    assert _same(load_public_checkpoint(path, frontend.params), frontend)


def test_variants_that_users_meet_are_accepted(frontend):
    networks = public_state_dicts(frontend)
    for name, state in networks.items():
        kept = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
        networks[name] = {f"module.{key}": value for key, value in kept.items()}
    networks["kp_detector"]["module.jacobian.weight"] = torch.zeros(3)
    loaded, original = load_public_checkpoint(networks, frontend.params).state_dict(), frontend.state_dict()
    assert all(
        torch.equal(loaded[k], v) for k, v in original.items() if not k.endswith("num_batches_tracked")
    )


@pytest.mark.parametrize(
    ("network", "listing", "changes"),
    [
        ("generator", "osfv_generator_original", {}),
        ("generator", "osfv_generator_spade", {"generator": {"decoder": "spade"}}),
        ("he_estimator", "osfv_he_estimator", {}),
        ("kp_detector", "osfv_kp_detector_scale0.25", {}),
        ("kp_detector", "osfv_kp_detector_beta_scale1", {"canonical_keypoints": {"input_scale": 1.0}}),
    ],
)
def test_exported_names_and_shapes_are_the_official_ones(golden, network, listing, changes):
    lines = (golden.folder.parent / "reference" / "keys" / f"{listing}.txt").read_text().splitlines()
    official = {
        name: shape for name, shape, *_ in (line.split("\t") for line in lines if not line.startswith("#"))
    }
    with torch.device("meta"):
        frontend = Frontend(ModelParams.model_validate(changes))
    exported = {
        name: str(tuple(tensor.shape)) for name, tensor in public_state_dicts(frontend)[network].items()
    }
    assert exported == official


# -- wrong files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"state_dict": {"module.face_encoder_blocks.0.0.conv_block.0.weight": 0}},
            "a Wav2Lip checkpoint, not an OSFV",
        ),
        ({"state_dict": {"face_encoder.0.conv_block.0.weight": 0}}, "a Wav2Lip SyncNet checkpoint"),
        (
            {"generator": {}, "kp_detector": {"predictor.encoder.down_blocks.0.conv.weight": 0}},
            r"a first-order-model \(FOMM\)",
        ),
        ({"features.0.weight": 0}, "a VGG checkpoint"),
        ({"something": 1}, "it lacks generator and he_estimator and kp_detector"),
    ],
)
def test_other_networks_are_named(tmp_path, content, message):
    path = tmp_path / "model.pth"
    torch.save(content, path)
    with pytest.raises(BadCheckpoint, match=rf"model\.pth is .*{message}"):
        load_public_checkpoint(path, tiny())


def test_files_that_are_no_checkpoints(tmp_path):
    path = tmp_path / "model.pth.tar"
    with pytest.raises(MissingWeights, match=r"model\.pth\.tar does not exist"):
        load_public_checkpoint(path, tiny())
    path.write_bytes(b"<html>404</html>")
    with pytest.raises(BadCheckpoint, match=r"model\.pth\.tar cannot be read as weights"):
        load_public_checkpoint(path, tiny())
    torch.save([1, 2], path)
    with pytest.raises(BadCheckpoint, match="holds no state dict"):
        load_public_checkpoint(path, tiny())
    torch.save(Path("x"), path)  # needs code to unpickle: never run
    with pytest.raises(BadCheckpoint, match="cannot be read as weights"):
        load_public_checkpoint(path, tiny())


def test_other_decoder_and_other_input_scale_say_which_params_to_set():
    networks = public_state_dicts(Frontend(tiny("spade")))
    with pytest.raises(BadCheckpoint, match=r"set model\.generator\.decoder = spade instead of original"):
        load_public_checkpoint(networks, tiny())
    beta = public_state_dicts(Frontend(tiny(canonical_keypoints={"input_scale": 1.0})))
    with pytest.raises(BadCheckpoint, match=r"input_scale = 1 and model\.conventions\.rotation = beta"):
        load_public_checkpoint(beta, tiny())
    reduced = public_state_dicts(Frontend(tiny()))
    with pytest.raises(BadCheckpoint, match=r"set model\.canonical_keypoints\.input_scale = 0\.5"):
        load_public_checkpoint(reduced, tiny(canonical_keypoints={"input_scale": 1.0}))
    with pytest.raises(BadCheckpoint, match=r"input_scale = 0\.5"):
        load_public_checkpoint(reduced, tiny(canonical_keypoints={"input_scale": 0.25, "blocks": 2}))


def test_other_sizes_are_named():
    networks = public_state_dicts(Frontend(tiny()))
    with pytest.raises(
        BadCheckpoint,
        match=r"\(generator\) .* of this size: third\.conv\.weight has the shape \(8, 8, 3, 3\)",
    ):
        load_public_checkpoint(networks, tiny(generator={"width": 12}))
    with pytest.raises(BadCheckpoint, match=r"\(generator\) .* it lacks resblocks_2d\.2dr2"):
        load_public_checkpoint(networks, tiny(generator={"blocks": 3}))
    with pytest.raises(BadCheckpoint, match=r"\(generator\) .* no place for resblocks_2d\.2dr1"):
        load_public_checkpoint(networks, tiny(generator={"blocks": 1}))
