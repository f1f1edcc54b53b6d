"""Stage `draw_grids`: drawn people in every combination of poses and mouths -> data/grids."""

from __future__ import annotations

from pathlib import Path

from flows.stage import Stage, StageContext, main
from kpbe import paths


def draw_grids(context: StageContext) -> Path:
    """Draw people in every combination of some head poses and some mouths, for the frontend's trainings."""
    from kpbe.data.sample import grids

    data = context.params.data
    grids.draw_grids(data.grids, data.image_size, paths.GRIDS, map=context.map)
    return paths.GRIDS


if __name__ == "__main__":
    main(Stage(draw_grids))
