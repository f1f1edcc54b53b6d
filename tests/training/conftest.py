"""Clips for training tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kpbe.data.clips import Clip, make_clip_id


@pytest.fixture(scope="session")
def new_clip() -> Callable[..., Clip]:
    """Describes a clip (its files are the test's matter): folder, split, identity, frames, and optionally video, size, sha256."""

    def describe(
        folder: Path,
        split: str,
        identity: str,
        frames: int,
        video: str = "1",
        size: int = 64,
        sha256: str = "x",
    ) -> Clip:
        clip_id = make_clip_id(identity, video, 0, frames)
        return Clip(
            clip_id=clip_id,
            split=split,
            identity=identity,
            path=f"{split}/{clip_id}.mp4",
            frames=frames,
            fps=25.0,
            width=size,
            height=size,
            seconds=frames / 25,
            has_audio=True,
            source_url="",
            start=0,
            end=frames,
            bbox=f"0-0-{size}-{size}",
            sha256=sha256,
            folder=folder,
        )

    return describe
