"""Lip opening as the judge of an expression during training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kpbe.checkpoints import catalogue
from kpbe.frontend.geometry import HeadPose
from kpbe.frontend.model import Decomposition
from kpbe.params import ComputeParams, ScheduleParams
from kpbe.training import opening
from kpbe.training.frames import ClipFrames
from kpbe.training.opening import EXPRESSION_ALONE, WITH_BACKEND, OpeningJudge

SCHEDULE = ScheduleParams(steps=1, batch_size=1, validation_frames=10)


class Opening:
    def __init__(self, value: float) -> None:
        self.opening = value


class RedIsOpen:
    """Reads the redness of a picture as the opening of its mouth; a black picture shows no face."""

    def read(self, frame: np.ndarray) -> Opening | None:
        return Opening(float(frame[..., 0].mean()) / 255) if frame[..., 1:].any() else None


class Follows(torch.nn.Module):
    """A frontend that renders its expression frames with `two sources`, and grey from expression alone."""

    def __init__(self, detail: str = "warp_both") -> None:
        super().__init__()
        self.detail, self.idle = detail, torch.nn.Parameter(torch.zeros(1))
        self.poses: list[Tensor] = []

    def use_detail(self, detail: str) -> None:
        self.detail = detail

    def decompose(self, image: Tensor) -> Any:
        return image

    def estimate_pose_expression(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return image, image

    def reenact(self, source: Decomposition, pose: HeadPose, images: Tensor) -> Any:
        assert isinstance(pose, Tensor) and not torch.equal(pose, images), "the pose is another moment's"
        frame = images if self.detail == "warp_both" else torch.full_like(images, 0.5)

        class Made:
            pass

        made = Made()
        made.frame = frame  # pyright: ignore[reportAttributeAccessIssue]
        return made


@pytest.fixture
def judge(coloured, monkeypatch) -> OpeningJudge:
    monkeypatch.setattr(catalogue, "find", lambda name: "there")
    monkeypatch.setattr(opening, "load_face_landmarker", RedIsOpen)
    frames = ClipFrames(coloured.clips[2:], coloured.no_labels, where=ComputeParams(frames="video"))
    return OpeningJudge(frames, SCHEDULE)


def test_a_mouth_that_follows_has_one_and_a_still_one_nothing(judge):
    frontend: Any = Follows()
    measured = judge.measure(frontend)
    assert measured[WITH_BACKEND] == pytest.approx(1, abs=1e-3)
    assert measured[EXPRESSION_ALONE] == 0
    assert frontend.detail == "warp_both", "left as it was"


def test_a_frontend_without_a_second_source_is_measured_by_its_expression_only(judge):
    frontend: Any = Follows("none")
    assert set(judge.measure(frontend)) == {EXPRESSION_ALONE}


def test_without_the_landmarkers_file_nothing_is_measured(coloured, monkeypatch):
    monkeypatch.setattr(catalogue, "find", lambda name: None)
    frontend: Any = Follows()
    assert OpeningJudge(ClipFrames(coloured.clips, coloured.no_labels), SCHEDULE).measure(frontend) == {}
