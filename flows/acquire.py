"""Stage `acquire`: find or make the raw videos and list them in data/raw/videos.csv."""

from __future__ import annotations

from pathlib import Path

from flows.stage import Stage, StageContext, main
from kpbe import paths


def acquire(context: StageContext) -> Path:
    """Find or make the raw videos and list them in data/raw/videos.csv."""
    from kpbe.data import acquire as work

    work.acquire(context.params.data, paths.RAW, context.map)
    return paths.RAW


if __name__ == "__main__":
    main(Stage(acquire))
