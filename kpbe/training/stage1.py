"""Stage 1: the frontend learns to decompose and re-render real talking heads (OSFV's self-reconstruction)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kpbe.data.clips import read_manifest
from kpbe.errors import ParamsError
from kpbe.frontend.checkpoints import is_frontend_file, load_frontend, load_public_checkpoint
from kpbe.frontend.model import Frontend
from kpbe.params import FrontendTrainParams, ModelParams, Params
from kpbe.training.batches import hold_out_validation
from kpbe.training.frames import ClipFrames
from kpbe.training.frontend import FrontendTrainee
from kpbe.training.launch import launch, training_identity
from kpbe.training.loop import train
from kpbe.work import file_sha256


def train_stage1(params: Params, clips: Path, head_poses: Path, out: Path) -> None:
    """Train the frontend on the training clips of `clips` (data/clips) and leave it in `out`.

    It begins with random weights, or with those of `train.stage1.start`. Head pose labels are taken from `head_poses` (data/head_pose)
    where there are any.

    Raises:
        KPBEError: no training clip, no label where one is asked for, a start of other sizes, SIGTERM, or a loss that is not finite.
    """
    stage = params.train.stage1
    fabric = launch(params.compute, params.train.seed, data_parallel=True)
    train_clips, validation_clips = hold_out_validation(
        read_manifest(clips, "train"), stage.schedule.validation_pairs
    )
    frontend, started_from = starting_frontend(stage.start, params.model)
    facts = {"stage": "stage1", "clips": len(train_clips), "seed": params.train.seed, **started_from}
    trainee = FrontendTrainee(
        frontend,
        ClipFrames(train_clips, head_poses, where=params.compute),
        ClipFrames(validation_clips, head_poses, where=params.compute),
        stage,
        params.compute,
        params.train.seed,
        fabric,
        facts,
    )
    identity = training_identity(
        params.train.seed,
        stage.model_copy(update={"start": None}),
        train_clips,
        params.model,
        trainee.perceptual.description,
        trainee.training.labels_digest,
        started_from["started_from_sha256"],
    )
    refuse_unlabelled(params, stage, trainee)
    with trainee.loader:
        train("stage 1", trainee, stage.schedule, out, identity, trainee.facts, fabric)


def refuse_unlabelled(params: Params, stage: FrontendTrainParams, trainee: FrontendTrainee) -> None:
    """Stop where the head pose term would silently be nothing, unless the params say that this is meant.

    Raises:
        ParamsError: the term has a weight, no training clip has a label, and neither `perceptual.missing` nor `label_pose.teacher`
            allows it.
    """
    meant = params.label_pose.teacher == "off" or stage.perceptual.missing != "refuse"
    if stage.losses.head_pose and not trainee.training.labelled and not meant:
        raise ParamsError(
            "no training clip has a head pose label (data/head_pose): put a teacher's file into weights/ (`kpbe doctor` says which) and "
            "run label_pose again, or train without labels with label_pose.teacher=off."
        )


def starting_frontend(start: Path | None, model: ModelParams) -> tuple[Frontend, dict[str, Any]]:
    """The frontend that a training begins with, and where it comes from, for the summary.

    Args:
        start: a frontend's file, or a public OSFV checkpoint; None for random weights.
        model: sizes that it must have.

    Raises:
        MissingWeights, BadCheckpoint: the file is not there, or is not such a one.
        ParamsError: it has other sizes.
    """
    if start is None:
        return Frontend(model), {"started_from": "scratch", "started_from_sha256": None}
    ours = is_frontend_file(start)
    frontend = load_frontend(start).train() if ours else load_public_checkpoint(start, model).train()
    if frontend.params != model:
        raise ParamsError(
            f"{start} is a frontend of other sizes ({frontend.params.name}) than params.yaml asks for ({model.name}): choose the "
            "model group that it was trained with."
        )
    return frontend, {"started_from": start.name, "started_from_sha256": file_sha256(start)}
