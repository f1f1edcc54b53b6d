"""The version of what each stage makes: one number per stage in recipes.yaml, part of DVC's params and of
every fingerprint.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

RECIPES_FILE = Path(__file__).with_name("recipes.yaml")


@cache
def all_recipes() -> dict[str, Any]:
    """The contents of recipes.yaml: a number for each stage, or one for each kind of backend that the stage
    trains.
    """
    return yaml.safe_load(RECIPES_FILE.read_text(encoding="utf-8"))


def recipe(stage: str, kind: str | None = None) -> int:
    """The version of what a stage makes, for the fingerprints of its outputs.

    Args:
        stage: name of the stage in dvc.yaml, without its backend.
        kind: kind of the backend, for the stages that train one.

    Raises:
        KeyError: recipes.yaml has no such number.
    """
    number = all_recipes()[stage]
    return number if kind is None else number[kind]
