"""What the store hands out: a rater, an invitation, the plays of a clip, a rater's progress."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Invitation:
    """A new personal link; the token is known only now, the database keeps its SHA-256.

    Attributes:
        rater_number: from 1 in each study.
        token: 32 hexadecimal digits, 128 random bits.
    """

    rater_number: int
    token: str

    def link(self, base_url: str) -> str:
        """The rater's address below the site's address."""
        return f"{base_url.rstrip('/')}/?rater={self.token}"


@dataclass(frozen=True)
class Rater:
    """Whom a token belongs to and how far they are; times are in UTC, None where a step was not reached.

    Attributes:
        number: from 1; decides the order of the clips.
        study: its name.
        language: as chosen last, "" before that.
        consented_at, described_at, headphones_passed_at, training_done_at, finished_at: when the step was
            first reached.
        revoked: the link does not work any more.
    """

    number: int
    study: str
    language: str
    consented_at: datetime | None
    described_at: datetime | None
    headphones_passed_at: datetime | None
    training_done_at: datetime | None
    finished_at: datetime | None
    revoked: bool


@dataclass(frozen=True)
class Plays:
    """How often a rater played a clip.

    Attributes:
        count: plays that were begun.
        ended: whether one of them showed the clip to its end.
        watched: the largest fraction of the clip that one of them showed, 0 to 1.
    """

    count: int
    ended: bool
    watched: float


@dataclass(frozen=True)
class RaterProgress:
    """A rater as the administrator sees them.

    Attributes:
        rater: see there.
        invited_at: when the link was made.
        items_rated: clips with all answers, training clips not counted.
        plays: begun plays, training clips not counted.
        median_response_seconds: from the end of a clip to its answers; None without answers.
        last_seen_at: the last answer, play or step; None when the link was never opened.
        revoked_reason: why the link was revoked, "" when it was not or nobody said.
    """

    rater: Rater
    invited_at: datetime
    items_rated: int
    plays: int
    median_response_seconds: float | None
    last_seen_at: datetime | None
    revoked_reason: str

    @property
    def state(self) -> str:
        """One word: revoked, finished, rating, preparing (consent to training) or invited."""
        if self.rater.revoked:
            return "revoked"
        if self.rater.finished_at:
            return "finished"
        if self.items_rated:
            return "rating"
        return "preparing" if self.last_seen_at else "invited"


@dataclass(frozen=True)
class Comment:
    """What a rater wrote.

    Attributes:
        rater: their number.
        item: the clip it is about, "" for the survey as a whole.
        text: up to 2000 characters.
        written_at: when.
    """

    rater: int
    item: str
    text: str
    written_at: datetime


def rater_name(number: int) -> str:
    """A rater's name in tables: "r001"."""
    return f"r{number:03d}"
