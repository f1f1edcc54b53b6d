"""The survey database's tables, their version, and the steps that upgrade an older database.

When you change a table, add one to `VERSION`, and to `UPGRADES` a step from the previous version to the new
one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    DateTime,
    Dialect,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    inspect,
    text,
)
from sqlalchemy.types import TypeDecorator

from kpbe.errors import SurveyError

VERSION = 3
REAL, DEMO = "real", "demo"
"""A database's purpose: answers of people, or invented ones; never both."""


class UtcTime(TypeDecorator[datetime]):
    """A time with time zone; SQLite, which has no time zones, stores it in UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC for the database."""
        if value is None:
            return None
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert from the database to UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData()

about = Table(
    "about",
    metadata,
    Column("key", String(40), primary_key=True),
    Column("value", Text, nullable=False),
)

studies = Table(
    "studies",
    metadata,
    Column("study", String(200), primary_key=True),
    Column("design_sha256", String(64), nullable=False),
    Column("created_at", UtcTime, nullable=False),
)

raters = Table(
    "raters",
    metadata,
    Column("study", String(200), primary_key=True),
    Column("rater", Integer, primary_key=True, autoincrement=False),
    Column("token_sha256", String(64), nullable=False, unique=True),
    Column("language", String(20), nullable=False, default=""),
    Column("invited_at", UtcTime, nullable=False),
    Column("consented_at", UtcTime),
    Column("described_at", UtcTime),
    Column("headphones_passed_at", UtcTime),
    Column("training_done_at", UtcTime),
    Column("finished_at", UtcTime),
    Column("revoked_at", UtcTime),
    Column("revoked_reason", Text),
    ForeignKeyConstraint(["study"], ["studies.study"]),
)


def _of_rater() -> tuple[Column[Any], Column[Any], ForeignKeyConstraint]:
    return (
        Column("study", String(200), nullable=False),
        Column("rater", Integer, nullable=False),
        ForeignKeyConstraint(["study", "rater"], ["raters.study", "raters.rater"]),
    )


answers = Table(
    "answers",
    metadata,
    Column("study", String(200), primary_key=True),
    Column("rater", Integer, primary_key=True, autoincrement=False),
    Column("item", String(64), primary_key=True),
    Column("question", String(64), primary_key=True),
    Column("score", Integer, nullable=False),
    Column("response_seconds", Float, nullable=False),
    Column("answered_at", UtcTime, nullable=False),
    ForeignKeyConstraint(["study", "rater"], ["raters.study", "raters.rater"]),
    CheckConstraint("score BETWEEN 1 AND 5", name="score_on_the_scale"),
)

answer_history = Table(
    "answer_history",
    metadata,
    Column("id", Integer, primary_key=True),
    *_of_rater(),
    Column("item", String(64), nullable=False),
    Column("question", String(64), nullable=False),
    Column("score", Integer, nullable=False),
    Column("response_seconds", Float, nullable=False),
    Column("answered_at", UtcTime, nullable=False),
    Index("history_of_rater", "study", "rater", "item"),
)

