"""Values that the store returns: raters, invitations, plays of a clip, progress, comments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Invitation:
    """A new personal link. Only this object has the token; the database keeps its SHA-256.

    Attributes:
        rater_number: from 1 in each study.
        token: 32 hexadecimal digits, 128 random bits.
    """

    rater_number: int
    token: str

    def link(self, base_url: str) -> str:
        """The rater's URL below the site's."""
        return f"{base_url.rstrip('/')}/?rater={self.token}"


@dataclass(frozen=True)
class Rater:
    """A rater and their progress; times are in UTC, None where a step was not reached.

    Attributes:
        number: from 1; decides the order of the clips.
        study: its name.
        language: the last chosen one, "" before that.
        consented_at, described_at, headphones_passed_at, training_done_at, finished_at: when the step was
            first reached.
        revoked: whether the link was closed.
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
    """A rater's plays of a clip.

    Attributes:
        count: number of started plays.
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
        rater: the rater.
        invited_at: when the link was made.
        items_rated: number of clips with all answers, without training clips.
        plays: number of started plays, without training clips.
        median_response_seconds: from the end of a clip to its answers; None without answers.
        last_seen_at: the last answer, play or step; None when the link was never opened.
        revoked_reason: why the link was revoked, "" if it was not or without a reason.
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
    """A rater's comment.

    Attributes:
        rater: their number.
        item: the clip, "" for the survey as a whole.
        text: up to 2000 characters.
        written_at: time in UTC.
    """

    rater: int
    item: str
    text: str
    written_at: datetime


def rater_name(number: int) -> str:
    """A rater's name in tables: "r001"."""
    return f"r{number:03d}"
