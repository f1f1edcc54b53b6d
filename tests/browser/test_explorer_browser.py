"""The clip explorer in a real browser: one scrubber moves every panel, curves seek, differences are shown."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import REPOSITORY, serving
from tests.reports.conftest import FRAMES, write_project

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

CLIP = "cy#v0#000000#000010"
TINTS = {"wav2lip": (1.0, 0.5, 0.0), "wav2lip+kpbe": (0.0, 0.5, 1.0), "ground_truth": (1.0, 1.0, 1.0)}
TOLERANCE = 6
"""Of 255: what H.264 and the canvas change of a flat colour."""


@pytest.fixture(scope="module")
def address(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The lab's site on a finished project; frame k of every method is flat, k / 9 as bright as its tint."""
    root = tmp_path_factory.mktemp("lab")
    write_project(root)
    shutil.copytree(REPOSITORY / ".streamlit", root / ".streamlit")
    with serving(root, str(REPOSITORY / "reports" / "app.py")) as url:
        yield url


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.failures = failures = []  # type: ignore[attr-defined]
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.goto(f"{address}/clips?clip={CLIP.replace('#', '%23')}")
    page.locator(".explorer[data-ready=true]").wait_for()
    page.wait_for_function(
        "() => [...document.querySelectorAll('*')].some(e => "
        "e.shadowRoot?.querySelector('video')?.readyState >= 2)"
    )
    yield page
    assert not failures
    context.close()


def canvas(page: Page, panel: str) -> Locator:
    return page.locator(f'.panel[data-panel="{panel}"] canvas')


def colour(page: Page, panel: str) -> list[int]:
    """The middle pixel of a panel."""
    pixel = "c => [...c.getContext('2d').getImageData(c.width / 2, c.height / 2, 1, 1).data].slice(0, 3)"
    return canvas(page, panel).evaluate(pixel)


def expect_frame(page: Page, frame: int) -> None:
    """Every panel shows this very frame."""
    page.locator(f'.explorer[data-frame="{frame}"]').wait_for()
    shade = 255 * frame / (FRAMES - 1)
    for panel, tint in TINTS.items():
        wanted = [shade * part for part in tint]
        near = (
            "([panel, wanted, tolerance]) => { const root = [...document.querySelectorAll('*')]"
            ".find(e => e.shadowRoot?.querySelector('.explorer')).shadowRoot;"
            ' const c = root.querySelector(`.panel[data-panel="${panel}"] canvas`);'
            " const p = c.getContext('2d').getImageData(c.width / 2, c.height / 2, 1, 1).data;"
            " return wanted.every((value, channel) => Math.abs(p[channel] - value) <= tolerance); }"
        )
        page.wait_for_function(near, arg=[panel, wanted, TOLERANCE])


def test_scrubber_and_keys_move_all_panels_to_the_very_frame(page: Page) -> None:
    expect_frame(page, 0)
    scrubber = page.get_by_role("slider", name="Frame")
    for frame in (6, 3, 9, 4):
        scrubber.fill(str(frame))
        expect_frame(page, frame)
    page.locator(".explorer").focus()
    page.keyboard.press("ArrowRight")
    expect_frame(page, 5)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect_frame(page, 3)
    page.keyboard.press("End")
    expect_frame(page, FRAMES - 1)
    page.keyboard.press("ArrowRight")
    expect_frame(page, FRAMES - 1)
    page.keyboard.press("Home")
    expect_frame(page, 0)


def test_playing_goes_on_until_it_is_paused_and_the_scrubber_follows(page: Page) -> None:
    page.locator(".explorer select.speed").select_option("0.25")
    page.locator(".explorer").focus()
    page.keyboard.press(" ")
    page.locator(".explorer").get_by_role("button", name="Pause").wait_for()
    page.wait_for_function(
        "() => [...document.querySelectorAll('*')].find(e => e.shadowRoot?.querySelector('.explorer'))"
        ".shadowRoot.querySelector('.scrubber').value > 2"
    )
    page.keyboard.press(" ")
    page.locator(".explorer").get_by_role("button", name="Play").wait_for()
    page.wait_for_timeout(300)
    expect_frame(page, int(page.locator(".explorer").get_attribute("data-frame") or -1))


