"""Stage `synthesize@<backend>`: data/clips, checkpoints/backends/<backend> -> data/backend/<backend>."""

from __future__ import annotations

from pathlib import Path

from flows import folders
from flows.stage import Stage, StageContext, main


def synthesize(context: StageContext) -> Path:
    """Let a backend speak the audio of every clip."""
    from kpbe.backends import synthesize as work

    out = folders.BACKEND_VIDEOS / context.backend
    work.synthesize(
        context.backend,
        context.params,
        folders.CLIPS,
        folders.BACKEND_CHECKPOINTS / context.backend,
        out,
        map=context.map,
    )
    return out


if __name__ == "__main__":
    main(Stage(synthesize, per_backend=True, holds_network=True))
