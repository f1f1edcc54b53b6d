"""The site's statements about what a result was made from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from reports import provenance
from reports.provenance import LOCK, Revision


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KPBE_ROOT", str(tmp_path))
    git(tmp_path, "init", "-q")
    return tmp_path


def git(folder: Path, *arguments: str) -> str:
    someone = ["-c", "user.name=someone", "-c", "user.email=someone@lab.example"]
    return subprocess.run(
        ["git", "-C", str(folder), *someone, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def commit(folder: Path, file: str, text: str) -> str:
    (folder / file).write_text(text)
    git(folder, "add", file)
    git(folder, "commit", "-q", "-m", "x")
    return git(folder, "rev-parse", "--short", "HEAD")


def test_a_run_is_of_the_commit_that_has_its_lock_not_of_the_one_that_is_checked_out(checkout: Path) -> None:
    assert provenance.recorded() is None
    commit(checkout, "code.py", "1")
    assert provenance.recorded() is None
    run = commit(checkout, LOCK, "stages: {}")
    now = commit(checkout, "code.py", "2")
    assert provenance.recorded() == Revision(run, dirty=False)
    assert provenance.revision() == Revision(now, dirty=False)
    (checkout / LOCK).write_text("stages: {later: {}}")
    assert provenance.recorded() == Revision(run, dirty=True)
