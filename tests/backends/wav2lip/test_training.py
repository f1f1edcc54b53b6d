"""Training of Wav2Lip's generator: terms of its loss, exact resume, and a checkpoint that synthesis loads."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch

from kpbe.backends.lip_opening import OpeningJudge
from kpbe.backends.mouth_weights import mouth_weights
from kpbe.backends.wav2lip import training
from kpbe.backends.wav2lip.checkpoints import (
    load_generator,
    load_sync_expert,
    save_generator,
    save_sync_expert,
)
from kpbe.backends.wav2lip.expert_training import EXPERT_FILE
from kpbe.backends.wav2lip.face_clips import (
    FaceClip,
    FrameBatch,
    evenly_spaced_frames,
    load_face_clips,
    random_frames,
    reference_starts,
)
from kpbe.backends.wav2lip.networks import QualityDiscriminator, SyncNet, Wav2LipGenerator
from kpbe.backends.wav2lip.settings import Wav2LipLossWeights
from kpbe.backends.wav2lip.training import (
    GENERATOR_FILE,
    MOUTH_PLACE,
    MOUTH_SPREAD,
    GeneratorTrainee,
    Speaker,
    SyncGate,
    in_true_colours,
    train_generator,
)
from kpbe.core.files import read_csv
from kpbe.data.clips import read_manifest
from kpbe.errors import MissingWeights, ParamsError
from kpbe.frontend.images import to_uint8
from kpbe.metrics.face_landmarks import FaceLandmarker
from kpbe.params import parse_section
from kpbe.training.files import STATE_FILE
from tests.backends.openings import save_openings

ALWAYS, NEVER = 1e6, 1e-6


def summary(job) -> dict:
    return json.loads((job.out / "summary.json").read_text())


def curves(job) -> list[dict[str, str]]:
    return read_csv(job.out / "curves.csv")


def parts(job) -> dict:
    return torch.load(job.out / STATE_FILE, weights_only=True)["parts"]


def new_trainee(job) -> tuple[GeneratorTrainee, list[FaceClip]]:
    """A trainee without an expert, and the clips that it trains on."""
    _, faces, validation = load_face_clips(job, 2)
    fabric = training.launch(job.params.compute, 0)
    generator = Wav2LipGenerator(0.125)
    return GeneratorTrainee(generator, None, faces, validation, job.settings.train, 0, fabric, {}), faces


@pytest.fixture
def expert(tmp_path: Path) -> Path:
    """An untrained narrow expert where `train_sync` would have left one."""
    torch.manual_seed(7)
    save_sync_expert(tmp_path / "sync" / EXPERT_FILE, SyncNet(0.125))
    return tmp_path / "sync" / EXPERT_FILE


@pytest.mark.slow
def test_the_loss_falls_and_synthesis_loads_the_checkpoint(new_job):
    schedule = {"batch_size": 4, "sheet_every": 70}
    untrained, trained = (
        new_job("untrained", train=schedule | {"steps": 0}),
        new_job("trained", train=schedule | {"steps": 70}),
    )
    train_generator(untrained)
    train_generator(trained)
    assert summary(trained)["validation_l1"] < 0.8 * summary(untrained)["validation_l1"]
    assert load_generator(trained.out / GENERATOR_FILE).width_multiplier == 0.125
    assert "validation_sync_loss" not in summary(trained) and "discriminator" not in parts(trained)


def test_the_sync_term_joins_in_only_after_the_validation_sync_loss_fell_below(new_job, expert):
    for name, below in {"never": NEVER, "at once": ALWAYS}.items():
        job = new_job(name, train={"steps": 4}, losses={"sync": 0.25, "sync_below": below})
        train_generator(job)
        rows = curves(job)
        assert all((row["validation_sync_loss"] != "") == (int(row["step"]) % 2 == 0) for row in rows)
        assert parts(job)["gate"] == {"open": below == ALWAYS}
        for row in rows:
            reconstruction = float(row["reconstruction"])
            if below == NEVER or int(row["step"]) <= 2:
                assert row.get("sync", "") == ""
                assert float(row["loss"]) == pytest.approx(reconstruction, rel=1e-4)
            else:
                expected = 0.75 * reconstruction + 0.25 * float(row["sync"])
                assert float(row["loss"]) == pytest.approx(expected, rel=1e-4)


def test_the_gate_counts_scheduled_validations_only_and_stays_open():
    gate = SyncGate(below=0.75, every=10)
    gate.observe(0, 0.1)
    gate.observe(7, 0.1)
    gate.observe(10, 0.75)
    assert not gate.open
    gate.observe(20, 0.74)
    gate.observe(30, 0.9)
    assert gate.open
    again = SyncGate(below=0.75, every=10)
    again.load_state_dict(gate.state_dict())
    assert again.open


def test_the_expert_stays_frozen(new_job, expert, monkeypatch):
    used = []

    def load(path):
        used.append(load_sync_expert(path))
        return used[-1]

    monkeypatch.setattr(training, "load_sync_expert", load)
    train_generator(new_job("out", train={"steps": 4}, losses={"sync": 0.25, "sync_below": ALWAYS}))
    before, after = load_sync_expert(expert).state_dict(), used[0].state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before), "running statistics too"
    assert all(parameter.grad is None for parameter in used[0].parameters())


def test_a_sync_expert_sees_what_is_painted_in_the_true_colours():
    true, painted = 0.4 + 0.2 * torch.rand(2, 2, 3, 8, 8)
    seen = in_true_colours(painted, true)
    torch.testing.assert_close(seen.mean(1), painted.mean(1))
    torch.testing.assert_close(seen.diff(dim=1), true.diff(dim=1))


def test_the_sync_term_changes_the_generator(new_job, expert):
    weights = []
    for name, below in {"without": NEVER, "with": ALWAYS}.items():
        job = new_job(name, train={"steps": 3}, losses={"sync": 0.25, "sync_below": below})
        train_generator(job)
        weights.append(load_generator(job.out / GENERATOR_FILE).state_dict())
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_the_discriminator_is_trained_by_its_own_loss_and_weighs_in_the_generators(new_job):
    job = new_job("gan", train={"steps": 2}, losses={"gan": 0.4})
    train_generator(job)
    for row in curves(job):
        expected = 0.6 * float(row["reconstruction"]) + 0.4 * float(row["gan"])
        assert float(row["loss"]) == pytest.approx(expected, rel=1e-4)
    discriminator = [float(row["discriminator"]) for row in curves(job)]
    assert discriminator[0] == pytest.approx(2 * np.log(2), abs=0.02), "it cannot tell at first"
    assert parts(job)["discriminator"].keys() == QualityDiscriminator(0.125).state_dict().keys()


def test_a_discriminator_learns_to_tell_faces_from_noise(new_job):
    job = new_job("out", train={"optimiser": {"lr": 5e-4}}, losses={"gan": 0.4})
    trainee, faces = new_trainee(job)
    real = random_frames(faces, 4, windows=0, seed=0, step=0).faces
    torch.manual_seed(0)
    losses = [trainee._discriminator_step(real, torch.rand_like(real), step) for step in range(60)]
    assert losses[-1] < 0.5 * losses[0]


def test_only_the_discriminators_own_step_changes_it(new_job, monkeypatch):
    job = new_job("out", train={"optimiser": {"lr": 1e-3}}, losses={"gan": 0.4})
    trainee, _ = new_trainee(job)
    seen = []
    own_step = trainee._discriminator_step

    def observed(*arguments):
        assert trainee.discriminator is not None
        seen.extend(
            (parameter.grad, parameter.requires_grad)
            for parameter in trainee.discriminator.module.parameters()
        )
        return own_step(*arguments)

    monkeypatch.setattr(trainee, "_discriminator_step", observed)
    trainee.step(0)
    assert seen and all(grad is None and trains for grad, trains in seen)


def test_in_two_parts_gives_the_same_generator_bit_for_bit(new_job, expert):
    """The stop at step 3 lies between two validations, before the gate opens.

    Stopping makes a validation, which must not open the gate.
    """
    losses = {"sync": 0.25, "gan": 0.1, "sync_below": ALWAYS}
    schedule = {"steps": 8, "sheet_every": 4, "checkpoint_every": 3}
    whole, divided = (
        new_job("whole", train=schedule, losses=losses),
        new_job("parts", train=schedule, losses=losses),
    )
    train_generator(whole)
    for steps in (3, 8):
        train_generator(new_job("parts", train=schedule | {"steps": steps}, losses=losses))
    assert (divided.out / GENERATOR_FILE).read_bytes() == (whole.out / GENERATOR_FILE).read_bytes()
    assert any(row["sync"] for row in curves(whole))


@pytest.mark.parametrize("kill_at", [3, 5])
def test_killed_and_run_again_equals_uninterrupted_bit_for_bit(new_job, expert, kill_at, monkeypatch):
    """It trains with expert and discriminator; the gate opens at step 2.

    The last state before the kill is that of step 2 or 4.
    """
    losses = {"sync": 0.25, "gan": 0.1, "sync_below": ALWAYS}
    whole, divided = (new_job(name, losses=losses) for name in ("whole", "parts"))
    train_generator(whole)
    pid = os.fork()
    if pid == 0:
        step = GeneratorTrainee.step

        def killed(trainee, number):
            if number == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return step(trainee, number)

        monkeypatch.setattr(GeneratorTrainee, "step", killed)
        train_generator(divided)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) and not (divided.out / GENERATOR_FILE).exists()
    train_generator(divided)
    assert (divided.out / GENERATOR_FILE).read_bytes() == (whole.out / GENERATOR_FILE).read_bytes()
    assert curves(divided) == curves(whole)
    a, b = parts(whole)["discriminator"], parts(divided)["discriminator"]
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_another_expert_starts_anew(new_job, expert, capsys):
    job = new_job("out", train={"steps": 2}, losses={"sync": 0.25})
    train_generator(job)
    train_generator(job)
    assert "starting anew" not in capsys.readouterr().out
    save_sync_expert(expert, SyncNet(0.125))
    train_generator(job)
    assert "starting anew" in capsys.readouterr().out


def test_a_public_generator_is_taken_as_it_is_with_0_steps_and_asks_no_expert(new_job, tmp_path):
    torch.manual_seed(5)
    public = tmp_path / "wav2lip.safetensors"
    save_generator(public, Wav2LipGenerator(0.125))
    untouched = new_job("untouched", train={"steps": 0}, losses={"sync": 0.03}, checkpoint=public)
    train_generator(untouched)
    before, after = (load_generator(path).state_dict() for path in (public, untouched.out / GENERATOR_FILE))
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert summary(untouched)["started_from"] == "wav2lip.safetensors"

    tuned = new_job("tuned", train={"steps": 1}, checkpoint=public)
    train_generator(tuned)
    after = load_generator(tuned.out / GENERATOR_FILE).state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_an_error_at_the_mouth_costs_more_than_one_on_the_forehead():
    weights = mouth_weights(96, 10.0, MOUTH_PLACE, MOUTH_SPREAD)
    assert weights.mean().item() == pytest.approx(1), "the term keeps its size"
    assert weights[70:76, 44:52].min() > 5 * weights[:20].max()
    even = mouth_weights(96, 0.0, MOUTH_PLACE, MOUTH_SPREAD)
    assert torch.equal(even, torch.ones(96, 96)), "the reference's L1"


def test_known_lip_openings_teach_the_sound_and_unknown_ones_are_left_out(new_job, talking_clips):
    weights = {"opening": 0.5}
    train_generator(new_job("unknown", losses=weights, residual=True))
    assert "opening" not in curves(new_job("unknown"))[0]
    with pytest.raises(ParamsError, match="the published network reads no lip openings"):
        train_generator(new_job("published", losses=weights))
    job = new_job("known", train={"batch_size": 16}, losses=weights, residual=True)
    labelled = [clip for clip in read_manifest(talking_clips, "train") if clip.identity == "a"]
    for number, clip in enumerate(labelled):
        save_openings(clip, job.expression, np.random.default_rng(number).uniform(3, 4, clip.frames))
    train_generator(job)
    for row in curves(job):
        expected = float(row["reconstruction"]) + 0.5 * float(row["opening"])
        assert float(row["loss"]) == pytest.approx(expected, rel=1e-4)
    _, faces, _ = load_face_clips(job, 2)
    for face in faces:
        known = face.opening[face.opening.isfinite()]
        assert len(known) == (30 if face.name.startswith("a#") else 0)
        if len(known):
            assert known.mean().abs() < 1e-5
            assert known.std(correction=0).item() == pytest.approx(1, rel=1e-4)
    before = (job.out / GENERATOR_FILE).read_bytes()
    save_openings(labelled[0], job.expression, np.random.default_rng(9).uniform(3, 4, 30))
    train_generator(job)
    assert (job.out / GENERATOR_FILE).read_bytes() != before, "other labels are another training"


def test_the_decoder_is_told_the_true_opening_where_it_is_known():
    torch.manual_seed(0)
    generator = Wav2LipGenerator(0.125, residual=True)
    speaker = Speaker(generator).eval()
    mels, faces = torch.randn(3, 1, 80, 16), torch.rand(3, 6, 96, 96)
    with torch.inference_mode():
        alone, nothing = speaker(mels, faces)
        assert nothing is None
        unknown, heard = speaker(mels, faces, torch.full((3,), torch.nan))
        assert torch.equal(unknown, alone)
        told = generator.with_openings(generator.encode_audio(mels), torch.tensor([2.0, -1.0, torch.nan]))
        says = generator.heard_openings(told)
        torch.testing.assert_close(says, torch.stack([torch.tensor(2.0), torch.tensor(-1.0), heard[2]]))
        painted = speaker(mels, faces, torch.tensor([2.0, -1.0, torch.nan]))[0]
    changed = (painted != alone).flatten(1).any(1)
    assert changed.tolist() == [True, True, False]


def test_validation_says_how_the_mouths_follow_where_faces_can_be_read(new_job):
    class BrightMouths:
        """Reads brightness as opening: the talking clips' mouths are as bright as their sound is loud."""

        def read(self, frame):
            return SimpleNamespace(opening=float(frame.mean()) / 100)

    job = new_job("out")
    trainee, faces = new_trainee(job)
    assert "validation_opening_r" not in trainee.validate()[0]
    trainee.judge = OpeningJudge(cast(FaceLandmarker, BrightMouths()))
    followed = trainee.validate()[0]["validation_opening_r"]
    assert -1 <= followed <= 1
    perfect = [to_uint8(faces[0].faces.float() / 255)[i] for i in range(30)]
    assert trainee.judge.follows("perfect", 30, perfect.__getitem__, perfect.__getitem__) == pytest.approx(1)
    still = [perfect[0]] * 30
    assert trainee.judge.follows("still", 30, perfect.__getitem__, still.__getitem__) == 0
    assert trainee.judge.follows("silent", 30, still.__getitem__, perfect.__getitem__) is None


