"""Raters' actions on the store, on SQLite and, where a server is installed, on PostgreSQL."""

from __future__ import annotations

import re
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text

from kpbe.survey.demographics import DEMOGRAPHICS
from kpbe.survey.store import schema
from kpbe.survey.store.answers import SurveyError, SurveyStore
from kpbe.survey.store.rows import Rater
from kpbe.survey.study.design import Study

FAIR = {"lip_sync": 3, "head_pose": 3, "realness": 3}
GOOD = {"lip_sync": 4, "head_pose": 4, "realness": 4}


def watch(store: SurveyStore, token: str, item: str) -> None:
    store.record_play(token, item, 1.0, ended=True, seconds=2.6)


def rate(store: SurveyStore, token: str, item: str, scores: dict[str, int] | None = None) -> None:
    watch(store, token, item)
    store.answer(token, item, scores or FAIR, 1.5)


def rows_of(store: SurveyStore, table) -> list:
    with store.database.reading() as connection:
        return list(connection.execute(select(table)))


# -- links -------------------------------------------------------------------------------------------------


def test_links_cannot_be_guessed_and_are_not_in_the_database(store, study):
    first, second = store.invite(study.name, 2)
    assert (first.rater_number, second.rater_number) == (1, 2)
    assert store.invite(study.name, 1)[0].rater_number == 3
    for invitation in (first, second):
        assert re.fullmatch(r"[0-9a-f]{32}", invitation.token)
        assert not any(invitation.token in str(row) for row in rows_of(store, schema.raters))
    assert first.link("https://lab.example/") == f"https://lab.example/?rater={first.token}"


def test_a_link_leads_to_its_rater_only(store, study):
    (invitation,) = store.invite(study.name, 1)
    rater = store.rater(invitation.token)
    assert (rater.number, rater.study, rater.consented_at, rater.revoked) == (1, "pilot", None, False)
    for wrong in (
        "",
        invitation.token[:-1],
        invitation.token + "x",
        "' OR 1=1 --",
        rows_of(store, schema.raters)[0][2],
    ):
        assert store.rater(wrong) is None
        with pytest.raises(SurveyError, match="not valid"):
            store.answered(wrong)


@pytest.mark.parametrize("who", ["number", "r001", "token"])
def test_a_revoked_link_is_closed(store, study, consenting, who):
    token = consenting()
    rate(store, token, study.order_of(1)[0])
    assert store.revoke(study.name, {"number": 1, "r001": "r001", "token": token}[who], "lost phone") == 1
    assert store.rater(token).revoked
    calls: list[Callable[[], object]] = [
        lambda: rate(store, token, study.order_of(1)[1]),
        lambda: store.record_step(token, "headphones"),
        lambda: store.comment(token, "nice", study.order_of(1)[0]),
        lambda: store.answered(token),
        lambda: store.plays(token, study.order_of(1)[0]),
    ]
    for call in calls:
        with pytest.raises(SurveyError, match="not valid"):
            call()
    assert len(rows_of(store, schema.answers)) == 3
    (progress,) = store.progress(study.name)
    assert (progress.state, progress.revoked_reason) == ("revoked", "lost phone")


def test_a_forgotten_rater_leaves_nothing(store, study, consenting):
    token, other = consenting(), consenting()
    rate(store, token, study.order_of(1)[0])
    store.comment(token, "a tall man", study.order_of(1)[0])
    rate(store, other, study.order_of(2)[0])
    store.revoke(study.name, token, forget=True)
    for table in (schema.answers, schema.answer_history, schema.plays, schema.comments, schema.steps):
        assert all(row.rater == 2 for row in rows_of(store, table))
    assert store.rater(token).consented_at is None
    assert len(rows_of(store, schema.answers)) == 3
    assert store.invite(study.name, 1)[0].rater_number == 3, "numbers are not given twice"


def test_revoking_nobody_is_said(store, study):
    with pytest.raises(SurveyError, match="no such rater"):
        store.revoke(study.name, 7)


# -- steps -------------------------------------------------------------------------------------------------


