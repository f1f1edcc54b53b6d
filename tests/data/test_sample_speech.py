"""Sound and lips of the sample belong together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from kpbe.data.sample.clip import ClipPlan, plan_clip
from kpbe.data.sample.identity import draw_identity
from kpbe.data.sample.motion import FPS
from kpbe.data.sample.phonemes import PHONEMES
from kpbe.params import SampleParams

RATE = 16000


@pytest.fixture(scope="module")
def plans() -> list[ClipPlan]:
    return [plan_clip(who, clip, SampleParams.model_validate({})) for who in (0, 4, 8, 13) for clip in (0, 2)]


def phonemes(plans: list[ClipPlan]) -> Iterator[tuple[ClipPlan, str, str, float, float]]:
    """Plan, symbol, kind, start, end of every phoneme."""
    for plan in plans:
        truth = plan.truth
        for symbol, start, end in zip(truth.phonemes, truth.starts, truth.ends, strict=True):
            yield plan, symbol, PHONEMES[symbol].kind, float(start), float(end)


def middle(plan: ClipPlan, start: float, end: float) -> np.ndarray:
    """The middle half of a phoneme's sound."""
    quarter = (end - start) / 4
    return plan.wave[round((start + quarter) * RATE) : round((end - quarter) * RATE)]


def loudness(wave: np.ndarray) -> float:
    return float(np.sqrt((wave**2).mean()))


def centroid(wave: np.ndarray) -> float:
    """Centre of gravity of the power spectrum, Hz."""
    power = np.abs(np.fft.rfft(wave * np.hanning(len(wave)))) ** 2
    return float((np.fft.rfftfreq(len(wave), 1 / RATE) * power).sum() / power.sum())


def test_phonemes_fill_the_clip_and_have_speech_like_lengths(plans: list[ClipPlan]) -> None:
    for plan in plans:
        truth = plan.truth
        assert truth.starts[0] == 0
        assert np.allclose(truth.starts[1:], truth.ends[:-1])
        assert truth.ends[-1] == pytest.approx(len(truth.angles) / FPS)
        assert truth.phonemes[0] == truth.phonemes[-1] == "SIL"
        assert len(set(truth.phonemes)) >= 10
    lengths = [end - start for _, _, kind, start, end in phonemes(plans) if kind == "vowel"]
    assert 0.08 < np.mean(lengths) < 0.15


def test_pauses_are_silent_and_vowels_are_loud(plans: list[ClipPlan]) -> None:
    levels: dict[str, list[float]] = {"pause": [], "vowel": []}
    for plan, _, kind, start, end in phonemes(plans):
        if kind in levels and end - start > 0.05:
            levels[kind].append(loudness(middle(plan, start, end)))
    assert max(levels["pause"]) < 0.01 * np.mean(levels["vowel"])


def test_hissing_sounds_lie_higher_than_vowels(plans: list[ClipPlan]) -> None:
    hiss = [centroid(middle(p, a, b)) for p, symbol, _, a, b in phonemes(plans) if symbol in ("S", "SH", "Z")]
    vowels = [centroid(middle(p, a, b)) for p, _, kind, a, b in phonemes(plans) if kind == "vowel"]
    assert np.mean(hiss) > 2.5 * np.mean(vowels)


def test_people_have_voices_of_their_own() -> None:
    people = [draw_identity(index, 1) for index in range(16)]
    assert max(who.pitch_hz for who in people) > 1.5 * min(who.pitch_hz for who in people)
    for who in people:
        assert 80 < who.pitch_hz < 260


def test_the_mouth_opens_with_the_sound(plans: list[ClipPlan]) -> None:
    for plan in plans:
        frames = len(plan.truth.angles)
        samples = RATE // round(FPS)
        centred = np.concatenate([np.zeros(samples // 2, np.float32), plan.wave])[: frames * samples]
        envelope = np.sqrt((centred.reshape(frames, samples) ** 2).mean(1))
        assert np.corrcoef(envelope, plan.truth.mouth_opening)[0, 1] > 0.5
        assert plan.truth.mouth_opening.max() > 0.12


def test_lip_sounds_and_pauses_close_the_mouth(plans: list[ClipPlan]) -> None:
    shut = 0
    for plan, symbol, kind, start, end in phonemes(plans):
        opening = plan.truth.mouth_opening[min(round((start + end) / 2 * FPS), len(plan.truth.angles) - 1)]
        if symbol in ("M", "B", "P"):
            assert opening < 0.03
            shut += 1
        elif kind == "pause":
            assert opening < 0.02
    assert shut > 10
