"""Invented raters for the demo study, who use the same store as people and are marked everywhere.

A simulated score is the quality of the method for the question + the clip's effect + the effect of this
method on this clip + the rater's bias + noise with the rater's inconsistency, rounded to 1 .. 5 (the model of
ITU-T P.913 12.6 with a method effect).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from kpbe.errors import SurveyError
from kpbe.methods import backend_of_method, is_enhanced
from kpbe.survey.demographics import DEMOGRAPHICS
from kpbe.survey.scores.ratings import is_demo
from kpbe.survey.store.answers import SurveyStore

if TYPE_CHECKING:
    from kpbe.survey.study.design import Item, Study

BEGIN = datetime(2026, 1, 5, 9, tzinfo=UTC)
TRUTH_QUALITY = 4.5
BACKEND_QUALITIES = (3.1, 2.7)
"""Qualities of the first backend, and of all others."""

GAIN = 0.3
"""Gain of `<backend>+kpbe` over `<backend>`, in points."""

CLIP_DEVIATION = 0.25
INTERACTION_DEVIATION = 0.3
BIAS_DEVIATION = 0.4
LAPSE = 0.02
"""Chance that an attentive rater misses what a trap or gold item shows."""


@dataclass
class Clock:
    """A clock that the simulation sets."""

    moment: datetime = BEGIN

    def __call__(self) -> datetime:
        """The time."""
        return self.moment

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.moment += timedelta(seconds=float(seconds))


@dataclass(frozen=True)
class Qualities:
    """The average answers of an unbiased rater.

    Args:
        design: the study.
        seed: of the effects.
    """

    design: Study
    seed: int
    effects: dict[tuple[str, ...], float] = field(default_factory=dict)

    def __call__(self, item: Item, question: str) -> float:
        """The quality of an item, on the scale of the answers, not rounded."""
        clip = self._effect(CLIP_DEVIATION, item.clip_id)
        interaction = self._effect(INTERACTION_DEVIATION, item.clip_id, item.method, question)
        return self._method(item.method) + clip + interaction

    def _method(self, method: str) -> float:
        backend = backend_of_method(method)
        names = [backend_of_method(item.method) for item in self.design.items if item.kind == "main"]
        if backend not in names:
            return TRUTH_QUALITY
        quality = BACKEND_QUALITIES[0] if backend == names[0] else BACKEND_QUALITIES[1]
        return quality + (GAIN if is_enhanced(method) else 0.0)

    def _effect(self, deviation: float, *what: str) -> float:
        if what not in self.effects:
            words = "\0".join(what).encode()
            self.effects[what] = float(np.random.default_rng([self.seed, *words]).normal(0, deviation))
        return self.effects[what]


class SimulatedRater:
    """A rater with a bias and an inconsistency; a careless one quickly calls everything good."""

    def __init__(self, design: Study, qualities: Qualities, seed: int, number: int, careless: bool) -> None:
        self.design, self.qualities, self.careless = design, qualities, careless
        self.draw = np.random.default_rng([seed, number])
        self.bias = self.draw.normal(0, BIAS_DEVIATION)
        self.inconsistency = self.draw.uniform(0.45, 0.9)
        about = np.random.default_rng(
            [seed, number, 910]
        )  # a separate generator, so that the scores do not depend on it
        self.about = {question: str(about.choice(options)) for question, options in DEMOGRAPHICS.items()}

    def scores(self, item: Item) -> dict[str, int]:
        """Answers to all questions of an item."""
        return {question: self._score(item, question) for question in self.design.questions}

    def _score(self, item: Item, question: str) -> int:
        if self.careless:
            return int(self.draw.integers(4, 6))
        bounds = item.expected.get(question)
        if bounds is not None and self.draw.random() > LAPSE:
            return int(self.draw.integers(bounds[0], bounds[1] + 1))
        latent = self.qualities(item, question) + self.bias + self.draw.normal(0, self.inconsistency)
        return int(np.clip(np.rint(latent), 1, 5))

    def response_seconds(self) -> float:
        """Random time from the end of the clip to the answers, seconds."""
        return float(self.draw.uniform(0.5, 1.2) if self.careless else self.draw.lognormal(1.9, 0.4))


def simulate(
    store: SurveyStore,
    raters: int = 24,
    careless: int = 1,
    seed: int = 0,
    each: Callable[[int], object] = lambda number: None,
) -> int:
    """Empty a demo's database and fill it with invented raters.

    The first `careless` of them do not look, the last one stops half-way, and one more is invited but never
    comes.

    Args:
        store: the store of a demo, with its design.
        raters: number of raters who begin.
        careless: number of careless ones among them.
        seed: decides all scores and times.
        each: called with the number of each rater who is through.

    Returns:
        Number of raters who finished.

    Raises:
        SurveyError: the store is not a demo's.
    """
    design = store.design
    if design is None or not store.demo or not is_demo(design.name):
        raise SurveyError("Invented answers go into a demo study only (kpbe survey simulate).")
    store.empty()
    with _turned_by_hand(store) as clock:
        store.add_study(design.name, design.design_sha256)
        qualities = Qualities(design, seed)
        finished = 0
        for invitation in store.invite(design.name, raters + 1)[:raters]:
            number = invitation.rater_number
            clock.moment = BEGIN + timedelta(hours=7 * number)
            rater = SimulatedRater(design, qualities, seed, number, number <= careless)
            order = design.order_of(number)
            stops = number == raters and raters > 1
            _take(store, clock, rater, invitation.token, order[: len(order) // 2] if stops else order)
            if not stops:
                store.record_step(invitation.token, "finished")
                finished += 1
            each(number)
    return finished


def _take(
    store: SurveyStore, clock: Clock, rater: SimulatedRater, token: str, order: tuple[str, ...]
) -> None:
    store.record_step(token, "consent", language="en", user_agent="simulated")
    clock.wait(60)
    store.record_step(token, "headphones", {"passed": True})
    store.describe(token, rater.about)
    store.record_step(token, "about")
    items = rater.design.by_id
    for place, name in enumerate((*rater.design.training, *order)):
        if place == len(rater.design.training):
            store.record_step(token, "training")
        _rate(store, clock, rater, token, items[name])


def _rate(store: SurveyStore, clock: Clock, rater: SimulatedRater, token: str, item: Item) -> None:
    for _ in range(1 + int(rater.draw.random() < 0.1)):
        clock.wait(item.seconds)
        store.record_play(token, item.item, 1.0, ended=True, seconds=item.seconds, dropped_frames=0)
    waited = rater.response_seconds()
    clock.wait(waited)
    scores = rater.scores(item)
    store.answer(token, item.item, scores, waited)
    if not rater.careless and rater.draw.random() < 0.02:  # the rater changes their mind
        clock.wait(2)
        store.answer(token, item.item, _shifted(scores), waited + 2)


def _shifted(scores: Mapping[str, int]) -> dict[str, int]:
    first, *_ = scores
    return {**scores, first: scores[first] + (1 if scores[first] < 5 else -1)}


@contextmanager
def _turned_by_hand(store: SurveyStore) -> Iterator[Clock]:
    true_clock, store.clock = store.clock, Clock()
    try:
        yield store.clock
    finally:
        store.clock = true_clock
