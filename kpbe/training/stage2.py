"""Stage 2: the frontend learns to take its expression from a backend's frames (paper III.D, eq. 3 and 4)."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from kpbe.core.files import whole
from kpbe.data.clips import Clip, backend_video, read_manifest
from kpbe.errors import KPBEError
from kpbe.params import Params
from kpbe.paths import FRONTEND_FILE
from kpbe.training.fabric import launch
from kpbe.training.files import STATE_FILE
from kpbe.training.frames import TrainingFolders
from kpbe.training.frontend_stage import prepare
from kpbe.training.loop import train
from kpbe.training.state import is_state_of


def train_stage2(
    backend: str,
    params: Params,
    folders: TrainingFolders,
    backend_videos: Path,
    stage1: Path,
    out: Path,
) -> None:
    """Fine-tune stage 1's frontend on pairs of real frames and backends' frames.

    Args:
        backend: name, written into the checkpoint.
        params: the whole params.
        folders: clips, labels and drawn people.
        backend_videos: data/backend; the videos of a backend are `<backend>/<split>/<clip_id>.mkv`.
        stage1: folder of stage 1's result, which gives the start weights unless `train.stage2.start` does.
        out: folder for the result; where one frontend serves all backends, a neighbouring folder may already
            hold the same training.

    Raises:
        KPBEError: a backend made no video of any training clip; otherwise as `train_stage1`.
    """
    stage = params.train.stage2
    fabric = launch(params.compute, params.train.seed, data_parallel=True)
    names = params.backends if stage.videos == "all" else (backend,)
    videos = [backend_videos / name for name in names]
    clips_with_videos = _clips_with_videos(read_manifest(folders.clips, "train"), videos)
    trainee, identity = prepare(
        "train_stage2",
        params,
        stage,
        fabric,
        clips_with_videos,
        folders,
        stage.start or stage1 / FRONTEND_FILE,
        {"stage": "stage2", "backends": list(names)},
        videos,
    )
    if fabric.is_global_zero:
        _take_over(out, identity)
    fabric.barrier()
    with trainee.loader:
        name = f"stage 2 ({' and '.join(names)})"
        train(name, trainee, stage.schedule, out, identity, trainee.facts, fabric)


def _clips_with_videos(clips: Sequence[Clip], folders: Sequence[Path]) -> list[Clip]:
    for folder in folders:
        if not any(backend_video(folder, clip).exists() for clip in clips):
            raise KPBEError(f"{folder} holds no video of a training clip: run the synthesize stage first.")
    return [clip for clip in clips if any(backend_video(folder, clip).exists() for folder in folders)]


def _take_over(out: Path, identity: str) -> None:
    """Resume from a neighbouring folder's state of the same training.

    One frontend for all backends is thus trained only once.
    """
    if is_state_of(out / STATE_FILE, identity):
        return
    for neighbour in sorted(out.parent.glob(f"*/{STATE_FILE}")):
        if neighbour.parent != out and is_state_of(neighbour, identity):
            print(f"{neighbour.parent} holds the same training: going on from there", flush=True)
            with whole(out / STATE_FILE) as temporary:
                shutil.copyfile(neighbour, temporary)
            return
