"""Helpers of the stages that label training frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from kpbe.core.clip_tasks import ClipTask, Rejection, run_clip_tasks, write_rejections
from kpbe.core.processes import ShardMap, serial_map
from kpbe.data.clips import Clip
from kpbe.data.raw import read_raw_videos


def truth_files(raw: Path, manifest: Iterable[Clip]) -> dict[str, Path]:
    """Files with the ground truth of drawn clips, by clip_id; other clips are left out."""
    files = {
        f"{video.identity}#{video.video_id}": video.path.with_suffix(".truth.npz")
        for video in read_raw_videos(raw)
    }
    truths = {clip.clip_id: files.get(clip.clip_id.rsplit("#", 2)[0]) for clip in manifest}
    return {clip_id: path for clip_id, path in truths.items() if path is not None and path.exists()}


def label_clips(
    stage: str,
    tasks: Sequence[ClipTask],
    make: Callable[[ClipTask], dict[str, Any]],
    out: Path,
    map: ShardMap,
    shard_size: int,
    max_rejected_fraction: float,
) -> tuple[list[tuple[ClipTask, dict[str, Any]]], list[Rejection]]:
    """`run_clip_tasks` for a stage that may have nothing to label; also removes labels without a task.

    Where all labels are known (`truth` of the tasks' payloads), no worker is started.
    """
    _remove_others(out, tasks)
    if not tasks:
        write_rejections(out, [])
        return [], []
    return run_clip_tasks(
        stage,
        tasks,
        make,
        out,
        map=map if any(task.payload.truth is None for task in tasks) else serial_map,
        shard_size=shard_size,
        max_rejected_fraction=max_rejected_fraction,
    )


def _remove_others(out: Path, tasks: Iterable[ClipTask]) -> None:
    """Remove labels and records of clips without a task; these files have a `#` in their names."""
    out.mkdir(parents=True, exist_ok=True)
    task_files = {path for task in tasks for path in (task.record, *task.outputs)}
    for path in set(out.glob("*#*")) - task_files:
        path.unlink()