plays = Table(
    "plays",
    metadata,
    Column("id", Integer, primary_key=True),
    *_of_rater(),
    Column("item", String(64), nullable=False),
    Column("watched", Float, nullable=False),
    Column("ended", Boolean, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("played_at", UtcTime, nullable=False),
    Column("dropped_frames", Integer),
    Column("play_id", String(64)),
    Index("plays_of_rater", "study", "rater", "item"),
    Index("play_once", "study", "rater", "item", "play_id", unique=True),
)

steps = Table(
    "steps",
    metadata,
    Column("id", Integer, primary_key=True),
    *_of_rater(),
    Column("step", String(20), nullable=False),
    Column("detail", Text, nullable=False),
    Column("language", String(20), nullable=False),
    Column("user_agent", Text, nullable=False),
    Column("reached_at", UtcTime, nullable=False),
    Index("steps_of_rater", "study", "rater"),
)

comments = Table(
    "comments",
    metadata,
    Column("study", String(200), primary_key=True),
    Column("rater", Integer, primary_key=True, autoincrement=False),
    Column("item", String(64), primary_key=True),
    Column("comment", Text, nullable=False),
    Column("written_at", UtcTime, nullable=False),
    ForeignKeyConstraint(["study", "rater"], ["raters.study", "raters.rater"]),
)

demographics = Table(
    "demographics",
    metadata,
    Column("study", String(200), primary_key=True),
    Column("rater", Integer, primary_key=True, autoincrement=False),
    Column("question", String(40), primary_key=True),
    Column("answer", String(40), nullable=False),
    ForeignKeyConstraint(["study", "rater"], ["raters.study", "raters.rater"]),
)

OF_RATER = (answers, answer_history, plays, steps, comments, demographics)
"""Tables with the raters' data."""


# -- versions ----------------------------------------------------------------------------------------------


def create_or_upgrade(connection: Connection, purpose: str, create: bool) -> int | None:
    """Bring the database to `VERSION` inside the caller's transaction, which must exclude other writers.

    Args:
        connection: in a transaction.
        purpose: `REAL` or `DEMO`; a database made for the other one is refused.
        create: whether an empty database gets the tables.

    Returns:
        The previous version of an upgraded database, else None.

    Raises:
        SurveyError: the database holds no survey, one of a newer KPBE, or one with the other purpose.
    """
    current = version_of(connection)
    if current is None:
        if not create:
            raise SurveyError("The database holds no survey yet: invite raters first (kpbe survey invite).")
        metadata.create_all(connection)
        connection.execute(
            about.insert(), [{"key": "version", "value": str(VERSION)}, {"key": "purpose", "value": purpose}]
        )
        return None
    if current > VERSION:
        raise SurveyError(
            f"The survey's database has version {current}, this KPBE knows versions up to {VERSION}: update "
            f"KPBE."
        )
    for version in range(current, VERSION):
        UPGRADES[version](connection)
        connection.execute(about.update().where(about.c.key == "version").values(value=str(version + 1)))
    holds = connection.scalar(about.select().with_only_columns(about.c.value).where(about.c.key == "purpose"))
    if holds != purpose:
        raise SurveyError(
            f"The survey's database was made for {holds} answers and takes no {purpose} ones: use another "
            f"database."
        )
    return current if current < VERSION else None


def version_of(connection: Connection) -> int | None:
    """The version in the database; None when it holds no survey.

    Raises:
        SurveyError: it holds a survey without a version.
    """
    if not inspect(connection).has_table("about"):
        return None
    value = connection.scalar(text("SELECT value FROM about WHERE key = 'version'"))
    if value is None or not str(value).isdigit():
        raise SurveyError(
            "The survey's database does not say which version it has: restore it from a backup."
        )
    return int(value)


def _from_1(connection: Connection) -> None:
    """To version 2: comments, reasons of revocation, dropped frames, plays that count once, purpose."""
    for change in (
        "ALTER TABLE raters ADD COLUMN revoked_reason TEXT",
        "ALTER TABLE plays ADD COLUMN dropped_frames INTEGER",
        "ALTER TABLE plays ADD COLUMN play_id VARCHAR(64)",
        "CREATE UNIQUE INDEX play_once ON plays (study, rater, item, play_id)",
        "INSERT INTO about (key, value) VALUES ('purpose', 'real')",
    ):
        connection.execute(text(change))
    comments.create(connection)


def _from_2(connection: Connection) -> None:
    """To version 3: age band, eyesight and equipment."""
    time = UtcTime().compile(connection.dialect)
    connection.execute(text(f"ALTER TABLE raters ADD COLUMN described_at {time}"))
    demographics.create(connection)


UPGRADES: Mapping[int, Callable[[Connection], None]] = {1: _from_1, 2: _from_2}
"""Upgrade steps by the version that they start from. Never change an existing step: databases have already
gone through it.
"""