def test_a_missing_expert_is_said_in_one_sentence(new_job):
    with pytest.raises(MissingWeights, match=r"train_sync@wav2lip, or set the weight to 0\.$") as refused:
        train_generator(new_job("out", losses={"sync": 0.03}))
    assert EXPERT_FILE in str(refused.value) and "\n" not in str(refused.value)
    assert not (new_job("out").out / STATE_FILE).exists()


def test_weights_that_leave_no_reconstruction_are_refused():
    with pytest.raises(ParamsError, match=r"losses\.sync \+ losses\.gan is 1"):
        parse_section(Wav2LipLossWeights, {"sync": 0.4, "gan": 0.6}, "params.yaml")


def test_windows_are_consecutive_frames_with_their_speech_and_depend_on_the_step_only(new_job):
    _, faces, validation = load_face_clips(new_job("out"), 2)
    batch = random_frames(faces, 12, windows=2, seed=0, step=4)
    assert batch.faces.shape == batch.references.shape == (12, 3, 96, 96)
    assert batch.mels.shape == (12, 1, 80, 16) and batch.windows == 2

    def place(frames: torch.Tensor) -> tuple[FaceClip, int]:
        return next(
            (clip, i)
            for clip in faces
            for i in range(len(clip.faces))
            if torch.equal(clip.faces[i : i + len(frames)].float() / 255, frames)
        )

    for part in (slice(0, 5), slice(5, 10), slice(10, 11), slice(11, 12)):
        clip, first = place(batch.faces[part])
        assert torch.equal(batch.mels[part], clip.sounds(range(first, first + part.stop - part.start)))
        assert place(batch.references[part])[0] is clip
    again = random_frames(faces, 12, windows=2, seed=0, step=4)
    assert torch.equal(batch.faces, again.faces) and torch.equal(batch.references, again.references)

    fixed = evenly_spaced_frames(validation, 4, in_windows=True)
    assert len(fixed.faces) == 40 and fixed.windows == 8
    for moment, first in enumerate((3, 9, 15, 21)):  # clips often begin and end in silence
        window = fixed.faces[5 * moment : 5 * moment + 5]
        assert torch.equal(window, validation[0].faces[first : first + 5].float() / 255)
    assert not any(torch.equal(a, b) for a, b in zip(fixed.faces, fixed.references, strict=True))


