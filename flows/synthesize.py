"""Stage `synthesize@<backend>`: data/clips, checkpoints/backends/<backend> -> data/backend/<backend>."""

from __future__ import annotations

from pathlib import Path

from flows.stage import Stage, StageContext, main
from kpbe import paths


def synthesize(context: StageContext) -> Path:
    """Make a backend's video of every clip."""
    from kpbe.backends import synthesize as work

    out = paths.BACKEND_VIDEOS / context.backend
    work.synthesize(
        context.backend,
        context.params,
        paths.CLIPS,
        paths.BACKEND_CHECKPOINTS / context.backend,
        out,
        map=context.map,
    )
    return out


if __name__ == "__main__":
    main(Stage(synthesize, per_backend=True, holds_network=True))