def test_nothing_is_kept_before_consent(store, study):
    (invitation,) = store.invite(study.name, 1)
    item = study.order_of(1)[0]
    for call in (
        lambda: watch(store, invitation.token, item),
        lambda: store.answer(invitation.token, item, FAIR, 1),
        lambda: store.comment(invitation.token, "hm", item),
        lambda: store.record_step(invitation.token, "headphones"),
    ):
        with pytest.raises(SurveyError, match="agree"):
            call()
    assert not rows_of(store, schema.plays) and not rows_of(store, schema.answers)


def test_the_first_time_of_a_step_counts_and_every_time_is_kept(url, study):
    moments = iter(datetime(2026, 3, 1, 8, tzinfo=UTC) + timedelta(minutes=i) for i in range(100))
    store = SurveyStore(url, study, clock=lambda: next(moments))
    store.create()
    store.add_study(study.name, study.design_sha256)
    (invitation,) = store.invite(study.name, 1)
    token = invitation.token

    def rater() -> Rater:
        found = store.rater(token)
        assert found is not None
        return found

    store.record_step(token, "consent", {"age": "adult"}, language="zh", user_agent="Phone 1")
    agreed = rater().consented_at
    store.record_step(token, "headphones", {"passed": False})
    assert rater().headphones_passed_at is None
    store.record_step(token, "headphones", {"passed": True})
    store.record_step(token, "consent", language="en")
    store.record_step(token, "break")
    passed = rater().headphones_passed_at
    assert agreed is not None and agreed.tzinfo is not None and rater().consented_at == agreed
    assert passed is not None and passed > agreed and rater().training_done_at is None
    assert rater().language == "en"
    kept = [(row.step, row.detail, row.user_agent) for row in rows_of(store, schema.steps)]
    assert kept[0] == ("consent", '{"age": "adult"}', "Phone 1") and len(kept) == 5


def test_the_end_comes_when_every_clip_is_rated(store, study, consenting):
    token = consenting()
    order = study.order_of(1)
    for item in order[:-1]:
        rate(store, token, item)
    with pytest.raises(SurveyError, match="1 clip is still"):
        store.record_step(token, "finished")
    assert store.rater(token).finished_at is None
    rate(store, token, order[-1])
    store.record_step(token, "finished")
    assert store.rater(token).finished_at is not None
    store.answer(token, order[0], FAIR, 9.0)  # a retry that arrives late
    with pytest.raises(SurveyError, match="finished"):
        store.answer(token, order[0], GOOD, 9.0)
    assert store.answered(token)[order[0]] == FAIR


# -- plays -------------------------------------------------------------------------------------------------


def test_plays_are_counted_and_a_play_told_twice_counts_once(store, study, consenting):
    token, item = consenting(), study.order_of(1)[0]
    assert store.plays(token, item).count == 0 and not store.plays(token, item).ended
    store.record_play(token, item, 0.4, ended=False, seconds=1.0, play_id="a")
    store.record_play(token, item, 1.0, ended=True, seconds=2.6, dropped_frames=2, play_id="a")
    store.record_play(token, item, 0.7, ended=False, seconds=1.8, play_id="a")  # late
    plays = store.plays(token, item)
    assert (plays.count, plays.ended, plays.watched) == (1, True, 1.0)
    store.record_play(token, item, 0.2, ended=False, seconds=0.5, play_id="b")
    store.record_play(token, item, 0.2, ended=False, seconds=0.5)
    store.record_play(token, item, 0.2, ended=False, seconds=0.5)
    assert store.plays(token, item).count == 4
    assert store.plays(token, study.order_of(1)[1]).count == 0


@pytest.mark.parametrize(("watched", "ended"), [(1.0, False), (0.3, True), (float("nan"), True), (0.0, True)])
def test_a_clip_that_was_not_played_to_its_end_is_not_rated(store, study, consenting, watched, ended):
    token, item = consenting(), study.order_of(1)[0]
    store.record_play(token, item, watched, ended, seconds=1.0)
    with pytest.raises(SurveyError, match="play the clip to its end"):
        store.answer(token, item, FAIR, 1.0)
    assert store.answered(token) == {}


# -- answers -----------------------------------------------------------------------------------------------


