"""`kpbe speak`: a picture and speech in, a talking video out, right after a clone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from kpbe import cli
from kpbe.backends import speech_video
from kpbe.backends.registry import backend_of
from kpbe.backends.speech_video import with_finders
from kpbe.checkpoints.catalogue import CATALOGUE
from kpbe.data import faces
from kpbe.errors import BadClip, MissingWeights
from kpbe.media.audio import write_wav
from kpbe.media.recording import Recording
from kpbe.params import load_params
from tests.conftest import REPOSITORY

SECONDS = 0.4


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of the repository that `speak` needs, beside no weights folder."""
    root = tmp_path / "deep" / "clone"
    (root / "weights").mkdir(parents=True)
    shutil.copy(REPOSITORY / "params.yaml", root)
    shutil.copytree(REPOSITORY / "weights" / "released", root / "weights" / "released")
    write_wav(root / "speech.wav", np.sin(np.arange(round(16000 * SECONDS)) / 9).astype(np.float32) / 4)
    monkeypatch.chdir(root)
    monkeypatch.delenv("KPBE_WEIGHTS", raising=False)
    faces._say_cascade.cache_clear()
    return root


@pytest.fixture
def portrait(shared_clips: Path, clone: Path) -> np.ndarray:
    picture = Recording(shared_clips / "grid_lipnet" / "GRID_lbbc2a.mpg").frames()[0]
    Image.fromarray(picture).save(clone / "face.png")
    return picture


def run(*arguments: str) -> Any:
    sound = ["--audio", "speech.wav", "--out", "talking.mkv"]
    return CliRunner().invoke(cli.app, ["speak", *arguments, *sound])


def test_a_face_speaks_with_no_file_fetched(clone: Path, portrait: np.ndarray) -> None:
    result = run("wav2lip", "--source", "face.png")
    assert result.exit_code == 0, result.output
    assert result.stderr.count("frontal cascade") == 1
    info = Recording(clone / "talking.mkv").info
    assert (info.frames, info.width, info.height) == (10, portrait.shape[1], portrait.shape[0])
    changed = (np.abs(Recording(clone / "talking.mkv").frames()[5].astype(int) - portrait) > 8).any(-1)
    mouth, wall = changed[215:245, 170:205], changed[:, :60]
    assert mouth.mean() > 0.1 and not wall.any(), "the face is painted, and nothing beside it"


def test_a_picture_without_a_face_is_refused(clone: Path) -> None:
    Image.fromarray(np.full((120, 160, 3), 90, np.uint8)).save(clone / "face.png")
    result = run("wav2lip", "--source", "face.png")
    assert isinstance(result.exception, BadClip)
    assert "finds a face in 0 of 1 frames: `kpbe weights get yunet`" in str(result.exception)


def test_a_backend_without_weights_says_what_to_do(clone: Path) -> None:
    (clone / "weights/released/pcavs.safetensors").unlink()
    result = run("pcavs", "--source", "face.png")
    assert isinstance(result.exception, MissingWeights)
    assert "dvc repro train_backend@pcavs" in str(result.exception) and "--checkpoint" in str(
        result.exception
    )


def test_what_is_set_stays_and_what_is_unknown_is_looked_for(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = load_params()
    _, wav2lip = backend_of(params, "wav2lip")
    _, pcavs = backend_of(params, "pcavs")
    assert (wav2lip.detector, pcavs.landmarks) == ("known", "yunet")
    assert with_finders(wav2lip).detector == "cascade"
    assert with_finders(pcavs).landmarks == "cascade"
    chosen = wav2lip.model_copy(update={"detector": "sfd"})
    assert with_finders(chosen).detector == "sfd"
    (clone / "weights" / CATALOGUE["yunet"].file).touch()
    monkeypatch.setattr(speech_video, "finder_here", lambda: "yunet")
    assert with_finders(wav2lip).detector == "yunet"
    assert with_finders(pcavs) is pcavs
