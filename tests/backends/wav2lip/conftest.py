"""Clips that Wav2Lip can learn from in seconds: a mouth that is as bright as the sound is loud."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kpbe.backends.base import TrainingJob
from kpbe.backends.wav2lip.settings import Wav2LipSettings
from kpbe.data.clips import Clip, write_manifest
from kpbe.media.audio import write_wav
from kpbe.media.video_writer import write_video
from kpbe.params import parse_params
from tests.clips import describe_clip

FRAMES = 30
SCHEDULE = {
    "steps": 6,
    "batch_size": 2,
    "validation_pairs": 2,
    "checkpoint_every": 2,
    "sheet_every": 2,
    "log_every": 1,
}


def write_talking_clip(folder: Path, identity: str, video: str, seed: int) -> Clip:
    loudness = np.random.default_rng(seed).uniform(0, 1, FRAMES)
    frames = np.full((FRAMES, 64, 64, 3), 90, np.uint8)
    frames[:, 40:54, 16:48] = (30 + 220 * loudness).astype(np.uint8)[:, None, None, None]
    noise = np.random.default_rng(seed + 1).normal(0, 0.2, FRAMES * 640)
    clip = describe_clip(folder, identity, video=video, frames=FRAMES, sha256=str(seed))
    write_video(clip.video, frames, 25.0, codec="h264-lossless")
    write_wav(clip.wav, (noise * loudness.repeat(640)).clip(-1, 1).astype(np.float32))
    np.save(clip.boxes, np.tile(np.array([8, 8, 56, 56], np.float32), (FRAMES, 1)))
    return clip


@pytest.fixture(scope="session")
def talking_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder like data/clips: two identities of three clips each, 30 frames."""
    folder = tmp_path_factory.mktemp("talking")
    names = [(identity, video) for identity in "ab" for video in "123"]
    clips = [write_talking_clip(folder, *name, seed=10 * number) for number, name in enumerate(names)]
    write_manifest(folder, clips)
    return folder


@pytest.fixture
def new_job(talking_clips: Path, tmp_path: Path) -> Callable[..., TrainingJob]:
    """A training on the talking clips.

    `out` lies within tmp_path; the sections sync_expert and train, and others, can be changed.
    """

    def make(
        out: str,
        expert: dict[str, Any] | None = None,
        train: dict[str, Any] | None = None,
        losses: dict[str, float] | None = None,
        **section: Any,
    ) -> TrainingJob:
        def merged(changes: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
            changes = dict(changes or {})
            schedule = SCHEDULE | {key: changes.pop(key) for key in SCHEDULE if key in changes}
            return {"schedule": schedule, "optimiser": {"lr": 0.002}, **more, **changes}

        settings = Wav2LipSettings.model_validate(
            {
                "width_multiplier": 0.125,
                "sync_expert": merged(expert, width_multiplier=0.125),
                "train": merged(train, losses={"sync": 0.0, "gan": 0.0} | (losses or {})),
                **section,
            }
        )
        stage = {"schedule": {"steps": 1, "batch_size": 1}}
        params = parse_params(
            {
                "data": {},
                "model": {},
                "evaluate": {},
                "compute": {"device": "cpu"},
                "train": {"stage1": stage, "stage2": stage},
                "backend": {"wav2lip": {}},
            }
        )
        return TrainingJob(
            "wav2lip",
            settings,
            params,
            talking_clips,
            tmp_path / "expression",
            tmp_path / "sync",
            tmp_path / out,
        )

    return make
