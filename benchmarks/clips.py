"""Clips that benchmarks write themselves, described as the manifest describes them."""

from __future__ import annotations

from pathlib import Path

from kpbe.data.clips import Clip, make_clip_id


def training_clip(folder: Path, number: int, path: str, frames: int, height: int, width: int) -> Clip:
    """Describe a mute training clip at 25 fps of person `number`.

    The caller writes the video, the file `path` below `folder`.
    """
    return Clip(
        clip_id=make_clip_id(f"person{number}", "1", 0, frames),
        split="train",
        identity=f"person{number}",
        path=path,
        frames=frames,
        fps=25.0,
        width=width,
        height=height,
        seconds=frames / 25,
        has_audio=False,
        source_url="",
        start=0,
        end=frames,
        bbox=f"0-0-{width}-{height}",
        sha256=str(number),
        folder=folder,
    )