def test_the_last_answers_count_and_every_change_is_kept(store, study, consenting):
    token, item = consenting(), study.order_of(1)[0]
    rate(store, token, item)
    store.answer(token, item, FAIR, 2.0)  # a double click
    store.answer(token, item, {**FAIR, "realness": 5}, 7.0)
    assert store.answered(token) == {item: {**FAIR, "realness": 5}}
    history = [(row.question, row.score) for row in rows_of(store, schema.answer_history)]
    assert sorted(history) == [("head_pose", 3), ("lip_sync", 3), ("realness", 3), ("realness", 5)]
    seconds = {row.question: row.response_seconds for row in rows_of(store, schema.answers)}
    assert seconds == {"lip_sync": 1.5, "head_pose": 1.5, "realness": 7.0}


@pytest.mark.parametrize(
    "scores",
    [
        {**FAIR, "realness": 6},
        {**FAIR, "realness": 0},
        {**FAIR, "realness": 3.0},
        {**FAIR, "realness": True},
        {**FAIR, "realness": "3"},
        {**FAIR, "realness": None},
        {"lip_sync": 3, "head_pose": 3},
        {**FAIR, "beauty": 3},
        {},
    ],
)
def test_answers_outside_the_scale_are_refused_whole(store, study, consenting, scores):
    token, item = consenting(), study.order_of(1)[0]
    watch(store, token, item)
    with pytest.raises(SurveyError):
        store.answer(token, item, scores, 1.0)
    assert store.answered(token) == {} and not rows_of(store, schema.answer_history)


def test_a_forged_clip_is_refused(store, study, consenting):
    token = consenting()
    for item in ("f" * 16, "../secret", "", study.order_of(1)[0].upper() + " "):
        with pytest.raises(SurveyError, match="not part of your survey"):
            watch(store, token, item)
        with pytest.raises(SurveyError, match="not part of your survey"):
            store.answer(token, item, FAIR, 1.0)


def test_a_clip_of_another_order_is_refused(url, study):
    short = replace(study, orders=(study.orders[0][:4], study.orders[0][4:]))
    store = SurveyStore(url, short)
    store.create()
    store.add_study(short.name, short.design_sha256)
    (invitation,) = store.invite(short.name, 1)
    store.record_step(invitation.token, "consent")
    with pytest.raises(SurveyError, match="not part of your survey"):
        watch(store, invitation.token, short.order_of(2)[0])
    rate(store, invitation.token, short.order_of(1)[0])


def test_training_answers_are_kept_but_not_exported(store, study, consenting):
    token = consenting()
    rate(store, token, study.training[0])
    assert study.training[0] in store.answered(token)
    assert store.export_rows(study) == []
    (progress,) = store.progress(study.name)
    assert progress.items_rated == 0 and progress.plays == 0 and progress.state == "preparing"


def test_a_broken_stopwatch_does_not_lose_an_answer(store, study, consenting):
    token = consenting()
    for item, seconds in zip(study.order_of(1), (float("nan"), float("-inf"), -3.0), strict=False):
        watch(store, token, item)
        store.answer(token, item, FAIR, seconds)
    assert {row.response_seconds for row in rows_of(store, schema.answers)} == {0.0}


def test_the_last_comment_counts(store, study, consenting):
    token, item = consenting(), study.order_of(1)[0]
    store.comment(token, "blurred", item)
    store.comment(token, " mouth blurred ", item)
    assert [row.comment for row in rows_of(store, schema.comments)] == ["mouth blurred"]
    store.comment(token, "  ", item)
    assert not rows_of(store, schema.comments)


def test_comments_about_the_survey_are_listed_without_revoked_raters(store, study, consenting):
    first, second = consenting(), consenting()
    store.comment(first, "too long")
    store.comment(first, "lips late", study.order_of(1)[0])
    store.comment(second, "nice")
    listed = [(one.rater, one.item, one.text) for one in store.comments(study.name)]
    assert listed == [(1, "", "too long"), (1, study.order_of(1)[0], "lips late"), (2, "", "nice")]
    store.revoke(study.name, 2)
    assert {one.rater for one in store.comments(study.name)} == {1}


