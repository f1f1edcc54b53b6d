"""Worker processes on shards: what they share with the calling process, and what they have ready."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from kpbe.core.processes import kept_by_worker, run_in_pool, worker_pool

REPOSITORY = Path(__file__).resolve().parents[2]

needs_server = pytest.mark.skipif(sys.platform == "win32", reason="has no fork server")


def environment_of(variable: str) -> str | None:
    return os.environ.get(variable)


def folder_of(_: Any) -> str:
    return str(Path.cwd())


def file_of(module: str) -> str | None:
    return sys.modules[module].__file__


def test_workers_have_the_environment_and_the_folder_of_who_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with worker_pool(1) as pool:  # a server, if there is one, runs before anything changes
        assert run_in_pool(pool, folder_of, None) == str(Path.cwd())
    before = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("KPBE_TEST", "later")
    monkeypatch.chdir(tmp_path)
    with worker_pool(1) as pool:
        assert run_in_pool(pool, environment_of, "KPBE_TEST") == "later"
        assert run_in_pool(pool, environment_of, "PYTHONPATH") == before
        assert run_in_pool(pool, folder_of, None) == str(tmp_path)
        assert (
            run_in_pool(pool, file_of, "kpbe.core.processes") == sys.modules["kpbe.core.processes"].__file__
        )


PROGRAM = """
import os, sys
sys.path.insert(0, {repository!r})
os.chdir({folder!r})

def ready(_):
    import multiprocessing
    import torch
    return torch.get_num_threads(), os.environ["OMP_NUM_THREADS"], imported_before

imported_before = "torch" in sys.modules

if __name__ == "__main__":
    import torch
    import kpbe.frontend.model
    from kpbe.core.processes import run_in_pool, worker_pool

    for workers in (1, os.cpu_count()):
        with worker_pool(workers) as pool:
            print(*run_in_pool(pool, ready, None))
"""


@needs_server
def test_workers_have_imported_what_their_parent_has_and_share_the_cores(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM.format(repository=str(REPOSITORY), folder=str(tmp_path)))
    environment = {k: v for k, v in os.environ.items() if not k.endswith("NUM_THREADS")}
    result = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    cores = os.cpu_count()
    assert result.stdout.splitlines() == [f"{cores} {cores} True", "1 1 True"], result.stderr


def test_what_a_worker_loaded_is_kept_for_the_same_arguments_in_each_thread():
    loaded = []

    @kept_by_worker
    def load(name: str) -> object:
        loaded.append(name)
        return object()

    first = load("a")
    assert load("a") is first and loaded == ["a"]
    assert load("b") is not first and load("a") is not first, "only the last is kept"
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(load, "a").result() is not load("a")
    assert loaded == ["a", "b", "a", "a"]
