"""Stage `preprocess`: data/raw -> data/clips."""

from __future__ import annotations

from pathlib import Path

from flows.stage import Stage, StageContext, main
from kpbe import paths


def preprocess(context: StageContext) -> Path:
    """Cut talking heads into clips of constant size and frame rate with 16 kHz audio."""
    from kpbe.data import preprocess as work

    work.preprocess(
        context.params.data,
        context.params.data.image_size,
        paths.RAW,
        paths.CLIPS,
        map=context.map,
        shard_size=context.params.compute.shard_size,
    )
    return paths.CLIPS


if __name__ == "__main__":
    main(Stage(preprocess))
