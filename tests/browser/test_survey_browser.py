"""The survey in a real browser, from link to thank-you page, and what a curious rater might try."""

from __future__ import annotations

import http.client
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from kpbe.methods import display_name
from reports.texts import languages
from tests.browser.conftest import Site, serving
from tests.browser.walking import QUICK_SOUNDS, SCREENSHOTS, Rater, Traffic
from tests.reports.tiny_study import METHODS, opaque

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

TIMEOUT_MS = 30_000
DESKTOP = {"viewport": {"width": 1280, "height": 800}}
PHONE = {
    "viewport": {"width": 390, "height": 844},
    "has_touch": True,
    "is_mobile": True,
    "device_scale_factor": 2,
}
SMALL_PHONE = {**PHONE, "viewport": {"width": 360, "height": 640}}
LOOKS = {
    "desktop-light": (DESKTOP, "light", "en"),
    "phone-dark": (PHONE, "dark", "zh"),
    "desktop-dark": (DESKTOP, "dark", "en"),
    "phone-light": (PHONE, "light", "en"),
}
SECRETS = (
    *METHODS, *map(display_name, METHODS), "ground_truth", "ground truth", "kpbe", "degraded", "shift_ms",
    "repeats", "p0#v0",
)  # fmt: skip


@contextmanager
def device(browser: Browser, kind: dict[str, Any], scheme: Any = "light") -> Iterator[BrowserContext]:
    """A browser that shares nothing with the others."""
    context = browser.new_context(**kind, color_scheme=scheme)
    context.set_default_timeout(TIMEOUT_MS)
    context.add_init_script(QUICK_SOUNDS)
    yield context
    context.close()


def prepared(site: Site) -> str:
    """The token of a rater who is about to rate the first clip."""
    token = site.invite()
    site.store.record_step(token, "consent", language="en")
    for step in ("headphones", "training"):
        site.store.record_step(token, step)
    return token


def steps_of(site: Site, token: str) -> dict[str, Any]:
    rater = site.store.rater(token)
    return {
        name: getattr(rater, name)
        for name in (
            "consented_at",
            "headphones_passed_at",
            "described_at",
            "training_done_at",
            "finished_at",
        )
    }


def order_of(site: Site, token: str) -> tuple[str, ...]:
    rater = site.store.rater(token)
    assert rater is not None
    return site.study.order_of(rater.number)


# -- the whole way -----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("look", LOOKS)
def test_rater_goes_from_link_to_thanks_and_may_close_the_browser(
    browser: Browser, site: Site, look: str
) -> None:
    if look in list(LOOKS)[2:] and not os.environ.get(SCREENSHOTS):
        pytest.skip(f"only for the pictures: {SCREENSHOTS} names no folder")
    kind, scheme, language = LOOKS[look]
    token, texts, traffic = site.invite(), languages()[language], Traffic()

    def checked(rater: Rater, name: str) -> None:
        rater.photograph(f"{look}-{name}")
        assert rater.weak_contrasts() == []
        assert not rater.overflows()

    with device(browser, kind, scheme) as context:
        traffic.record(page := context.new_page())
        rater = Rater(page, texts)
        page.goto(site.link(token))
        rater.button(texts("language")).wait_for()
        checked(rater, "01-language")
        rater.choose_language()
        rater.wait_for(texts("welcome.title"))
        page.wait_for_function("language => document.documentElement.lang === language", arg=language)
        checked(rater, "02-welcome")
        rater.consent()
        rater.wait_for(texts("prepare.title"))
        checked(rater, "03-prepare")
        rater.prepare()
        rater.pass_headphones(look=lambda: checked(rater, "04-headphones"))
        rater.wait_for(texts("about.title"))
        checked(rater, "04b-about")
        rater.describe(age="18-29", sound="earphones")
        rater.practise(look=lambda number: checked(rater, f"05-practice-{number}"))
        rater.at_clip(1)
        checked(rater, "06-clip")
        rater.watch()
        checked(rater, "07-clip-played")

    with device(browser, kind, scheme) as context:
        traffic.record(page := context.new_page())
        rater = Rater(page, texts)
        page.goto(site.link(token))
        rater.at_clip(1)
        page.locator(".cover[data-state=again]").wait_for()
        rater.score(4, 3)
        checked(rater, "08-clip-answers")
        rater.rate(2)
        rater.at_clip(2)
        rater.watch()
        rater.rate(5, 4, 5)
        rater.wait_for(texts("break.title"))
        checked(rater, "09-break")
        rater.button(texts("break.next")).click()
        rater.at_clip(3)
        rater.watch()
        rater.rate(1, 1, 1)
        rater.wait_for(texts("thanks.title"))
        checked(rater, "10-thanks")

    answers = site.store.answered(token)
    told = [
        tuple(answers[item][question] for question in site.study.questions) for item in order_of(site, token)
    ]
    assert told == [(4, 3, 2), (5, 4, 5), (1, 1, 1)]
    assert all(
        answers[item] == dict(zip(site.study.questions, (5, 4, 5), strict=True))
        for item in site.study.training
    )
    assert all(steps_of(site, token).values())
    said = next(row for row in site.store.export_rows(site.study) if row["item"] == order_of(site, token)[0])
    assert (said["age"], said["sound"], said["vision"]) == ("18-29", "earphones", "not_said")
    assert site.store.rater(token).language == language  # pyright: ignore[reportOptionalMemberAccess]
    assert [traffic.around(secret) for secret in SECRETS] == [[]] * len(SECRETS)
    assert all(
        traffic.mentions(f"stimuli/{item}.mp4") for item in (*site.study.training, *order_of(site, token))
    )


