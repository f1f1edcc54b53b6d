"""The official folder, our single file, and messages about other files."""

from __future__ import annotations

import json
import re

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from kpbe.backends.pcavs import PCAVSNetworks, load_networks, save_networks
from kpbe.backends.pcavs.checkpoints import OFFICIAL_FILES
from kpbe.backends.wav2lip import Wav2LipGenerator, save_generator
from kpbe.checkpoints.files import FACTS, write_state
from kpbe.errors import BadCheckpoint, MissingWeights


@pytest.fixture(scope="module")
def narrow():
    torch.manual_seed(3)
    return PCAVSNetworks(0.125, 64).eval()


# -- our own file --


def test_networks_come_back_as_they_were_with_their_sizes(narrow, tmp_path):
    save_networks(tmp_path / "pcavs.safetensors", narrow, {"steps": 12})
    loaded = load_networks(tmp_path / "pcavs.safetensors")
    assert not loaded.training
    assert (loaded.width_multiplier, loaded.image_size) == (0.125, 64)
    for key, tensor in narrow.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor), key
    faces, windows = torch.zeros(1, 3, 64, 64), torch.zeros(1, 1, 80, 20)
    with torch.inference_mode():
        pictures = [
            n.render(n.encode_identity(faces), n.encode_mouth_from_audio(windows), n.encode_pose(faces))
            for n in (narrow, loaded)
        ]
    assert torch.equal(*pictures)


def test_networks_that_hide_the_mouth_still_do_after_loading(tmp_path):
    save_networks(tmp_path / "pcavs.safetensors", PCAVSNetworks(0.0625, 64, hidden_mouth=True))
    assert load_networks(tmp_path / "pcavs.safetensors").hidden_mouth


def test_one_metadata_key_makes_equal_networks_equal_bytes(narrow, tmp_path):
    for name in ("a", "b"):
        save_networks(tmp_path / f"{name}.safetensors", narrow, {"steps": 12, "fingerprint": "f"})
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert list(metadata) == [FACTS] and json.loads(metadata[FACTS])["steps"] == 12


def test_a_failed_write_leaves_the_file_before(narrow, tmp_path):
    path = tmp_path / "pcavs.safetensors"
    path.write_text("before")
    with pytest.raises(TypeError):
        save_networks(path, narrow, {"unwritable": object()})
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


# -- the official folder --


@pytest.fixture(scope="module")
def official(golden):
    """State dicts of the four files with all official tensors; each is one number, expanded to its shape."""
    states = {}
    for file, net in zip(OFFICIAL_FILES.values(), ("netG", "netV", "netE", "netA_sync"), strict=True):
        states[file] = {
            name: torch.tensor(0.5).expand(shape) for name, shape in golden.shapes(f"pcavs_{net}").items()
        }
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    state = states["latest_net_G.pth"]
    for name in (name for name in state if name.endswith(".kernel")):
        state[name] = torch.outer(taps, taps) / 16
    return states


def write_official(folder, states, legacy=False):
    for file, state in states.items():
        torch.save(state, folder / file, _use_new_zipfile_serialization=not legacy)
    return folder


@pytest.mark.parametrize("legacy", [False, True])
def test_official_folder_loads_without_the_parts_that_are_never_run(official, tmp_path, legacy):
    loaded = load_networks(write_official(tmp_path, official, legacy))
    assert (loaded.width_multiplier, loaded.image_size) == (1.0, 224)
    assert all((p == 0.5).all() for p in loaded.parameters())
    assert sum(p.numel() for p in loaded.generator.parameters()) < 38e6


def test_noise_may_be_missing(official, tmp_path):
    state = official["latest_net_G.pth"]
    without = {name: tensor for name, tensor in state.items() if not name.startswith("noises.")}
    loaded = load_networks(write_official(tmp_path, official | {"latest_net_G.pth": without}))
    again = load_networks(tmp_path)
    for name, buffer in loaded.generator.noises.named_buffers():
        assert buffer.std() > 0.5 and torch.equal(buffer, again.generator.noises.get_buffer(name))


