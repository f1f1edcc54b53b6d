"""Double clicks, refreshes, two tabs and retries neither lose nor duplicate an answer.

This holds in any order and at the same time.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from kpbe.survey.store import schema
from kpbe.survey.store.answers import SurveyError, SurveyStore
from kpbe.survey.study.design import QUESTIONS, Study

SCORES = st.fixed_dictionaries({question: st.integers(1, 5) for question in QUESTIONS})
TAB = st.integers(0, 1)
PLACE = st.integers(0, 2)
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("answer"), TAB, PLACE, SCORES),
        st.tuples(st.just("again"), TAB),  # a double click, or a retry after a lost reply
        st.tuples(
            st.just("late"), TAB
        ),  # the other tab still shows an earlier clip and sends its old answers
        st.tuples(st.just("wrong"), TAB, PLACE),
        st.tuples(st.just("refresh"), TAB),
        st.tuples(st.just("play"), TAB, PLACE),
    ),
    max_size=25,
)


@pytest.fixture
def tabs(url: str, study: Study) -> Iterator[list[SurveyStore]]:
    """Two stores that share only the database, as two server processes do."""
    stores = [SurveyStore(url, study) for _ in range(2)]
    stores[0].create()
    stores[0].add_study(study.name, study.design_sha256)
    yield stores
    for store in stores:
        store.database.engine.dispose()


def new_rater(tabs: list[SurveyStore], study: Study, watched: int) -> tuple[int, str]:
    (invitation,) = tabs[0].invite(study.name, 1)
    tabs[0].record_step(invitation.token, "consent")
    for item in study.order_of(invitation.rater_number)[:watched]:
        tabs[0].record_play(invitation.token, item, 1.0, True, 2.6)
    return invitation.rater_number, invitation.token


def stored(store: SurveyStore, table, number: int) -> list:
    with store.database.reading() as connection:
        key = table.c.question if table is schema.answers else table.c.id
        return list(connection.execute(select(table).where(table.c.rater == number).order_by(key)))


def check_history(store: SurveyStore, number: int) -> None:
    """Check that every entry is a change and that the last ones equal the answers."""
    last: dict[tuple[str, str], int] = {}
    for row in stored(store, schema.answer_history, number):
        assert last.get((row.item, row.question)) != row.score
        last[row.item, row.question] = row.score
    assert last == {(row.item, row.question): row.score for row in stored(store, schema.answers, number)}


@given(actions=ACTIONS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_order_of_actions_in_two_tabs_ends_with_the_last_answers(tabs, study, actions):
    number, token = new_rater(tabs, study, watched=3)
    order = study.order_of(number)
    sent: list[tuple[str, dict[str, int]]] = []
    expected: dict[str, dict[str, int]] = {}
    changes = 0
    for kind, tab, *rest in actions:
        store = tabs[tab]
        if kind == "answer":
            sent.append((order[rest[0]], rest[1]))
        if kind in ("again", "late", "answer") and sent:
            item, scores = sent[0] if kind == "late" else sent[-1]
            changes += sum(expected.get(item, {}).get(q) != scores[q] for q in QUESTIONS)
            store.answer(token, item, scores, 1.0)
            expected[item] = scores
        elif kind == "wrong":
            with pytest.raises(SurveyError):
                store.answer(token, order[rest[0]], {"lip_sync": 9, "head_pose": 1, "realness": 1}, 1.0)
        elif kind == "play":
            store.record_play(token, order[rest[0]], 0.1, False, 0.3)
        elif kind == "refresh":
            assert store.answered(token) == expected
    assert tabs[0].answered(token) == tabs[1].answered(token) == expected
    assert len(stored(tabs[0], schema.answers, number)) == 3 * len(expected)
    assert len(stored(tabs[0], schema.answer_history, number)) == changes
    check_history(tabs[0], number)


def test_two_tabs_at_the_same_moment_leave_the_answers_of_one(tabs, study):
    """The later tab wins all questions; answers of both tabs never mix."""
    submissions = [dict.fromkeys(QUESTIONS, score) for score in (1, 2, 4, 5)]
    with ThreadPoolExecutor(len(submissions)) as threads:
        for _ in range(8):
            number, token = new_rater(tabs, study, watched=1)
            item = study.order_of(number)[0]
            together = Barrier(len(submissions))

            def send(place: int, token=token, item=item, together=together) -> None:
                together.wait()
                tabs[place % 2].answer(token, item, submissions[place], 1.0)
                tabs[place % 2].answer(token, item, submissions[place], 1.0)

            for sending in [threads.submit(send, place) for place in range(len(submissions))]:
                sending.result()
            assert tabs[0].answered(token)[item] in submissions
            assert len(stored(tabs[0], schema.answers, number)) == 3
            check_history(tabs[0], number)


def test_first_answers_clicked_twice_at_the_same_moment_are_there_once(tabs, study):
    with ThreadPoolExecutor(2) as threads:
        for _ in range(8):
            number, token = new_rater(tabs, study, watched=1)
            item = study.order_of(number)[0]
            together = Barrier(2)

            def click(tab: int, token=token, item=item, together=together) -> None:
                together.wait()
                tabs[tab].answer(token, item, dict.fromkeys(QUESTIONS, 3), 1.0)

            for clicking in [threads.submit(click, tab) for tab in (0, 1)]:
                clicking.result()
            assert len(stored(tabs[0], schema.answers, number)) == 3
            assert len(stored(tabs[0], schema.answer_history, number)) == 3


def test_invitations_at_the_same_moment_get_different_numbers(tabs, study):
    with ThreadPoolExecutor(4) as threads:
        done = [threads.submit(tabs[i % 2].invite, study.name, 3) for i in range(6)]
        numbers = [one.rater_number for invited in done for one in invited.result()]
    assert sorted(numbers) == list(range(1, 19))
