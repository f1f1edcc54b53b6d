"""Connections and transactions of the survey's database: SQLite by default, PostgreSQL by URL.

Both give the same guarantees: a transaction that has returned is on the disk (SQLite: write-ahead log with
synchronous=FULL; PostgreSQL: synchronous_commit), and a rater's writing transactions run one after the other.
SQLite's write-ahead log needs a local disk, not a network share.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Lock
from time import monotonic, sleep
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from kpbe.core.files import whole
from kpbe.errors import SurveyError
from kpbe.survey.store.schema import REAL, VERSION, create_or_upgrade, version_of

URL_VARIABLE = "KPBE_SURVEY_URL"
BUSY_SECONDS = 30
BUSY_NAP_SECONDS = 0.02
POSTGRES_LOCK = 2210_03335
"""Key of the advisory lock under which one process at a time creates or upgrades tables."""


class Database:
    """An engine with the survey's guarantees.

    Args:
        url: of SQLAlchemy, e.g. "sqlite:///data/survey/survey.sqlite" or "postgresql://survey@host/survey".
        purpose: `kpbe.survey.store.schema.REAL` or `DEMO`.

    Raises:
        SurveyError: the URL cannot be used.
    """

    def __init__(self, url: str, purpose: str) -> None:
        self.url = _usable(url)
        self.purpose = purpose
        self.file = Path(self.url.database or "") if self.is_sqlite else None
        self.engine = self._sqlite_engine() if self.is_sqlite else self._postgres_engine()
        self._identity: tuple[int, int] | None = None
        # threads of a process queue here, which is fairer than SQLite's ever longer waits
        self._turn = Lock()

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file on this machine."""
        return self.url.get_backend_name() == "sqlite"

    # -- transactions ---------------------------------------------------------------------------------------

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction that excludes other writers from the start; all or nothing.

        With PostgreSQL the caller must lock rows for that.

        Raises:
            SurveyError: the database cannot be reached, is full or stays locked; then nothing was stored.
        """
        if not self.is_sqlite:
            with self._in_words("Nothing was stored"), self.engine.begin() as connection:
                yield connection
            return
        with self._turn, self._in_words("Nothing was stored"):
            self._still_the_same()
            with (
                self.engine.connect().execution_options(sqlite_begin="BEGIN IMMEDIATE") as connection,
                connection.begin(),
            ):
                yield connection

    def alone(self, connection: Connection) -> None:
        """Make other callers wait until the transaction ends, as SQLite does with all writers."""
        if not self.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": POSTGRES_LOCK})

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One transaction that sees the database as it is at its first query.

        Raises:
            SurveyError: the database cannot be reached.
        """
        with self._in_words("Nothing was read"):
            self._still_the_same()
            if self.is_sqlite:
                with self.engine.begin() as connection:
                    yield connection
                return
            with self.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
                yield connection

    @contextmanager
    def _in_words(self, outcome: str) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error) as error:
            cause = getattr(error, "orig", None) or error
            # raters read this sentence; PostgreSQL's own would name the host
            shown = str(cause) if self.is_sqlite else type(cause).__name__
            raise SurveyError(f"{outcome}: the survey's database does not answer ({shown}).") from error

    def _still_the_same(self) -> None:
        """Check that the file was not replaced: an open connection would write to a removed file."""
        if self.file is not None and self._identity is not None and _identity(self.file) != self._identity:
            raise SurveyError(
                f"{self.file} was removed or replaced while the survey was running: put it back and restart."
            )

    # -- schema ---------------------------------------------------------------------------------------------

    def prepare(self, create: bool) -> None:
        """Check the schema's version and upgrade an older one; with `create`, create missing tables.

        A SQLite file is copied beside itself before an upgrade (`<name>.version-1`).

        Raises:
            SurveyError: see `kpbe.survey.store.schema.create_or_upgrade`; or the database cannot be reached.
        """
        self._identity = None
        if self.file is not None:
            self._prepare_file(self.file, create)
        with self.writing() as connection:
            self.alone(connection)
            create_or_upgrade(connection, self.purpose, create)
        if self.file is not None:
            self._identity = _identity(self.file)

    def _prepare_file(self, file: Path, create: bool) -> None:
        if not file.exists():
            if not create:
                raise SurveyError(f"{file} does not exist: invite raters first (kpbe survey invite).")
            file.parent.mkdir(parents=True, exist_ok=True)
        with self._in_words("Nothing was done"):
            mode = _write_ahead(file)
            with self.engine.connect() as connection:
                version = version_of(connection)
        if mode != "wal":
            raise SurveyError(f"{file} cannot have a write-ahead log: put it on a local disk.")
        self._keep_copy(file, version)

    def _keep_copy(self, file: Path, version: int | None) -> None:
        if version is None or version >= VERSION:
            return
        copy = file.with_name(f"{file.name}.version-{version}")
        if copy.exists():
            return
        with (
            whole(copy) as unfinished,
            closing(sqlite3.connect(file)) as source,
            closing(sqlite3.connect(unfinished)) as target,
        ):
            source.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")  # one file

    # -- engines --------------------------------------------------------------------------------------------

    def _sqlite_engine(self) -> Engine:
        engine = create_engine(
            self.url,
            connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
            pool_size=10,
            max_overflow=50,
        )

        synchronous = "FULL" if self.purpose == REAL else "OFF"  # a lost demo can be simulated again

        @event.listens_for(engine, "connect")
        def configure(connection: Any, _: Any) -> None:
            connection.isolation_level = None  # we begin transactions ourselves, not sqlite3
            for setting in (
                f"busy_timeout={BUSY_SECONDS * 1000}",
                f"synchronous={synchronous}",
                "foreign_keys=ON",
            ):
                connection.execute(f"PRAGMA {setting}")

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin", "BEGIN"))

        return engine

    def _postgres_engine(self) -> Engine:
        try:
            engine = create_engine(self.url, pool_pre_ping=True, pool_size=10, max_overflow=50)
        except ModuleNotFoundError:
            raise SurveyError(
                "PostgreSQL's driver is not installed: pip install -c constraints.txt -e '.[postgres]'."
            ) from None

        @event.listens_for(engine, "connect")
        def configure(connection: Any, _: Any) -> None:
            with connection.cursor() as cursor:
                cursor.execute("SET synchronous_commit TO on")
            connection.commit()

        return engine


def _usable(url: str) -> URL:
    try:
        parsed = make_url(url)
        name = parsed.get_backend_name()
    except (ArgumentError, NoSuchModuleError):
        name, parsed = "", None
    if parsed is None or name not in ("sqlite", "postgresql", "postgres"):
        raise SurveyError(f"{URL_VARIABLE} must begin with sqlite:/// or postgresql://.")
    if name == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise SurveyError(f"{URL_VARIABLE} must name a file: sqlite:///data/survey/survey.sqlite.")
        return parsed
    return parsed.set(drivername="postgresql+psycopg")


def _write_ahead(file: Path) -> str:
    """Set the file's journal mode to a write-ahead log; returns the resulting mode.

    SQLite does not wait when two connections do this to a new file at once, so this function does.
    """
    deadline = monotonic() + BUSY_SECONDS
    while True:
        try:
            with closing(sqlite3.connect(file, timeout=BUSY_SECONDS)) as connection:
                return connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY  # the other bits give the reason
            if not busy or monotonic() > deadline:
                raise
        sleep(BUSY_NAP_SECONDS)


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        state = file.stat()
    except FileNotFoundError:
        return None
    return state.st_dev, state.st_ino
