"""The version of each stage's outputs: one number per stage in recipes.yaml.

The numbers are part of DVC's params and of every fingerprint.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

RECIPES_FILE = Path(__file__).with_name("recipes.yaml")


@cache
def all_recipes() -> dict[str, Any]:
    """The content of recipes.yaml: a number per stage, or per kind of backend that the stage trains."""
    return yaml.safe_load(RECIPES_FILE.read_text(encoding="utf-8"))


def recipe(stage: str, kind: str | None = None) -> int:
    """The version of a stage's outputs, for their fingerprints.

    Args:
        stage: name of the stage in dvc.yaml, without its backend.
        kind: kind of the backend, for the stages that train one.

    Raises:
        KeyError: recipes.yaml has no such number.
    """
    number = all_recipes()[stage]
    return number if kind is None else number[kind]
