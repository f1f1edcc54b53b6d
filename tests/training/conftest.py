"""Clips for training tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from kpbe.data.clips import Clip, backend_video, write_manifest
from kpbe.media.audio import write_wav
from kpbe.media.video_writer import write_video
from kpbe.training.frames import LabelFolders
from tests.clips import describe_clip
from tests.training.short_training import labels_in

DISC_FRAMES = 5
COLOURED_FRAMES = 30


@pytest.fixture(scope="session")
def new_clip() -> Callable[..., Clip]:
    """Describe a clip; the test writes its files.

    The arguments are folder, split, identity, frames, and optionally video, size and sha256.
    """

    def describe(
        folder: Path,
        split: str,
        identity: str,
        frames: int,
        video: str = "1",
        size: int = 64,
        sha256: str = "x",
    ) -> Clip:
        return describe_clip(
            folder, identity, video=video, split=split, frames=frames, side=size, sha256=sha256
        )

    return describe


@pytest.fixture(scope="session")
def disc_clips(tmp_path_factory: pytest.TempPathFactory, new_clip) -> Path:
    """Three identities (one for test): a bright disc that wanders over a background."""
    folder = tmp_path_factory.mktemp("clips")
    y, x = np.mgrid[:64, :64]
    manifest = []
    for number, (split, who) in enumerate([("train", "a"), ("train", "b"), ("test", "c")]):
        frames = np.full((DISC_FRAMES, 64, 64, 3), 60 * number, np.uint8)
        for k in range(DISC_FRAMES):
            frames[k][(x - 16 - 8 * k) ** 2 + (y - 32) ** 2 < 150] = (230, 200, 90 * number)
        clip = new_clip(folder, split, who, DISC_FRAMES, sha256=str(number))
        write_video(clip.video, frames, 25.0, codec="h264-lossless")
        write_wav(clip.wav, np.full(DISC_FRAMES * 640, 0.1, np.float32))
        write_video(
            folder / "backends" / "wav2lip" / split / f"{clip.clip_id}.mkv", frames, 25.0, codec="ffv1"
        )
        manifest.append(clip)
    write_manifest(folder, manifest)
    return folder


@dataclass(frozen=True)
class ColouredClips:
    """Clips whose pictures encode their origin.

    Frame k of clip c has red 8 k and green 60 c; its left half has blue 200. The backend `one` (all clips)
    shows it with blue 0, the backend `two` (clips 0 and 2) with blue 255.
    """

    folder: Path
    clips: list[Clip]

    @property
    def one(self) -> Path:
        return self.folder / "one"

    @property
    def two(self) -> Path:
        return self.folder / "two"

    @property
    def no_labels(self) -> LabelFolders:
        return labels_in(self.folder / "no labels")


@pytest.fixture(scope="session")
def coloured(tmp_path_factory: pytest.TempPathFactory, new_clip) -> ColouredClips:
    """Identity a with two clips, identity b with one."""
    result = ColouredClips(tmp_path_factory.mktemp("coloured"), [])
    for number, (identity, video) in enumerate([("a", "1"), ("a", "2"), ("b", "1")]):
        frames = np.zeros((COLOURED_FRAMES, 32, 32, 3), np.uint8)
        frames[..., 0] = 8 * np.arange(COLOURED_FRAMES)[:, None, None]
        frames[..., 1] = 60 * number
        frames[:, :, :16, 2] = 200
        clip = new_clip(result.folder, "train", identity, COLOURED_FRAMES, video=video, size=32)
        write_video(clip.video, frames, 25.0, codec="h264-lossless")
        result.clips.append(clip)
        for backend, blue in [(result.one, 0), (result.two, 255)]:
            frames[..., 2] = blue
            if backend == result.one or number != 1:
                write_video(backend_video(backend, clip), frames, 25.0, codec="ffv1")
    return result