def swap_generator(folder):
    (folder / "latest_net_V.pth").replace(folder / "latest_net_G.pth")
    write_state(folder / "latest_net_V.pth", torch.nn.Linear(1, 1), {})


def cut_off(folder):
    file = folder / "latest_net_E.pth"
    file.write_bytes(file.read_bytes()[:3000])


def other_blur(folder):
    state = torch.load(folder / "latest_net_G.pth", weights_only=True)
    state["to_rgbs.0.upsample.kernel"] = torch.ones(4, 4) / 4
    torch.save(state, folder / "latest_net_G.pth")


def other_size(folder):
    state = torch.load(folder / "latest_net_G.pth", weights_only=True)
    state["noises.noise_0"] = torch.zeros(1, 1, 8, 8)
    torch.save(state, folder / "latest_net_G.pth")


@pytest.mark.parametrize(
    ("damage", "file", "says"),
    [
        (swap_generator, "latest_net_G.pth", "is not a PC-AVS generator network"),
        (cut_off, "latest_net_E.pth", "cannot be read as weights"),
        (other_blur, "latest_net_G.pth", "another low pass"),
        (other_size, "latest_net_G.pth", "PC-AVS generator network of this size: noises.noise_0"),
    ],
)
def test_damaged_folders_are_refused_in_one_line_that_names_the_file(official, tmp_path, damage, file, says):
    damage(write_official(tmp_path, official))
    with pytest.raises(BadCheckpoint, match=re.escape(says)) as refused:
        load_networks(tmp_path)
    assert str(tmp_path / file) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_folder_without_all_files_names_those_that_lack(official, tmp_path):
    write_official(tmp_path, {"latest_net_V.pth": official["latest_net_V.pth"]})
    with pytest.raises(MissingWeights, match=r"latest_net_G\.pth, latest_net_E\.pth, latest_net_A_sync\.pth"):
        load_networks(tmp_path)


# -- other files --


def write_wav2lip(path):
    save_generator(path, Wav2LipGenerator(0.125))


def write_text(path):
    path.write_text("<html>quota exceeded</html>")


def write_bare(path):
    save_file({"a": torch.zeros(1)}, path)


def write_part(path):
    write_state(
        path, torch.nn.Linear(2, 2), {"network": "pcavs", "width_multiplier": 0.125, "image_size": 64}
    )


def write_other_size(path):
    write_state(
        path, PCAVSNetworks(0.125, 64), {"network": "pcavs", "width_multiplier": 0.125, "image_size": 96}
    )


def write_no_width(path):
    write_state(path, torch.nn.Linear(2, 2), {"network": "pcavs", "width_multiplier": "wide"})


def write_impossible_size(path):
    write_state(
        path, torch.nn.Linear(2, 2), {"network": "pcavs", "width_multiplier": 0.125, "image_size": 70}
    )


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (write_wav2lip, "is not a PC-AVS checkpoint of KPBE"),
        (write_text, "cannot be read as weights"),
        (write_bare, "is not a PC-AVS checkpoint of KPBE"),
        (write_part, "is not a PC-AVS checkpoint"),
        (write_other_size, "of this size"),
        (write_no_width, "no number as width_multiplier"),
        (write_impossible_size, "multiple of 32"),
    ],
)
def test_other_files_are_refused_in_one_line_that_names_them(tmp_path, write, says):
    path = tmp_path / "weights.safetensors"
    write(path)
    with pytest.raises(BadCheckpoint, match=re.escape(says)) as refused:
        load_networks(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_one_official_file_alone_is_refused_with_what_to_give(tmp_path):
    (tmp_path / "latest_net_G.pth").touch()
    with pytest.raises(BadCheckpoint, match="give the folder"):
        load_networks(tmp_path / "latest_net_G.pth")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(MissingWeights, match=r"nowhere\.safetensors"):
        load_networks(tmp_path / "nowhere.safetensors")
