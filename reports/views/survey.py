"""The raters' page, one step at a time.

The steps are language, consent, headphones, questions about the rater, practice, clips with three questions
each, and thanks.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import streamlit as st

from kpbe.errors import KPBEError, SurveyError
from kpbe.survey.demographics import DEMOGRAPHICS
from reports import headphones, player
from reports.rater_session import RaterSession, Step, open_session
from reports.survey_layout import (
    below_title,
    closed,
    in_every_language,
    look,
    mark,
    paragraphs,
    quiet,
    speak,
    title,
)
from reports.texts import Texts, languages

log = logging.getLogger(__name__)

TOKEN, LANGUAGE = "rater", "lang"
RESTED, CHECK, TRIES, READY, DEVICE, SHOWN, PROBLEM, COMMENTED = (
    f"survey_{name}"
    for name in ("rested", "check", "tries", "ready", "device", "shown", "problem", "commented")
)
# a play reported sooner after the clip was shown than this part of its length cannot have reached the end
MIN_OF_LENGTH = 0.9


def page() -> None:
    """The whole page."""
    try:
        session = open_session(st.query_params.get(TOKEN, ""))
    except KPBEError as error:
        log.error("The survey is not open: %s", error)
        closed("closed.survey")
        return
    if session is None:
        closed("closed.link")
        return
    chosen = session.rater.language or st.query_params.get(LANGUAGE, "")
    if chosen not in languages():
        choose_language()
        return
    texts = languages()[chosen]
    st.set_page_config(page_title=texts("title"))
    speak(chosen)
    try:
        step = session.step(st.session_state.get(RESTED, 0))
        STEPS[step](session, texts)
    except SurveyError as error:
        log.error("Rater %d: %s", session.rater.number, error)
        st.error(texts("closed.problem"), icon=":material/error:")


# -- steps before the clips --------------------------------------------------------------------------------


def choose_language() -> None:
    """Show a button for each language; the choice goes into the page's address, later into the database."""
    look()
    first = next(iter(languages()))
    speak(first)
    title(languages()[first]("title"))
    below_title(" · ".join(in_every_language("title")[1:]))
    for tag, texts in languages().items():
        if st.button(texts("language"), key=f"language_{tag}", width=220):
            _take_language(tag)


def _take_language(tag: str) -> None:
    st.query_params[LANGUAGE] = tag
    st.rerun()


def welcome(session: RaterSession, texts: Texts) -> None:
    """Say what the survey is about and what is stored, and ask for consent."""
    look(texts, "welcome")
    title(texts("welcome.title"), texts("welcome.lead"))
    values = {"clips": len(session.order) + len(session.study.training), "minutes": session.minutes()}
    paragraphs([texts(f"welcome.{name}", **values) for name in ("what", "time", "need", "kept", "free")])
    agreed = st.checkbox(texts("welcome.agree"), key="survey_agreed")
    if st.button(texts("welcome.start"), type="primary", disabled=not agreed):
        note(session, texts, "consent")
        st.rerun()
    for tag, other in languages().items():
        if tag != texts.language and st.button(other("language"), key=f"language_{tag}", type="tertiary"):
            _take_language(tag)


def check_headphones(session: RaterSession, texts: Texts) -> None:
    """Let the rater confirm a quiet room and headphones, set the volume, and take the check."""
    look(texts, "headphones")
    ready = st.session_state.get(READY, "")
    if not ready:
        title(texts("prepare.title"), texts("prepare.lead"))
        confirmed = [
            st.checkbox(texts(f"prepare.{name}"), key=f"survey_{name}") for name in ("quiet", "worn")
        ]
        if st.button(texts("prepare.next"), type="primary", disabled=not all(confirmed)):
            st.session_state[READY] = "room"
            st.rerun()
        return
    title(texts("headphones.title"))
    if ready == "room":
        _set_volume(texts)
        return
    check: headphones.Check = st.session_state.setdefault(CHECK, headphones.new_check())
    if check.done:
        _not_passed(texts)
        return
    number = len(check.choices) + 1
    sound = headphones.trial_sound(check.trials[number - 1])
    heard = headphones.listen("tones", texts, number, sound, len(check.trials), _tries())
    if heard and heard.choice:
        check.choices += (heard.choice,)
        if check.done:
            detail = check.record() | {"quiet_room": True, "try": _tries() + 1}
            note(session, texts, "headphones", detail | {"device": st.session_state.get(DEVICE, {})})
        st.rerun()


def _set_volume(texts: Texts) -> None:
    heard = headphones.listen("tones", texts, 0, headphones.volume_sound(), 0, 0)
    if heard:
        st.session_state[DEVICE] = heard.device
        st.session_state[READY] = "volume"
        st.rerun()


def _not_passed(texts: Texts) -> None:
    st.warning(texts("headphones.not_passed"), icon=":material/headphones:")
    if _tries():
        quiet(texts("headphones.not_passed_again"))
    if st.button(texts("headphones.retry"), type="primary"):
        st.session_state[TRIES] = _tries() + 1
        del st.session_state[CHECK]
        st.rerun()


def _tries() -> int:
    return st.session_state.get(TRIES, 0)


