"""Both stages of the frontend's training on tiny clips: they learn, resume exactly, and hand on what the next stage loads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from kpbe.data.clips import write_manifest
from kpbe.enhance import enhance_clips
from kpbe.errors import KPBEError
from kpbe.frontend.checkpoints import load_frontend
from kpbe.media.audio import write_wav
from kpbe.media.video import read_frames, write_video
from kpbe.params import Params, load_params, parse_params
from kpbe.training.frontend import FRONTEND_FILE
from kpbe.training.stage1 import train_stage1
from kpbe.training.stage2 import train_stage2
from kpbe.work import read_csv

REPOSITORY = Path(__file__).resolve().parents[2]
FRAMES = 5


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory, new_clip) -> Path:
    """Three identities (one for test): a bright disc that wanders over a background."""
    folder = tmp_path_factory.mktemp("clips")
    y, x = np.mgrid[:64, :64]
    manifest = []
    for number, (split, who) in enumerate([("train", "a"), ("train", "b"), ("test", "c")]):
        frames = np.full((FRAMES, 64, 64, 3), 60 * number, np.uint8)
        for k in range(FRAMES):
            frames[k][(x - 16 - 8 * k) ** 2 + (y - 32) ** 2 < 150] = (230, 200, 90 * number)
        clip = new_clip(folder, split, who, FRAMES, sha256=str(number))
        write_video(clip.video, frames, 25.0, codec="h264-lossless")
        write_wav(clip.wav, np.full(FRAMES * 640, 0.1, np.float32))
        write_video(folder / "backend" / split / f"{clip.clip_id}.mkv", frames, 25.0, codec="ffv1")
        manifest.append(clip)
    write_manifest(folder, manifest)
    return folder


def params(**schedule) -> Params:
    """The default params with few steps, the discriminator on."""
    values = load_params(REPOSITORY / "params.yaml").model_dump(mode="json")
    for stage in ("stage1", "stage2"):
        values["train"][stage]["schedule"] |= {
            "steps": 4,
            "batch_size": 2,
            "checkpoint_every": 2,
            "sheet_every": 2,
            "log_every": 1,
            "validation_pairs": 2,
        } | schedule
        values["train"][stage]["losses"] |= {"gan": 1.0, "feature_matching": 10.0}
    values["compute"] |= {"device": "cpu"}
    return parse_params(values)


@pytest.fixture(scope="module")
def stage1(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("stage1")
    train_stage1(params(), clips, clips / "no labels", out)
    return out


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_frontend(folder / FRONTEND_FILE).state_dict()


@pytest.mark.slow
def test_stage_1_in_two_parts_gives_the_same_weights_bit_for_bit(clips, stage1, tmp_path):
    train_stage1(params(steps=2), clips, clips / "no labels", tmp_path)
    train_stage1(params(steps=4), clips, clips / "no labels", tmp_path)
    once, resumed = weights_of(stage1), weights_of(tmp_path)
    assert all(torch.equal(once[name], resumed[name]) for name in once)
    curves = read_csv(tmp_path / "curves.csv")
    assert [row["step"] for row in curves] == ["1", "2", "3", "4"]
    assert {"perceptual", "gan", "feature_matching", "equivariance", "keypoint_prior", "expression"} <= set(
        curves[0]
    )
    assert "head_pose" not in curves[0], "there are no labels"
    assert json.loads((tmp_path / "summary.json").read_text())["head_pose_labels"] == 0
    assert len(list((tmp_path / "sheets").glob("*.png"))) == 2


@pytest.mark.slow
def test_stage_2_starts_from_stage_1_and_its_frontend_enhances_the_backends_videos(clips, stage1, tmp_path):
    untrained = tmp_path / "stage2_0"
    train_stage2("wav2lip", params(steps=0), clips, clips / "none", clips / "backend", stage1, untrained)
    before, after = weights_of(stage1), weights_of(untrained)
    assert all(torch.equal(before[name], after[name]) for name in before)

    trained = tmp_path / "stage2"
    train_stage2("wav2lip", params(), clips, clips / "none", clips / "backend", stage1, trained)
    assert any(not torch.equal(before[name], value) for name, value in weights_of(trained).items())

    out = tmp_path / "enhanced"
    checkpoint = trained / FRONTEND_FILE
    assert enhance_clips("wav2lip", params(), clips, clips / "backend", checkpoint, out) == []
    video = out / "test" / f"c#1#000000#{FRAMES:06}.mkv"
    enhanced = read_frames(video)
    assert enhanced.shape == (FRAMES, 64, 64, 3)
    made = video.stat().st_mtime_ns
    (out / "viewing" / f"c#1#000000#{FRAMES:06}.mp4").unlink()
    enhance_clips("wav2lip", params(), clips, clips / "backend", checkpoint, out)
    assert video.stat().st_mtime_ns > made, "a clip with a missing output is made again"
    assert np.array_equal(read_frames(video), enhanced)
    made = video.stat().st_mtime_ns
    enhance_clips("wav2lip", params(), clips, clips / "backend", checkpoint, out)
    assert video.stat().st_mtime_ns == made, "a whole clip is kept"


def test_stage_2_without_backend_videos_says_what_to_run(clips, stage1, tmp_path):
    with pytest.raises(KPBEError, match="run the synthesize stage first"):
        train_stage2("wav2lip", params(), clips, clips / "none", tmp_path, stage1, tmp_path / "out")


def test_a_clip_without_backend_video_is_rejected_by_name(clips, stage1, tmp_path):
    with pytest.raises(KPBEError, match=r"c#1#000000#000005\.mkv.*made no video"):
        enhance_clips("wav2lip", params(), clips, tmp_path, stage1 / FRONTEND_FILE, tmp_path / "out")
