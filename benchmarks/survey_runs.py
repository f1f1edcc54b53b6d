"""Runs of the survey's benchmark: a crowd of raters in server processes, what they were told, what the
database holds.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Thread
from time import perf_counter, sleep
from uuid import uuid4

from sqlalchemy import select

from benchmarks.postgres import Postgres
from benchmarks.survey_load import METHODS, Acknowledged, Job, study_of
from kpbe.core.files import write_json
from kpbe.survey.store import schema
from kpbe.survey.store.answers import SurveyStore
from kpbe.survey.study.design import QUESTIONS, Study

REPOSITORY = Path(__file__).resolve().parents[1]
CHANGED_MINDS = 0.03

Databases = Callable[[Path], AbstractContextManager[str]]
"""Gives the URL of an empty database; a folder takes its files."""


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        raters: at the same time.
        clips: of each of the four methods and the ground truth.
        processes: servers that share the raters.
        think_seconds: of each run, see `Job`.
        kills: SIGKILLs of each kind.
        kill_raters: raters of each of them.
        kill_after: acknowledged answers before a SIGKILL.
    """

    raters: int = 50
    clips: int = 13
    processes: int = 5
    think_seconds: tuple[float, ...] = (0.0, 1.0)
    kills: int = 5
    kill_raters: int = 10
    kill_after: int = 200

    @property
    def items(self) -> int:
        """That every rater answers."""
        return self.clips * (len(METHODS) + 1)


@dataclass(frozen=True)
class Count:
    """What the database holds against what was acknowledged.

    Attributes:
        acknowledged: (rater, item) pairs.
        expected: answers that stand in the database if nothing was lost: 3 for each acknowledged pair.
        found: answers that stand there.
        lost: acknowledged answers that do not, or with another score.
        duplicated: answers beyond one for each (rater, item, question).
        partial: items with some, but not all questions.
        unexplained: history rows beyond first answers and changed scores.
    """

    acknowledged: int
    expected: int
    found: int
    lost: int
    duplicated: int
    partial: int
    unexplained: int


@dataclass(frozen=True)
class LoadRun:
    """A load run: database, pace, its seconds, the seconds of each answer, and the count."""

    database: str
    think_seconds: float
    wall_seconds: float
    latencies: list[float]
    count: Count


@dataclass(frozen=True)
class KillRun:
    """Kills of one kind: database, who was killed, how often, acknowledged answers at the kills, counts then
    and at the end.
    """

    database: str
    victim: str
    acknowledged: list[int]
    after_kill: list[Count]
    at_end: list[Count]


class Crowd:
    """A study in a new database with invited raters, and server processes for them.

    Args:
        url: of an empty database.
        settings: see there.
        folder: for study.json and the jobs.
    """

    def __init__(self, url: str, settings: Settings, folder: Path) -> None:
        self.url, self.settings, self.folder = url, settings, folder
        self.study = study_of(settings.clips)
        self.study.write(folder / "study.json")
        self.store = SurveyStore(url, self.study)
        self.store.create()
        self.store.add_study(self.study.name, self.study.design_sha256)
        invited = self.store.invite(self.study.name, settings.raters)
        self.raters = [(one.rater_number, one.token) for one in invited]
        self.acknowledged: list[Acknowledged] = []

    def start(self, processes: int, think_seconds: float = 0.0, changed_minds: float = 0.0) -> list[Server]:
        """Processes that share the raters; what they acknowledge is added to `acknowledged`."""
        servers = []
        for place in range(processes):
            raters = tuple(self.raters[place::processes])
            job = Job(self.url, str(self.folder / "study.json"), raters, think_seconds, changed_minds)
            path = self.folder / f"job-{uuid4().hex}.json"
            write_json(path, asdict(job))
            servers.append(Server(path, self.acknowledged))
        return servers

    def count(self) -> Count:
        """Compare the database with what was acknowledged."""
        return compare(self.store, self.study, list(self.acknowledged))