def test_click_on_a_curve_seeks_and_the_cursor_follows_the_scrubber(page: Page) -> None:
    curve = page.locator(".curve svg").first
    box = curve.bounding_box()
    assert box is not None
    left, right = 40, 10  # the chart's margins
    middle = box["x"] + left + (box["width"] - left - right) * 6 / (FRAMES - 1)
    page.mouse.click(middle, box["y"] + 60)
    expect_frame(page, 6)
    cursor = page.locator(".curve .cursor").first
    before = float(cursor.get_attribute("x1") or 0)
    assert abs(before - (middle - box["x"])) < 2
    page.get_by_role("slider", name="Frame").fill("2")
    expect_frame(page, 2)
    assert float(cursor.get_attribute("x1") or 0) < before
    assert "SSIM" in page.locator('.panel[data-panel="wav2lip"] figcaption').inner_text()


def test_difference_is_that_of_the_chosen_pictures_times_the_gain(page: Page) -> None:
    page.get_by_role("slider", name="Frame").fill("3")
    expect_frame(page, 3)
    shade = 255 * 3 / (FRAMES - 1)
    page.get_by_role("slider", name="Gain").fill("1")
    assert colour(page, "difference") == pytest.approx([shade, shade / 2, 0], abs=TOLERANCE), (
        "enhanced - truth"
    )
    page.get_by_label("First picture").select_option("wav2lip")
    assert colour(page, "difference") == pytest.approx([0, shade / 2, shade], abs=TOLERANCE)
    page.get_by_role("slider", name="Gain").fill("2")
    assert colour(page, "difference") == pytest.approx([0, shade, 2 * shade], abs=2 * TOLERANCE)
    page.get_by_label("Second picture").select_option("wav2lip")
    assert colour(page, "difference") == [0, 0, 0]
    assert "mean 0.0 of 255" in page.locator('.panel[data-panel="difference"]').inner_text()


def test_panels_can_be_closed_and_mouth_and_lens_zoom(page: Page) -> None:
    chip = page.locator('.chips button[data-panel="wav2lip"]')
    assert canvas(page, "wav2lip").is_visible()
    chip.click()
    assert not canvas(page, "wav2lip").is_visible() and chip.get_attribute("aria-pressed") == "false"
    page.get_by_role("button", name="Mouth").click()
    zoom = page.get_by_role("slider", name="Zoom")
    assert float(zoom.input_value()) == pytest.approx(64 / 26, abs=0.1), (
        "1.3 times the distance between the eyes"
    )
    box = canvas(page, "ground_truth").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 80, box["y"] + 60)
    page.mouse.up()
    assert page.get_by_role("button", name="Mouth").get_attribute("aria-pressed") == "false"
    assert float(zoom.input_value()) > 1, "a dragged lens keeps its zoom"
    page.get_by_role("button", name="Whole").click()
    assert float(zoom.input_value()) == 1
    page.reload()
    page.locator(".explorer[data-ready=true]").wait_for()
    assert not canvas(page, "wav2lip").is_visible(), "what was closed stays closed"


def test_it_fits_a_phone(browser: Browser, address: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(f"{address}/clips")
    page.locator(".explorer[data-ready=true]").wait_for()
    widths = page.evaluate("() => [document.documentElement.scrollWidth, window.innerWidth]")
    assert widths[0] <= widths[1]
    boxes = [canvas(page, panel).bounding_box() for panel in ("ground_truth", "wav2lip+kpbe")]
    assert all(box is not None and box["width"] >= 140 and box["x"] + box["width"] <= 390 for box in boxes)
    context.close()


def test_video_is_served_in_ranges_and_nothing_else_is(page: Page, address: str) -> None:
    source = page.locator(".explorer video").evaluate("video => video.src")
    assert source.startswith(f"{address}/media/") and "cy" not in Path(source).name
    part = page.request.get(source, headers={"Range": "bytes=0-99"})
    assert (part.status, len(part.body())) == (206, 100)
    for path in (
        "/media/../dvc.lock",
        "/media/..%2f..%2fdvc.lock",
        "/data/clips/clips.csv",
        "/app/static/../params.yaml",
    ):
        answer = page.request.get(f"{address}{path}")
        assert (
            b"stages" not in answer.body()
            and b"clip_id" not in answer.body()
            and b"seed:" not in answer.body()
        )
