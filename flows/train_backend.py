"""Stage `train_backend@<backend>`: data/clips, data/expression, checkpoints/sync/<backend> -> checkpoints/backends/<backend>."""

from __future__ import annotations

from pathlib import Path

from flows import folders
from flows.stage import Stage, StageContext, main


def train_backend(context: StageContext) -> Path:
    """Train or fine-tune a backend's generator, or take its public checkpoint."""
    from kpbe.backends import training as work

    out = folders.BACKEND_CHECKPOINTS / context.backend
    sync = folders.SYNC_CHECKPOINTS / context.backend
    work.train_backend(context.backend, context.params, folders.CLIPS, folders.EXPRESSION, sync, out)
    return out


if __name__ == "__main__":
    main(Stage(train_backend, per_backend=True, holds_network=True))
