"""The rater's way through Streamlit's AppTest, with a player and a headphone check that answer at once."""

from __future__ import annotations

import io
import random
import re
import string
import wave
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from streamlit.testing.v1 import AppTest

from kpbe.errors import KPBEError, SurveyError
from kpbe.survey.demographics import DEMOGRAPHICS
from kpbe.survey.store.answers import SurveyStore, open_store
from kpbe.survey.study.design import Study
from reports import headphones, player, texts
from reports.headphones import Check, Heard, Trial, new_check, trial_sound, volume_sound, wav
from reports.player import Play, Playback, received
from reports.rater_session import open_session
from tests.reports.tiny_study import make_study, opaque

SCRIPTS = {"clip": ("clip.js", "film.js"), "headphones": ("tones.js",)}
SITE = Path(__file__).resolve().parents[2] / "reports" / "survey.py"
ENGLISH, CHINESE = texts.languages()["en"], texts.languages()["zh"]
SCORES = {"lip_sync": 4, "head_pose": 3, "realness": 5}


@dataclass
class FakePlayer:
    """Stands in for the component: shows nothing and returns what a test sets."""

    says: list[Playback] = field(default_factory=list)
    shown: list[dict[str, Any]] = field(default_factory=list)

    def play(self, key: str, item: str, words: texts.Texts, questions: Any, **what: Any) -> Playback:
        self.shown.append({"item": item, **what})
        return self.says.pop(0) if self.says else Playback()


@dataclass
class FakeCheck:
    """Chooses the softer tone, except in the trials listed in `wrong`."""

    wrong: tuple[int, ...] = ()
    trials: list[int] = field(default_factory=list)
    pause: bool = False

    def listen(
        self, key: str, words: texts.Texts, number: int, sound: Any, total: int, try_number: int
    ) -> Heard | None:
        if self.pause:
            return None
        self.trials.append(number)
        if number == 0:
            return Heard(trial=0, choice=0, plays=1, device={"width": 1280.0, "touch": False})
        softest = int(np.argmin([np.square(tone).mean() for tone in tones_of(sound)])) + 1
        return Heard(trial=number, choice=softest % 3 + 1 if number in self.wrong else softest, plays=1)


def tones_of(sound: np.ndarray, channel: int = 0) -> list[np.ndarray]:
    return [
        sound[round(s * headphones.RATE) : round(e * headphones.RATE), channel]
        for s, e in headphones.tone_times()
    ]


@pytest.fixture
def study() -> Study:
    return make_study(seconds=0.0)


@pytest.fixture
def store(empty_project: Path, study: Study, monkeypatch: pytest.MonkeyPatch) -> SurveyStore:
    monkeypatch.delenv("KPBE_SURVEY_URL", raising=False)
    study.write(empty_project / "data" / "survey" / "study.json")
    return open_store(empty_project)


@pytest.fixture
def fake_player(monkeypatch: pytest.MonkeyPatch) -> FakePlayer:
    fake = FakePlayer()
    monkeypatch.setattr(player, "play", fake.play)
    return fake


@pytest.fixture
def fake_check(monkeypatch: pytest.MonkeyPatch) -> FakeCheck:
    fake = FakeCheck()
    monkeypatch.setattr(headphones, "listen", fake.listen)
    return fake


@pytest.fixture
def token(store: SurveyStore, study: Study) -> str:
    return store.invite(study.name, 1)[0].token


@pytest.fixture
def rating(store: SurveyStore, token: str) -> str:
    """The token of a rater who is about to rate the first clip."""
    for step in ("consent", "headphones", "training"):
        store.record_step(token, step, language="en")
    return token


def open_link(token: str | None, **query: str) -> AppTest:
    site = AppTest.from_file(str(SITE), default_timeout=60)
    if token is not None:
        site.query_params["rater"] = token
    for name, value in query.items():
        site.query_params[name] = value
    return site.run()


def words_on(site: AppTest) -> str:
    parts = [*(e.value for e in site.html if "<style>" not in e.value), *(e.value for e in site.title)]
    parts += [e.label for kind in (site.checkbox, site.button, site.text_area) for e in kind]
    parts += [e.value for kind in (site.warning, site.error, site.success) for e in kind]
    return "\n".join(map(str, parts))


def button(site: AppTest, label: str) -> Any:
    return next(one for one in site.button if one.label == label)


def say(
    item: str, answers: dict[str, int] | None = None, ended: bool = True, play_id: str = "a1b2c3d4"
) -> Playback:
    plays = (Play(play_id=play_id, watched=1.0 if ended else 0.4, ended=ended, seconds=1.0, dropped=0),)
    return Playback(item=item, plays=plays, answers=answers, response_seconds=2.5)


