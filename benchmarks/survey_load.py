"""Raters for the survey's load and kill runs.

`python -m benchmarks.survey_load <job.json>` is one server process with many raters. When a call to store an
answer has returned, the process prints it as a JSON line; this line is the acknowledgement.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from time import perf_counter, sleep
from typing import TypeVar

from kpbe.errors import SurveyError
from kpbe.survey.store.answers import SurveyStore
from kpbe.survey.study.design import GROUND_TRUTH, QUESTIONS, Item, Study, read_study

METHODS = ("wav2lip", "wav2lip+kpbe", "pcavs", "pcavs+kpbe")
DOUBLE_CLICKS = 0.1
RETRY_SECONDS = 0.1
PATIENCE_SECONDS = 60.0

Result = TypeVar("Result")


@dataclass(frozen=True)
class Job:
    """What one process does.

    Attributes:
        url: of the database.
        study: path of study.json.
        raters: rater number and token of each.
        think_seconds: pause before every answer, on average; 0 sends one after the other.
        changed_minds: share of the answers that are changed right away.
        seed: of scores, double clicks and changed minds.
    """

    url: str
    study: str
    raters: tuple[tuple[int, str], ...]
    think_seconds: float = 0.0
    changed_minds: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Acknowledged:
    """An answer that the store has accepted: rater, item, scores, and the seconds that it took."""

    rater: int
    item: str
    scores: dict[str, int]
    seconds: float


def study_of(clips: int, methods: Sequence[str] = METHODS) -> Study:
    """A study of the paper's form, without videos: every clip by every method and the ground truth."""
    items = []
    for method in (*methods, GROUND_TRUTH):
        for clip in range(clips):
            key = sha256(f"{method} {clip}".encode()).hexdigest()[:16]
            kind = "reference" if method == GROUND_TRUTH else "main"
            items.append(Item(key, kind, f"clip{clip:02d}", f"person{clip:02d}", method, seconds=10.0))
    names = tuple(item.item for item in items)
    orders = tuple(names[i:] + names[:i] for i in range(len(names)))
    return Study("load", 0, QUESTIONS, tuple(items), orders, (), len(names))


class LoadRater:
    """One rater: plays and answers every clip that is still unanswered.

    Now and then the rater clicks twice or changes their mind.
    """

    def __init__(self, store: SurveyStore, job: Job, number: int, token: str) -> None:
        self.store, self.job, self.number, self.token = store, job, number, token
        self.draw = random.Random(f"{job.seed} {number} {os.getpid()}")

    def run(self) -> None:
        """From consent to the last clip."""
        design = self.store.design
        assert design is not None
        self._surely(lambda: self.store.record_step(self.token, "consent", user_agent="load"))
        done = self._surely(lambda: self.store.answered(self.token))
        with ThreadPoolExecutor(1) as second_click:
            for item in design.order_of(self.number):
                if item in done:
                    continue
                sleep(self.job.think_seconds * self.draw.uniform(0.5, 1.5))
                self._surely(lambda item=item: self.store.record_play(self.token, item, 1.0, True, 10.0))
                scores = self._scores()
                if self.draw.random() < DOUBLE_CLICKS:
                    again = second_click.submit(self._answer, item, scores)
                    self._answer(item, scores)
                    again.result()
                else:
                    self._answer(item, scores)
                if self.draw.random() < self.job.changed_minds:
                    self._answer(item, self._scores())

    def _answer(self, item: str, scores: dict[str, int]) -> None:
        started = perf_counter()
        self._surely(lambda: self.store.answer(self.token, item, scores, 3.0))
        acknowledged = Acknowledged(self.number, item, scores, perf_counter() - started)
        os.write(1, (json.dumps(asdict(acknowledged)) + "\n").encode())

    def _scores(self) -> dict[str, int]:
        return {question: self.draw.randint(1, 5) for question in QUESTIONS}

    def _surely(self, call: Callable[[], Result]) -> Result:
        """Repeat a call until the database answers, as a page does: it may be away for a while."""
        end = perf_counter() + PATIENCE_SECONDS
        while True:
            try:
                return call()
            except SurveyError:
                if perf_counter() > end:
                    raise
                sleep(RETRY_SECONDS)


def work(job: Job) -> None:
    """Run all raters of a job, a thread each."""
    store = SurveyStore(job.url, read_study(Path(job.study)))
    store.check_schema()
    with ThreadPoolExecutor(len(job.raters)) as threads:
        raters = [LoadRater(store, job, number, token) for number, token in job.raters]
        for finished in [threads.submit(rater.run) for rater in raters]:
            finished.result()


def main() -> None:
    """Read the job and run it."""
    values = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    work(Job(**{**values, "raters": tuple(map(tuple, values["raters"]))}))


if __name__ == "__main__":
    main()