def describe_yourself(session: RaterSession, texts: Texts) -> None:
    """Ask for age, eyes and equipment, for the report; every question may be left open."""
    look(texts, "about")
    title(texts("about.title"), texts("about.lead"))
    with st.form("survey_about", border=False):
        chosen = {
            question: st.radio(
                texts(f"about.{question}.question"),
                options,
                index=None,
                format_func=lambda answer, question=question: texts(f"about.{question}.{answer}"),
                horizontal=True,
                key=f"survey_about_{question}",
            )
            for question, options in DEMOGRAPHICS.items()
        }
        done = st.form_submit_button(texts("about.next"), type="primary")
    if done:
        session.store.describe(session.token, {name: answer for name, answer in chosen.items() if answer})
        note(session, texts, "about")
        st.rerun()


# -- clips -------------------------------------------------------------------------------------------------


def practise(session: RaterSession, texts: Texts) -> None:
    """Show a training clip: the same questions, then the expected answers."""
    total = len(session.study.training)
    done = total - len(session.open_training)
    caption = texts("training.count", done=done + 1, total=total)
    show_clip(session, texts, caption, done / total)


def rate(session: RaterSession, texts: Texts) -> None:
    """Show a clip to rate."""
    total = len(session.order)
    show_clip(session, texts, texts("clip.count", done=session.done + 1, total=total), session.done / total)


def show_clip(session: RaterSession, texts: Texts, caption: str, progress: float) -> None:
    """Show the player, store what it sends, and go to the next step once there are answers."""
    item = session.now
    look(texts, "training" if item.kind == "training" else "clip", wide=True)
    shown: dict[str, float] = st.session_state.setdefault(SHOWN, {})
    shown.setdefault(item.item, time.monotonic())
    number, about, text = st.session_state.get(PROBLEM, (0, "", ""))
    playback = player.play(
        "clip",
        item.item,
        texts,
        session.study.questions,
        caption=caption,
        progress=progress,
        heard=session.store.plays(session.token, item.item).ended,
        next_item=(session.coming[1:2] or [None])[0],
        expected=item.expected if item.kind == "training" and item.expected else None,
        problem=player.Problem(number, text) if about == item.item else None,
    )
    if playback.plays or playback.answers is not None:
        problem = keep(session, texts, playback, shown.get(playback.item))
        if problem:
            st.session_state[PROBLEM] = (time.time_ns() // 1_000_000, item.item, problem)
        if problem or playback.answers is not None:
            st.rerun()


def keep(
    session: RaterSession, texts: Texts, playback: player.Playback, shown_at: float | None
) -> str | None:
    """Store plays and answers; return what to tell the rater if that failed, else None.

    `shown_at` is when this session first showed the clip (time.monotonic), None when it did not.
    """
    known = session.study.by_id.get(playback.item)
    there = 0.0 if shown_at is None else time.monotonic() - shown_at
    try:
        for play in playback.plays:
            ended = play.ended and known is not None and there >= MIN_OF_LENGTH * known.seconds
            session.store.record_play(
                session.token, playback.item, play.watched, ended, play.seconds, play.dropped, play.play_id
            )
        if playback.answers is None:
            return None
        if not session.store.plays(session.token, playback.item).ended:
            return texts("clip.not_played")
        session.store.answer(session.token, playback.item, playback.answers, playback.response_seconds)
        if playback.item in session.study.training and set(session.open_training) <= {playback.item}:
            note(session, texts, "training")
    except SurveyError as error:
        log.error("Rater %d, clip %s: %s", session.rater.number, playback.item, error)
        return texts("clip.not_saved")
    return None


def have_a_break(session: RaterSession, texts: Texts) -> None:
    """Remind the rater to rest, at fixed places of the order."""
    look(texts, "clip")
    title(texts("break.title"), texts("break.lead", done=session.done, total=len(session.order)))
    quiet(texts("break.text"))
    st.progress(session.done / len(session.order))
    if st.button(texts("break.next"), type="primary"):
        note(session, texts, "break", {"after": session.done})
        st.session_state[RESTED] = session.done
        st.rerun()


def thanks(session: RaterSession, texts: Texts) -> None:
    """Thank the rater and offer a comment field; the first visit to this page finishes the survey."""
    look()
    if session.rater.finished_at is None:
        note(session, texts, "finished")
    mark()
    title(texts("thanks.title"), texts("thanks.lead", total=len(session.order)))
    if st.session_state.get(COMMENTED):
        st.success(texts("thanks.sent"), icon=":material/check:")
        return
    with st.form("survey_comment", border=False):
        comment = st.text_area(
            texts("thanks.label"), placeholder=texts("thanks.placeholder"), max_chars=2000, key="survey_words"
        )
        sent = st.form_submit_button(texts("thanks.send"))
    if sent and comment.strip():
        session.store.comment(session.token, comment)
        st.session_state[COMMENTED] = True
        st.rerun()


def note(session: RaterSession, texts: Texts, step: str, detail: dict[str, object] | None = None) -> None:
    """Record that the rater reached a step, with the language of the page and the browser's name."""
    browser = st.context.headers.get("User-Agent") or ""
    session.store.record_step(session.token, step, detail, texts.language, browser)  # pyright: ignore[reportArgumentType]


STEPS: dict[Step, Callable[[RaterSession, Texts], None]] = {
    "welcome": welcome,
    "headphones": check_headphones,
    "about": describe_yourself,
    "training": practise,
    "clip": rate,
    "break": have_a_break,
    "thanks": thanks,
}

page()
