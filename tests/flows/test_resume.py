"""A real stage, killed in the middle and run again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from kpbe.core.files import UNFINISHED, read_csv

REPOSITORY = Path(__file__).resolve().parents[2]
CLIPS = 8


def start_acquire(folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(
        [sys.executable, "-m", "flows.acquire"],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def records(folder: Path) -> dict[str, int]:
    """Whole clips and when their record was written."""
    return {path.stem: path.stat().st_mtime_ns for path in (folder / "data/raw").glob("*/*.json")}


@pytest.mark.slow
def test_acquire_killed_in_the_middle_makes_only_what_is_missing(tmp_path: Path) -> None:
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
    params["data"]["sample"].update(
        train_identities=2, test_identities=2, clips_per_identity=2, seconds=0.6, frame_size=64
    )
    params["compute"].update(runner="processes", workers=2)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))

    stage = start_acquire(tmp_path)
    deadline = time.monotonic() + 120
    while len(records(tmp_path)) < 2:
        assert stage.poll() is None, stage.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    stage.send_signal(signal.SIGKILL)
    stage.communicate()  # returns when the workers, who share its output, are gone too
    before = records(tmp_path)
    assert 2 <= len(before) < CLIPS
    assert not (tmp_path / "data/raw/videos.csv").exists()

    output, errors = start_acquire(tmp_path).communicate(timeout=300)
    assert f"{len(before)} of {CLIPS} clips are already there" in output, errors
    after = records(tmp_path)
    assert len(after) == CLIPS
    assert {name: after[name] for name in before} == before
    assert len(read_csv(tmp_path / "data/raw/videos.csv")) == CLIPS
    assert list(tmp_path.rglob(f"{UNFINISHED}*")) == []
