"""Databases of earlier and later versions, and files that are no such database."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from kpbe.paths import DEMO_DATABASE, SURVEY_DATABASE
from kpbe.survey.store import schema
from kpbe.survey.store.answers import SurveyError, SurveyStore
from kpbe.survey.store.database import Database
from kpbe.survey.study.design import Study

TOKEN = "a-token-of-version-one"
VERSION_1 = """
CREATE TABLE about (key VARCHAR(40) NOT NULL PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE studies (study VARCHAR(200) NOT NULL PRIMARY KEY, design_sha256 VARCHAR(64) NOT NULL, created_at {time} NOT NULL);
CREATE TABLE raters (study VARCHAR(200) NOT NULL, rater INTEGER NOT NULL, token_sha256 VARCHAR(64) NOT NULL UNIQUE,
  language VARCHAR(20) NOT NULL, invited_at {time} NOT NULL, consented_at {time}, headphones_passed_at {time},
  training_done_at {time}, finished_at {time}, revoked_at {time}, PRIMARY KEY (study, rater),
  FOREIGN KEY (study) REFERENCES studies (study));
CREATE TABLE answers (study VARCHAR(200) NOT NULL, rater INTEGER NOT NULL, item VARCHAR(64) NOT NULL, question VARCHAR(64) NOT NULL,
  score INTEGER NOT NULL, response_seconds FLOAT NOT NULL, answered_at {time} NOT NULL, PRIMARY KEY (study, rater, item, question),
  FOREIGN KEY (study, rater) REFERENCES raters (study, rater), CONSTRAINT score_on_the_scale CHECK (score BETWEEN 1 AND 5));
CREATE TABLE answer_history (id {id} PRIMARY KEY, study VARCHAR(200) NOT NULL, rater INTEGER NOT NULL, item VARCHAR(64) NOT NULL,
  question VARCHAR(64) NOT NULL, score INTEGER NOT NULL, response_seconds FLOAT NOT NULL, answered_at {time} NOT NULL,
  FOREIGN KEY (study, rater) REFERENCES raters (study, rater));
CREATE INDEX history_of_rater ON answer_history (study, rater, item);
CREATE TABLE plays (id {id} PRIMARY KEY, study VARCHAR(200) NOT NULL, rater INTEGER NOT NULL, item VARCHAR(64) NOT NULL,
  watched FLOAT NOT NULL, ended BOOLEAN NOT NULL, seconds FLOAT NOT NULL, played_at {time} NOT NULL,
  FOREIGN KEY (study, rater) REFERENCES raters (study, rater));
CREATE INDEX plays_of_rater ON plays (study, rater, item);
CREATE TABLE steps (id {id} PRIMARY KEY, study VARCHAR(200) NOT NULL, rater INTEGER NOT NULL, step VARCHAR(20) NOT NULL,
  detail TEXT NOT NULL, language VARCHAR(20) NOT NULL, user_agent TEXT NOT NULL, reached_at {time} NOT NULL,
  FOREIGN KEY (study, rater) REFERENCES raters (study, rater));
CREATE INDEX steps_of_rater ON steps (study, rater);
INSERT INTO about VALUES ('version', '1')
"""


def write_version_1(url: str, study: Study) -> None:
    """A database as version 1 left it: one rater who has rated one clip and changed a score."""
    engine = create_engine(url)
    sqlite = engine.dialect.name == "sqlite"
    time, identity = ("DATETIME", "INTEGER NOT NULL") if sqlite else ("TIMESTAMP WITH TIME ZONE", "SERIAL")
    moment = "2026-01-05 09:00:00.000000" + ("" if sqlite else "+00")
    values = {
        "study": study.name,
        "design": study.design_sha256,
        "token": hashlib.sha256(TOKEN.encode()).hexdigest(),
        "item": study.order_of(1)[0],
        "moment": moment,
        "ended": True,
    }
    inserts = [
        "INSERT INTO studies VALUES (:study, :design, :moment)",
        "INSERT INTO raters VALUES (:study, 1, :token, 'zh', :moment, :moment, :moment, NULL, NULL, NULL)",
        "INSERT INTO plays (study, rater, item, watched, ended, seconds, played_at) VALUES (:study, 1, "
        ":item, 1, :ended, 3, :moment)",
    ]
    scores = (("lip_sync", 4), ("head_pose", 3), ("realness", 2))
    rows = [("answers", q, s) for q, s in scores] + [
        ("answer_history", q, s) for q, s in (("realness", 1), *scores)
    ]
    inserts += [
        f"INSERT INTO {table} (study, rater, item, question, score, response_seconds, answered_at) "
        f"VALUES (:study, 1, :item, '{question}', {score}, 4.5, :moment)"
        for table, question, score in rows
    ]
    with engine.begin() as connection:
        for statement in VERSION_1.format(time=time, id=identity).split(";"):
            connection.execute(text(statement))
        for statement in inserts:
            used = {name: value for name, value in values.items() if f":{name}" in statement}
            connection.execute(text(statement), used)
    engine.dispose()


def shape(database: Database) -> dict[str, object]:
    """Tables with their columns (name, type, nullable), keys and indices, as the server reports them."""
    found = inspect(database.engine)
    return {
        name: (
            sorted((c["name"], str(c["type"]), c["nullable"]) for c in found.get_columns(name)),
            found.get_pk_constraint(name)["constrained_columns"],
            sorted((i["name"] or "", tuple(i["column_names"]), i["unique"]) for i in found.get_indexes(name)),
            sorted(tuple(key["constrained_columns"]) for key in found.get_foreign_keys(name)),
        )
        for name in found.get_table_names()
    }


@pytest.fixture
def old(url: str, study: Study) -> Iterator[SurveyStore]:
    write_version_1(url, study)
    store = SurveyStore(url, study)
    yield store
    store.database.engine.dispose()


def version_in(store: SurveyStore) -> int | None:
    with store.database.reading() as connection:
        return schema.version_of(connection)


def test_an_old_database_keeps_its_answers_and_learns_what_is_new(old, study):
    item = study.order_of(1)[0]
    old.check_schema()
    assert version_in(old) == schema.VERSION
    assert old.answered(TOKEN) == {item: {"lip_sync": 4, "head_pose": 3, "realness": 2}}
    rater = old.rater(TOKEN)
    assert (
        rater is not None
        and rater.language == "zh"
        and rater.consented_at.isoformat() == "2026-01-05T09:00:00+00:00"
    )
    assert old.plays(TOKEN, item).count == 1
    # what version 1 could not do
    old.record_play(TOKEN, item, 1.0, True, 2.6, dropped_frames=3, play_id="p")
    old.record_play(TOKEN, item, 1.0, True, 2.6, dropped_frames=3, play_id="p")
    assert old.plays(TOKEN, item).count == 2
    old.comment(TOKEN, "stiff", item)
    old.describe(TOKEN, {"age": "60_up"})
    old.answer(TOKEN, item, {"lip_sync": 4, "head_pose": 3, "realness": 5}, 2.0)
    assert [row["age"] for row in old.export_rows(study)] == ["60_up"] * 3
    old.revoke(study.name, 1, "asked for it")
    assert old.progress(study.name)[0].revoked_reason == "asked for it"


def test_an_upgraded_database_is_like_a_new_one(old):
    old.check_schema()
    upgraded = shape(old.database)
    with old.database.engine.begin() as connection:
        schema.metadata.drop_all(connection)
    old.create()
    assert upgraded == shape(old.database)


def test_upgrading_twice_at_once_upgrades_once(old, url, study):
    stores = [SurveyStore(url, study) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(store.check_schema) for store in stores]:
            done.result()
    assert version_in(old) == schema.VERSION
    for store in stores:
        store.database.engine.dispose()


def test_creating_twice_at_once_creates_once(url, study):
    stores = [SurveyStore(url, study) for _ in range(4)]

    def open_it(store: SurveyStore) -> None:
        store.create()
        store.add_study(study.name, study.design_sha256)

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(open_it, store) for store in stores]:
            done.result()
    assert [one.rater_number for store in stores for one in store.invite(study.name, 1)] == [1, 2, 3, 4]
    for store in stores:
        store.database.engine.dispose()


def test_creating_waits_for_another_that_writes_to_the_new_file(tmp_path, study):
    """SQLite itself refuses at once to change the journal of a file that another connection is writing."""
    file = tmp_path / "survey.sqlite"
    store = SurveyStore(f"sqlite:///{file}", study)
    with closing(sqlite3.connect(file, isolation_level=None)) as other, ThreadPoolExecutor(1) as thread:
        other.execute("BEGIN IMMEDIATE")
        other.execute("CREATE TABLE passing (x)")
        created = thread.submit(store.create)
        assert not wait([created], timeout=0.3).done
        other.execute("ROLLBACK")
        created.result()
    assert store.check_schema() is None
    store.database.engine.dispose()


def test_an_upgrade_that_fails_leaves_the_old_database(old, study, monkeypatch):
    real = schema.UPGRADES[1]

    def broken(connection):
        real(connection)
        connection.execute(text("SELECT * FROM no_such_table"))

    monkeypatch.setattr(schema, "UPGRADES", {1: broken})
    with pytest.raises(SurveyError, match="does not answer"):
        old.check_schema()
    assert version_in(old) == 1
    assert "comments" not in inspect(old.database.engine).get_table_names()
    monkeypatch.undo()
    old.check_schema()
    assert version_in(old) == schema.VERSION


def test_a_sqlite_file_is_copied_before_its_upgrade(tmp_path, study):
    file = tmp_path / "survey.sqlite"
    write_version_1(f"sqlite:///{file}", study)
    SurveyStore(f"sqlite:///{file}", study).check_schema()
    with closing(sqlite3.connect(tmp_path / "survey.sqlite.version-1")) as copy:
        assert copy.execute("SELECT value FROM about").fetchall() == [("1",)]
        assert copy.execute("SELECT count(*) FROM answers").fetchone() == (3,)
    assert sorted(path.name for path in tmp_path.glob("*version*")) == ["survey.sqlite.version-1"]


def test_a_database_of_a_newer_kpbe_is_refused(store):
    with store.database.writing() as connection:
        connection.execute(text("UPDATE about SET value = '99' WHERE key = 'version'"))
    for check in (store.create, store.check_schema):
        with pytest.raises(SurveyError, match=r"version 99.*update KPBE"):
            check()


def test_a_database_without_a_version_is_refused(store):
    with store.database.writing() as connection:
        connection.execute(text("DELETE FROM about WHERE key = 'version'"))
    with pytest.raises(SurveyError, match="does not say which version"):
        store.create()


def test_checking_does_not_create(url, study):
    store = SurveyStore(url, study)
    with pytest.raises(SurveyError, match="invite raters first"):
        store.check_schema()
    if store.database.file:
        assert not store.database.file.exists()
    store.create()
    store.check_schema()
    store.database.engine.dispose()


def test_no_stage_removes_the_database():
    """DVC deletes a stage's outputs before it runs."""
    import yaml

    repository = Path(__file__).resolve().parents[3]
    stages = yaml.safe_load((repository / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    outs = [
        Path(out if isinstance(out, str) else next(iter(out)))
        for stage in stages.values()
        for out in (stage.get("do") or stage).get("outs", [])
    ]
    assert outs
    for database in (SURVEY_DATABASE, DEMO_DATABASE):
        assert not [out for out in outs if out == database or out in database.parents]
