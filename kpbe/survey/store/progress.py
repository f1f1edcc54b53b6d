"""Progress of a study's raters, read from its tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from datetime import datetime
from statistics import median

from sqlalchemy import Connection, Row, select

from kpbe.survey.store.rows import Rater, RaterProgress
from kpbe.survey.store.schema import answers, plays, raters, steps


def rater_of(row: Row) -> Rater:
    """Convert a row of the table `raters`."""
    return Rater(
        row.rater,
        row.study,
        row.language,
        row.consented_at,
        row.described_at,
        row.headphones_passed_at,
        row.training_done_at,
        row.finished_at,
        row.revoked_at is not None,
    )


def progress_of(connection: Connection, study: str, training: Collection[str]) -> list[RaterProgress]:
    """The progress of every rater of a study, by number; `training` are the practice items."""
    seconds: defaultdict[int, dict[str, float]] = defaultdict(dict)
    played: defaultdict[int, int] = defaultdict(int)
    moments: defaultdict[int, list[datetime]] = defaultdict(list)
    for row in connection.execute(select(answers).where(answers.c.study == study)):
        moments[row.rater].append(row.answered_at)
        if row.item not in training:
            seconds[row.rater][row.item] = row.response_seconds
    for row in connection.execute(select(plays).where(plays.c.study == study)):
        moments[row.rater].append(row.played_at)
        played[row.rater] += row.item not in training
    for row in connection.execute(select(steps).where(steps.c.study == study)):
        moments[row.rater].append(row.reached_at)
    people = connection.execute(select(raters).where(raters.c.study == study).order_by(raters.c.rater))
    return [
        RaterProgress(
            rater_of(row),
            row.invited_at,
            len(seconds[row.rater]),
            played[row.rater],
            median(seconds[row.rater].values()) if seconds[row.rater] else None,
            max(moments[row.rater], default=None),
            row.revoked_reason or "",
        )
        for row in people
    ]
