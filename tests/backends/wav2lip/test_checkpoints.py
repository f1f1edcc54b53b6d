"""Every published layout of Wav2Lip weights, and messages about other files."""

from __future__ import annotations

import re

import pytest
import torch
from safetensors.torch import save_file

from kpbe.backends.wav2lip import SyncNet, Wav2LipGenerator, load_generator, load_sync_expert, save_generator
from kpbe.errors import BadCheckpoint, MissingWeights


@pytest.fixture(scope="module")
def official():
    torch.manual_seed(1)
    return Wav2LipGenerator().eval()


def write_classic(generator, path):
    state = {f"module.{name}": tensor for name, tensor in generator.state_dict().items()}
    torch.save({"state_dict": state, "optimizer": {"lr": 1e-4}, "global_step": 7, "global_epoch": 1}, path)


def write_legacy(generator, path):
    torch.save({"state_dict": generator.state_dict()}, path, _use_new_zipfile_serialization=False)


def write_plain(generator, path):
    torch.save(generator.state_dict(), path)


def write_torchscript(generator, path):
    mel, faces = torch.zeros(1, 1, 80, 16), torch.zeros(1, 6, 96, 96)
    torch.jit.save(torch.jit.trace(generator, (mel, faces), check_trace=False), path)


def write_safetensors(generator, path):
    save_file(generator.state_dict(), path)


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize(
    ("write", "name"),
    [
        (write_classic, "wav2lip.pth"),
        (write_legacy, "wav2lip_gan.pth"),
        (write_plain, "plain.pth"),
        (write_torchscript, "Wav2Lip-SD-GAN.pt"),
        (write_safetensors, "wav2lip.safetensors"),
    ],
)
def test_public_layouts_load_every_tensor(official, tmp_path, write, name):
    write(official, tmp_path / name)
    loaded = load_generator(tmp_path / name)
    assert not loaded.training
    for key, tensor in official.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor), key


def test_our_own_layout_remembers_the_width(tmp_path):
    narrow = Wav2LipGenerator(0.25)
    save_generator(tmp_path / "narrow.safetensors", narrow, {"steps": 12})
    loaded = load_generator(tmp_path / "narrow.safetensors")
    assert loaded.width_multiplier == 0.25
    for key, tensor in narrow.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor), key


def test_batch_counters_may_be_missing(official, tmp_path):
    state = {k: v for k, v in official.state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "converted.pth")
    load_generator(tmp_path / "converted.pth")


def test_sync_expert_comes_frozen(tmp_path):
    expert = SyncNet()
    torch.save({"state_dict": expert.state_dict()}, tmp_path / "lipsync_expert.pth")
    loaded = load_sync_expert(tmp_path / "lipsync_expert.pth")
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())


def write_other_network(path):
    torch.save(SyncNet().state_dict(), path)


def write_narrow_without_width(path):
    torch.save(Wav2LipGenerator(0.25).state_dict(), path)


def write_text(path):
    path.write_text("<html>quota exceeded</html>")


def write_cut_off(path):
    torch.save(Wav2LipGenerator(0.125).state_dict(), path)
    path.write_bytes(path.read_bytes()[:5000])


def write_whole_module(path):
    torch.save(Wav2LipGenerator(0.125), path)


def write_list(path):
    torch.save([torch.zeros(3)], path)


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (write_other_network, "is not a Wav2Lip generator"),
        (write_narrow_without_width, "of this size"),
        (write_text, "cannot be read as weights"),
        (write_cut_off, "cannot be read as weights"),
        (write_whole_module, "cannot be read as weights"),
        (write_list, "holds no state dict"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_other_files_are_refused_in_one_line_that_names_them(tmp_path, write, says, suffix):
    path = tmp_path / f"weights{suffix}"
    write(path)
    expected = says if suffix == ".pth" else "cannot be read as weights"
    with pytest.raises(BadCheckpoint, match=re.escape(expected)) as refused:
        load_generator(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(MissingWeights, match=r"nowhere\.pth"):
        load_generator(tmp_path / "nowhere.pth")


def test_a_residual_generator_comes_back_as_one(tmp_path):
    torch.manual_seed(2)
    generator = Wav2LipGenerator(0.125, residual=True).eval()
    save_generator(tmp_path / "generator.safetensors", generator)
    loaded = load_generator(tmp_path / "generator.safetensors")
    mel, faces = torch.randn(2, 1, 80, 16), torch.rand(2, 6, 96, 96)
    with torch.inference_mode():
        assert loaded.residual and torch.equal(loaded(mel, faces), generator(mel, faces))
