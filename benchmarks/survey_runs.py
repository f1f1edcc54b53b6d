"""Runs of the survey's benchmark: raters in server processes, and a check of the database afterwards."""

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
        raters: number of raters at the same time.
        clips: of each of the four methods and the ground truth.
        processes: number of servers, which share the raters.
        think_seconds: pause of each run, see `Job`.
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
        """Number of items that every rater answers."""
        return self.clips * (len(METHODS) + 1)


@dataclass(frozen=True)
class Count:
    """What the database holds against what was acknowledged.

    Attributes:
        acknowledged: (rater, item) pairs.
        expected: answers that the database must hold: 3 for each acknowledged pair.
        found: answers that it holds.
        lost: acknowledged answers that it lacks or holds with another score.
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
    """Kills of one kind: database, victim, acknowledged answers and count at each kill, counts at the end."""

    database: str
    victim: str
    acknowledged: list[int]
    after_kill: list[Count]
    at_end: list[Count]


class Crowd:
    """A study in a new database with invited raters, and the server processes for them.

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
        """Start processes that share the raters; they add what they acknowledge to `acknowledged`."""
        servers = []
        for place in range(processes):
            raters = tuple(self.raters[place::processes])
            job = Job(self.url, str(self.folder / "study.json"), raters, think_seconds, changed_minds)
            path = self.folder / f"job-{uuid4().hex}.json"
            write_json(path, asdict(job))
            servers.append(Server(path, self.acknowledged))
        return servers

    def count(self) -> Count:
        """Compare the database with the acknowledged answers."""
        return compare(self.store, self.study, list(self.acknowledged))


class Server:
    """A process of `benchmarks.survey_load` and the thread that reads its acknowledgements."""

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
            if line.endswith(b"\n"):  # otherwise the process was killed while writing the line
                self._acknowledged.append(Acknowledged(**json.loads(line)))
                self.heard += 1

    def wait(self) -> int:
        """Wait until the process has ended and all its output is read; return its exit status."""
        code = self.process.wait()
        self._listener.join()
        return code

    def kill(self) -> None:
        """Send SIGKILL and wait."""
        self.process.send_signal(signal.SIGKILL)
        self.wait()


def compare(store: SurveyStore, study: Study, acknowledged: Sequence[Acknowledged]) -> Count:
    """Count the answers in the database against those acknowledged, given in the order of acknowledgement."""
    last: dict[tuple[int, str], dict[str, int]] = {}
    for one in acknowledged:
        last[one.rater, one.item] = one.scores
    with store.database.reading() as connection:
        rows = connection.execute(select(schema.answers).where(schema.answers.c.study == study.name)).all()
        history = connection.execute(select(schema.answer_history).order_by(schema.answer_history.c.id)).all()
    scores_by_key = {(row.rater, row.item, row.question): row.score for row in rows}
    lost = sum(
        scores_by_key.get((rater, item, question)) != score
        for (rater, item), scores in last.items()
        for question, score in scores.items()
    )
    questions = Counter((rater, item) for rater, item, _ in scores_by_key)
    before: dict[tuple[int, str, str], int] = {}
    unexplained = 0
    for row in history:
        key = (row.rater, row.item, row.question)
        unexplained += before.get(key) == row.score
        before[key] = row.score
    unexplained += before != scores_by_key
    return Count(
        acknowledged=len(last),
        expected=3 * len(last),
        found=len(rows),
        lost=lost,
        duplicated=len(rows) - len(scores_by_key),
        partial=sum(number != len(QUESTIONS) for number in questions.values()),
        unexplained=unexplained,
    )


def load_run(database: str, url: str, settings: Settings, think_seconds: float, folder: Path) -> LoadRun:
    """Let all raters rate from the first to the last clip."""
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
    """Kill a server, restart it, look for everything acknowledged, and let the raters finish; repeatedly.

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
