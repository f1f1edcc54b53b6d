"""Training of PC-AVS: encoders learn to agree, networks learn to draw; exact resume; clips without faces."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kpbe.backends.base import TrainingJob
from kpbe.backends.pcavs import load_networks, save_networks
from kpbe.backends.pcavs import training as training_module
from kpbe.backends.pcavs.batches import TrainingClips, fixed_batch, random_batch
from kpbe.backends.pcavs.model import PCAVSNetworks
from kpbe.backends.pcavs.pose_leak import mouth_from_pose
from kpbe.backends.pcavs.settings import PCAVSSettings
from kpbe.backends.pcavs.sync_training import SYNC_FILE, train_sync
from kpbe.backends.pcavs.training import NETWORKS_FILE, train_networks
from kpbe.core.files import file_sha256, read_csv
from kpbe.data.clips import Clip, make_clip_id, read_manifest, write_manifest
from kpbe.errors import KPBEError
from kpbe.media.audio import write_wav
from kpbe.media.video_writer import write_video
from kpbe.params import parse_params, parse_section
from kpbe.training.files import STATE_FILE
from tests.backends.openings import save_openings
from tests.clips import describe_clip

FRAMES, SIDE = 12, 64
POINTS = np.array([[24, 26], [40, 26], [32, 44]], np.float32)


def write_clip(folder: Path, identity: str, video: str) -> Clip:
    rng = np.random.default_rng([ord(c) for c in identity + video])
    clip_id = make_clip_id(identity, video, 0, FRAMES)
    path = folder / "train" / f"{clip_id}.mp4"
    # a picture that is the clip's own, and what changes from frame to frame
    coarse = (rng.integers(0, 2, (1, 8, 8, 3)) * 160 + rng.integers(0, 95, (FRAMES, 8, 8, 3))).astype(
        np.uint8
    )
    write_video(path, coarse.repeat(8, 1).repeat(8, 2), 25.0)
    np.save(path.with_suffix(".landmarks.npy"), np.tile(POINTS, (FRAMES, 1, 1)))
    write_wav(path.with_suffix(".wav"), rng.normal(0, 0.1, FRAMES * 640).astype(np.float32))
    return describe_clip(folder, identity, video=video, frames=FRAMES, side=SIDE)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    names = [(who, video) for who in ("anna", "bert") for video in ("1", "2")]
    write_manifest(folder, [write_clip(folder, *name) for name in names])
    return folder


def new_job(clips: Path, root: Path, out: str = "out", **train: Any) -> TrainingJob:
    schedule = {
        "batch_size": 4,
        "checkpoint_every": 2,
        "sheet_every": 2,
        "log_every": 1,
        "validation_pairs": 2,
    }
    stage = {"schedule": {"steps": 1, "batch_size": 1}}
    sections = {"data": {}, "model": {}, "evaluate": {}, "compute": {"device": "cpu"}}
    losses = {"vgg19": 0.0, "pixel": 10.0, "gan": 0.1, "feature_matching": 1.0} | train.pop("losses", {})
    section = {
        "kind": "pcavs", "image_size": 64, "width_multiplier": 0.0625, "landmarks": "known",
        "sync": {
            "schedule": {**schedule, "steps": train.pop("sync_steps", 4), "batch_size": 8},
            "optimiser": {"lr": 2e-3},
        },
        "train": {
            "optimiser": {"lr": 2e-3}, "generator_lr_factor": 3.0,
            "schedule": {**schedule, "steps": train.pop("steps", 4)},
            "losses": losses, "perceptual": {"scales": [1.0, 0.5]}, **train,
        },
    }  # fmt: skip
    params = parse_params(
        {
            **sections,
            "train": {"stage1": stage, "stage2": stage},
            "backends": ["p"],
            "backend": {"p": section},
        }
    )
    settings = parse_section(PCAVSSettings, section, "test")
    return TrainingJob("p", settings, params, clips, root / "expression", root / "sync", root / out)


def sync_first(job: TrainingJob) -> None:
    train_sync(TrainingJob(job.name, job.settings, job.params, job.clips, job.expression, job.sync, job.sync))


def summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


def assert_same_state(one: Path, other: Path) -> None:
    first, second = (torch.load(p / STATE_FILE, weights_only=True)["parts"] for p in (one, other))

    def compare(a: Any, b: Any) -> None:
        if isinstance(a, dict):
            assert a.keys() == b.keys()
            for key in a:
                compare(a[key], b[key])
        elif isinstance(a, list):
            for x, y in zip(a, b, strict=True):
                compare(x, y)
        elif isinstance(a, torch.Tensor):
            assert torch.equal(a, b)
        else:
            assert a == b

    compare(first, second)


def test_both_trainings_leave_networks_that_synthesis_loads(clips, tmp_path):
    job = new_job(clips, tmp_path)
    sync_first(job)
    agreed = summary(job.sync)
    assert 0 <= agreed["offset_accuracy"] <= agreed["offset_accuracy_1"] <= 1
    train_networks(job)
    found = summary(job.out)
    assert found["steps"] == 4 and found["sync_sha256"] == file_sha256(job.sync / SYNC_FILE)
    assert "validation_psnr" in found and 0 < found["validation_mouth_from_pose"] < 1
    assert found["perceptual"].startswith("multi-scale")
    before, after = load_networks(job.sync / SYNC_FILE), load_networks(job.out / NETWORKS_FILE)
    assert (after.width_multiplier, after.image_size) == (0.0625, 64)
    changed = [
        name for name, old in before.named_parameters() if not torch.equal(old, after.get_parameter(name))
    ]
    assert {name.split(".")[0] for name in changed} == {"identity", "non_identity", "audio", "generator"}
    columns = read_csv(job.out / "curves.csv")[0].keys()
    assert {
        "reconstruction",
        "pixel",
        "contrastive",
        "cross_modal",
        "gan",
        "feature_matching",
        "discriminator",
    } <= columns
    assert list((job.out / "sheets").glob("*.png"))


def test_the_encoders_learn_which_sound_belongs_to_which_frame(clips, tmp_path):
    job = new_job(clips, tmp_path, sync_steps=60)
    sync_first(job)
    losses = [float(row["loss"]) for row in read_csv(job.sync / "curves.csv") if row["loss"]]
    assert np.mean(losses[-5:]) < 0.95 * np.log(8)  # chance in a batch of eight


def test_the_networks_learn_to_draw(clips, tmp_path):
    off = {"gan": 0.0, "feature_matching": 0.0, "contrastive": 0.0, "cross_modal": 0.0}
    job = new_job(clips, tmp_path, sync_steps=0, steps=40, losses=off)
    sync_first(job)
    train_networks(job)
    rows = read_csv(job.out / "curves.csv")
    losses = [float(row["reconstruction"]) for row in rows if row["reconstruction"]]
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    assert "discriminator" not in rows[0]


def test_stopped_by_sigterm_and_resumed_equals_uninterrupted_bit_for_bit(clips, tmp_path, monkeypatch):
    whole = new_job(clips, tmp_path, "whole")
    sync_first(whole)
    train_networks(whole)
    cut = new_job(clips, tmp_path, "cut")
    own_step = training_module.PCAVSTrainee.step

    def stopping(self, step):
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return own_step(self, step)

    with monkeypatch.context() as patch, pytest.raises(KPBEError, match="told to stop"):
        patch.setattr(training_module.PCAVSTrainee, "step", stopping)
        train_networks(cut)
    train_networks(cut)
    assert_same_state(whole.out, cut.out)
    assert (whole.out / NETWORKS_FILE).read_bytes() == (cut.out / NETWORKS_FILE).read_bytes()


def test_published_networks_are_taken_as_they_are_with_no_steps(clips, tmp_path):
    torch.manual_seed(3)
    given = PCAVSNetworks(0.0625, 64)
    save_networks(tmp_path / "given.safetensors", given)
    job = new_job(clips, tmp_path, sync_steps=0, steps=0)
    settings = job.settings.model_copy(update={"checkpoint": tmp_path / "given.safetensors"})
    job = TrainingJob(job.name, settings, job.params, clips, job.expression, job.sync, job.out)
    sync_first(job)
    train_networks(job)
    taken = load_networks(job.out / NETWORKS_FILE)
    for name, tensor in given.state_dict().items():
        assert torch.equal(tensor, taken.state_dict()[name]), name
    assert summary(job.out)["started_from"] == "given.safetensors"


def test_known_lip_openings_teach_the_sound_and_the_mouth_weighs_more(clips, tmp_path):
    losses = {"opening": 0.5, "mouth": 8.0, "contrastive": 0.0, "cross_modal": 0.0}
    sync_first(job := new_job(clips, tmp_path, sync_steps=0, steps=3, losses=losses))
    for number, clip in enumerate(read_manifest(clips, "train")):
        if clip.identity == "anna":
            save_openings(clip, job.expression, np.random.default_rng(number).uniform(0, 1, clip.frames))
    train_networks(job)
    rows = read_csv(job.out / "curves.csv")
    assert any(row["opening"] for row in rows)
    assert not {"contrastive", "cross_modal"} & rows[0].keys()


def test_batches_depend_on_seed_and_step_only(clips):
    settings = new_job(clips, clips).settings
    loaded = TrainingClips.load(clips, clips, settings, 2)
    one, same, other = (random_batch(loaded.training, 6, 2, 0, step) for step in (5, 5, 6))
    assert torch.equal(one.target, same.target) and torch.equal(one.windows, same.windows)
    assert not torch.equal(one.target, other.target)


def test_the_identity_is_never_the_target_s_own_frame(clips):
    loaded = TrainingClips.load(clips, clips, new_job(clips, clips).settings, 2)
    seen = set()
    for step in range(12):
        moments = random_batch(loaded.training, 16, 2, 0, step)
        for identity, target in zip(moments.identity, moments.target, strict=True):
            assert not torch.equal(identity, target)
            seen.add(identity.numpy().tobytes())
    frames = sum(len(clip.frames) for clip in loaded.training)
    assert len(seen) == frames, "every frame serves as identity"
    fixed = fixed_batch(loaded.validation, 40, 0)
    assert not any(torch.equal(a, b) for a, b in zip(fixed.identity, fixed.target, strict=True))


def test_the_pose_encoder_is_shown_its_frame_with_the_mouth_elsewhere_and_validation_shows_it_as_it_is(
    clips, tmp_path, monkeypatch
):
    job = new_job(clips, tmp_path, sync_steps=0, steps=2)
    sync_first(job)
    shown: list[torch.Tensor] = []
    targets: list[torch.Tensor] = []
    encode, draw = PCAVSNetworks.encode_pose_and_mouth, training_module.random_batch

    def watched(self, frames):
        if self.training:
            shown.append(frames.detach().clone())
        return encode(self, frames)

    def with_a_mouth(*arguments):
        """SpeakingBatch whose targets are dark but for a bright mouth."""
        moments = draw(*arguments)
        moments.target[:] = -0.8
        moments.target[:, :, 38:42, 28:36] = 0.5
        targets.append(moments.target.clone())
        return moments

    monkeypatch.setattr(PCAVSNetworks, "encode_pose_and_mouth", watched)
    monkeypatch.setattr(training_module, "random_batch", with_a_mouth)
    train_networks(job)
    frames, originals = torch.cat(shown), torch.cat(targets)
    assert len(frames) == len(originals) == 8

    def mouth(pictures: torch.Tensor) -> torch.Tensor:
        """Centre (row, column), height and width of the bright spot of each picture."""
        grey = pictures.mean(1)
        bright = grey - grey.amin((1, 2), keepdim=True)
        share = bright / bright.sum((1, 2), keepdim=True)
        place = torch.arange(SIDE).float()
        rows, columns = share.sum(2), share.sum(1)
        centre = torch.stack([rows @ place, columns @ place], 1)
        peak = bright.amax((1, 2))
        area = torch.stack([bright.amax(2).sum(1) / peak, bright.amax(1).sum(1) / peak], 1)
        return torch.cat([centre, area], 1)

    moved = (mouth(frames) - mouth(originals)).abs()
    assert (moved[:, :2].amax(1) > 0.3).all() and moved[:, :2].max() > 1.5, "no mouth stays where it was"
    assert moved[:, :2].max() < 8, "and none leaves the picture"
    assert mouth(frames)[:, 2:].std(0).min() > 0.1, "heights and widths differ"


def paste(mouths: torch.Tensor) -> torch.Tensor:
    """Pictures (B, 3, 64, 64) that show a mouth of the given brightness (B,)."""
    pictures = torch.zeros(len(mouths), 3, SIDE, SIDE)
    pictures[:, :, 38:42, 28:36] = mouths.view(-1, 1, 1, 1)
    return pictures


def test_a_mouth_that_is_copied_from_the_pose_frame_is_told_from_one_that_is_heard():
    windows, frames = torch.rand(6, 1, 80, 20), paste(torch.linspace(0, 1, 6))
    loud = windows.mean((1, 2, 3))

    def copies(windows, frames):
        return frames.clone()

    def hears(windows, frames):
        return paste(windows.mean((1, 2, 3)))

    def does_both(windows, frames):
        heard = paste(windows.mean((1, 2, 3)))
        ratio = (loud.roll(1) - loud).abs().mean() / (frames.roll(1, 0) - frames)[:, 0, 40, 30].abs().mean()
        return heard + ratio * frames

    assert mouth_from_pose(copies, windows, frames) == 1
    assert mouth_from_pose(hears, windows, frames) == 0
    assert mouth_from_pose(does_both, windows, frames) == pytest.approx(0.5, abs=1e-3)
    assert mouth_from_pose(lambda w, f: torch.zeros(6, 3, SIDE, SIDE), windows, frames) is None
    assert mouth_from_pose(hears, windows[:1], frames[:1]) is None


def test_what_happens_around_the_mouth_is_not_its_matter():
    windows, frames = torch.rand(4, 1, 80, 20), torch.rand(4, 3, SIDE, SIDE)

    def turns_the_head(windows, frames):
        pictures = frames.clone()
        pictures[:, :, 30:52, 20:44] = paste(windows.mean((1, 2, 3)))[:, :, 30:52, 20:44]
        return pictures

    assert mouth_from_pose(turns_the_head, windows, frames) == 0


def test_clips_without_eyes_and_mouth_are_named(clips, tmp_path):
    folder = tmp_path / "clips"
    clip = write_clip(folder, "carl", "1")
    write_manifest(folder, [clip])
    clip.landmarks.unlink()
    with pytest.raises(KPBEError, match=r"carl.*has no landmarks beside it"):
        sync_first(new_job(folder, tmp_path))
    np.save(clip.landmarks, np.full((FRAMES, 3, 2), np.nan, np.float32))
    with pytest.raises(KPBEError, match=r"carl.*shows no face"):
        sync_first(new_job(folder, tmp_path))
