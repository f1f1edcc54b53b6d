"""Stage 1: the frontend learns to decompose and re-render real talking heads (OSFV's self-reconstruction)."""

from __future__ import annotations

from pathlib import Path

from kpbe.data.clips import read_manifest
from kpbe.frontend.model import Frontend
from kpbe.params import Params
from kpbe.training.batches import ClipFrames, hold_out_validation
from kpbe.training.frontend import FrontendTrainee
from kpbe.training.launch import launch, training_identity
from kpbe.training.loop import train


def train_stage1(params: Params, clips: Path, head_poses: Path, out: Path) -> None:
    """Train the frontend from scratch on the training clips of `clips` (data/clips) and leave it in `out`.

    Head pose labels are taken from `head_poses` (data/head_pose) where there are any.

    Raises:
        KPBEError: no training clip, SIGTERM, or a loss that is not finite.
    """
    stage = params.train.stage1
    fabric = launch(params.compute, params.train.seed)
    train_clips, validation_clips = hold_out_validation(
        read_manifest(clips, "train"), stage.schedule.validation_pairs
    )
    facts = {"stage": "stage1", "clips": len(train_clips), "seed": params.train.seed}
    trainee = FrontendTrainee(
        Frontend(params.model),
        ClipFrames(train_clips, head_poses),
        ClipFrames(validation_clips, head_poses),
        stage,
        params.train.seed,
        fabric,
        facts,
    )
    identity = training_identity(
        params.train.seed,
        stage,
        train_clips,
        params.model,
        trainee.perceptual_name,
        trainee.training.labels_digest,
    )
    train("stage 1", trainee, stage.schedule, out, identity, trainee.facts)
