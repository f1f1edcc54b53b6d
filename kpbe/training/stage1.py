"""Stage 1: the frontend learns to decompose and re-render real talking heads (OSFV's self-reconstruction)."""

from __future__ import annotations

from pathlib import Path

from kpbe.data.clips import read_manifest
from kpbe.params import Params
from kpbe.training.fabric import launch
from kpbe.training.frames import TrainingFolders
from kpbe.training.frontend_stage import prepare
from kpbe.training.loop import train


def train_stage1(params: Params, folders: TrainingFolders, out: Path) -> None:
    """Train the frontend on the training clips and leave it in `out`.

    It starts from random weights, or from those of `train.stage1.start`. Drawn people give the share
    `sampling.drawn_share` of the samples.

    Raises:
        KPBEError: there is no training clip, no label although a loss needs one, a start of other sizes,
            SIGTERM, or a loss that is not finite.
    """
    stage = params.train.stage1
    fabric = launch(params.compute, params.train.seed, data_parallel=True)
    trainee, identity = prepare(
        "train_stage1",
        params,
        stage,
        fabric,
        read_manifest(folders.clips, "train"),
        folders,
        stage.start,
        {"stage": "stage1"},
    )
    with trainee.loader:
        train("stage 1", trainee, stage.schedule, out, identity, trainee.facts, fabric)
