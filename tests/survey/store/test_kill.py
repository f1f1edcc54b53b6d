"""After SIGKILL every acknowledged answer is stored, none is stored in part, and the raters can go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.survey import postgres_databases, sqlite_databases
from benchmarks.survey_runs import KillRun, Settings, kill_run

SMALL = Settings(clips=2, kills=1, kill_raters=4, kill_after=12)


def check(run: KillRun) -> None:
    assert len(run.acknowledged) == SMALL.kills
    total = 3 * SMALL.items * SMALL.kill_raters
    for acknowledged, at_kill, at_end in zip(run.acknowledged, run.after_kill, run.at_end, strict=True):
        assert 0 < acknowledged < SMALL.items * SMALL.kill_raters, "killed in the middle"
        assert at_kill.found >= at_kill.expected
        assert (at_kill.lost, at_kill.duplicated, at_kill.partial, at_kill.unexplained) == (0, 0, 0, 0)
        assert at_end.found == total
        assert (at_end.lost, at_end.duplicated, at_end.partial, at_end.unexplained) == (0, 0, 0, 0)


@pytest.mark.slow  # fresh processes
def test_the_writing_process_is_killed_over_sqlite(tmp_path: Path) -> None:
    check(kill_run("SQLite", "the process", sqlite_databases, SMALL, tmp_path))


@pytest.mark.slow  # fresh processes and a database server
@pytest.mark.parametrize("victim", ["process", "server"])
def test_the_writing_process_or_the_server_is_killed_over_postgresql(postgres, tmp_path, victim) -> None:
    killed = postgres if victim == "server" else None
    check(
        kill_run(
            "PostgreSQL",
            victim,
            lambda folder: postgres_databases(postgres.url, folder),
            SMALL,
            tmp_path,
            killed,
        )
    )
