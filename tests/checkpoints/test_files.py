"""Facts in the header of our weight files, in today's layout and in the older one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from kpbe.backends.wav2lip import Wav2LipGenerator, load_generator, save_generator
from kpbe.checkpoints.files import fill, number_fact, read_state, write_state
from kpbe.errors import BadCheckpoint


def test_facts_come_back_and_equal_networks_give_equal_bytes(tmp_path):
    network = nn.Linear(3, 2)
    facts = {"network": "line", "width_multiplier": 0.5, "steps": [1, 2]}
    write_state(tmp_path / "a.safetensors", network, facts)
    write_state(tmp_path / "b.safetensors", network, dict(reversed(facts.items())))
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    state, read = read_state(tmp_path / "a.safetensors", "Line")
    assert read == facts and torch.equal(state["weight"], network.weight)


def test_width_of_the_older_layout_with_a_key_for_each_fact_is_read(tmp_path):
    narrow = Wav2LipGenerator(0.125)
    facts = {"network": "wav2lip_generator", "width_multiplier": 0.125, "steps": 12}
    metadata = {key: json.dumps(value) for key, value in facts.items()}
    save_file(narrow.state_dict(), tmp_path / "old.safetensors", metadata)
    assert load_generator(tmp_path / "old.safetensors").width_multiplier == 0.125
    save_generator(tmp_path / "new.safetensors", narrow)
    assert load_generator(tmp_path / "new.safetensors").width_multiplier == 0.125


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "optimizer": {}, "global_step": 3},
        lambda state: {"epoch": 3, "model": {"state_dict": state}},
        lambda state: {"generator": state},
    ],
)
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_weights_are_found_in_what_trainings_wrap_around_them(tmp_path, wrap, prefix):
    network = nn.Linear(3, 2)
    torch.save(wrap({prefix + k: v for k, v in network.state_dict().items()}), tmp_path / "a.pth")
    state, _ = read_state(tmp_path / "a.pth", "Line")
    assert state.keys() == {"weight", "bias"} and torch.equal(state["weight"], network.weight)


def test_names_of_a_compiled_network_are_read_from_safetensors(tmp_path):
    save_file({"_orig_mod.weight": torch.ones(2)}, tmp_path / "a.safetensors")
    assert read_state(tmp_path / "a.safetensors", "any")[0].keys() == {"weight"}


def test_metadata_of_other_programs_is_no_obstacle(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors", {"format": "pt"})
    assert read_state(tmp_path / "other.safetensors", "any")[1] == {}


@pytest.mark.parametrize("value", ["wide", 0, -1, None, float("inf"), [1]])
def test_facts_that_are_no_numbers_are_refused(value):
    with pytest.raises(BadCheckpoint, match=re.escape("x.safetensors has no number as width")):
        number_fact({"width": value}, "width", 1.0, Path("x.safetensors"))


def test_only_named_beginnings_may_be_missing():
    network = nn.ModuleDict({"a": nn.Linear(1, 1), "b": nn.Linear(1, 1)})
    state = {name: tensor for name, tensor in network.state_dict().items() if name.startswith("a.")}
    fill(network, state, Path("x.pth"), "pair", optional=("b.",))
    with pytest.raises(BadCheckpoint, match=r"it lacks b\.weight and 1 more tensors"):
        fill(network, state, Path("x.pth"), "pair")
