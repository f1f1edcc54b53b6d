"""Start of both stages of the frontend's training: start weights, frames, labels, identity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from kpbe.core.files import file_sha256
from kpbe.data.clips import Clip, backend_video
from kpbe.data.expression.labels import GUIDES, LIPS
from kpbe.data.grids import read_grids
from kpbe.errors import ParamsError
from kpbe.frontend.checkpoints import is_frontend_file, load_frontend, load_public_checkpoint
from kpbe.frontend.model import Frontend
from kpbe.params import FrontendTrainParams, ModelParams, Params
from kpbe.recipes import recipe
from kpbe.training.batches import hold_out_validation
from kpbe.training.fabric import training_identity
from kpbe.training.frames import ClipFrames, TrainingFolders
from kpbe.training.frontend_trainee import FrontendTrainee


def prepare(
    stage_name: str,
    params: Params,
    stage: FrontendTrainParams,
    fabric: Fabric,
    clips: Sequence[Clip],
    folders: TrainingFolders,
    start: Path | None,
    about: Mapping[str, Any],
    backend_videos: Sequence[Path] = (),
) -> tuple[FrontendTrainee, str]:
    """Prepare a frontend's training; returns the trainee and the training's identity.

    Args:
        stage_name: in dvc.yaml.
        params: the whole params.
        stage: its section for this stage.
        fabric: launched.
        clips: training clips; some are held out for validation.
        folders: where labels and drawn people are.
        start: start weights: a frontend's file or a public OSFV checkpoint; None for random weights.
        about: facts for the summary.
        backend_videos: folders of the videos that the expression is taken from; none in stage 1.

    Raises:
        KPBEError: there is no training clip, no label although a loss needs one, a bounded reach of the
            backend without guided keypoints, or a start of other sizes or conventions.
    """
    _refuse_unguided(params, stage)
    _refuse_too_few_keypoints(params, stage)
    train_clips, validation_clips = hold_out_validation(clips, stage.schedule.validation_pairs)
    frontend, started_from = _starting_frontend(start, params.model)
    drawn = read_grids(folders.grids) if stage.sampling.drawn_share else []
    simulate = stage.sampling.simulate_backends
    trainee = FrontendTrainee(
        frontend,
        ClipFrames(train_clips, folders.labels, backend_videos, params.compute, drawn, simulate),
        ClipFrames(validation_clips, folders.labels, backend_videos, params.compute, simulate=simulate),
        stage,
        params.compute,
        params.train.seed,
        fabric,
        {**about, "clips": len(train_clips), "seed": params.train.seed, **started_from},
    )
    identity = training_identity(
        recipe(stage_name),
        params.train.seed,
        stage.model_copy(update={"start": None}),
        train_clips,
        params.model,
        params.compute.precision,
        trainee.perceptual.description,
        trainee.training.labels_digest,
        started_from["started_from_sha256"],
        *(grid.clip.sha256 for grid in drawn),
        *(_digest(backend_video(folder, clip)) for folder in backend_videos for clip in train_clips),
    )
    _refuse_unlabelled(params, stage, trainee)
    return trainee, identity


def _refuse_unguided(params: Params, stage: FrontendTrainParams) -> None:
    """Refuse a bounded reach of the backend's frame around keypoints that nothing pulls to the lips.

    Raises:
        ParamsError: the reach is bounded and the lips' keypoints are not guided.
    """
    generator = params.model.generator
    if generator.detail == "warp_both" and generator.backend_reach is not None and not stage.losses.guides:
        raise ParamsError(
            f"model.generator.backend_reach = {generator.backend_reach:g} needs keypoints at the lips, but "
            "the training's losses.guides is 0: give it a weight, or set model.generator.backend_reach=null."
        )


def _refuse_too_few_keypoints(params: Params, stage: FrontendTrainParams) -> None:
    """Refuse a model with fewer keypoints than the labels guide.

    Raises:
        ParamsError: `losses.guides` or `losses.lips` has a weight, and the model has too few keypoints.
    """
    for term, needed in (("guides", GUIDES), ("lips", LIPS.stop)):
        if getattr(stage.losses, term) and params.model.num_keypoints < needed:
            raise ParamsError(
                f"model.num_keypoints = {params.model.num_keypoints}, but losses.{term} needs {needed}: set "
                "more, or its weight to 0."
            )


def _refuse_unlabelled(params: Params, stage: FrontendTrainParams, trainee: FrontendTrainee) -> None:
    """Refuse head pose terms without labels, which would silently be 0, unless params allow it.

    Raises:
        ParamsError: such a term has a weight, no training clip has a label, and neither `perceptual.missing`
            nor `label_pose.teacher` allows it.
    """
    allowed = params.label_pose.teacher == "off" or stage.perceptual.missing != "refuse"
    weighted = stage.losses.head_pose or stage.losses.turn
    if weighted and not trainee.training.labelled and not allowed:
        raise ParamsError(
            "no training clip has a head pose label (data/head_pose): put a teacher's file into weights/ "
            "(`kpbe doctor` says which) and "
            "run label_pose again, or train without labels with label_pose.teacher=off."
        )


def _starting_frontend(start: Path | None, model: ModelParams) -> tuple[Frontend, dict[str, Any]]:
    """The frontend that a training starts from, and its origin for the summary.

    Args:
        start: a frontend's file, or a public OSFV checkpoint; None for random weights.
        model: sizes and conventions that it must have.

    Raises:
        MissingWeights, BadCheckpoint: the file is missing, or is not a frontend.
        ParamsError: it has other sizes or conventions.
    """
    if start is None:
        return Frontend(model), {"started_from": "scratch", "started_from_sha256": None}
    ours = is_frontend_file(start)
    frontend = load_frontend(start).train() if ours else load_public_checkpoint(start, model).train()
    _refuse_other_model(start, frontend.params, model)
    return frontend, {"started_from": start.name, "started_from_sha256": file_sha256(start)}


def _refuse_other_model(start: Path, own: ModelParams, expected: ModelParams) -> None:
    """Refuse to continue training under other conventions than the weights learned.

    Raises:
        ParamsError: the sizes or the conventions of the file `start` differ from those in params.yaml.
    """
    if own == expected:
        return
    if own.model_copy(update={"conventions": expected.conventions}) != expected:
        raise ParamsError(
            f"{start} is a frontend of other sizes ({own.name}) than params.yaml asks for ({expected.name}): "
            "choose the model group that it was trained with, or train=from_scratch."
        )
    trained_with, conventions = own.conventions.model_dump(), expected.conventions.model_dump()
    other = [name for name in conventions if trained_with[name] != conventions[name]]
    stated = ", ".join(f"{name} = {conventions[name]}" for name in other)
    needed = " and ".join(f"model.conventions.{name}={trained_with[name]}" for name in other)
    raise ParamsError(
        f"{start} was trained with other conventions than params.yaml asks for ({stated}): set {needed}, or "
        f"choose another start."
    )


def _digest(video: Path) -> str:
    return file_sha256(video) if video.exists() else ""
