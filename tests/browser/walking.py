"""A rater's actions on the survey's pages, and what can be read from the pages."""

from __future__ import annotations

import base64
import io
import os
import re
import wave
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from reports.texts import Texts, languages

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

QUICK_SOUNDS = """
const play = HTMLMediaElement.prototype.play;
HTMLMediaElement.prototype.play = function () {
  if (this.tagName === "AUDIO") this.playbackRate = 8;
  return play.call(this);
};
"""
"""The headphone check's sounds eight times as fast; the videos are left alone."""

CONTRASTS = Path(__file__).with_name("contrasts.js").read_text(encoding="utf-8")
SCREENSHOTS = "KPBE_SCREENSHOTS"


@dataclass
class Traffic:
    """Everything that a page received: addresses, bodies, messages."""

    parts: list[bytes] = field(default_factory=list)

    def record(self, page: Page) -> None:
        def keep(response) -> None:
            self.parts.append(response.url.encode())
            if response.ok and "/_stcore" not in response.url and "/static/js" not in response.url:
                self.parts.append(response.body())

        page.on("requestfinished", lambda request: (r := request.response()) and keep(r))
        page.on("websocket", lambda socket: socket.on("framereceived", self._message))

    def _message(self, message: str | bytes) -> None:
        self.parts.append(message if isinstance(message, bytes) else message.encode())

    def mentions(self, word: str) -> bool:
        return bool(self.around(word))

    def around(self, word: str) -> list[bytes]:
        """The places that contain a word, with the text beside it."""
        pattern = re.compile(rb".{0,40}" + re.escape(word.encode()) + rb".{0,40}", re.IGNORECASE | re.DOTALL)
        return [found.group() for part in self.parts if (found := pattern.search(part))]


@dataclass
class Rater:
    """A rater at a page."""

    page: Page
    texts: Texts = field(default_factory=lambda: languages()["en"])

    # -- steps

    def choose_language(self) -> None:
        self.button(self.texts("language")).click()

    def consent(self) -> None:
        self.tick("welcome.agree")
        self.button(self.texts("welcome.start")).click()

    def prepare(self) -> None:
        self.tick("prepare.quiet")
        self.tick("prepare.worn")
        self.button(self.texts("prepare.next")).click()
        self.button(self.texts("headphones.play")).click()
        ready = self.page.locator(".go:not([aria-disabled=true])")
        ready.click()

    def pass_headphones(self, wrong: int = 0, look: Callable[[], None] = lambda: None) -> None:
        """Answer the six trials, the first `wrong` of them wrongly; `look` at the first."""
        for number in range(1, 7):
            self.page.get_by_text(self.texts("headphones.count", done=number, total=6)).wait_for()
            self.button(self.texts("headphones.play")).click()
            self.page.locator(".tone:not([aria-disabled=true])").first.wait_for()
            if number == 1:
                look()
            softest = self.softest_tone()
            answer = softest % 3 + 1 if number <= wrong else softest
            self.page.keyboard.press(str(answer))

    def describe(self, **answers: str) -> None:
        """Choose some answers about the rater, leave the others open and go on."""
        for question, answer in answers.items():
            group = self.page.get_by_role("radiogroup", name=self.texts(f"about.{question}.question"))
            group.get_by_text(self.texts(f"about.{question}.{answer}"), exact=True).click()
        self.button(self.texts("about.next")).click()

    def softest_tone(self) -> int:
        """The place of the softest tone in the left channel, as headphones play it."""
        source = self.page.locator("audio").get_attribute("src") or ""
        with wave.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as reader:
            sound = np.frombuffer(reader.readframes(reader.getnframes()), "<i2").reshape(-1, 2)
            rate = reader.getframerate()
        energies = [
            float(np.square(sound[int(s * rate) : int((s + 1) * rate), 0], dtype=float).mean())
            for s in (0, 1.5, 3)
        ]
        return int(np.argmin(energies)) + 1

    def watch(self) -> None:
        """Play the clip on the page to its end with the keyboard, wait until it may be rated."""
        self.ready_to_play()
        self.page.keyboard.press(" ")
        self.page.locator(".scale input:enabled").first.wait_for(timeout=20_000)

    def ready_to_play(self) -> None:
        self.page.locator(".cover[data-state=play]").wait_for(timeout=20_000)

    def score(self, *scores: int) -> None:
        """Type scores of the questions that are still open."""
        for score in scores:
            self.page.keyboard.press(str(score))

    def rate(self, *scores: int) -> None:
        """Type the scores of the questions that are still open and go on."""
        self.score(*scores)
        self.page.keyboard.press("Enter")

    def practise(self, look: Callable[[int], None] = lambda number: None) -> None:
        """Rate both training clips; `look` is called on the feedback about the answers."""
        for number in (1, 2):
            self.wait_for(self.texts("training.count", done=number, total=2))
            self.watch()
            self.rate(5, 4, 5)
            self.button(self.texts("training.go_on")).wait_for()
            look(number)
            self.page.keyboard.press("Enter")

    def at_clip(self, done: int, total: int = 3) -> None:
        self.wait_for(self.texts("clip.count", done=done, total=total))

    # -- parts

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def tick(self, name: str) -> None:
        self.page.get_by_text(self.texts(name)).click()

    def wait_for(self, text: str) -> None:
        self.page.get_by_text(text, exact=True).first.wait_for()

    def sees(self, text: str) -> bool:
        return self.page.get_by_text(text).first.is_visible()

    # -- looking

    def weak_contrasts(self) -> list[str]:
        """Texts below WCAG 2.1 AA (4.5 to 1; 3 to 1 for large text), once colours have settled."""
        weak: list[str] = self.page.evaluate(CONTRASTS)
        for _ in range(20):
            if not weak:
                break
            self.page.wait_for_timeout(100)  # colours may be on their way from one to another
            weak = self.page.evaluate(CONTRASTS)
        return weak

    def overflows(self) -> bool:
        """Whether the page scrolls sideways."""
        return self.page.evaluate("document.scrollingElement.scrollWidth > window.innerWidth")

    def photograph(self, name: str) -> None:
        """Write a screenshot into the folder that KPBE_SCREENSHOTS names."""
        folder = os.environ.get(SCREENSHOTS)
        if folder:
            self.page.wait_for_timeout(350)  # transitions
            self.page.screenshot(path=str(Path(folder) / f"{re.sub(r'[^a-z0-9-]', '-', name)}.png"))
