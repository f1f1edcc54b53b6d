"""Records what each stage makes of the tiny inputs, beside the stage's number.

    python -m tests.recipes.record [stage ...]

Refuses to record a stage whose outputs changed while its number in kpbe/recipes.yaml did not.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kpbe.core.files import write_text
from kpbe.recipes import recipe
from tests.recipes.stages import STAGES, Made

RECORDED = Path(__file__).with_name("recorded.json")


def number_of(stage: str) -> int:
    """The number in recipes.yaml of `stage` or `stage.kind`."""
    name, _, kind = stage.partition(".")
    return recipe(name, kind or None)


def recorded() -> dict[str, Any]:
    """What recorded.json holds: for each stage its number (`recipe`) and its sketches (`made`)."""
    return json.loads(RECORDED.read_text(encoding="utf-8")) if RECORDED.exists() else {}


def write_recorded(values: dict[str, Any]) -> None:
    """Write recorded.json, a line for each sketch."""
    stages = []
    for stage, entry in values.items():
        sketches = ",\n".join(
            f"   {json.dumps(name)}: {json.dumps(found)}" for name, found in entry["made"].items()
        )
        stages.append(
            f' {json.dumps(stage)}: {{\n  "recipe": {entry["recipe"]},\n  "made": {{\n{sketches}\n  }}\n }}'
        )
    write_text(RECORDED, "{\n" + ",\n".join(stages) + "\n}\n")


def tolerance(stage: str, output: str) -> float:
    """How far a number of a sketch may be off, in parts of the output's deviation or of a tenth of its mean.

    Machines decode, add and train a little differently.
    """
    if stage.startswith("train"):
        return 0.02
    return {".mp4": 0.02, ".mkv": 0.005}.get(Path(output).suffix, 2e-3)


def differences(stage: str, before: Made, now: Made) -> list[str]:
    """Sentences about the outputs that differ from the record."""
    found = [f"{name} is {'new' if name in now else 'gone'}" for name in sorted(before.keys() ^ now.keys())]
    for name in before.keys() & now.keys():
        old, new = before[name], now[name]
        scale = max(old[3], 0.1 * abs(old[2]), 1e-9)
        off = max(abs(a - b) for a, b in zip(old[2:], new[2:], strict=True)) / scale
        if old[:2] != new[:2] or off > tolerance(stage, name):
            found.append(f"{name}: {old} became {new}")
    return found


def make(stage: str) -> Made:
    """Run a stage anew and return its sketches."""
    with TemporaryDirectory() as folder:
        return STAGES[stage](Path(folder))


def main() -> None:
    """Entry point of `python -m tests.recipes.record`."""
    values = recorded()
    for stage in sys.argv[1:] or STAGES:
        made, known = make(stage), values.get(stage)
        if (
            known
            and known["recipe"] == number_of(stage)
            and (changed := differences(stage, known["made"], made))
        ):
            listed = "\n  ".join(changed[:5])
            sys.exit(
                f"{stage} makes other outputs than before:\n  {listed}\nRaise its number in "
                f"kpbe/recipes.yaml first."
            )
        values[stage] = {"recipe": number_of(stage), "made": made}
    write_recorded({stage: values[stage] for stage in STAGES if stage in values})


if __name__ == "__main__":
    main()
