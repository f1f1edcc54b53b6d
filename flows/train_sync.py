"""Stage `train_sync@<backend>`: data/clips, data/expression -> checkpoints/sync/<backend>."""

from __future__ import annotations

from pathlib import Path

from flows.stage import Stage, StageContext, main
from kpbe import paths


def train_sync(context: StageContext) -> Path:
    """Train the audio-visual synchrony networks of a backend's training (Wav2Lip's sync expert)."""
    from kpbe.backends import training as work

    out = paths.SYNC_CHECKPOINTS / context.backend
    work.train_sync(context.backend, context.params, paths.CLIPS, paths.EXPRESSION, out)
    return out


if __name__ == "__main__":
    main(Stage(train_sync, per_backend=True, holds_network=True))