# -- links -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", [None, "", "x", "not-a-token" * 50, "'; drop table raters; --"])
def test_links_that_do_not_work_get_one_friendly_sentence(store: SurveyStore, link: str | None) -> None:
    site = open_link(link)
    text = words_on(site)
    assert not site.exception and not site.error
    assert ENGLISH("closed.link") in text and CHINESE("closed.link") in text
    assert not site.button and not site.title


def test_revoked_link_looks_like_an_unknown_one(store: SurveyStore, rating: str, study: Study) -> None:
    unknown = words_on(open_link("unknown"))
    store.revoke(study.name, rating)
    assert words_on(open_link(rating)) == unknown


def test_without_a_study_the_survey_is_not_open(empty_project: Path) -> None:
    site = open_link("anything")
    assert not site.exception and not site.error
    assert ENGLISH("closed.survey") in words_on(site)
    assert str(empty_project) not in words_on(site)


def test_token_of_another_study_does_not_work(store: SurveyStore, empty_project: Path) -> None:
    store.add_study("another", "0" * 64)
    other = store.invite("another", 1)[0].token
    assert open_session(other) is None


# -- before the clips --------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [ENGLISH, CHINESE])
def test_language_then_consent_then_headphones(
    store: SurveyStore, token: str, words: texts.Texts, fake_check: FakeCheck, fake_player: FakePlayer
) -> None:
    fake_check.pause = True
    site = open_link(token)
    button(site, words("language")).click().run()
    assert words("welcome.title") in words_on(site)
    assert store.rater(token).consented_at is None  # pyright: ignore[reportOptionalMemberAccess]
    assert button(site, words("welcome.start")).disabled
    site.checkbox[0].check().run()
    button(site, words("welcome.start")).click().run()
    rater = store.rater(token)
    assert rater is not None and rater.consented_at is not None and rater.language == words.language
    assert words("prepare.title") in words_on(site)
    assert words("prepare.title") in words_on(open_link(token)), (
        "a refresh or another device keeps the language"
    )


def test_language_can_be_changed_before_consent_and_set_by_the_link(token: str) -> None:
    site = open_link(token, lang="zh")
    assert CHINESE("welcome.title") in words_on(site)
    button(site, "English").click().run()
    assert ENGLISH("welcome.title") in words_on(site)


def test_welcome_says_how_many_clips_and_minutes(token: str, study: Study) -> None:
    visit = open_session(token)
    assert visit is not None
    text = words_on(open_link(token, lang="en"))
    assert "5 videos" in text and f"about {visit.minutes()} minutes" in text


def through_preparation(token: str) -> AppTest:
    site = open_link(token)
    for box in site.checkbox:
        box.check()
    site.run()
    return button(site, ENGLISH("prepare.next")).click().run()


def test_headphone_check_passes_with_one_error(
    store: SurveyStore, token: str, fake_check: FakeCheck, fake_player: FakePlayer, study: Study
) -> None:
    store.record_step(token, "consent", language="en")
    site = open_link(token)
    assert button(site, ENGLISH("prepare.next")).disabled
    fake_check.wrong = (4,)
    site = through_preparation(token)
    assert fake_check.trials == [0, 1, 2, 3, 4, 5, 6]
    assert store.rater(token).headphones_passed_at is not None  # pyright: ignore[reportOptionalMemberAccess]
    assert ENGLISH("about.title") in words_on(site) and not fake_player.shown
    button(site, ENGLISH("about.next")).click().run()
    assert fake_player.shown[-1]["item"] == study.training[0]


def test_loudspeakers_are_told_and_may_try_again(
    store: SurveyStore, token: str, fake_check: FakeCheck
) -> None:
    store.record_step(token, "consent", language="en")
    fake_check.wrong = (1, 5)
    site = through_preparation(token)
    assert [one.value for one in site.warning] == [ENGLISH("headphones.not_passed")]
    assert store.rater(token).headphones_passed_at is None  # pyright: ignore[reportOptionalMemberAccess]
    button(site, ENGLISH("headphones.retry")).click().run()
    assert ENGLISH("headphones.not_passed_again") in words_on(site)
    fake_check.wrong = ()
    button(site, ENGLISH("headphones.retry")).click().run()
    assert store.rater(token).headphones_passed_at is not None  # pyright: ignore[reportOptionalMemberAccess]


