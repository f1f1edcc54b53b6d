"""`kpbe enhance`: any talking video and a picture in, an enhanced video with the same sound out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from kpbe import cli
from kpbe.errors import BadClip
from kpbe.frontend.checkpoints import save_frontend
from kpbe.frontend.model import Frontend
from kpbe.inference.enhance import enhance
from kpbe.media.audio import write_wav
from kpbe.media.recording import Recording
from kpbe.media.video_writer import write_video
from tests.frontend.tiny import tiny_frontend

SIZE, FRAMES, FPS = 64, 10, 25.0


@pytest.fixture(scope="module")
def frontend() -> Frontend:
    return tiny_frontend()


def moving(frames: int, width: int, height: int, phase: float = 0.0) -> np.ndarray:
    y, x, t = np.meshgrid(np.arange(height), np.arange(width), np.arange(frames), indexing="ij", sparse=True)
    wave = np.sin((x + 2 * t) / 9 + phase) + np.cos(y / 7 + phase)
    grey = np.rint(127.5 + 55 * wave).astype(np.uint8).transpose(2, 0, 1)
    return np.repeat(grey[..., None], 3, axis=3)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, frontend: Frontend) -> Path:
    root = tmp_path_factory.mktemp("project")
    (root / "checkpoints/stage1").mkdir(parents=True)
    save_frontend(root / "checkpoints/stage1/frontend.safetensors", frontend, {})
    write_wav(root / "speech.wav", np.sin(np.arange(round(16000 * FRAMES / FPS)) / 9).astype(np.float32) / 4)
    write_video(root / "talking.mp4", moving(FRAMES, 96, 64), FPS, audio=root / "speech.wav")
    write_video(root / "mute.mp4", moving(FRAMES, SIZE, SIZE), FPS)
    write_video(root / "head.mp4", moving(FRAMES - 3, SIZE, SIZE, 1.0), FPS)
    Image.fromarray(moving(1, 80, 100)[0]).save(root / "face.png")
    return root


def run(*arguments: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(project)
    monkeypatch.delenv("KPBE_WEIGHTS", raising=False)
    return CliRunner().invoke(cli.app, ["enhance", *arguments])


def test_a_video_of_any_shape_is_enhanced_with_its_sound(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run(
        "talking.mp4", "--source", "face.png", "--out", "better.mp4", project=project, monkeypatch=monkeypatch
    )
    assert result.exit_code == 0, result.output
    assert f"{FRAMES} frames" in result.output
    info = Recording(project / "better.mp4").info
    assert (info.width, info.height, info.frames, info.has_audio) == (80, 80, FRAMES, True)


def test_it_renders_what_the_library_renders(
    project: Path, frontend: Frontend, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [
        "mute.mp4",
        "--source",
        "mute.mp4",
        "--pose",
        "head.mp4",
        "--out",
        "better.mkv",
        "--framing",
        "whole",
    ]
    assert run(*asked, project=project, monkeypatch=monkeypatch).exit_code == 0
    talking, head = Recording(project / "mute.mp4").frames(), Recording(project / "head.mp4").frames()
    expected = np.stack(list(enhance(frontend, talking[0], head, talking)))
    written = Recording(project / "better.mkv").frames()
    assert len(written) == FRAMES - 3, "the shorter video ends it"
    assert np.abs(written.astype(int) - expected).max() <= 1
    assert not Recording(project / "better.mkv").info.has_audio


def test_unreadable_input_leaves_nothing_behind(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "broken.mp4").write_bytes(b"no video")
    for talking, source in (
        ("broken.mp4", "face.png"),
        ("mute.mp4", "broken.png"),
        ("missing.mp4", "face.png"),
    ):
        result = run(
            talking, "--source", source, "--out", "none.mp4", project=project, monkeypatch=monkeypatch
        )
        assert isinstance(result.exception, BadClip)
        assert str(talking if source == "face.png" else source) in str(result.exception)
    assert not (project / "none.mp4").exists() and not list(project.glob(".unfinished*"))
