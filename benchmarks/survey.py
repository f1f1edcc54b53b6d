"""The survey's store under 50 raters at once, and under SIGKILL: `python -m benchmarks.survey`.

Server processes with a thread for each rater send answers, once as fast as the store accepts them and once 25
times as fast as people. Afterwards the database is searched for every acknowledged answer. The report goes to
benchmarks/survey.md.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from time import perf_counter
from uuid import uuid4

from benchmarks.postgres import URL_VARIABLE, Postgres, new_database, temporary_postgres
from benchmarks.report import Page, machine, page, table, write_page
from benchmarks.survey_load import METHODS
from benchmarks.survey_runs import (
    CHANGED_MINDS,
    REPOSITORY,
    Databases,
    KillRun,
    LoadRun,
    Settings,
    kill_run,
    load_run,
)
from kpbe.core.files import UNFINISHED

FAULTS = ("lost", "duplicated", "partial", "unexplained")


@dataclass
class Results:
    """What was measured; `absent` says why a database was not. For `fsync_ms` see the function."""

    machine: str
    loads: list[LoadRun] = field(default_factory=list)
    kills: list[KillRun] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    fsync_ms: float = 0.0
    absent: str = ""


# -- all runs ----------------------------------------------------------------------------------------------


def measure(settings: Settings, folder: Path) -> Results:
    """Run everything; `folder`, on the disk to be measured, takes temporary files."""
    results = Results(machine(), versions={"SQLite": sqlite3.sqlite_version}, fsync_ms=fsync_ms(folder))
    _measure_database("SQLite", sqlite_databases, settings, folder, results)
    results.kills.append(kill_run("SQLite", "the process that writes", sqlite_databases, settings, folder))
    if server_url := os.environ.get(URL_VARIABLE):
        _measure_postgres(server_url, None, settings, folder, results)
        return results
    try:
        with temporary_postgres() as server:
            _measure_postgres(server.url, server, settings, folder, results)
    except LookupError as error:
        results.absent = f"PostgreSQL was not measured: {error}"
    return results


def _measure_postgres(
    url: str, server: Postgres | None, settings: Settings, folder: Path, results: Results
) -> None:
    """Measure PostgreSQL; `server` may be killed if it is ours, and is None if it belongs to someone else."""
    databases = partial(postgres_databases, url)
    with databases(folder) as first:
        results.versions["PostgreSQL"] = _postgres_version(first)
    _measure_database("PostgreSQL", databases, settings, folder, results)
    results.kills.append(kill_run("PostgreSQL", "the process that writes", databases, settings, folder))
    if server is not None:
        results.kills.append(
            kill_run("PostgreSQL", "the database server", databases, settings, folder, server)
        )


def _measure_database(
    name: str, databases: Databases, settings: Settings, folder: Path, results: Results
) -> None:
    for think_seconds in settings.think_seconds:
        with databases(folder) as url:
            results.loads.append(load_run(name, url, settings, think_seconds, folder))


@contextmanager
def sqlite_databases(folder: Path) -> Iterator[str]:
    """A new file in `folder`."""
    yield f"sqlite:///{folder / f'{uuid4().hex}.sqlite'}"


@contextmanager
def postgres_databases(server: str, folder: Path) -> Iterator[str]:
    """A new database on a server."""
    with new_database(server) as url:
        yield url


def _postgres_version(url: str) -> str:
    import psycopg

    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        return f"{connection.info.server_version // 10_000}"


def fsync_ms(folder: Path, times: int = 50) -> float:
    """Median milliseconds that the disk of `folder` takes to store 4 KB durably.

    An answer cannot take less.
    """
    times_taken = []
    with (folder / "fsync").open("wb") as file:
        for _ in range(times):
            file.write(bytes(4096))
            file.flush()
            started = perf_counter()
            os.fsync(file.fileno())
            times_taken.append(perf_counter() - started)
    return 1000 * median(times_taken)


# -- report ------------------------------------------------------------------------------------------------


def report(settings: Settings, results: Results) -> Page:
    """The page survey.md."""
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    total = 3 * settings.items * settings.raters
    return page(
        (
            "# The survey's store: load and kill",
            "",
            "Written by `python -m benchmarks.survey`; run it again rather than edit this file.",
            "",
            results.machine,
            f"- databases: {versions}; keeping 4 KB on this disk for good takes {results.fsync_ms:.1f} ms "
            f"(median)",
            *([f"- {results.absent}"] if results.absent else []),
            "",
            f"{settings.raters} raters at the same time, each {settings.clips} clips x {len(METHODS) + 1} "
            f"methods x 3 questions ({total:,} answers), in {settings.processes} server processes with a "
            "thread for each rater. Before each answer its play is recorded; every tenth answer is clicked "
            f"twice (both in flight together), {CHANGED_MINDS:.0%} are changed right away.",
            "",
            "## Load",
            "",
            _load_table(results.loads),
            "",
            LOAD_NOTES,
            "",
            "## SIGKILL",
            "",
            _kill_table(results.kills),
            "",
            f"{settings.kill_raters} raters. {KILL_NOTES}",
            "",
        )
    )


LOAD_NOTES = """\
A submission is one transaction with the answers to all three questions of a clip. *Pause* is the mean time
that a rater waits before the next submission; people take about 25 s. *Lost*: acknowledged answers that are
not in the database with their score; *duplicated*: answers beyond one for each rater, clip and question;
*partial*: clips with one or two of three answers; *unexplained*: history rows that are neither a first answer
nor a changed score."""

KILL_NOTES = """\
Each kill ends one process that serves all of them, or all processes of the database server, with a new
database and at another moment. First the answers that had been acknowledged are looked up, then the raters go
on to the end and everything is counted again; found beyond expected are answers that were stored when the
kill cut off the acknowledgement. SIGKILL ends a process as a crash does; it does not show what a power cut
does. For that the store asks the database to wait for the disk at each commit (`synchronous=FULL`,
`synchronous_commit=on`)."""


def _load_table(runs: Sequence[LoadRun]) -> str:
    header = (
        "database", "pause, s", "submissions", "per second", "p50, ms", "p95, ms", "p99, ms", "slowest, ms",
        "answers expected", "found", "lost", "duplicated", "partial", "unexplained",
    )  # fmt: skip
    rows = []
    for run in runs:
        cuts = quantiles(run.latencies, n=100, method="inclusive")
        times = (cuts[49], cuts[94], cuts[98], max(run.latencies))
        count = run.count
        rows.append(
            (
                run.database,
                f"{run.think_seconds:g}",
                f"{len(run.latencies):,}",
                f"{len(run.latencies) / run.wall_seconds:.0f}",
                *(f"{1000 * seconds:.0f}" for seconds in times),
                *(f"{number:,}" for number in (count.expected, count.found)),
                *(
                    f"**{number}**"
                    for number in (count.lost, count.duplicated, count.partial, count.unexplained)
                ),
            )
        )
    return table(header, rows)


def _kill_table(runs: Sequence[KillRun]) -> str:
    header = (
        "database, killed", "kills", "submissions acknowledged before", "lost", "partial",
        "at the end: expected", "found", "lost", "duplicated", "partial", "unexplained",
    )  # fmt: skip
    rows = []
    for run in runs:
        after, end = run.after_kill, run.at_end
        rows.append(
            (
                f"{run.database}, {run.victim}",
                str(len(run.acknowledged)),
                f"{min(run.acknowledged)} to {max(run.acknowledged)}",
                f"**{sum(count.lost for count in after)}**",
                f"**{sum(count.partial for count in after)}**",
                f"{sum(count.expected for count in end):,}",
                f"{sum(count.found for count in end):,}",
                *(f"**{sum(getattr(count, name) for count in end)}**" for name in FAULTS),
            )
        )
    return table(header, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.survey", description=__doc__)
    default = Settings()
    parser.add_argument("--raters", type=int, default=default.raters)
    parser.add_argument("--clips", type=int, default=default.clips)
    parser.add_argument("--processes", type=int, default=default.processes)
    parser.add_argument("--pauses", type=float, nargs="+", default=default.think_seconds, help="seconds")
    parser.add_argument("--kills", type=int, default=default.kills)
    parser.add_argument("--folder", type=Path, help="on the disk to be measured; default: the repository's")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    parsed = parser.parse_args(arguments)
    settings = Settings(parsed.raters, parsed.clips, parsed.processes, tuple(parsed.pauses), parsed.kills)
    with TemporaryDirectory(dir=parsed.folder or REPOSITORY, prefix=UNFINISHED) as folder:
        written = report(settings, measure(settings, Path(folder)))
    write_page(parsed.out, written)
    print(written)


if __name__ == "__main__":
    main()
