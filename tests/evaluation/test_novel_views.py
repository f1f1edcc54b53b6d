"""Figure 4: a row for each view, a column for each moment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from kpbe.data.clips import write_manifest
from kpbe.data.source_frame import source_frame_index
from kpbe.errors import KPBEError, MissingWeights
from kpbe.evaluation import novel_views
from kpbe.evaluation.novel_views import CELL, MOMENTS, YAWS, figure4
from kpbe.frontend.checkpoints import load_frontend, save_frontend
from kpbe.frontend.geometry import rotation_matrix
from kpbe.frontend.model import Frontend
from kpbe.inference import free_view
from kpbe.inference.free_view import decompose_image, expression_of
from kpbe.media.recording import Recording
from kpbe.media.video_writer import write_video
from kpbe.params import Params, parse_params
from tests.clips import describe_clip
from tests.frontend.tiny import tiny_model

SIZE, CLIP_SIZE, FRAMES = 64, 96, 11


def params() -> Params:
    stage = {"schedule": {"steps": 1, "batch_size": 1}}
    rest: dict[str, Any] = {"data": {}, "evaluate": {}, "compute": {"device": "cpu"}}
    train = {"stage1": stage, "stage2": stage}
    return parse_params(
        {**rest, "model": tiny_model(), "train": train, "backend": {"wav2lip": {"kind": "wav2lip"}}}
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    rng = np.random.default_rng(0)
    clips = []
    for identity in ("cy", "dee"):
        clip = describe_clip(
            root / "clips", identity, video="v", split="test", frames=FRAMES, side=CLIP_SIZE, has_audio=False
        )
        coarse = rng.integers(0, 255, (FRAMES, 4, 4, 3), np.uint8)
        write_video(clip.video, coarse.repeat(24, 1).repeat(24, 2), 25.0)
        clips.append(clip)
    write_manifest(root / "clips", clips)
    coarse = rng.integers(0, 255, (FRAMES, 4, 4, 3), np.uint8)
    video = root / "backend/test" / f"{clips[1].clip_id}.mkv"
    write_video(video, coarse.repeat(24, 1).repeat(24, 2), 25.0, codec="ffv1")
    torch.manual_seed(0)
    frontend = Frontend(params().model)
    with torch.no_grad():
        frontend.pose_expression.expression.weight.mul_(100)
    save_frontend(root / "frontend.safetensors", frontend, {})
    return root


def draw(root: Path, videos: str = "backend", checkpoint: str = "frontend.safetensors") -> Path:
    figure4(params(), "wav2lip", root / "clips", root / videos, root / checkpoint, root / "figure4.png")
    return root / "figure4.png"


def test_rows_are_views_and_columns_moments_with_the_backends_expression(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driving: list[torch.Tensor] = []
    rows: list[tuple[str, list[np.ndarray]]] = []
    render, sheet = Frontend.render, novel_views.contact_sheet

    def watched(self, source, keypoints, pose, *more):
        driving.append(keypoints)
        return render(self, source, keypoints, pose, *more)

    def shown(labelled, headings, cell):
        rows.extend(labelled)
        assert len(headings) == len(MOMENTS) and headings[0] == "dee, 0.0 s"
        return sheet(labelled, headings, cell=cell)

    monkeypatch.setattr(Frontend, "render", watched)
    monkeypatch.setattr(novel_views, "contact_sheet", shown)
    picture = np.asarray(Image.open(draw(project)))
    assert picture.shape[0] > (len(YAWS) + 1) * CELL and picture.shape[1] > len(MOMENTS) * CELL
    labels = ["Wav2Lip", "yaw -30°", "yaw -15°", "yaw 0°", "yaw 15°", "yaw 30°"]
    assert [label for label, _ in rows] == labels
    video = next((project / "backend/test").glob("dee*.mkv"))
    spoken = [Recording(video).frames()[index] for index in (1, 3, 5, 7, 9)]
    np.testing.assert_array_equal(rows[0][1], spoken)

    frontend = load_frontend(project / "frontend.safetensors", "cpu").for_rendering()
    index = source_frame_index(video.stem, FRAMES, 2210)
    real = Recording(project / "clips/test" / f"{video.stem}.mp4").frames()[index]
    source = decompose_image(frontend, real)
    for yaw, keypoints in zip(YAWS, driving, strict=True):
        rotation = rotation_matrix(torch.tensor([[yaw, 0.0, 0.0]]), frontend.params.conventions)
        still = (source.canonical_keypoints @ rotation.mT + source.pose.translation[:, None])[0]
        for column, frame in zip(keypoints, spoken, strict=True):
            torch.testing.assert_close(column, still + expression_of(frontend, frame)[0], rtol=0, atol=1e-3)


def test_missing_videos_and_checkpoints_are_named(project: Path) -> None:
    with pytest.raises(KPBEError, match=r"no test clip of .*clips has a video in .*elsewhere"):
        draw(project, videos="elsewhere")
    with pytest.raises(MissingWeights, match=r"none\.safetensors"):
        draw(project, checkpoint="none.safetensors")


def test_the_clip_that_looks_most_straight_ahead_is_shown(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for clip in ("cy", "dee"):
        video = project / "both/test" / f"{clip}#v#000000#{FRAMES:06}.mkv"
        write_video(video, np.zeros((FRAMES, CLIP_SIZE, CLIP_SIZE, 3), np.uint8), 25.0, codec="ffv1")
    shown: list[str] = []
    yaws = iter([3.0, -20.0, -20.0, 3.0])
    own, sheet = free_view.own_view, novel_views.contact_sheet

    def turned(frontend, source):
        return replace(own(frontend, source), yaw=next(yaws, 0.0))

    def watched(rows, headings, cell):
        shown.append(headings[0])
        return sheet(rows, headings, cell=cell)

    monkeypatch.setattr(free_view, "own_view", turned)
    monkeypatch.setattr(novel_views, "contact_sheet", watched)
    draw(project, videos="both")
    draw(project, videos="both")
    assert shown == ["cy, 0.0 s", "dee, 0.0 s"]
