"""Training states on disk."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from kpbe.training.state import load_state, save_state


def adam_with_moments() -> tuple[nn.Module, torch.optim.Adam]:
    torch.manual_seed(0)
    layer = nn.Linear(300, 300)
    optimiser = torch.optim.Adam(layer.parameters())
    layer(torch.ones(2, 300)).square().sum().backward()
    optimiser.step()
    return layer, optimiser


def test_a_state_that_was_loaded_does_not_depend_on_its_file(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    layer, optimiser = adam_with_moments()
    save_state(path, {"layer": layer, "optimiser": optimiser}, {"identity": "x", "step": 1})
    wanted = [state["exp_avg"].clone() for state in optimiser.state_dict()["state"].values()]
    other = nn.Linear(300, 300)
    resumed = torch.optim.Adam(other.parameters())
    assert load_state(path, {"layer": other, "optimiser": resumed}, "x", 5)
    with path.open("r+b") as file:  # as a copy over it would
        file.write(bytes(path.stat().st_size))
    found = [state["exp_avg"] for state in resumed.state_dict()["state"].values()]
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
