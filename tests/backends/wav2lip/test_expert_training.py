"""Training of the sync expert: it learns which sound belongs to which mouths, and resumes exactly."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from itertools import combinations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from kpbe.backends.wav2lip import SyncNet, Wav2LipGenerator, load_sync_expert
from kpbe.backends.wav2lip.expert_training import (
    EXPERT_FILE,
    ExpertTrainee,
    contrast,
    infonce,
    negatives,
    sync_batch,
    train_sync_expert,
)
from kpbe.backends.wav2lip.face_clips import load_face_clips
from kpbe.core.files import read_csv
from kpbe.data.clips import read_manifest
from kpbe.errors import BadCheckpoint, KPBEError
from kpbe.metrics.lip_sync import offset_accuracy, similarity_by_offset
from tests.backends.openings import save_openings

SYNC = {"sync": 0.03}


def summary(job) -> dict:
    return json.loads((job.out / "summary.json").read_text())


def equal(a: SyncNet, b: SyncNet) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.slow
def test_the_expert_learns_which_sound_belongs_to_which_mouths(new_job):
    job = new_job(
        "expert",
        # at the usual rate rounding decides how long it stays at ln 2
        {
            "steps": 80,
            "batch_size": 16,
            "sheet_every": 80,
            "windows_per_clip": 8,
            "optimiser": {"lr": 5e-4},
        },
        losses=SYNC,
    )
    train_sync_expert(job)
    metrics = summary(job)
    assert metrics["validation_sync_loss"] < 0.6
    assert metrics["offset_accuracy"] > 0.3
    assert metrics["offset_accuracy_1"] >= metrics["offset_accuracy"]
    losses = [float(row["loss"]) for row in read_csv(job.out / "curves.csv")]
    assert np.mean(losses[-10:]) < 0.5
    assert Image.open(job.out / "sheets" / "0000080.png").size[0] > 500
    expert = load_sync_expert(job.out / EXPERT_FILE)
    assert expert.width_multiplier == 0.125 and not expert.training


@pytest.mark.parametrize("kill_at", [3, 4])
def test_killed_and_run_again_equals_uninterrupted_bit_for_bit(new_job, kill_at, monkeypatch):
    whole, parts = (new_job(name, losses=SYNC) for name in ("whole", "parts"))
    train_sync_expert(whole)
    pid = os.fork()
    if pid == 0:
        step = ExpertTrainee.step

        def killed(trainee, number):
            if number == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return step(trainee, number)

        monkeypatch.setattr(ExpertTrainee, "step", killed)
        train_sync_expert(parts)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) and not (parts.out / EXPERT_FILE).exists()
    train_sync_expert(parts)
    assert (parts.out / EXPERT_FILE).read_bytes() == (whole.out / EXPERT_FILE).read_bytes()
    assert read_csv(parts.out / "curves.csv") == read_csv(whole.out / "curves.csv")


@pytest.mark.slow
def test_a_public_expert_is_handed_on_as_it_is_with_0_steps_and_fine_tuned_with_more(new_job, tmp_path):
    torch.manual_seed(3)
    public = SyncNet()
    path = tmp_path / "lipsync_expert.pth"
    state = {f"module.{name}": tensor for name, tensor in public.state_dict().items()}
    torch.save({"state_dict": state, "optimizer": None, "global_step": 1, "global_epoch": 1}, path)

    untouched = new_job("untouched", {"checkpoint": path, "steps": 0}, losses=SYNC)
    train_sync_expert(untouched)
    assert equal(load_sync_expert(untouched.out / EXPERT_FILE), public)
    facts = summary(untouched)
    assert facts["started_from"] == "lipsync_expert.pth" and 0 <= facts["offset_accuracy"] <= 1

    tuned = new_job("tuned", {"checkpoint": path, "steps": 1}, losses=SYNC)
    train_sync_expert(tuned)
    expert = load_sync_expert(tuned.out / EXPERT_FILE)
    assert expert.width_multiplier == 1.0 and not equal(expert, public)


def test_no_expert_is_trained_for_a_generator_that_asks_none(new_job):
    for name, changes in {
        "no weight": {"losses": {"sync": 0.0}},
        "no steps": {"train": {"steps": 0}, "losses": SYNC},
    }.items():
        job = new_job(name, **changes)
        train_sync_expert(job)
        assert [path.name for path in job.out.iterdir()] == ["summary.json"]
        assert summary(job)["trained"] is False and "needs no sync expert" in summary(job)["reason"]


def test_another_network_is_refused_in_one_sentence(new_job, tmp_path):
    path = tmp_path / "generator.pth"
    torch.save(Wav2LipGenerator(0.125).state_dict(), path)
    with pytest.raises(BadCheckpoint, match=r"generator\.pth is not a Wav2Lip sync expert") as refused:
        train_sync_expert(new_job("out", {"checkpoint": path}, losses=SYNC))
    assert "\n" not in str(refused.value)


def test_no_clip_is_said_in_one_sentence(new_job, tmp_path):
    (tmp_path / "clips.csv").write_text(
        (new_job("out").clips / "clips.csv").read_text().splitlines()[0] + "\n"
    )
    with pytest.raises(KPBEError, match="has no training clip"):
        train_sync_expert(dataclasses.replace(new_job("out", losses=SYNC), clips=tmp_path))


def test_perfect_embeddings_find_every_offset_and_late_ones_find_theirs():
    identity = torch.eye(20)
    perfect = similarity_by_offset(identity, identity)
    assert perfect.shape == (20, 11) and torch.equal(perfect[:, 5], torch.ones(20))
    assert perfect[0, :5].isneginf().all() and perfect[19, 6:].isneginf().all()
    assert offset_accuracy(perfect) == offset_accuracy(perfect, within=1) == 1

    late = similarity_by_offset(identity.roll(1, 0), identity)
    assert late[:19, 6].eq(1).all(), "the sound of a moment comes a frame later"
    assert offset_accuracy(late[:19]) == 0 and offset_accuracy(late[:19], within=1) == 1


def test_embeddings_that_cannot_tell_are_right_by_chance_or_never():
    assert offset_accuracy(similarity_by_offset(torch.ones(40, 4), torch.ones(40, 4))) == 0, "ties are errors"
    audio, face = torch.rand(2, 3000, 16, generator=torch.Generator().manual_seed(0))
    by_offset = similarity_by_offset(audio, face)
    assert offset_accuracy(by_offset) == pytest.approx(1 / 11, abs=0.02)
    assert offset_accuracy(by_offset, within=1) == pytest.approx(3 / 11, abs=0.03)


def embeddings(count: int, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    audio, face = F.normalize(torch.rand(2, count, 8, generator=torch.Generator().manual_seed(seed)), dim=2)
    return audio, face


def test_contrast_is_half_in_sync_and_half_shifted_within_the_clip():
    audio, face = embeddings(4)
    similarity = (face @ audio.T).double()
    shifted = torch.stack([similarity[0, 1], similarity[1, 0], similarity[2, 3], similarity[3, 2]])
    expected = (-similarity.diagonal().log().mean() - (1 - shifted).log().mean()) / 2
    groups, moments = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 9, 0, 9])
    got = contrast(SyncNet(0.125), audio, face, groups, moments)
    assert got.item() == pytest.approx(expected.item(), rel=1e-5)
    everywhere = torch.arange(0, 40, 10)
    assert contrast(SyncNet(0.125), torch.eye(4), torch.eye(4), torch.zeros(4), everywhere).item() < 1e-6


def test_windows_that_share_frames_are_no_negatives():
    """Windows 0 and 4 share a frame, 0 and 5 do not.

    A window without negatives in its own clip gets those of all other clips.
    """
    found = negatives(torch.tensor([0, 0, 0, 1]), torch.tensor([0, 4, 5, 0]))
    assert found.int().tolist() == [[0, 0, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0], [1, 1, 1, 0]]

    audio, face = embeddings(2)
    near, far = (torch.tensor([0, moment]) for moment in (4, 5))
    expert, one_clip = SyncNet(0.125, calibrated=True), torch.zeros(2)
    assert infonce(expert, audio, face, one_clip, near).item() == 0, "there is nothing to tell a window from"
    assert infonce(expert, audio, face, one_clip, far).item() > 0


def test_other_clips_tell_nothing_where_the_clip_has_sounds_of_its_own():
    """Embeddings that know the clip but not the moment are at chance."""
    groups, moments = torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([0, 6, 12, 0, 6, 12])
    who = F.one_hot(groups, 4).float()
    expert = SyncNet(0.125, calibrated=True)
    assert infonce(expert, who, who, groups, moments).item() == pytest.approx(np.log(3), rel=1e-5)
    assert infonce(expert, torch.eye(6), torch.eye(6), groups, moments).item() < 0.01


def test_a_window_without_negatives_in_its_clip_is_told_from_other_clips():
    audio, face = embeddings(2)
    similarity = face @ audio.T
    expected = (-similarity.diagonal().log().mean() - (1 - similarity[[0, 1], [1, 0]]).log().mean()) / 2
    got = contrast(SyncNet(0.125), audio, face, torch.tensor([0, 1]), torch.tensor([0, 0]))
    assert got.item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_calibrated_expert_learns_its_temperature_and_comes_back_from_its_file(new_job):
    job = new_job("out", {"calibrated": True, "warm_up_steps": 3, "augment": True}, losses=SYNC)
    train_sync_expert(job)
    rows = read_csv(job.out / "curves.csv")
    assert all(row["infonce"] and not row["contrast"] for row in rows[:3])
    assert all(row["contrast"] and not row["infonce"] for row in rows[3:])
    assert rows[-1]["temperature"] != rows[0]["temperature"]
    expert = load_sync_expert(job.out / EXPERT_FILE)
    assert expert.calibrated and expert.temperature.item() == pytest.approx(
        float(rows[-1]["temperature"]), rel=1e-4
    )
    likely, unlikely = (expert.loss(torch.tensor(value), in_sync=1) for value in (0.9, -0.9))
    assert likely < unlikely


def test_known_lip_openings_teach_the_expert(new_job, talking_clips):
    job = new_job("out", {"opening": 0.3, "batch_size": 8, "windows_per_clip": 4}, losses=SYNC)
    for number, clip in enumerate(read_manifest(talking_clips, "train")):
        if clip.identity == "a":
            save_openings(clip, job.expression, np.random.default_rng(number).uniform(0, 1, clip.frames))
    train_sync_expert(job)
    told = [row for row in read_csv(job.out / "curves.csv") if row["opening"]]
    assert told
    for row in told:
        expected = float(row["contrast"]) + 0.3 * float(row["opening"])
        assert float(row["loss"]) == pytest.approx(expected, rel=1e-4)


def test_chance_is_said_beside_the_accuracy(new_job):
    job = new_job("out", {"steps": 1}, losses=SYNC)
    train_sync_expert(job)
    assert 0.09 < summary(job)["offset_chance"] < 0.13, "1/11, more at the ends of a clip"
    assert summary(job)["offset_chance_1"] == pytest.approx(3 / 11, abs=0.05)


def test_a_batch_holds_different_windows_of_each_of_its_clips_and_depends_on_the_step_only(new_job):
    _, clips, _ = load_face_clips(new_job("out"), 2)
    batch = sync_batch(clips, 8, 4, seed=0, step=5)
    assert batch.mouths.shape == (8, 15, 48, 96) and batch.sounds.shape == (8, 1, 80, 16)
    assert batch.groups.tolist() == [0] * 4 + [1] * 4
    for moments in (batch.moments[:4], batch.moments[4:]):
        assert all(abs(a - b) >= 5 for a, b in combinations(moments.tolist(), 2)), "they share no frame"
    for group in (batch.mouths[:4], batch.mouths[4:]):
        assert len(torch.unique(group, dim=0)) == 4
        own = [
            clip
            for clip in clips
            if any(torch.equal(group[0], m) for m in clip.mouths(range(clip.sync_windows)))
        ]
        assert len(own) == 1
        everything = own[0].mouths(range(own[0].sync_windows))
        assert all(any(torch.equal(window, m) for m in everything) for window in group)
    again = sync_batch(clips, 8, 4, seed=0, step=5)
    assert torch.equal(again.mouths, batch.mouths) and torch.equal(again.sounds, batch.sounds)
    assert not torch.equal(sync_batch(clips, 8, 4, seed=0, step=6).mouths, batch.mouths)


def test_sounds_of_a_batch_are_those_of_its_mouths(new_job):
    _, clips, _ = load_face_clips(new_job("out"), 2)
    batch = sync_batch(clips, 4, 4, seed=0, step=1)
    for window, sound in zip(batch.mouths, batch.sounds, strict=True):
        clip, first = next(
            (clip, i)
            for clip in clips
            for i in range(clip.sync_windows)
            if torch.equal(clip.mouths([i])[0], window)
        )
        start = int(first * 80 / 25)
        assert torch.equal(sound[0], torch.from_numpy(clip.mel[:, start : start + 16]))