def test_loudspeakers_do_not_pass(browser: Browser, site: Site) -> None:
    token = site.invite()
    site.store.record_step(token, "consent", language="en")
    with device(browser, DESKTOP) as context:
        rater = Rater(context.new_page())
        rater.page.goto(site.link(token))
        rater.prepare()
        rater.pass_headphones(wrong=2)
        rater.wait_for(rater.texts("headphones.not_passed"))
        rater.photograph("headphones-not-passed")
        assert rater.weak_contrasts() == []
        assert steps_of(site, token)["headphones_passed_at"] is None
        rater.button(rater.texts("headphones.retry")).click()
        rater.wait_for(rater.texts("headphones.count", done=1, total=6))


# -- one clip ----------------------------------------------------------------------------------------------


def test_clip_cannot_be_rated_before_its_end_and_mouse_and_keys_work(browser: Browser, site: Site) -> None:
    token = prepared(site)
    with device(browser, SMALL_PHONE) as context:
        rater = Rater(context.new_page())
        page = rater.page
        page.goto(site.link(token))
        rater.at_clip(1)
        rater.ready_to_play()
        assert not rater.overflows()
        rater.photograph("small-phone-clip")
        page.keyboard.press("5")
        rater.button(rater.texts("clip.next")).click(force=True)
        page.locator(".say.alert").wait_for()
        assert page.locator(".scale input:enabled").count() == 0
        assert page.locator(".scale input:checked").count() == 0
        rater.button(rater.texts("clip.play")).tap()
        page.locator(".scale input:enabled").first.wait_for()
        rater.button(rater.texts("clip.again")).tap()
        page.locator(".cover").wait_for(state="hidden")  # it plays; before that the cover still says "again"
        page.locator(".cover[data-state=again]").wait_for()
        for question in site.study.questions:
            group = page.get_by_role("group", name=rater.texts(f"questions.{question}"))
            group.get_by_role("radio", name="3 Fair").check(force=True)
        rater.button(rater.texts("clip.next")).tap()
        rater.at_clip(2)
    first = order_of(site, token)[0]
    assert set(site.store.answered(token)[first].values()) == {3}
    assert site.store.plays(token, first).count == 2


def test_keys_can_be_turned_off_and_stay_off_until_they_are_turned_on(browser: Browser, site: Site) -> None:
    token = prepared(site)
    with device(browser, DESKTOP) as context:
        rater = Rater(context.new_page())
        page, checked = rater.page, rater.page.locator(".scale input:checked")
        page.goto(site.link(token))
        rater.at_clip(1)
        rater.watch()
        rater.button(rater.texts("keys.turn_off")).click()
        rater.score(5)
        assert checked.count() == 0
        page.reload()
        rater.at_clip(1)
        rater.wait_for(rater.texts("keys.are_off"))
        page.locator(".scale input:enabled").first.wait_for()
        rater.score(5)
        assert checked.count() == 0
        rater.photograph("keys-off")
        rater.button(rater.texts("keys.turn_on")).click()
        rater.score(5)
        assert checked.count() == 1


def test_winding_forward_is_undone(browser: Browser, site: Site) -> None:
    with device(browser, DESKTOP) as context:
        rater = Rater(context.new_page())
        rater.page.goto(site.link(prepared(site)))
        rater.ready_to_play()
        reached = rater.page.locator("video").evaluate(
            "async (video) => { video.currentTime = 0.9; await new Promise((done) => setTimeout(done, 500)); "
            "return video.currentTime; }"
        )
        assert reached < 0.5
        assert rater.page.locator(".scale input:enabled").count() == 0


