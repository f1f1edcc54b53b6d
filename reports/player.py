"""The player that raters see: a clip with sound, its three questions, and the button to go on.

It is a component of our own rather than `st.video` with `st.radio`, for two reasons. `st.video` reports
nothing about playback. Answers in the same component need no round trip to the server for each click: a
choice shows at once, keys work, and a slow connection delays only the step to the next clip. The server
checks what the browser sends and trusts none of it: the store decides whether a clip was played and may be
rated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, ValidationError
from streamlit.components.v2 import component as register

from kpbe.errors import SurveyError
from reports.texts import Texts

WEB = Path(__file__).with_name("web")
SCALE = (5, 4, 3, 2, 1)
STIMULI_URL = "app/static/stimuli"
CLIP_TEXTS = (
    "loading", "play", "again", "resume", "play_first", "rate", "missing", "ready", "next", "saving",
    "not_saved", "failed", "retry",
    "video", "progress",
)  # fmt: skip


class _FromBrowser(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Play(_FromBrowser):
    """One play of a clip, as the browser reports it.

    Attributes:
        play_id: the browser's own id of it, so that a play reported twice counts once.
        watched: fraction of the clip that was shown, 0 to 1.
        ended: whether the end was reached.
        seconds: from its start to its end.
        dropped: frames that the browser could not show in time, None where it does not count them.
    """

    play_id: str = Field(pattern=r"^[0-9a-f]{8,64}$")
    watched: float = Field(ge=0, le=1)
    ended: StrictBool
    seconds: float = Field(ge=0, le=1e6)
    dropped: int | None = Field(default=None, ge=0)


class Playback(_FromBrowser):
    """What the player sent in this run of the page: plays, and the answers once the rater went on.

    Attributes:
        item: the clip it is about.
        plays: plays that came to an end.
        answers: question to score; None before the rater goes on.
        response_seconds: from the clip's end to the answers.
    """

    item: str = Field(default="", pattern=r"^[0-9a-f]{0,64}$")
    plays: tuple[Play, ...] = Field(default=(), max_length=200)
    answers: dict[str, StrictInt] | None = None
    response_seconds: float = Field(default=0.0, ge=0, le=1e6)

    @property
    def ended(self) -> bool:
        """Whether one of the plays reached the end."""
        return any(play.ended for play in self.plays)

    @property
    def watched(self) -> float:
        """The largest fraction that a play showed."""
        return max((play.watched for play in self.plays), default=0.0)

    @property
    def dropped(self) -> int | None:
        """Frames dropped in all plays, None where the browser does not count them."""
        counts = [play.dropped for play in self.plays if play.dropped is not None]
        return sum(counts) if counts else None


@dataclass(frozen=True)
class Problem:
    """Why answers were not stored; `number` tells two problems with equal text apart."""

    number: int
    text: str


def play(
    key: str,
    item: str,
    texts: Texts,
    questions: Sequence[str],
    *,
    caption: str,
    progress: float,
    heard: bool = False,
    next_item: str | None = None,
    expected: Mapping[str, tuple[int, int]] | None = None,
    problem: Problem | None = None,
) -> Playback:
    """Show a clip and its questions. The answers can be given once the clip was played to its end.

    Args:
        key: of the component; the same for all clips keeps it in place between them.
        item: the clip's opaque name.
        texts: in the rater's language.
        questions: names of the questions.
        caption: where the rater is, in words.
        progress: the same as a fraction, 0 to 1.
        heard: whether the clip was already played to its end (on another device, before a refresh).
        next_item: the next clip, which the browser fetches in advance.
        expected: for training: question to lowest and highest fitting score, shown after the answers.
        problem: why the answers to this clip were not stored.

    Returns:
        What the browser sent since the last run of the page.

    Raises:
        SurveyError: it is not what the player sends.
    """
    words = texts.part("words")
    data = {
        "item": item,
        "url": f"{STIMULI_URL}/{item}.mp4",
        "next": f"{STIMULI_URL}/{next_item}.mp4" if next_item else None,
        "heard": heard,
        "language": texts.language,
        "caption": caption,
        "progress": progress,
        "questions": [
            {"name": name, "label": texts(f"questions.{name}"), "hint": texts(f"hints.{name}")}
            for name in questions
        ],
        "scale": [{"score": score, "word": words[str(score)]} for score in SCALE],
        "expected": _told_after(texts, words, expected) if expected is not None else None,
        "problem": {"number": problem.number, "text": problem.text} if problem else None,
        "texts": {name: texts(f"clip.{name}") for name in CLIP_TEXTS} | {"go_on": texts("training.go_on")},
        "keys": keys(texts, "clip"),
    }
    result = _clip_component()(key=key, data=data, on_played_change=_nothing, on_answered_change=_nothing)
    sent = result.get("answered") or result.get("played")
    return received(sent)


def keys(texts: Texts, page: str) -> dict[str, str]:
    """Texts about the keys of a page (`clip`, `headphones`), and labels of the switch that turns them off."""
    return {name: texts(f"keys.{name}") for name in ("are_off", "turn_off", "turn_on")} | {
        "keys": texts(f"keys.{page}")
    }


def received(sent: Any) -> Playback:
    """Check what the browser sent: `{"item", "plays", "answers", "response_seconds"}`, or None.

    Raises:
        SurveyError: it is not what the player sends.
    """
    if sent is None:
        return Playback()
    try:
        return Playback.model_validate(sent)
    except ValidationError:
        raise SurveyError("The player sent something that it cannot send.") from None


def _told_after(
    texts: Texts, words: Mapping[str, str], expected: Mapping[str, tuple[int, int]]
) -> dict[str, dict[str, Any]]:
    """By question: a sentence about the expected range, and a reply to each answer."""
    feedback = {}
    for question, (low, high) in expected.items():
        named = " / ".join(words[str(score)] for score in SCALE if low <= score <= high)
        replies = {
            score: texts("training.fits")
            if low <= score <= high
            else texts("training.differs", word=words[str(score)])
            for score in SCALE
        }
        feedback[question] = {
            "low": low,
            "high": high,
            "text": texts("training.expected", words=named),
            "replies": replies,
        }
    return feedback


def _nothing() -> None:
    """Callback without effect: Streamlit reports only events that have one."""


@lru_cache(maxsize=1)
def _clip_component() -> Any:
    return component("clip", "film")


def component(name: str, *parts: str) -> Any:
    """Register the component of web/<name>.js, `parts` and the shared script; return its mount function."""
    style = (WEB / "survey.css").read_text(encoding="utf-8")
    script = "".join((WEB / f"{file}.js").read_text(encoding="utf-8") for file in ("common", *parts, name))
    script = re.sub(r"^\s*//.*\n", "", script, flags=re.MULTILINE)  # raters need not see our comments
    return register(f"survey_{name}", html='<div class="survey"></div>', css=style, js=script)
