"""The stage mos_stimuli as DVC runs it, killed in the middle and run again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from kpbe.core.files import UNFINISHED, file_sha256
from kpbe.data.clips import make_clip_id, write_manifest
from kpbe.media.audio import write_wav
from kpbe.media.recording import Recording
from kpbe.media.video_writer import write_video
from kpbe.survey.study.design import read_study
from tests.clips import describe_clip

REPOSITORY = Path(__file__).resolve().parents[2]
FRAMES, FPS, SIDE = 75, 25.0, 64


def write_project(folder: Path) -> None:
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
    params["backends"] = ["wav2lip"]
    params["survey"].update(clips=4, image_size=256)
    params["compute"].update(runner="processes", workers=2)
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (FRAMES, SIDE, SIDE, 3), np.uint8)
    clips = []
    for number in range(4):
        clip_id = make_clip_id(f"p{number}", "v", 0, FRAMES)
        clip = describe_clip(
            folder / "data/clips", f"p{number}", video="v", split="test", frames=FRAMES, side=SIDE
        )
        write_video(clip.video, frames, FPS)
        write_wav(clip.wav, 0.1 * rng.normal(size=round(16000 * FRAMES / FPS)))
        for kind in ("backend", "enhanced"):
            write_video(folder / f"data/{kind}/wav2lip/test/{clip_id}.mkv", frames, FPS, codec="ffv1")
        clips.append(clip)
    write_manifest(folder / "data/clips", clips)


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "flows.mos_stimuli"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finished(folder: Path) -> dict[str, int]:
    """Items with a record, and when their video was written."""
    records = (folder / "data/survey/records/items").glob("*.json")
    videos = [folder / "reports/static/stimuli" / f"{record.stem}.mp4" for record in records]
    return {video.name: video.stat().st_mtime_ns for video in videos}


@pytest.mark.slow
def test_killed_in_the_middle_it_makes_only_what_is_missing(tmp_path: Path) -> None:
    write_project(tmp_path)
    study_file = tmp_path / "data/survey/study.json"
    stage = start(tmp_path)
    deadline = time.monotonic() + 300
    while len(finished(tmp_path)) < 2:
        assert stage.poll() is None, stage.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    stage.send_signal(signal.SIGKILL)
    stage.communicate()  # returns when the workers, who share its output, are gone too
    before = finished(tmp_path)
    assert not study_file.exists()

    output, errors = start(tmp_path).communicate(timeout=600)
    study = read_study(study_file)
    assert 2 <= len(before) < len(study.items)
    assert f"{len(before)} of {len(study.items)} clips are already there" in output, errors
    assert "survey.clips" not in output and "4 of 4 test clips (4 identities) by 2 methods" in output
    after = finished(tmp_path)
    assert {name: after[name] for name in before} == before
    assert list(tmp_path.rglob(f"{UNFINISHED}*")) == []
    stimuli = tmp_path / "reports/static/stimuli"
    assert {path.name for path in stimuli.iterdir()} == {item.file for item in study.items}
    for item in study.items:
        assert file_sha256(stimuli / item.file) == item.sha256
        assert Recording(stimuli / item.file).info.frames == FRAMES