@pytest.mark.parametrize("words", [ENGLISH, CHINESE])
def test_raters_tell_what_they_like_of_themselves_once(
    store: SurveyStore, token: str, study: Study, fake_player: FakePlayer, words: texts.Texts
) -> None:
    store.record_step(token, "consent", language=words.language)
    store.record_step(token, "headphones")
    site = open_link(token)
    assert [one.label for one in site.radio] == [words(f"about.{name}.question") for name in DEMOGRAPHICS]
    assert all(one.value is None for one in site.radio)
    site.radio[0].set_value("40-49")
    site.radio[3].set_value("phone")
    button(site, words("about.next")).click().run()
    assert not site.exception and not site.error
    assert fake_player.shown[-1]["item"] == study.training[0]
    assert store.rater(token).described_at is not None  # pyright: ignore[reportOptionalMemberAccess]
    item = study.order_of(1)[0]
    store.record_play(token, item, 1.0, True, 1.0)
    store.answer(token, item, SCORES, 1.0)
    row = store.export_rows(study)[0]
    assert [row[name] for name in DEMOGRAPHICS] == ["40-49", "not_said", "not_said", "phone", "not_said"]
    assert not open_link(token).radio


def test_who_began_before_that_was_asked_is_not_stopped(
    store: SurveyStore, token: str, study: Study, fake_player: FakePlayer
) -> None:
    for step in ("consent", "headphones"):
        store.record_step(token, step, language="en")
    store.record_play(token, study.training[0], 1.0, True, 1.0)
    store.answer(token, study.training[0], SCORES, 1.0)
    assert not open_link(token).radio
    assert fake_player.shown[-1]["item"] == study.training[1]


# -- clips -------------------------------------------------------------------------------------------------


def test_practice_comes_first_and_tells_what_was_expected(
    store: SurveyStore, token: str, study: Study, fake_player: FakePlayer
) -> None:
    store.record_step(token, "consent", language="en")
    store.record_step(token, "headphones")
    store.record_step(token, "about")
    order = study.order_of(1)
    site = open_link(token)
    assert fake_player.shown[-1]["expected"] == study.by_id[study.training[0]].expected
    assert fake_player.shown[-1]["next_item"] == study.training[1]
    fake_player.says = [say(study.training[0], SCORES)]
    site.run()
    assert fake_player.shown[-1]["item"] == study.training[1]
    assert fake_player.shown[-1]["next_item"] == order[0]
    assert store.rater(token).training_done_at is None  # pyright: ignore[reportOptionalMemberAccess]
    fake_player.says = [say(study.training[1], SCORES)]
    site.run()
    assert store.rater(token).training_done_at is not None  # pyright: ignore[reportOptionalMemberAccess]
    assert fake_player.shown[-1]["item"] == order[0] and fake_player.shown[-1]["expected"] is None


def test_clips_come_in_the_raters_order_with_a_break_and_thanks(
    store: SurveyStore, rating: str, study: Study, fake_player: FakePlayer
) -> None:
    order = study.order_of(1)
    site = open_link(rating)
    for number, item in enumerate(order):
        if number == study.break_after:
            assert ENGLISH("break.lead", done=2, total=3) in words_on(site)
            button(site, ENGLISH("break.next")).click().run()
        assert fake_player.shown[-1]["item"] == item
        assert fake_player.shown[-1]["caption"] == ENGLISH("clip.count", done=number + 1, total=3)
        assert fake_player.shown[-1]["progress"] == pytest.approx(number / 3)
        fake_player.says = [say(item, SCORES)]
        site.run()
    assert ENGLISH("thanks.lead", total=3) in words_on(site)
    assert store.answered(rating) == dict.fromkeys(order, SCORES)
    assert store.rater(rating).finished_at is not None  # pyright: ignore[reportOptionalMemberAccess]
    site.text_area[0].input("The sound was late once.")
    button(site, ENGLISH("thanks.send")).click().run()
    assert [one.value for one in site.success] == [ENGLISH("thanks.sent")]
    assert [one.text for one in store.comments(study.name)] == ["The sound was late once."]
    assert ENGLISH("thanks.lead", total=3) in words_on(open_link(rating)), "the link ends here from now on"


def test_another_device_goes_on_where_the_first_one_stopped(
    store: SurveyStore, rating: str, study: Study, fake_player: FakePlayer
) -> None:
    order = study.order_of(1)
    fake_player.says = [say(order[0], SCORES)]
    open_link(rating)
    fake_player.says = [say(order[1])]
    open_link(rating)
    open_link(rating)
    last = fake_player.shown[-1]
    assert last["item"] == order[1] and last["heard"], "played on the other device: it may be rated at once"


