"""The survey's administration, which only an administrator can open."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import streamlit as st
from argon2 import PasswordHasher
from streamlit.testing.v1 import AppTest

from kpbe.paths import STUDY
from kpbe.survey.simulate import simulate
from kpbe.survey.store import answers as stores
from kpbe.survey.store.answers import SurveyStore, open_store
from kpbe.survey.store.passwords import LoginThrottle
from kpbe.survey.study.design import GROUND_TRUTH, QUESTIONS, Item, Study
from reports import admin_gate

REPOSITORY = Path(__file__).resolve().parents[2]
PASSWORD = "correct horse"
HASH = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD)  # quick, the same rules
FAIR = {"lip_sync": 3, "head_pose": 3, "realness": 3}
Open = Callable[..., AppTest]


def make_study() -> Study:
    clips = [(f"p{clip}#v0#0#65", f"p{clip}") for clip in range(3)]
    methods = ("wav2lip", "wav2lip+kpbe", GROUND_TRUTH)
    items = [
        Item(f"{10 * m + c:016x}", "reference" if method == GROUND_TRUTH else "main", *clip, method, 2.6)
        for m, method in enumerate(methods)
        for c, clip in enumerate(clips)
    ]
    order = tuple(item.item for item in items)
    return Study("pilot", 0, QUESTIONS, tuple(items), (order, order[::-1]), (), 5)


@pytest.fixture
def study(empty_project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Study]:
    """A project with videos to rate, which nobody has rated."""
    monkeypatch.delenv("KPBE_SURVEY_URL", raising=False)
    monkeypatch.setattr(stores, "_opened", {})
    shutil.copy(REPOSITORY / "params.yaml", empty_project)
    made = make_study()
    made.write(empty_project / STUDY)
    monkeypatch.setattr(admin_gate, "THROTTLE", LoginThrottle(clock=lambda: 0.0))
    monkeypatch.setattr(admin_gate, "_visitor", lambda: "192.0.2.1")  # AppTest invents a new one in each run
    st.cache_data.clear()
    yield made


@pytest.fixture
def store(study: Study, empty_project: Path) -> SurveyStore:
    return open_store(empty_project)


@pytest.fixture
def open_admin() -> Open:
    """Opens the page of a site; `secrets` are those of .streamlit/secrets.toml."""

    def opened(site: str = "app", secrets: dict[str, Any] | None = None) -> AppTest:
        page = AppTest.from_file(str(REPOSITORY / "reports" / f"{site}.py"), default_timeout=60)
        for name, value in ({"survey": {"admin_password": HASH}} if secrets is None else secrets).items():
            page.secrets[name] = value
        return page.run().switch_page("views/survey_admin.py").run()

    return opened


def sign_in(page: AppTest, password: str = PASSWORD) -> AppTest:
    page.text_input[0].input(password)
    return button(page, "Sign in").click().run()


def button(page: AppTest, label: str) -> Any:
    return next(one for one in page.button if one.label == label)


def text_of(page: AppTest) -> str:
    return "\n".join(
        element.value for element in (*page.html, *page.header, *page.title, *page.code, *page.markdown)
    )


def rate(store: SurveyStore, token: str, items: int) -> None:
    rater, design = store.rater(token), store.design
    assert rater is not None and design is not None
    store.record_step(token, "consent", language="en")
    for item in design.order_of(rater.number)[:items]:
        store.record_play(token, item, 1.0, True, 2.6)
        store.answer(token, item, FAIR, 4.0)


# -- the door ----------------------------------------------------------------------------------------------


def nothing_is_seen(page: AppTest) -> bool:
    return (
        not page.dataframe
        and "pilot" not in text_of(page)
        and not page.get("download_button")
        and not page.number_input
    )


@pytest.mark.parametrize("site", ["app", "survey"])
def test_without_a_password_the_page_is_closed_and_says_how_to_open_it(study, open_admin, site):
    page = open_admin(site, secrets={})
    assert not page.exception and "kpbe survey password" in text_of(page)
    assert nothing_is_seen(page) and not page.text_input


@pytest.mark.parametrize("site", ["app", "survey"])
def test_only_the_password_opens_the_page(study, store, open_admin, site):
    store.invite("pilot", 1)
    page = open_admin(site)
    assert nothing_is_seen(page)
    sign_in(page, "battery staple")
    assert nothing_is_seen(page) and "not the password" in page.error[0].value
    sign_in(page)
    assert not page.exception and not page.error and "pilot" in text_of(page)
    page.run()
    assert "pilot" in text_of(page)
    assert nothing_is_seen(open_admin(site)), "another visitor has to sign in as well"
    button(page, "Sign out").click().run()
    assert nothing_is_seen(page)


def test_wrong_passwords_are_slowed_down_for_new_sessions_too(study, open_admin):
    page = open_admin()
    for _ in range(3):
        sign_in(page, "battery staple")
    assert "Wait 2 s" in page.error[0].value
    again = sign_in(open_admin())
    assert "Wait" in again.error[0].value and nothing_is_seen(again)


def test_a_damaged_hash_is_said(study, open_admin):
    page = sign_in(open_admin(secrets={"survey": {"admin_password": PASSWORD}}))
    assert "not an argon2 hash" in page.error[0].value and nothing_is_seen(page)


class User(SimpleNamespace):
    """Stands for `st.user`."""

    def get(self, name: str, default: Any = None) -> Any:
        return getattr(self, name, default)


@pytest.mark.parametrize(
    ("user", "admins", "enters", "says"),
    [
        ({"is_logged_in": False}, ["ada@lab.example"], False, ""),
        (
            {"is_logged_in": True, "email": "Ada@lab.example", "email_verified": True},
            ["ada@lab.example"],
            True,
            "",
        ),
        (  # the provider does not say who may use this address
            {"is_logged_in": True, "email": "ada@lab.example"},
            ["ada@lab.example"],
            False,
            "may not administer",
        ),
        (
            {"is_logged_in": True, "email": "eve@lab.example"},
            ["ada@lab.example"],
            False,
            "may not administer",
        ),
        (
            {"is_logged_in": True, "email": "ada@lab.example", "email_verified": False},
            ["ada@lab.example"],
            False,
            "may not",
        ),
        ({"is_logged_in": True, "email": "ada@lab.example"}, [], False, "nobody may administer"),
        ({"is_logged_in": True}, ["None", ""], False, "may not administer"),
    ],
)
def test_a_login_lets_in_who_is_listed(study, open_admin, monkeypatch, user, admins, enters, says):
    monkeypatch.setattr(st, "user", User(**user))
    page = open_admin(
        secrets={"auth": {"client_id": "x"}, "survey": {"admins": admins, "admin_password": HASH}}
    )
    assert not page.exception and says in text_of(page)
    assert ("pilot" in text_of(page)) is enters and nothing_is_seen(page) is not enters
    if not enters:
        assert not page.text_input


def test_a_provider_that_does_not_mark_addresses_can_be_trusted(study, open_admin, monkeypatch):
    monkeypatch.setattr(st, "user", User(is_logged_in=True, email="ada@lab.example"))
    survey = {"admins": ["ada@lab.example"], "trust_unmarked_addresses": True}
    page = open_admin(secrets={"auth": {"client_id": "x"}, "survey": survey})
    assert "pilot" in text_of(page)


# -- inside ------------------------------------------------------------------------------------------------


def test_before_the_stimuli_are_made_the_stage_is_named(empty_project, open_admin):
    page = sign_in(open_admin())
    assert not page.exception and not page.error and "dvc repro mos_stimuli" in text_of(page)


def test_a_study_without_raters_is_shown(study, open_admin):
    page = sign_in(open_admin())
    assert not page.exception and not page.error
    assert "nobody came yet" in text_of(page) and "No ratings yet" in text_of(page)
    assert "There is no link to revoke" in text_of(page)


def test_progress_is_shown_for_each_rater(study, store, open_admin):
    first, second, _, gone = (new.token for new in store.invite("pilot", 4))
    rate(store, first, 9)
    store.record_step(first, "finished")
    rate(store, second, 3)
    rate(store, gone, 1)
    store.revoke("pilot", gone, "wrong address")
    page = sign_in(open_admin())
    shown = {name: column.tolist() for name, column in page.dataframe[0].value.items()}
    assert shown["Rater"] == ["r001", "r002", "r003", "r004"]
    assert shown["State"] == ["finished", "rating", "invited", "revoked"]
    assert shown["Clips"] == ["9 of 9", "3 of 9", "0 of 9", "1 of 9"]
    assert shown["Seconds"][0] == 4.0 and shown["Plays"][1] == 1.0 and shown["Note"][3] == "wrong address"
    cards = text_of(page)
    assert ">36<" in cards and "44% of the invited" in cards and "1 more revoked" in cards
    assert not any(token in cards for token in (first, second, gone))


def test_comments_are_shown(study, store, open_admin):
    (invitation,) = store.invite("pilot", 1)
    rate(store, invitation.token, 1)
    assert "too long" not in text_of(sign_in(open_admin()))
    store.comment(invitation.token, "<b>too long")
    assert "&lt;b&gt;too long" in text_of(sign_in(open_admin()))


def test_new_links_are_shown_once_and_work(study, store, open_admin):
    page = sign_in(open_admin())
    page.number_input[0].set_value(2)
    page.text_input[0].input("https://lab.example/s/")
    button(page, "Make links").click().run()
    assert not page.exception
    rows = list(csv.reader(page.code[0].value.splitlines()))
    assert [name for name, _ in rows] == ["r001", "r002"]
    for number, (_, link) in enumerate(rows, 1):
        base, token = link.split("/?rater=")
        rater = store.rater(token)
        assert base == "https://lab.example/s" and rater is not None and rater.number == number
    page.run()
    assert len(store.progress("pilot")) == 2, "a second run invites nobody"
    button(page, "Hide them").click().run()
    assert not page.code and len(store.progress("pilot")) == 2
    assert not sign_in(open_admin()).code


def test_a_link_is_revoked_when_a_rater_is_chosen(study, store, open_admin):
    first, second = (new.token for new in store.invite("pilot", 2))
    rate(store, second, 2)
    page = sign_in(open_admin())
    button(page, "Revoke").click().run()
    assert "Choose a rater" in page.error[0].value
    page.selectbox[0].select(2)
    page.text_input[1].input("asked to leave")
    page.checkbox[0].check()
    button(page, "Revoke").click().run()
    assert not page.exception
    states = [(one.state, one.items_rated, one.revoked_reason) for one in store.progress("pilot")]
    assert states == [("invited", 0, ""), ("revoked", 0, "asked to leave")]
    assert page.selectbox[0].options == ["r001"]
    assert store.rater(first) is not None


def test_scores_so_far_have_intervals(study, store, open_admin):
    for new in store.invite("pilot", 3):
        rate(store, new.token, 9)
    page = sign_in(open_admin())
    assert not page.exception and not page.error
    tables = [element.value for element in page.html if "<table" in element.value]
    assert tables and "Wav2Lip+KPBE" in tables[0] and "<b>3.00</b><small>3.00 to 3.00</small>" in tables[0]
    assert "left out by screening" in page.expander[0].label, (
        "who gives the same score throughout is screened"
    )
    (download,) = page.get("download_button")
    assert download.proto.label == "ratings.csv"


def test_the_demo_is_marked_and_cannot_be_invited_to(study, store, empty_project, open_admin):
    demo = open_store(empty_project, demo=True)
    simulate(demo, raters=4)
    page = sign_in(open_admin())
    assert not page.warning and "Study pilot" in text_of(page) and not page.dataframe
    choice: Any = page.get("segmented_control")[0]
    choice.set_value("Demo").run()
    assert not page.exception
    assert "invented answers" in page.warning[0].value and "Study pilot-demo" in text_of(page)
    assert len(page.dataframe[0].value) == 5
    assert not page.number_input and not page.selectbox
    (download,) = page.get("download_button")
    assert download.proto.label == "demo_ratings.csv"
    assert store.progress("pilot") == []
