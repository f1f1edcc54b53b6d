"""dvc.yaml depends on data, params and recipes; a change of code counts only through its stage's recipe."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
STAGES = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


@pytest.mark.parametrize("stage", STAGES)
def test_no_code_is_among_the_dependencies(stage: str) -> None:
    assert [
        dep for dep in STAGES[stage].get("deps", ()) if dep.endswith(".py") or dep.startswith("kpbe")
    ] == []


@pytest.mark.parametrize("stage", STAGES)
def test_command_is_the_flow_of_the_same_name(stage: str) -> None:
    command = STAGES[stage]["cmd"].split()
    assert command[:3] == ["python", "-m", f"flows.{stage}"]
    assert ("--backend" in command) == ("matrix" in STAGES[stage])


@pytest.mark.parametrize("stage", [name for name in STAGES if name.startswith("train_")])
def test_trainings_depend_on_the_weights_that_they_begin_with(stage: str) -> None:
    assert "weights/released" in STAGES[stage]["deps"]