def test_play_told_of_too_early_does_not_open_the_answers(
    empty_project: Path, monkeypatch: pytest.MonkeyPatch, fake_player: FakePlayer
) -> None:
    monkeypatch.delenv("KPBE_SURVEY_URL", raising=False)
    study = make_study("long", seconds=60.0)
    study.write(empty_project / "data" / "survey" / "study.json")
    store = open_store(empty_project)
    token = store.invite("long", 1)[0].token
    for step in ("consent", "headphones", "training"):
        store.record_step(token, step, language="en")
    first = study.order_of(1)[0]
    fake_player.says = [say(first, SCORES)]
    open_link(token)
    assert store.answered(token) == {} and not store.plays(token, first).ended
    assert fake_player.shown[-1]["problem"].text == ENGLISH("clip.not_played")


@pytest.mark.parametrize(
    ("playback", "why"),
    [
        (lambda order, study: say(order[0], SCORES, ended=False), "clip.not_played"),
        (lambda order, study: say(order[0], {**SCORES, "realness": 6}), "clip.not_saved"),
        (lambda order, study: say(order[0], {"lip_sync": 4}), "clip.not_saved"),
        (lambda order, study: say(opaque("forged"), SCORES), "clip.not_saved"),
        (lambda order, study: say(study.order_of(2)[0], SCORES), "clip.not_saved"),
    ],
    ids=["not played", "score off the scale", "question missing", "no such clip", "another rater's clip"],
)
def test_what_must_not_be_kept_is_not_kept_and_the_rater_is_told(
    store: SurveyStore,
    rating: str,
    study: Study,
    fake_player: FakePlayer,
    playback: Callable[[tuple[str, ...], Study], Playback],
    why: str,
) -> None:
    order = study.order_of(1)
    fake_player.says = [playback(order, study)]
    site = open_link(rating)
    assert not site.exception
    assert store.answered(rating) == {}
    assert fake_player.shown[-1]["item"] == order[0]
    assert fake_player.shown[-1]["problem"].text == ENGLISH(why)


def test_answers_sent_twice_count_once_and_plays_too(
    store: SurveyStore, rating: str, study: Study, fake_player: FakePlayer
) -> None:
    order = study.order_of(1)
    fake_player.says = [say(order[0]), say(order[0], SCORES), say(order[0], SCORES)]
    site = open_link(rating)
    site.run()
    assert store.plays(rating, order[0]).count == 1
    rows = [row for row in store.export_rows(study) if row["item"] == order[0]]
    assert sorted(row["question"] for row in rows) == sorted(study.questions)
    assert fake_player.shown[-1]["item"] == order[1]


def test_raters_pages_name_no_method(
    store: SurveyStore, rating: str, study: Study, fake_player: FakePlayer
) -> None:
    open_link(rating)
    told = repr([{k: v for k, v in shown.items()} for shown in fake_player.shown])
    assert not any(word in told.lower() for word in ("wav2lip", "kpbe", "ground_truth", "reference"))


# -- what the browser sends --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "told",
    [
        "text",
        {"item": "../../etc/passwd"},
        {"item": "ab12", "plays": [{"play_id": "x", "watched": 1, "ended": True, "seconds": 1}]},
        {"item": "ab12", "plays": [{"play_id": "a" * 16, "watched": 2, "ended": True, "seconds": 1}]},
        {"item": "ab12", "plays": [{"play_id": "a" * 16, "watched": None, "ended": True, "seconds": 1}]},
        {"item": "ab12", "plays": [{"play_id": "a" * 16, "watched": 1, "ended": "yes", "seconds": 1}]},
        {"item": "ab12", "answers": {"lip_sync": "5"}},
        {"item": "ab12", "answers": {"lip_sync": 4.5}},
        {"item": "ab12", "answers": {"lip_sync": True}},
        {"item": "ab12", "response_seconds": -1},
    ],
)
def test_messages_that_the_player_cannot_send_are_refused(told: Any) -> None:
    with pytest.raises(SurveyError):
        received(told)


def test_playback_sums_up_its_plays() -> None:
    told = {
        "item": "ab12",
        "plays": [
            {"play_id": "a" * 16, "watched": 0.5, "ended": False, "seconds": 1, "dropped": 2},
            {"play_id": "b" * 16, "watched": 1, "ended": True, "seconds": 1.1, "dropped": None},
        ],
    }
    playback = received(told)
    assert (playback.ended, playback.watched, playback.dropped) == (True, 1.0, 2)
    assert received(None) == Playback() and not Playback().ended and Playback().dropped is None


# -- headphone check ---------------------------------------------------------------------------------------


