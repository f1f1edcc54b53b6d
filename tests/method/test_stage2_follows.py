"""Stage 2 renders the real frame's pose with the backend's mouth and compares the result with the real frame.

See section III.D and equation 3 of the paper.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from kpbe.data.clips import backend_video, write_manifest
from kpbe.media.audio import write_wav
from kpbe.media.video_writer import write_video
from kpbe.params import Params, parse_params
from kpbe.training import frontend_stage, frontend_terms
from kpbe.training.adversarial import Adversary
from kpbe.training.perceptual import PerceptualTerms
from kpbe.training.stage1 import train_stage1
from kpbe.training.stage2 import train_stage2
from tests.clips import describe_clip
from tests.method.drawn_world import MOUTHS, SIZE, PerfectFrontend, drawings
from tests.training.short_training import params, unlabelled

FPS = 25.0
POSES = [0, 1, 2, 3, 4] * MOUTHS
REAL_MOUTHS = [0] * 5 + [1] * 5 + [2] * 5 + [3] * 5
BACKEND_MOUTHS = [(mouth + 1) % MOUTHS for mouth in REAL_MOUTHS]
"""A backend that always shows the next mouth: what is taken from it cannot be mistaken for the real
frame's.
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips in which poses and mouths come in all combinations, and a backend that keeps the head still."""
    root, frames = tmp_path_factory.mktemp("clips"), len(POSES)
    clips = []
    for person, identity in enumerate("ab"):
        clip_id = f"{identity}#1#000000#{frames:06}"
        video = root / "train" / f"{clip_id}.mkv"
        write_video(video, drawings(person)[POSES, REAL_MOUTHS], FPS, codec="ffv1")
        clip = describe_clip(root, identity, frames=frames, side=SIZE, suffix=".mkv")
        write_wav(clip.wav, np.full(round(16000 * frames / FPS), 0.1, np.float32))
        still = drawings(person)[0, BACKEND_MOUTHS]
        write_video(backend_video(root / "backends" / "b", clip), still, FPS, codec="ffv1")
        clips.append(clip)
    write_manifest(root, clips)
    return root


def settings(**losses: float) -> Params:
    values = params(steps=3, batch_size=4).model_dump(mode="json")
    for stage in ("stage1", "stage2"):
        section = values["train"][stage]
        section["losses"] = dict.fromkeys(section["losses"], 0.0) | {"pixel": 1.0, "mouth": 1.0} | losses
        section["augment"] = {
            "time_flip": True, "mirror": False, "brightness": 0, "contrast": 0, "saturation": 0, "hue": 0,
        }  # fmt: skip
        section["ema_decay"] = 0.0
        section["warm_up"] = {"same_frame_until": 0, "any_frame_from": 0}
        section["perceptual"]["missing"] = "pixels"
    values["backends"] = ["b"]
    values["backend"] = {"b": {"kind": "wav2lip"}}
    return parse_params(values)


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The pairs (generated, target) that the pictures' loss compared, in every step.

    The frontend under training is the perfect one.
    """
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    forward = PerceptualTerms.forward

    def remembered(self: PerceptualTerms, generated: torch.Tensor, target: torch.Tensor, *more) -> dict:
        seen.append((generated.detach(), target.detach()))
        return forward(self, generated, target, *more)

    def perfect(start: Path | None, model: object) -> tuple[PerfectFrontend, dict]:
        return PerfectFrontend(), {"started_from": "perfect", "started_from_sha256": None}

    monkeypatch.setattr(PerceptualTerms, "forward", remembered)
    monkeypatch.setattr(frontend_stage, "_starting_frontend", perfect)
    monkeypatch.setattr("kpbe.training.frontend_trainee.save_frontend", lambda *_: None)
    return seen


def test_stage_2_takes_pose_from_the_real_frame_and_mouth_from_the_backend(folder, compared, tmp_path):
    train_stage2("b", settings(), unlabelled(folder), folder / "backends", tmp_path, tmp_path / "out")
    assert len(compared) == 3
    world = PerfectFrontend()
    for generated, target in compared:
        people, poses, mouths = world.recognise(target)
        assert torch.equal(target, world.pictures[people, poses, mouths]), "the target is a real frame"
        expected = world.pictures[people, poses, (mouths + 1) % MOUTHS]
        assert torch.equal(generated, expected), "the real frame's pose, the backend's mouth"
    targets = torch.cat([target for _, target in compared])
    assert len(torch.unique(world.recognise(targets)[1])) > 2, (
        "heads turn: a still target would be the backend's"
    )


def test_source_pose_and_backend_frames_of_a_pair_are_three_moments_of_one_person(
    folder, compared, tmp_path, monkeypatch
):
    """Source and target are different frames: a network that copies its input would learn no motion."""
    sources: list[torch.Tensor] = []
    decompose = PerfectFrontend.decompose

    def remembered(self: PerfectFrontend, image: torch.Tensor):
        if self.training:  # not the validation pairs
            sources.append(image)
        return decompose(self, image)

    monkeypatch.setattr(PerfectFrontend, "decompose", remembered)
    train_stage2("b", settings(), unlabelled(folder), folder / "backends", tmp_path, tmp_path / "out")
    world, same, pairs = PerfectFrontend(), 0, 0
    for source, (_, target) in zip(sources, compared, strict=True):
        assert torch.equal(world.recognise(source)[0], world.recognise(target)[0]), "one person"
        same += int((source == target).flatten(1).all(1).sum())
        pairs += len(source)
    assert pairs == 12 and same < pairs / 2, "frames are drawn apart"


def test_the_discriminator_judges_against_the_real_frame(folder, compared, tmp_path, monkeypatch):
    seen: list[torch.Tensor] = []
    terms, step = Adversary.terms, Adversary.step

    def judged(self: Adversary, generated: torch.Tensor, real: torch.Tensor):
        seen.append(real)
        return terms(self, generated, real)

    def learned(self: Adversary, number: int, pairs):
        seen.extend(real for real, _ in pairs)
        return step(self, number, pairs)

    monkeypatch.setattr(Adversary, "terms", judged)
    monkeypatch.setattr(Adversary, "step", learned)
    options = settings(gan=1.0, feature_matching=1.0)
    train_stage2("b", options, unlabelled(folder), folder / "backends", tmp_path, tmp_path / "out")
    assert len(seen) == 6
    for index, (_, target) in enumerate(compared):
        assert torch.equal(seen[2 * index], target) and torch.equal(seen[2 * index + 1], target)


def test_eq_4_holds_the_backends_expression_small(folder, compared, tmp_path, monkeypatch):
    seen: list[torch.Tensor] = []
    magnitude = frontend_terms.expression_magnitude

    def remembered(expression: torch.Tensor):
        seen.append(expression)
        return magnitude(expression)

    monkeypatch.setattr(frontend_terms, "expression_magnitude", remembered)
    options = settings(expression=1.0)
    train_stage2("b", options, unlabelled(folder), folder / "backends", tmp_path, tmp_path / "out")
    world = PerfectFrontend()
    for expression, (_, target) in zip(seen, compared, strict=True):
        mouths = (world.recognise(target)[2] + 1) % MOUTHS
        assert torch.equal(expression, world.expressions[mouths])


def test_stage_1_reconstructs_the_driving_frame(folder, compared, tmp_path):
    train_stage1(settings(), unlabelled(folder), tmp_path / "out")
    for generated, target in compared:
        assert torch.equal(generated, target)
