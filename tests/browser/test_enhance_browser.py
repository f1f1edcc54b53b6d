"""The page that enhances a video, in a real browser: upload, comparison, download; also on a phone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from kpbe.frontend.checkpoints import save_frontend
from kpbe.media.audio import read_audio, write_wav
from kpbe.media.recording import Recording
from kpbe.media.video_writer import write_video
from tests.browser.conftest import REPOSITORY, serving
from tests.frontend.tiny import tiny_frontend

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FRAMES = 30


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("lab")
    (root / "checkpoints/stage1").mkdir(parents=True)
    save_frontend(root / "checkpoints/stage1/frontend.safetensors", tiny_frontend(), {})
    shutil.copytree(REPOSITORY / ".streamlit", root / ".streamlit")
    shutil.copy(REPOSITORY / "params.yaml", root / "params.yaml")
    (root / "inputs").mkdir()
    write_wav(root / "speech.wav", np.sin(np.arange(16000 * FRAMES // 25) / 9).astype(np.float32) / 4)
    rng = np.random.default_rng(0)
    picture = rng.integers(60, 180, (8, 8, 3)).astype(np.uint8).repeat(12, 0).repeat(12, 1)
    frames = [np.roll(picture, k, axis=1) for k in range(FRAMES)]
    write_video(root / "inputs/talking.mp4", frames, 25, audio=root / "speech.wav")
    write_video(root / "inputs/long.mp4", [picture] * 26 * 70, 25)
    Image.fromarray(picture).save(root / "inputs/face.png")
    return root


@pytest.fixture(scope="module")
def address(browser: Browser, root: Path) -> Iterator[str]:
    (root / "tmp").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(root / "tmp"))
        with serving(root, str(REPOSITORY / "reports" / "app.py")) as url:
            yield url


@pytest.fixture(params=[(1280, 1000), (390, 844)], ids=["desk", "phone"])
def page(request: pytest.FixtureRequest, browser: Browser, address: str) -> Iterator[Page]:
    width, height = request.param
    context = browser.new_context(viewport={"width": width, "height": height}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(90_000)
    failures: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.goto(f"{address}/enhance")
    page.get_by_role("heading", name="Enhance").wait_for()
    yield page
    assert not failures
    context.close()


def give(page: Page, place: int, path: Path) -> None:
    page.locator("input[type=file]").nth(place).set_input_files(path)
    page.get_by_text(path.name).first.wait_for()


def test_a_video_is_enhanced_compared_and_downloaded(page: Page, root: Path, tmp_path: Path) -> None:
    assert page.get_by_role("button", name="Enhance").is_disabled()
    give(page, 0, root / "inputs/talking.mp4")
    give(page, 1, root / "inputs/face.png")
    page.get_by_role("button", name="Enhance").click()
    page.get_by_role("button", name="Download").wait_for()
    page.wait_for_function("() => document.querySelector('video')?.readyState >= 1")
    width = page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth")
    assert width <= 0, "nothing lies beyond the screen"
    assert page.get_by_text("talking.mp4: no face was found, the whole picture is used.").is_visible()
    assert str(root) not in page.content() and "/tmp/" not in page.content()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == "talking_enhanced.mp4"
    download.value.save_as(tmp_path / "out.mp4")
    left = [path for path in (root / "tmp").rglob("*") if path.suffix in (".mp4", ".png")]
    assert not left, "no file is kept"
    made = Recording(tmp_path / "out.mp4")
    assert (len(made), made.size) == (FRAMES, (96, 96))
    heard = read_audio(tmp_path / "out.mp4")
    assert np.corrcoef(heard, read_audio(root / "speech.wav")[: len(heard)])[0, 1] > 0.95


def test_what_cannot_be_used_is_refused_in_a_sentence(page: Page, root: Path) -> None:
    give(page, 0, root / "inputs/long.mp4")
    page.get_by_role("button", name="Enhance").click()
    page.get_by_text("long.mp4 lasts 73 s, more than 60: cut it, or use").wait_for()