def test_every_place_is_the_softer_one_twice_and_trials_are_shuffled() -> None:
    drawn = {new_check(random.Random(seed)).trials for seed in range(20)}
    assert len(drawn) > 10
    for trials in drawn:
        assert sorted((t.softer, t.opposed) for t in trials) == sorted(permutations((1, 2, 3), 2))


@pytest.mark.parametrize("trial", [Trial(*places) for places in permutations((1, 2, 3), 2)])
def test_over_headphones_the_softer_tone_is_softest_over_loudspeakers_another_one(trial: Trial) -> None:
    sound = trial_sound(trial)
    left, right = (
        [np.sqrt(np.square(tone).mean()) for tone in tones_of(sound, channel)] for channel in (0, 1)
    )
    assert np.argmin(left) + 1 == np.argmin(right) + 1 == trial.softer
    loud = [level for place, level in enumerate(left, 1) if place != trial.softer]
    assert 20 * np.log10(left[trial.softer - 1] / loud[0]) == pytest.approx(-6, abs=0.01)
    in_the_air = [
        np.sqrt(np.square(a + b).mean()) for a, b in zip(tones_of(sound, 0), tones_of(sound, 1), strict=True)
    ]
    assert np.argmin(in_the_air) + 1 == trial.opposed


def test_five_of_six_pass() -> None:
    trials = new_check(random.Random(0)).trials
    right = tuple(trial.softer for trial in trials)
    wrong = tuple(choice % 3 + 1 for choice in right)
    assert Check(trials, right).passed
    assert Check(trials, (*right[:5], wrong[5])).passed
    assert not Check(trials, (*right[:4], *wrong[4:])).passed
    assert not Check(trials, right[:5]).passed, "not done yet"


def test_sounds_are_stereo_wav_within_full_scale() -> None:
    for sound in (trial_sound(Trial(1, 2)), volume_sound()):
        assert np.abs(sound).max() <= 1
        with wave.open(io.BytesIO(wav(sound))) as reader:
            assert (reader.getnchannels(), reader.getframerate(), reader.getnframes()) == (
                2,
                headphones.RATE,
                len(sound),
            )


# -- texts -------------------------------------------------------------------------------------------------


def test_every_language_has_every_text_with_the_same_fields() -> None:
    def fields(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    first, *others = texts.languages().values()
    for other in others:
        assert other.entries.keys() == first.entries.keys()
        for name in first.entries:
            assert fields(other.entries[name]) == fields(first.entries[name]), f"{name} in {other.language}"
            assert other.entries[name].strip()


def test_every_text_is_asked_for() -> None:
    """A text is used by its name, by a composed name (f"welcome.{name}"), or by a page's script.

    Scripts get the groups in `SCRIPTS`.
    """
    reports = SITE.parent
    python = "\n".join(
        path.read_text(encoding="utf-8") for path in (*reports.glob("*.py"), reports / "views" / "survey.py")
    )
    for name in ENGLISH.entries:
        group, _, last = name.rpartition(".")
        scripts = "\n".join((reports / "web" / script).read_text() for script in SCRIPTS.get(group, ()))
        whole = f'"{name}"' in python or f'part("{group}")' in python
        together = f'f"{group}.{{' in python and (f'"{last}"' in python or group in ("questions", "hints"))
        in_script = re.search(rf'texts\.{last}\b|texts\[.*"{last}"|render\("{last}"\)', scripts)
        about = group.startswith("about.") and last in (
            *DEMOGRAPHICS[group.removeprefix("about.")],
            "question",
        )
        assert whole or together or in_script or about, name


def test_every_answer_about_a_rater_has_its_words() -> None:
    for question, answers in DEMOGRAPHICS.items():
        assert tuple(ENGLISH.part(f"about.{question}")) == ("question", *answers)


def test_scale_has_the_standard_words() -> None:
    assert list(ENGLISH.part("words").values()) == ["Excellent", "Good", "Fair", "Poor", "Bad"]
    assert list(CHINESE.part("words").values()) == ["优", "良", "中", "差", "劣"]


def test_new_language_is_one_more_block(tmp_path: Path) -> None:
    blocks = yaml.safe_load(texts.FILE.read_text(encoding="utf-8"))
    file = tmp_path / "texts.yaml"
    file.write_text(
        yaml.safe_dump({**blocks, "de": {**blocks["en"], "language": "Deutsch"}}, allow_unicode=True)
    )
    assert texts.languages.__wrapped__(file)["de"]("language") == "Deutsch"


def test_missing_text_is_named() -> None:
    with pytest.raises(KPBEError, match="no such"):
        ENGLISH("no such")