# -- studies -----------------------------------------------------------------------------------------------


def test_answers_of_two_designs_are_not_mixed(store, study, consenting):
    other = replace(study, break_after=5)
    store.add_study(other.name, other.design_sha256)  # nobody has answered yet
    store.add_study(study.name, study.design_sha256)
    rate(store, consenting(), study.order_of(1)[0])
    store.add_study(study.name, study.design_sha256)
    with pytest.raises(SurveyError, match=r"survey\.study"):
        store.add_study(other.name, other.design_sha256)


def test_a_link_of_another_study_takes_no_answers(store, study, consenting):
    token = consenting()
    renamed = replace(study, name="second")
    second = SurveyStore(store.database.url.render_as_string(False), renamed)
    second.check_schema()
    second.add_study(renamed.name, renamed.design_sha256)
    with pytest.raises(SurveyError, match="another one"):
        watch(second, token, study.order_of(1)[0])
    assert second.invite("second", 1)[0].rater_number == 1
    with pytest.raises(SurveyError, match="unknown"):
        second.invite("third", 1)


def test_demo_and_real_answers_do_not_meet(url, study):
    demo = replace(study, name="pilot-demo")
    with pytest.raises(SurveyError, match="-demo"):
        SurveyStore(url, demo)
    with pytest.raises(SurveyError, match="-demo"):
        SurveyStore(url, study, demo=True)
    SurveyStore(url, study).create()
    with pytest.raises(SurveyError, match="made for real answers"):
        SurveyStore(url, demo, demo=True).create()
    with pytest.raises(SurveyError, match="not removed"):
        SurveyStore(url, study).empty()


# -- export and progress -----------------------------------------------------------------------------------


def test_what_raters_say_of_themselves_is_kept_exported_and_forgotten(store, study, consenting):
    told, silent = consenting(), consenting()
    item = study.order_of(1)[0]
    rate(store, told, item)
    rate(store, silent, study.order_of(2)[0])
    store.describe(told, {"age": "18-29", "vision": "normal"})
    store.describe(told, {"age": "30-39", "vision": "corrected", "sound": "earphones"})
    store.describe(silent, {})
    said = {row["rater"]: [row[question] for question in DEMOGRAPHICS] for row in store.export_rows(study)}
    assert said == {
        "r001": ["30-39", "corrected", "not_said", "not_said", "earphones"],
        "r002": ["not_said"] * 5,
    }
    store.revoke(study.name, told, forget=True)
    with store.database.reading() as connection:
        left = connection.execute(text("SELECT DISTINCT rater FROM demographics")).fetchall()
    assert [row.rater for row in left] == [2]


@pytest.mark.parametrize("answers", [{"age": "34"}, {"name": "Ann"}, {"vision": "18-29"}])
def test_no_other_answers_about_a_rater_are_taken(store, consenting, answers):
    with pytest.raises(SurveyError, match="is no answer to a question of this survey"):
        store.describe(consenting(), answers)


def test_nothing_about_a_rater_is_kept_before_consent(store, study):
    (invitation,) = store.invite(study.name, 1)
    with pytest.raises(SurveyError, match="agree to it first"):
        store.describe(invitation.token, {"age": "18-29"})


