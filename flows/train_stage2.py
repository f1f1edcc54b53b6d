"""Stage `train_stage2@<backend>`: clips, labels, videos, stage 1 -> checkpoints/stage2/<backend>."""

from __future__ import annotations

from pathlib import Path

from flows.stage import Stage, StageContext, main
from kpbe import paths


def train_stage2(context: StageContext) -> Path:
    """Fine-tune the frontend on a backend's frames."""
    from kpbe.training import stage2
    from kpbe.training.frames import TrainingFolders

    out = paths.STAGE2 / context.backend
    stage2.train_stage2(
        context.backend,
        context.params,
        TrainingFolders(*paths.TRAINING),
        paths.BACKEND_VIDEOS,
        paths.STAGE1,
        out,
    )
    return out


if __name__ == "__main__":
    main(Stage(train_stage2, per_backend=True, holds_network=True))
