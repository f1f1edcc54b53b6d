"""Training of Wav2Lip's generator: it learns, its sync term needs an expert, its checkpoint is one that synthesis loads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from kpbe.backends.wav2lip.checkpoints import load_generator
from kpbe.backends.wav2lip.networks import SyncNet
from kpbe.data.clips import write_manifest
from kpbe.errors import KPBEError
from kpbe.media.audio import write_wav
from kpbe.media.video import write_video
from kpbe.params import Params, load_params, parse_params
from kpbe.training.wav2lip import GENERATOR_FILE, FaceClip, random_windows, train_wav2lip
from kpbe.work import read_csv

REPOSITORY = Path(__file__).resolve().parents[2]
FRAMES = 12


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory, new_clip) -> Path:
    """One clip whose lower half gets brighter from frame to frame."""
    folder = tmp_path_factory.mktemp("clips")
    frames = np.full((FRAMES, 64, 64, 3), 100, np.uint8)
    frames[:, 32:] = (10 * np.arange(FRAMES))[:, None, None, None]
    clip = new_clip(folder, "train", "a", FRAMES)
    write_video(clip.video, frames, 25.0, codec="h264-lossless")
    write_wav(clip.wav, np.sin(np.arange(FRAMES * 640) * 0.2).astype(np.float32) * 0.5)
    np.save(clip.boxes, np.tile(np.array([8, 8, 56, 56], np.float32), (FRAMES, 1)))
    write_manifest(folder, [clip])
    return folder


def params(losses: dict | None = None, **schedule) -> Params:
    values = load_params(REPOSITORY / "params.yaml").model_dump(mode="json")
    values["train"]["wav2lip"]["schedule"] |= {"steps": 25, "batch_size": 4, "validation_pairs": 2} | schedule
    values["train"]["wav2lip"]["losses"] |= losses or {}
    values["backend"]["wav2lip"] |= {"width_multiplier": 0.125}
    values["compute"] |= {"device": "cpu"}
    return parse_params(values)


@pytest.mark.slow
def test_the_loss_falls_and_synthesis_loads_the_checkpoint(clips, tmp_path):
    train_wav2lip(params(steps=0), clips, tmp_path / "untrained")
    train_wav2lip(params(), clips, tmp_path / "trained")
    before, after = (
        json.loads((tmp_path / name / "summary.json").read_text())["validation_l1"]
        for name in ("untrained", "trained")
    )
    assert after < 0.8 * before
    assert load_generator(tmp_path / "trained" / GENERATOR_FILE).width_multiplier == 0.125


@pytest.mark.slow
def test_an_expert_brings_the_sync_term_and_stays_frozen(clips, tmp_path):
    expert = tmp_path / "expert.pth"
    torch.save({"state_dict": SyncNet().state_dict()}, expert)
    before = expert.read_bytes()
    values = params(losses={"sync": 0.1}, steps=2, batch_size=2, log_every=1).model_dump(mode="json")
    values["train"]["wav2lip"]["sync_expert"] = str(expert)
    train_wav2lip(parse_params(values), clips, tmp_path / "out")
    rows = read_csv(tmp_path / "out" / "curves.csv")
    assert all(float(row["sync"]) > 0 for row in rows)
    reconstruction, sync = float(rows[0]["reconstruction"]), float(rows[0]["sync"])
    assert float(rows[0]["loss"]) == pytest.approx(reconstruction + 0.1 * sync, rel=1e-4)
    assert expert.read_bytes() == before


def test_a_sync_weight_without_an_expert_is_refused(clips, tmp_path):
    with pytest.raises(KPBEError, match=r"train\.wav2lip\.sync_expert names no checkpoint"):
        train_wav2lip(params(losses={"sync": 0.03}), clips, tmp_path)


def test_windows_are_consecutive_frames_with_their_speech_and_depend_on_the_step_only(clips, new_clip):
    own = FaceClip(new_clip(clips, "train", "a", FRAMES), params().backend.wav2lip)
    faces, references, mels = random_windows([own], 3, 5, seed=0, step=4)
    assert faces.shape == references.shape == (3, 5, 3, 96, 96) and mels.shape == (3, 5, 1, 80, 16)
    lower = faces[:, :, :, 60:].mean((2, 3, 4)) * 255
    assert torch.allclose(lower.diff(dim=1), torch.full((3, 4), 10.0), atol=1.5)
    again = random_windows([own], 3, 5, seed=0, step=4)
    assert all(torch.equal(a, b) for a, b in zip((faces, references, mels), again, strict=True))
