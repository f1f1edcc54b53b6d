"""Stage `acquire`: find or make the raw videos and list them in data/raw/videos.csv."""

from __future__ import annotations

from pathlib import Path

from flows import folders
from flows.stage import Stage, StageContext, main


def acquire(context: StageContext) -> Path:
    """Find or make the raw videos and list them in data/raw/videos.csv."""
    from kpbe.data import acquire as work

    work.acquire(context.params.data, folders.RAW, context.map)
    return folders.RAW


if __name__ == "__main__":
    main(Stage(acquire))
