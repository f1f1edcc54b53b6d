"""Grids of drawn people on disk: every combination of some poses and some mouths.

kpbe/data/sample/grids.py draws them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from kpbe.data.clips import Clip, read_manifest
from kpbe.errors import KPBEError

GRID_FILE = "grid.json"


@dataclass(frozen=True)
class DrawnGrid:
    """One person in poses x mouths; frame `pose * mouths + mouth` of `clip` shows that combination."""

    clip: Clip
    poses: int
    mouths: int


def read_grids(folder: Path) -> list[DrawnGrid]:
    """Read the grids of a folder.

    Raises:
        KPBEError: there is none.
    """
    path = folder / GRID_FILE
    try:
        shape = json.loads(path.read_text())
    except (OSError, ValueError):
        raise KPBEError(f"{path} cannot be read: run the stage draw_grids again.") from None
    clips = read_manifest(folder)
    return [DrawnGrid(clip, shape["poses"], shape["mouths"]) for clip in clips]