@pytest.mark.parametrize("length", [1, 5])
@pytest.mark.parametrize("frames", [6, 9, 10, 40])
def test_a_reference_shows_no_frame_of_its_target_where_the_clip_is_long_enough(frames: int, length: int):
    last = frames - length
    for first in range(last + 1):
        allowed = reference_starts(first, length, frames)
        assert len(allowed) and first not in allowed and allowed.min() >= 0 and allowed.max() <= last
        apart = [other for other in range(last + 1) if abs(other - first) >= length]
        farthest = max(first, last - first)
        assert allowed.tolist() == (
            apart or [o for o in (first - farthest, first + farthest) if 0 <= o <= last]
        )
    assert reference_starts(0, 5, 5).tolist() == [0], "the only window there is"


def test_random_frames_never_have_themselves_as_reference(new_job):
    _, faces, _ = load_face_clips(new_job("out"), 2)
    for number, clip in enumerate(faces):  # every frame is told by its brightness
        numbers = torch.arange(len(clip.faces)) + 40 * number
        clip.faces = numbers.byte().view(-1, 1, 1, 1).expand_as(clip.faces).clone()
    windows, seen = 4, set()
    for step in range(30):
        batch = random_frames(faces, 60, windows, seed=0, step=step)
        targets, references = (
            (255 * x[:, 0, 0, 0]).round().int().tolist() for x in (batch.faces, batch.references)
        )
        windows_and_frames = [slice(5 * i, 5 * i + 5) for i in range(windows)]
        windows_and_frames += [slice(i, i + 1) for i in range(5 * windows, 60)]
        for part in windows_and_frames:
            assert set(targets[part]).isdisjoint(references[part])
            assert {number // 40 for number in targets[part] + references[part]} == {targets[part][0] // 40}
        seen.update(references)
    assert len(seen) == sum(len(clip.faces) for clip in faces), "every frame serves as reference"


def test_batches_are_split_between_windows():
    batch = FrameBatch(*torch.arange(27.0).repeat(4, 1), windows=3)
    parts = list(batch.split(10))
    assert [len(part.faces) for part in parts] == [10, 10, 7]
    assert [part.windows for part in parts] == [2, 1, 0]
    assert torch.equal(torch.cat([part.mels for part in parts]), batch.mels)
