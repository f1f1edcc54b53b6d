"""Clips of data/clips for tests."""

from __future__ import annotations

from pathlib import Path

from kpbe.data.clips import Clip, make_clip_id


def describe_clip(
    folder: Path,
    identity: str,
    *,
    video: str = "1",
    split: str = "train",
    frames: int = 12,
    side: int = 64,
    has_audio: bool = True,
    sha256: str = "x",
) -> Clip:
    """The row of clips.csv of a whole square video at 25 fps; its files are the test's matter."""
    clip_id = make_clip_id(identity, video, 0, frames)
    return Clip(
        clip_id=clip_id,
        split=split,
        identity=identity,
        path=f"{split}/{clip_id}.mp4",
        frames=frames,
        fps=25.0,
        width=side,
        height=side,
        seconds=frames / 25,
        has_audio=has_audio,
        source_url="",
        start=0,
        end=frames,
        bbox=f"0-0-{side}-{side}",
        sha256=sha256,
        folder=folder,
    )
