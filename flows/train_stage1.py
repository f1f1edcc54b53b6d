"""Stage `train_stage1`: clips, labels, drawn people -> checkpoints/stage1."""

from __future__ import annotations

from pathlib import Path

from flows import folders
from flows.stage import Stage, StageContext, main


def train_stage1(context: StageContext) -> Path:
    """Train the frontend to take real talking heads apart and put them together again."""
    from kpbe.training import stage1
    from kpbe.training.frames import TrainingFolders

    stage1.train_stage1(context.params, TrainingFolders(*folders.TRAINING), folders.STAGE1)
    return folders.STAGE1


if __name__ == "__main__":
    main(Stage(train_stage1, holds_network=True))
