"""Clips of data/clips for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kpbe.core.files import file_sha256
from kpbe.data.clips import Clip, make_clip_id


def describe_clip(
    folder: Path,
    identity: str,
    *,
    video: str = "1",
    split: str = "train",
    frames: int = 12,
    side: int = 64,
    suffix: str = ".mp4",
    **changes: Any,
) -> Clip:
    """The row of clips.csv of a whole square video at 25 fps with sound.

    `changes` replace other values of the row. The test writes the clip's files itself; the digest is that of
    the video if it already exists.
    """
    clip_id = make_clip_id(identity, video, 0, frames)
    path = f"{split}/{clip_id}{suffix}"
    row = {
        "has_audio": True,
        "source_url": "",
        "bbox": f"0-0-{side}-{side}",
        "sha256": file_sha256(folder / path) if (folder / path).is_file() else clip_id,
    }
    return Clip(
        clip_id=clip_id,
        split=split,
        identity=identity,
        path=path,
        frames=frames,
        fps=25.0,
        width=side,
        height=side,
        seconds=frames / 25,
        start=0,
        end=frames,
        folder=folder,
        **{**row, **changes},
    )
