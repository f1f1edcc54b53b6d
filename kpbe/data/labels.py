"""What the stages that label training frames have in common."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from kpbe.data.clips import Clip
from kpbe.data.raw import read_raw_videos
from kpbe.work import ClipTask


def truth_files(raw: Path, manifest: Iterable[Clip]) -> dict[str, Path]:
    """Files with what is true of drawn clips, by clip_id, where there are any."""
    files = {
        f"{video.identity}#{video.video_id}": video.path.with_suffix(".truth.npz")
        for video in read_raw_videos(raw)
    }
    found = {clip.clip_id: files.get(clip.clip_id.rsplit("#", 2)[0]) for clip in manifest}
    return {clip_id: path for clip_id, path in found.items() if path is not None and path.exists()}


def remove_others(out: Path, tasks: Iterable[ClipTask]) -> None:
    """Remove labels and records of clips that no task is for; every clip_id has a `#`, other files have none."""
    out.mkdir(parents=True, exist_ok=True)
    wanted = {path for task in tasks for path in (task.record, *task.outputs)}
    for path in set(out.glob("*#*")) - wanted:
        path.unlink()
