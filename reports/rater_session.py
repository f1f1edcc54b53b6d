"""Who visits the raters' page, where they are and what comes next.

All of it comes from the database, and only the token from the browser. A refresh, another device and a second
tab therefore show the same place.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from kpbe.survey.store.answers import SurveyStore, open_store
from kpbe.survey.store.rows import Rater
from kpbe.survey.study.design import Item, Study
from reports import project

LONGEST_TOKEN = 200
SECONDS_TO_ANSWER = 12.0
SECONDS_TO_PREPARE = 180.0

Step = Literal["welcome", "headphones", "about", "training", "break", "clip", "thanks"]


@dataclass(frozen=True)
class RaterSession:
    """A rater with a working link, as the database knows them at this moment."""

    token: str
    store: SurveyStore
    study: Study
    rater: Rater
    answered: dict[str, dict[str, int]]

    @cached_property
    def order(self) -> tuple[str, ...]:
        """The clips that this rater rates, without the training clips."""
        return self.study.order_of(self.rater.number)

    @cached_property
    def open_training(self) -> list[str]:
        """Training clips that have no answer yet."""
        return [item for item in self.study.training if item not in self.answered]

    @cached_property
    def open_clips(self) -> list[str]:
        """Clips that have no answer yet."""
        return [item for item in self.order if item not in self.answered]

    @property
    def done(self) -> int:
        """How many clips are rated."""
        return len(self.order) - len(self.open_clips)

    @property
    def break_due(self) -> bool:
        """Whether to offer a break before the next clip."""
        return self.done > 0 and self.done % self.study.break_after == 0 and bool(self.open_clips)

    def step(self, rested: int = 0) -> Step:
        """The page to show; `rested` is the number of rated clips at which the rater has had a break."""
        if self.rater.consented_at is None:
            return "welcome"
        if not self.open_clips:
            return "thanks"
        if self.rater.headphones_passed_at is None:
            return "headphones"
        if self.rater.described_at is None and self.rater.training_done_at is None and not self.answered:
            return "about"  # raters who began before these questions existed are not asked
        if self.open_training and self.rater.training_done_at is None:
            return "training"
        return "break" if self.break_due and rested != self.done else "clip"

    @property
    def now(self) -> Item:
        """The clip to show in the steps training and clip."""
        return self.study.by_id[self.coming[0]]

    @property
    def coming(self) -> list[str]:
        """Names of the clips still to show, the current one first."""
        training = [] if self.rater.training_done_at else self.open_training
        return [*training, *self.open_clips]

    def minutes(self) -> int:
        """Expected duration of the whole survey, in minutes."""
        clips = [self.study.by_id[item].seconds for item in (*self.study.training, *self.order)]
        return max(1, round((SECONDS_TO_PREPARE + sum(clips) + SECONDS_TO_ANSWER * len(clips)) / 60))


def open_session(token: str) -> RaterSession | None:
    """The session of a link, None if the link does not work.

    It does not work if it is missing, unknown, revoked or of another study; visitors cannot tell which.

    Raises:
        KPBEError: there is no study, or its database cannot be reached.
    """
    store = open_store(project.root())
    study = store.design
    rater = store.rater(token[:LONGEST_TOKEN]) if token else None
    if study is None or rater is None or rater.revoked or rater.study != study.name:
        return None
    return RaterSession(token, store, study, rater, store.answered(token))