def test_two_tabs_and_double_clicks_keep_one_answer(browser: Browser, site: Site) -> None:
    token = prepared(site)
    with device(browser, DESKTOP) as context:
        one, two = (Rater(context.new_page()) for _ in range(2))
        for tab in (one, two):
            tab.page.goto(site.link(token))
            tab.at_clip(1)
        for tab in (one, two):
            tab.page.bring_to_front()
            tab.watch()
        for tab, scores in ((one, (1, 2, 3)), (two, (4, 4, 4))):
            tab.page.bring_to_front()
            tab.score(*scores)
            tab.button(tab.texts("clip.next")).dblclick()
            tab.at_clip(2)
        one.page.reload()
        one.at_clip(2)
    first = order_of(site, token)[0]
    assert site.store.answered(token) == {first: dict.fromkeys(site.study.questions, 4)}
    assert site.store.plays(token, first).count == 2
    rows = [row for row in site.store.export_rows(site.study) if row["item"] == first]
    assert len({(row["rater"], row["question"]) for row in rows}) == len(rows)


def test_a_killed_server_loses_nothing_that_was_saved(browser: Browser, site: Site) -> None:
    token = prepared(site)
    first, second, _ = order_of(site, token)
    killed = serving(site.root)
    with device(browser, DESKTOP) as context:
        rater = Rater(context.new_page())
        with killed as url:
            rater.page.goto(f"{url}/?rater={token}")
            rater.watch()
            rater.rate(4, 3, 2)
            rater.at_clip(2)
            killed.kill()
        with serving(site.root, port=killed.port):
            rater.page.reload()
            rater.at_clip(2)
            rater.watch()
            rater.rate(1, 2, 3)
            rater.wait_for(rater.texts("break.title"))
    questions = site.study.questions
    answers = {
        first: dict(zip(questions, (4, 3, 2), strict=True)),
        second: dict(zip(questions, (1, 2, 3), strict=True)),
    }
    assert site.store.answered(token) == answers


def test_tab_that_was_left_behind_moves_on(browser: Browser, site: Site) -> None:
    token = prepared(site)
    with device(browser, DESKTOP) as context:
        behind = Rater(context.new_page())
        behind.page.goto(site.link(token))
        behind.ready_to_play()
        first = order_of(site, token)[0]
        site.store.record_play(token, first, 1.0, True, 1.0)  # in another tab
        site.store.answer(token, first, dict.fromkeys(site.study.questions, 2), 1.0)
        behind.page.keyboard.press(" ")
        behind.at_clip(2)
    assert site.store.answered(token) == {first: dict.fromkeys(site.study.questions, 2)}


def test_clip_that_does_not_load_can_be_tried_again(browser: Browser, site: Site) -> None:
    with device(browser, DESKTOP) as context:
        rater = Rater(context.new_page())
        rater.page.route("**/stimuli/*.mp4", lambda route: route.abort())
        rater.page.goto(site.link(prepared(site)))
        rater.wait_for(rater.texts("clip.failed"))
        rater.page.unroute("**/stimuli/*.mp4")
        rater.button(rater.texts("clip.retry")).click()
        rater.watch()


# -- what a curious rater might try ------------------------------------------------------------------------


def test_links_that_do_not_work_all_look_the_same(browser: Browser, site: Site) -> None:
    revoked, good = prepared(site), prepared(site)
    site.store.revoke(site.study.name, revoked)
    links = [
        "",
        "?rater=",
        f"?rater={revoked}",
        f"?rater={good[:-1]}",
        f"?rater={good}x",
        "?rater=1",
        "?rater=%00'--",
    ]
    sentence = languages()["en"]("closed.link")
    seen = set()
    with device(browser, DESKTOP) as context:
        page = context.new_page()
        for link in links:
            traffic = Traffic()
            traffic.record(page)
            page.goto(f"{site.url}/{link}")
            page.get_by_text(sentence).wait_for()
            seen.add(page.locator("[data-testid=stMainBlockContainer]").inner_text())
            assert not traffic.mentions("stimuli")
        Rater(page).photograph("link-that-does-not-work")
        assert Rater(page).weak_contrasts() == []
    assert len(seen) == 1