def test_export_has_a_row_for_each_answer(store, study, consenting):
    token, revoked = consenting(), consenting()
    order = study.order_of(1)
    for item in order:
        rate(store, token, item, GOOD)
    watch(store, token, order[0])
    rate(store, revoked, order[0])
    store.revoke(study.name, revoked)
    rows = store.export_rows(study)
    assert len(rows) == 3 * len(order) and {row["rater"] for row in rows} == {"r001"}
    assert [row["item"] for row in rows[::3]] == list(order)
    assert [row["position"] for row in rows[::3]] == list(range(1, len(order) + 1))
    first = study.by_id[order[0]]
    assert rows[0] == {
        "study": "pilot",
        "rater": "r001",
        "item": order[0],
        "kind": first.kind,
        "clip_id": first.clip_id,
        "identity": first.identity,
        "method": first.method,
        "question": "lip_sync",
        "score": 4,
        "position": 1,
        "plays": 2,
        "watched": 1.0,
        "response_seconds": 1.5,
        "answered_at": rows[0]["answered_at"],
        "repeats": first.repeats or "",
        "age": "",
        "vision": "",
        "colour_vision": "",
        "device": "",
        "sound": "",
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", rows[0]["answered_at"])
    (repeated,) = {row["repeats"] for row in rows if row["kind"] == "repeat"}
    assert repeated == study.items[0].item


def test_progress_tells_who_is_where(store, study, consenting):
    store.invite(study.name, 1)
    consenting()
    half, done = consenting(), consenting()
    for item in study.order_of(3)[:2]:
        rate(store, half, item)
    for item in study.order_of(4):
        rate(store, done, item)
    store.record_step(done, "finished")
    found = store.progress(study.name)
    assert [one.state for one in found] == ["invited", "preparing", "rating", "finished"]
    assert [one.items_rated for one in found] == [0, 0, 2, len(study.order_of(4))]
    assert found[0].last_seen_at is None and found[0].median_response_seconds is None
    assert found[2].plays == 2 and found[2].median_response_seconds == 1.5


# -- SQLite's file -----------------------------------------------------------------------------------------


@pytest.fixture
def file_store(tmp_path: Path, study: Study) -> SurveyStore:
    made = SurveyStore(f"sqlite:///{tmp_path / 'deep' / 'survey.sqlite'}", study)
    made.create()
    made.add_study(study.name, study.design_sha256)
    return made


def test_sqlite_writes_ahead_and_waits_for_the_disk(file_store):
    with file_store.database.reading() as connection:
        settings = [
            connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
        ]
    assert settings == ["wal", 2, 30_000, 1]


def test_a_removed_file_stops_the_survey_instead_of_losing_answers(file_store, study):
    (invitation,) = file_store.invite(study.name, 1)
    file = file_store.database.file
    file.rename(file.with_name("elsewhere"))
    with pytest.raises(SurveyError, match="was removed or replaced"):
        file_store.record_step(invitation.token, "consent")
    file.touch()
    with pytest.raises(SurveyError, match="was removed or replaced"):
        file_store.rater(invitation.token)


def test_a_locked_or_damaged_file_is_one_sentence(tmp_path, study):
    file = tmp_path / "survey.sqlite"
    file.write_bytes(b"this is not a database " * 100)
    with pytest.raises(SurveyError, match="does not answer") as caught:
        SurveyStore(f"sqlite:///{file}", study).create()
    assert "\n" not in str(caught.value)


def test_answers_that_break_half_way_leave_nothing(file_store, study):
    """A trigger stands for a disk that is full after the second of three rows."""
    (invitation,) = file_store.invite(study.name, 1)
    file_store.record_step(invitation.token, "consent")
    item = study.order_of(1)[0]
    watch(file_store, invitation.token, item)
    with sqlite3.connect(file_store.database.file) as direct:
        direct.execute(
            "CREATE TRIGGER full BEFORE INSERT ON answers WHEN NEW.question = 'realness' "
            "BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
        )
    with pytest.raises(SurveyError, match=r"Nothing was stored.*disk is full"):
        file_store.answer(invitation.token, item, FAIR, 1.0)
    assert file_store.answered(invitation.token) == {} and not rows_of(file_store, schema.answer_history)


@pytest.mark.parametrize("url", ["mysql://x/y", "nonsense", "sqlite://", "sqlite:///:memory:", ""])
def test_a_url_that_cannot_be_used_is_said(url, study):
    with pytest.raises(SurveyError, match="KPBE_SURVEY_URL must"):
        SurveyStore(url, study)


def test_a_server_that_is_not_there_is_one_sentence_without_its_address(study):
    pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")
    store = SurveyStore("postgresql://me:secret@127.0.0.1:9/survey", study)
    with pytest.raises(SurveyError, match="does not answer") as caught:
        store.create()
    assert "secret" not in str(caught.value) and "127.0.0.1" not in str(caught.value)


def test_a_driver_that_is_not_installed_is_said(study, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(SurveyError, match="driver is not installed: pip install"):
        SurveyStore("postgresql://me@127.0.0.1/survey", study)
