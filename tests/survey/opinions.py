"""Invented surveys for tests: a study, answers to it, and the files that a stage reads.

The fixture `opinions` is this module.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from kpbe.core.files import write_csv
from kpbe.params import Params, load_params, parse_params
from kpbe.survey.scores.ratings import COLUMNS, Rating
from kpbe.survey.study.design import GROUND_TRUTH, QUESTIONS, Item, Study

BACKENDS = ("wav2lip", "pcavs")
METHODS = ("wav2lip", "wav2lip+kpbe", "pcavs", "pcavs+kpbe", GROUND_TRUTH)
LEVELS = {"wav2lip": 3.2, "wav2lip+kpbe": 3.6, "pcavs": 2.6, "pcavs+kpbe": 3.0, GROUND_TRUTH: 4.4}
REPOSITORY = Path(__file__).resolve().parents[2]

Answer = Callable[[int, Item, str], int]


def make_study(clips: int = 4, raters: int = 10, name: str = "pilot", seconds: float = 8.0) -> Study:
    """A study of every clip by every method.

    It also has two traps, two gold items (one good, one bad) and a repeat of the first stimulus.
    """
    items: list[Item] = []

    def add(kind: Any, clip: int, method: str = GROUND_TRUTH, **what: Any) -> str:
        key = f"{len(items):016x}"
        items.append(Item(key, kind, f"clip{clip:02d}", f"id{clip}", method, seconds, **what))
        return key

    for clip in range(clips):
        for method in METHODS:
            add("reference" if method == GROUND_TRUTH else "main", clip, method)
    for clip in (0, 1):
        add("trap", clip, expected={"lip_sync": (1, 3)}, shift_ms=400)
    add("gold", 0, expected={"lip_sync": (4, 5), "realness": (4, 5)})
    add("gold", 1, expected={"realness": (1, 2)}, degraded=True)
    add("repeat", 0, METHODS[0], repeats=items[0].item)
    order = tuple(item.item for item in items)
    return Study(name, 0, QUESTIONS, tuple(items), (order,) * raters, (), 40)


def answers_to(
    study: Study,
    raters: int,
    answer: Answer,
    kinds: tuple[str, ...] = ("main", "reference", "trap", "gold", "repeat"),
    name: str | None = None,
) -> list[Rating]:
    """The answers of raters 1 to `raters`; a score of 0 leaves the answer out."""
    return [
        Rating(
            name or study.name, f"r{rater:03d}", item.item, item.kind, item.clip_id, item.identity,
            item.method,
            question, score, position, 1, 1.0, 4.2, "2026-03-01T10:00:00Z", item.repeats or "",
        )
        for rater in range(1, raters + 1)
        for position, item in enumerate(study.items, 1)
        if item.kind in kinds
        for question in study.questions
        if (score := answer(rater, item, question))
    ]  # fmt: skip


def opinion(seed: int = 0, noise: float = 0.7, bias: float = 0.4, gain: float | None = None) -> Answer:
    """Attentive raters with personal biases; LEVELS are the true means.

    With `gain`, KPBE's true mean is its backend's plus the gain.
    """

    def answer(rater: int, item: Item, question: str) -> int:
        if item.kind == "repeat":
            return answer(
                rater, Item(item.repeats or "", "main", item.clip_id, item.identity, item.method), question
            )
        if question in item.expected:
            return item.expected[question][1]
        level = LEVELS[item.method]
        if gain is not None and item.method.endswith("+kpbe"):
            level = LEVELS[item.method.removesuffix("+kpbe")] + gain
        score = level + normal("rater", rater, bias) + normal("clip", item.clip_id, 0.25)
        score += normal("answer", (rater, item.clip_id, item.method, question), noise)
        return round(min(5.0, max(1.0, score)))

    @cache
    def normal(what: str, which: Any, deviation: float) -> float:
        return Random(f"{seed} {what} {which}").gauss(0, deviation)

    return answer


def write_ratings(path: Path, ratings: list[Rating]) -> None:
    """As `kpbe survey export` does."""
    write_csv(path, COLUMNS, [vars(rating) for rating in ratings])


def params_with(**survey: Any) -> Params:
    """The repository's params with two backends, few resamples and some values of `survey` replaced."""
    values = load_params(REPOSITORY / "params.yaml").model_dump(mode="json")
    values["survey"] |= survey
    values["evaluate"]["bootstrap"] = 500
    values["backends"] = list(BACKENDS)
    return parse_params(values)