def test_link_revoked_in_the_middle_stops_at_once(browser: Browser, site: Site) -> None:
    token = prepared(site)
    with device(browser, DESKTOP) as context:
        rater = Rater(context.new_page())
        rater.page.goto(site.link(token))
        rater.watch()
        site.store.revoke(site.study.name, token)
        rater.rate(5, 5, 5)
        rater.page.get_by_text(rater.texts("closed.link")).wait_for()
    assert site.store.rater(token).revoked  # pyright: ignore[reportOptionalMemberAccess]


@pytest.mark.parametrize("forgery", ["the other rater's clip", "no such clip", "not played"])
def test_forged_messages_change_nothing(browser: Browser, site: Site, forgery: str) -> None:
    token = prepared(site)
    order = order_of(site, token)
    others = [item.item for item in site.study.items if item.item not in (*order, *site.study.training)]
    target = {"the other rater's clip": others[0], "no such clip": opaque("forged"), "not played": order[1]}[
        forgery
    ]

    def forge(message: str | bytes) -> str | bytes:
        return message.replace(order[0].encode(), target.encode()) if isinstance(message, bytes) else message

    with device(browser, DESKTOP) as context:
        page = context.new_page()
        change_messages(page, lambda message: forge(message) if b"answered" in _bytes(message) else message)
        rater = Rater(page)
        page.goto(site.link(token))
        rater.at_clip(1)
        rater.watch()
        rater.rate(5, 5, 5)
        page.locator(".say.alert").wait_for()
        rater.at_clip(1)
    assert site.store.answered(token) == {}


def test_scores_off_the_scale_are_refused(browser: Browser, site: Site) -> None:
    token = prepared(site)
    with device(browser, DESKTOP) as context:
        page = context.new_page()
        forged = re.compile(rb'("realness":\s*)5')
        change_messages(page, lambda m: forged.sub(rb"\g<1>9", m) if isinstance(m, bytes) else m)
        rater = Rater(page)
        page.goto(site.link(token))
        rater.watch()
        rater.rate(5, 5, 5)
        page.locator(".say.alert").wait_for()
    assert site.store.answered(token) == {}


def change_messages(page, change: Callable[[str | bytes], str | bytes]) -> None:
    """Let `change` read and alter the page's messages to the server."""

    def handle(socket) -> None:
        server = socket.connect_to_server()
        socket.on_message(lambda message: server.send(change(message)))

    page.route_web_socket(re.compile("/_stcore/stream"), handle)


def _bytes(message: str | bytes) -> bytes:
    return message if isinstance(message, bytes) else message.encode()


PATHS = (
    "/app/static/../survey.py",
    "/app/static/..%2fsurvey.py",
    "/app/static/%2e%2e/%2e%2e/data/survey/study.json",
    "/app/static/stimuli/../../../data/survey/study.json",
    "/app/static/stimuli/..%5c..%5c..%5cdata%5csurvey%5cstudy.json",
    "/app/static//etc/passwd",
    "/app/static/stimuli",
    "/app/static/stimuli/",
    "/media/../data/survey/survey.sqlite",
    "/media/..%2f..%2fdata/survey/survey.sqlite",
    "/component/../../params.yaml",
    "/_stcore/bidi-components/../../../data/survey/study.json",
    "/data/survey/study.json",
    "/static/../../../data/survey/study.json",
    "//etc/passwd",
)


@pytest.mark.parametrize("path", PATHS)
def test_no_file_outside_the_stimuli_is_served(site: Site, path: str) -> None:
    """A path that is no route may be answered with Streamlit's empty page, never with the file."""
    address = urlsplit(site.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port or 80, timeout=20)
    connection.putrequest("GET", path)  # as it stands: neither a browser nor urllib would send it
    connection.endheaders()
    body = connection.getresponse().read()
    connection.close()
    for inside in (
        b"design_sha256",
        b"SQLite format",
        b"root:",
        b"import streamlit",
        b"backends:",
        *(m.encode() for m in METHODS),
    ):
        assert inside not in body


def test_stimuli_say_nothing_but_their_names(site: Site) -> None:
    for item in site.study.items:
        stored = (site.root / "reports" / "static" / "stimuli" / item.file).read_bytes().lower()
        assert not any(method.encode() in stored for method in METHODS)


def test_lab_pages_are_not_there(browser: Browser, site: Site) -> None:
    with device(browser, DESKTOP) as context:
        page = context.new_page()
        for name in ("results", "clips"):
            traffic = Traffic()
            traffic.record(page)
            page.goto(f"{site.url}/{name}")
            page.get_by_text(languages()["en"]("closed.link")).wait_for()
            assert not any(traffic.mentions(secret) for secret in SECRETS)
