"""The survey's benchmark at a small size: nothing is lost or duplicated, and faults would be counted."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import delete, update

from benchmarks import survey
from benchmarks.postgres import new_database
from benchmarks.survey_load import Acknowledged
from benchmarks.survey_runs import Count, Crowd, KillRun, LoadRun, Settings, load_run
from kpbe.survey.store import schema
from kpbe.survey.store.answers import SurveyStore

SMALL = Settings(raters=6, clips=1, processes=2, think_seconds=(0.0,), kills=1, kill_after=10)
SCORES = {"lip_sync": 4, "head_pose": 3, "realness": 2}


def check(run: LoadRun) -> None:
    answers = 3 * SMALL.items * SMALL.raters
    assert run.count == Count(SMALL.items * SMALL.raters, answers, answers, 0, 0, 0, 0)
    assert len(run.latencies) >= SMALL.items * SMALL.raters


@pytest.mark.slow  # fresh processes
def test_raters_in_two_processes_lose_nothing_over_sqlite(tmp_path):
    with survey.sqlite_databases(tmp_path) as url:
        check(load_run("SQLite", url, SMALL, 0.0, tmp_path))


@pytest.mark.slow  # fresh processes and a database server
def test_raters_in_two_processes_lose_nothing_over_postgresql(postgres_url, tmp_path):
    with new_database(postgres_url) as url:
        check(load_run("PostgreSQL", url, SMALL, 0.0, tmp_path))


@pytest.fixture(scope="module")
def postgres_url():
    from benchmarks.postgres import temporary_postgres

    try:
        server = temporary_postgres(durable=False)
        running = server.__enter__()
    except LookupError as error:
        pytest.skip(str(error))
    yield running.url
    server.__exit__(None, None, None)


@pytest.fixture
def answered(tmp_path: Path) -> tuple[SurveyStore, Crowd]:
    """Two raters who have rated one clip each."""
    crowd = Crowd(f"sqlite:///{tmp_path / 'survey.sqlite'}", Settings(raters=2, clips=1), tmp_path)
    for number, token in crowd.raters:
        item = crowd.study.order_of(number)[0]
        crowd.store.record_step(token, "consent")
        crowd.store.record_play(token, item, 1.0, True, 10.0)
        crowd.store.answer(token, item, SCORES, 3.0)
        crowd.acknowledged.append(Acknowledged(number, item, SCORES, 0.01))
    return crowd.store, crowd


def test_a_lost_answer_would_be_seen(answered):
    store, crowd = answered
    assert crowd.count() == Count(2, 6, 6, 0, 0, 0, 0)
    with store.database.writing() as connection:
        connection.execute(
            delete(schema.answers).where(schema.answers.c.rater == 1, schema.answers.c.question == "realness")
        )
    count = crowd.count()
    assert (count.found, count.lost, count.partial) == (5, 1, 1) and count.unexplained


def test_a_changed_answer_would_be_seen(answered):
    store, crowd = answered
    with store.database.writing() as connection:
        connection.execute(update(schema.answers).where(schema.answers.c.rater == 2).values(score=1))
    count = crowd.count()
    assert count.lost == 3 and count.unexplained


def test_history_that_tells_no_change_would_be_seen(answered):
    store, crowd = answered
    with store.database.writing() as connection:
        first = dict(connection.execute(schema.answer_history.select()).mappings().first() or {})
        connection.execute(schema.answer_history.insert(), {**first, "id": None})
    assert crowd.count().unexplained == 1


def test_report_shows_latencies_and_faults():
    results = survey.Results(
        "- a machine", versions={"SQLite": "3.99"}, fsync_ms=1.5, absent="PostgreSQL was not measured: none."
    )
    latencies = [0.001 * k for k in range(101)]
    results.loads.append(LoadRun("SQLite", 0.0, 4.04, latencies, Count(100, 300, 299, 1, 0, 1, 0)))
    fine = Count(40, 120, 120, 0, 0, 0, 0)
    results.kills.append(KillRun("SQLite", "the process that writes", [40, 47], [fine, fine], [fine, fine]))
    text = survey.report(Settings(), results)
    assert (
        "| SQLite | 0 | 101 | 25 | 50 | 95 | 99 | 100 | 300 | 299 | **1** | **0** | **1** | **0** |" in text
    )
    assert "| SQLite, the process that writes | 2 | 40 to 47 | **0** | **0** | 240 | 240 | **0** |" in text
    assert "9,750 answers" in text and "PostgreSQL was not measured" in text and "1.5 ms" in text


def test_command_line_writes_the_report(tmp_path, monkeypatch):
    def measured(settings: Settings, folder: Path) -> survey.Results:
        assert settings.raters == 3 and settings.think_seconds == (0.5,) and folder.parent == tmp_path
        fine = Count(1, 3, 3, 0, 0, 0, 0)
        run = LoadRun("SQLite", 0.5, 1.0, [0.1, 0.2], fine)
        return survey.Results("", [run], [KillRun("SQLite", "x", [1], [fine], [fine])])

    monkeypatch.setattr(survey, "measure", measured)
    out = tmp_path / "survey.md"
    survey.main(f"--raters 3 --pauses 0.5 --folder {tmp_path} --out {out}".split())
    assert "3 raters at the same time" in out.read_text()
    assert sorted(tmp_path.iterdir()) == [tmp_path / "survey.json", out]
