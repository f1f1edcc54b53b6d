"""A PostgreSQL server of our own in a temporary folder, reached by a socket in that folder.

Its programs must be installed on this machine.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from time import monotonic, sleep
from typing import Any

URL_VARIABLE = "KPBE_POSTGRES_URL"
START_SECONDS = 60


class Postgres:
    """A PostgreSQL cluster that exists for this run only.

    Args:
        programs: folder of initdb and postgres.
        folder: an empty one of our own.
        durable: wait for the disk; without it what a killed process had stored is safe, what a power cut met
            is not.
    """

    def __init__(self, programs: Path, folder: Path, durable: bool = True) -> None:
        self.programs, self.folder, self.fsync = programs, folder, "on" if durable else "off"
        self._server: subprocess.Popen[Any] | None = None
        # the server refuses to run as root
        as_postgres = {"user": "postgres", "group": "postgres", "extra_groups": []}
        self._as_user: dict[str, Any] = as_postgres if os.geteuid() == 0 else {}
        if self._as_user:
            shutil.chown(folder, "postgres", "postgres")
        command = [
            programs / "initdb",
            "-D",
            folder / "data",
            "-U",
            "survey",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
        ]
        subprocess.run(command, check=True, capture_output=True, cwd=folder, **self._as_user)

    @property
    def url(self) -> str:
        """The URL for SQLAlchemy."""
        return f"postgresql://survey@/postgres?host={self.folder}"

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            RuntimeError: it does not; the message is its log.
        """
        log = self.folder / "log"
        command = [self.programs / "postgres", "-D", self.folder / "data", "-k", self.folder]
        with log.open("ab") as output:
            self._server = server = subprocess.Popen(
                [
                    *command,
                    "-c",
                    "listen_addresses=",
                    "-c",
                    "max_connections=200",
                    "-c",
                    f"fsync={self.fsync}",
                ],
                stdout=output,
                stderr=output,
                cwd=self.folder,
                start_new_session=True,
                **self._as_user,
            )
        end = monotonic() + START_SECONDS
        while not self._answers():
            if server.poll() is not None or monotonic() > end:
                raise RuntimeError(log.read_text(encoding="utf-8", errors="replace"))
            sleep(0.1)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server: SIGINT ends it in order, SIGKILL kills all of its processes at once."""
        if self._server is None:
            return
        if how == signal.SIGKILL:
            os.killpg(self._server.pid, how)
        else:
            self._server.send_signal(how)
        self._server.wait(START_SECONDS)
        self._server = None

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(host=str(self.folder), user="survey", dbname="postgres").close()
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def temporary_postgres(durable: bool = True) -> Iterator[Postgres]:
    """A running server; the end of the block stops it and removes its folder. For `durable` see `Postgres`.

    Raises:
        LookupError: PostgreSQL or its driver is not installed; the message says which.
    """
    programs = _programs()
    folder = Path(mkdtemp(prefix="kpbe-postgres-"))
    try:
        server = Postgres(programs, folder, durable)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def new_database(url: str) -> Iterator[str]:
    """Create an empty database on the server at `url` and give its URL; the end of the block drops it."""
    from sqlalchemy import create_engine, make_url, text

    name = f"kpbe_{uuid.uuid4().hex[:16]}"
    server = make_url(url).set(drivername="postgresql+psycopg")
    engine = create_engine(server, isolation_level="AUTOCOMMIT", pool_pre_ping=True)
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        engine.dispose()


def _programs() -> Path:
    if importlib.util.find_spec("psycopg") is None:
        raise LookupError("psycopg is not installed (the extra `postgres`)")
    initdb = shutil.which("initdb")
    places = [Path(initdb).resolve().parent] if initdb else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not places or not (places[-1] / "postgres").exists():
        raise LookupError("no PostgreSQL server is installed (apt-get install postgresql)")
    if os.geteuid() == 0 and "postgres" not in {user.pw_name for user in pwd.getpwall()}:
        raise LookupError("PostgreSQL refuses to run as root, and there is no user postgres")
    return places[-1]
