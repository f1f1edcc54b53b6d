"""Stage `train_stage1`: clips, labels, drawn people -> checkpoints/stage1."""

from __future__ import annotations

from pathlib import Path

from flows.stage import Stage, StageContext, main
from kpbe import paths


def train_stage1(context: StageContext) -> Path:
    """Train the frontend to decompose and re-render real talking heads."""
    from kpbe.training import stage1
    from kpbe.training.frames import TrainingFolders

    stage1.train_stage1(context.params, TrainingFolders(*paths.TRAINING), paths.STAGE1)
    return paths.STAGE1


if __name__ == "__main__":
    main(Stage(train_stage1, holds_network=True))
