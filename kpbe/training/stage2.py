"""Stage 2: the frontend learns to take its expression from a backend's frames (paper III.D, eq. 3 and 4)."""

from __future__ import annotations

from pathlib import Path

from kpbe.data.clips import backend_video, read_manifest
from kpbe.errors import KPBEError
from kpbe.frontend.checkpoints import load_frontend
from kpbe.params import Params
from kpbe.training.batches import ClipFrames, hold_out_validation
from kpbe.training.frontend import FRONTEND_FILE, FrontendTrainee
from kpbe.training.launch import launch, training_identity
from kpbe.training.loop import train
from kpbe.work import file_sha256


def train_stage2(
    backend: str,
    params: Params,
    clips: Path,
    head_poses: Path,
    backend_videos: Path,
    stage1: Path,
    out: Path,
) -> None:
    """Fine-tune stage 1's frontend on pairs of real frames and the backend's frames.

    Args:
        backend: name, written into the checkpoint.
        params: the whole params.
        clips: data/clips.
        head_poses: data/head_pose.
        backend_videos: the backend's videos of these clips, `<split>/<clip_id>.mkv`.
        stage1: folder of stage 1's result.
        out: folder for the result.

    Raises:
        KPBEError: the backend made no video of any training clip; otherwise as `train_stage1`.
    """
    stage = params.train.stage2
    fabric = launch(params.compute, params.train.seed)
    there = [clip for clip in read_manifest(clips, "train") if backend_video(backend_videos, clip).exists()]
    if not there:
        raise KPBEError(
            f"{backend_videos} holds no video of a training clip: run the synthesize stage first."
        )
    train_clips, validation_clips = hold_out_validation(there, stage.schedule.validation_pairs)
    start = stage1 / FRONTEND_FILE
    facts = {
        "stage": "stage2",
        "backend": backend,
        "clips": len(train_clips),
        "seed": params.train.seed,
        "stage1_sha256": file_sha256(start),
    }
    trainee = FrontendTrainee(
        load_frontend(start),
        ClipFrames(train_clips, head_poses, backend_videos),
        ClipFrames(validation_clips, head_poses, backend_videos),
        stage,
        params.train.seed,
        fabric,
        facts,
    )
    videos = [file_sha256(backend_video(backend_videos, clip)) for clip in train_clips]
    identity = training_identity(
        params.train.seed,
        stage,
        train_clips,
        params.model,
        trainee.perceptual_name,
        trainee.training.labels_digest,
        facts["stage1_sha256"],
        videos,
    )
    train(f"stage 2 ({backend})", trainee, stage.schedule, out, identity, trainee.facts)
