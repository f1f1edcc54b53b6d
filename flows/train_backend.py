"""Stage `train_backend@<backend>`: clips, labels, sync networks -> checkpoints/backends/<backend>."""

from __future__ import annotations

from pathlib import Path

from flows.stage import Stage, StageContext, main
from kpbe import paths


def train_backend(context: StageContext) -> Path:
    """Train or fine-tune a backend's generator, or keep its public checkpoint."""
    from kpbe.backends import training as work

    out = paths.BACKEND_CHECKPOINTS / context.backend
    sync = paths.SYNC_CHECKPOINTS / context.backend
    work.train_backend(context.backend, context.params, paths.CLIPS, paths.EXPRESSION, sync, out)
    return out


if __name__ == "__main__":
    main(Stage(train_backend, per_backend=True, holds_network=True))
