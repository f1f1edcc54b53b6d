"""A stage's outputs and its number in recipes.yaml change together."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from kpbe.recipes import RECIPES_FILE, all_recipes
from tests.recipes.record import differences, make, number_of, recorded
from tests.recipes.stages import STAGES, sketch

REPOSITORY = Path(__file__).resolve().parents[2]
DVC_STAGES = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


@pytest.fixture(autouse=True)
def no_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the weights of this machine; the outputs are made without them."""
    monkeypatch.setenv("KPBE_WEIGHTS", str(tmp_path / "no weights"))


@pytest.mark.parametrize("stage", STAGES)
def test_outputs_are_those_recorded_beside_the_number(stage: str) -> None:
    entry = recorded()[stage]
    changed = differences(stage, entry["made"], make(stage))
    raised = number_of(stage) != entry["recipe"]
    again = f"then record it: python -m tests.recipes.record {stage}"
    if changed and not raised:
        pytest.fail(
            f"{stage} makes other outputs: raise its number in kpbe/recipes.yaml, {again}\n"
            + "\n".join(changed)
        )
    assert not raised, (
        f"{stage} has another number than was recorded: see that its outputs are what you want, {again}"
    )


def test_every_stage_of_dvc_yaml_has_a_number_and_depends_on_it() -> None:
    assert set(all_recipes()) == set(DVC_STAGES)
    file = RECIPES_FILE.relative_to(REPOSITORY).as_posix()
    for name, stage in DVC_STAGES.items():
        assert {file: [name]} in stage["params"]


def test_every_number_has_recorded_outputs() -> None:
    numbers = {
        f"{stage}.{kind}" if kind else stage
        for stage, number in all_recipes().items()
        for kind in (number if isinstance(number, dict) else ("",))
    }
    assert numbers == set(STAGES) == set(recorded())


def test_sketches_tell_outputs_apart() -> None:
    values = [float(k % 17) for k in range(100)]
    moved = [*values[1:], values[0]]
    swapped = [values[1], values[0], *values[2:]]
    before = {"x": sketch(values)}
    assert differences("enhance", before, {"x": sketch(values)}) == []
    assert differences("enhance", before, {"x": sketch([value * 1.0001 for value in values])}) == []
    for other in (
        moved,
        swapped,
        values[:-1],
        [value * 1.01 for value in values],
        [*values[:-1], float("nan")],
    ):
        assert differences("enhance", before, {"x": sketch(other)})
    assert differences("enhance", before, {}) == ["x is gone"]