class Server:
    """A process of `benchmarks.survey_load` and the thread that hears its acknowledgements."""

    def __init__(self, job: Path, acknowledged: list[Acknowledged]) -> None:
        command = [sys.executable, "-m", "benchmarks.survey_load", str(job)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY)
        self.heard = 0
        self._acknowledged = acknowledged
        self._listener = Thread(target=self._listen)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith(b"\n"):  # else the kill came within the line
                self._acknowledged.append(Acknowledged(**json.loads(line)))
                self.heard += 1

    def wait(self) -> int:
        """Until the process has ended and all it said was heard; gives the exit status."""
        code = self.process.wait()
        self._listener.join()
        return code

    def kill(self) -> None:
        """SIGKILL."""
        self.process.send_signal(signal.SIGKILL)
        self.wait()


def compare(store: SurveyStore, study: Study, acknowledged: Sequence[Acknowledged]) -> Count:
    """What the database holds against what was acknowledged, in the order of the acknowledgements."""
    last: dict[tuple[int, str], dict[str, int]] = {}
    for one in acknowledged:
        last[one.rater, one.item] = one.scores
    with store.database.reading() as connection:
        rows = connection.execute(select(schema.answers).where(schema.answers.c.study == study.name)).all()
        history = connection.execute(select(schema.answer_history).order_by(schema.answer_history.c.id)).all()
    found = {(row.rater, row.item, row.question): row.score for row in rows}
    lost = sum(
        found.get((rater, item, question)) != score
        for (rater, item), scores in last.items()
        for question, score in scores.items()
    )
    questions = Counter((rater, item) for rater, item, _ in found)
    before: dict[tuple[int, str, str], int] = {}
    unexplained = 0
    for row in history:
        key = (row.rater, row.item, row.question)
        unexplained += before.get(key) == row.score
        before[key] = row.score
    unexplained += before != found
    return Count(
        acknowledged=len(last),
        expected=3 * len(last),
        found=len(rows),
        lost=lost,
        duplicated=len(rows) - len(found),
        partial=sum(number != len(QUESTIONS) for number in questions.values()),
        unexplained=unexplained,
    )


def load_run(database: str, url: str, settings: Settings, think_seconds: float, folder: Path) -> LoadRun:
    """All raters from the first to the last clip."""
    crowd = Crowd(url, settings, folder)
    started = perf_counter()
    for server in crowd.start(settings.processes, think_seconds, CHANGED_MINDS):
        if code := server.wait():
            raise RuntimeError(f"a server process ended with status {code}")
    wall = perf_counter() - started
    return LoadRun(database, think_seconds, wall, [one.seconds for one in crowd.acknowledged], crowd.count())


def kill_run(
    database: str,
    victim: str,
    databases: Databases,
    settings: Settings,
    folder: Path,
    postgres: Postgres | None = None,
) -> KillRun:
    """Kill in the middle, start again, look whether everything acknowledged is there, and let the raters
    finish.

    Args:
        database: its name.
        victim: what is killed, in words.
        databases: makes an empty one.
        settings: see there.
        folder: for files.
        postgres: the database server to kill; None kills the process that writes.
    """
    run = KillRun(database, victim, [], [], [])
    for number in range(settings.kills):
        with databases(folder) as url:
            crowd = Crowd(url, replace(settings, raters=settings.kill_raters), folder)
            (server,) = crowd.start(1)
            while server.heard < settings.kill_after + 7 * number and server.process.poll() is None:
                sleep(0.002)
            if postgres is None:
                server.kill()
            else:
                postgres.stop(signal.SIGKILL)
            run.acknowledged.append(len(crowd.acknowledged))
            if postgres is not None:
                postgres.start()  # the raters go on at once
            crowd.store.check_schema()
            run.after_kill.append(crowd.count())
            if postgres is None:
                (server,) = crowd.start(1)
            if code := server.wait():
                raise RuntimeError(f"the server process ended with status {code}")
            run.at_end.append(crowd.count())
    return run
