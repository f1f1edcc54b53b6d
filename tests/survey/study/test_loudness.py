"""Loudness against EBU Tech 3341's signals and ffmpeg's meter; sound brought to a loudness."""

from __future__ import annotations

from typing import Any

import av
import av.filter
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kpbe.errors import BadClip
from kpbe.survey.study.loudness import (
    PEAK_CEILING_DB,
    RATE,
    at_loudness,
    integrated_loudness,
    limited,
)
from tests.survey.study.true_peak import true_peak_db

MONO = 10 * np.log10(2)
"""Tech 3341's signals are in two channels; one of them alone is so much quieter."""


def sine(seconds: float, decibels: float, hertz: float = 1000.0) -> np.ndarray:
    return 10 ** (decibels / 20) * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)


def syllables(seconds: float, seed: int = 0, level: float = 0.05) -> np.ndarray:
    """Noise that comes and goes like speech, between pauses."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    envelope = np.maximum(0, np.sin(2 * np.pi * 3.1 * time + rng.uniform(0, 6))) ** 2 * (
        np.sin(2 * time + rng.uniform(0, 6)) > -0.7
    )
    return level * envelope * rng.normal(size=len(time))


def measured_by_ffmpeg(wave: np.ndarray) -> float:
    """Integrated loudness by ffmpeg's ebur128 filter."""
    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=RATE, format="fltp", layout="mono")
    meter, sink = graph.add("ebur128", "metadata=1:framelog=quiet"), graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()
    loudness = -np.inf
    for first in range(0, len(wave), RATE // 10):
        piece = wave[None, first : first + RATE // 10].astype(np.float32)
        frame: Any = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = RATE, first
        source.push(frame)
        while True:
            try:
                shown: Any = sink.pull()
            except (av.BlockingIOError, av.EOFError):
                break
            loudness = float(shown.metadata["lavfi.r128.I"])
    return loudness


@pytest.mark.parametrize(
    ("pieces", "lufs"),
    [
        ([(20, -23)], -23),
        ([(20, -33)], -33),
        ([(10, -36), (60, -23), (10, -36)], -23),
        ([(10, -72), (10, -36), (60, -23), (10, -36), (10, -72)], -23),
        ([(20, -26), (20.1, -20), (20, -26)], -23),
    ],
    ids=["1", "2", "3", "4", "5"],
)
def test_signals_of_tech_3341_are_measured_to_a_tenth(pieces: list[tuple[float, float]], lufs: float) -> None:
    wave = np.concatenate([sine(seconds, decibels) for seconds, decibels in pieces])
    assert integrated_loudness(wave) == pytest.approx(lufs - MONO, abs=0.1)


def test_full_scale_sine_is_3_below_full_scale() -> None:
    assert integrated_loudness(sine(5, 0, 997)) == pytest.approx(-3.01, abs=0.02)


@pytest.mark.parametrize("seconds", [0.7, 2.6, 11])
def test_agrees_with_ffmpeg(seconds: float) -> None:
    wave = syllables(seconds, seed=round(10 * seconds))
    assert integrated_loudness(wave) == pytest.approx(measured_by_ffmpeg(wave), abs=0.1)


def test_silence_and_less_than_a_gating_block_have_no_loudness() -> None:
    assert integrated_loudness(np.zeros(RATE)) == -np.inf
    assert integrated_loudness(sine(0.39, -20)) == -np.inf
    assert integrated_loudness(sine(0.41, -20)) > -25
    for wave in (np.zeros(RATE), sine(0.39, -20)):
        with pytest.raises(BadClip, match="no loudness"):
            at_loudness(wave, -23)


def test_true_peak_sees_between_the_samples() -> None:
    between = np.sin(2 * np.pi * np.arange(RATE) / 4 + np.pi / 4)  # samples at +-0.707, peaks at 1
    assert 20 * np.log10(np.abs(between).max()) == pytest.approx(-3.01, abs=0.01)
    assert true_peak_db(between[1000:-1000]) == pytest.approx(0, abs=0.2)


@settings(max_examples=15, deadline=None)
@example(seed=131, level=0.5, seconds=1.0)
@given(seed=st.integers(0, 1000), level=st.floats(0.001, 0.9), seconds=st.floats(0.6, 4))
def test_any_speech_gets_the_loudness_and_keeps_below_the_ceiling(
    seed: int, level: float, seconds: float
) -> None:
    wave = np.clip(syllables(seconds, seed, level), -1, 1)
    if not np.isfinite(integrated_loudness(wave)):
        return
    try:
        result = at_loudness(wave, -23)
    except BadClip:
        assert seconds < 1.5, "few gating blocks: the loudness jumps where one of them passes the gate"
        return
    assert result.shape == wave.shape
    assert integrated_loudness(result) == pytest.approx(-23, abs=0.1)
    assert true_peak_db(result) <= PEAK_CEILING_DB + 0.1


def test_sound_with_rare_peaks_is_limited_only_around_them() -> None:
    wave = sine(3, -30, 440)
    wave[RATE : RATE + 20] += 0.9
    result = at_loudness(wave, -23)
    assert true_peak_db(result) <= PEAK_CEILING_DB + 0.1
    assert integrated_loudness(result) == pytest.approx(-23, abs=0.1)
    ratio = (
        result[: RATE - 1000][result[: RATE - 1000] != 0] / wave[: RATE - 1000][result[: RATE - 1000] != 0]
    )
    assert ratio.std() < 1e-9, "the gain changes far from the peak"
    quiet = sine(1, -30)
    assert np.array_equal(limited(quiet), quiet)


def test_clicks_that_cannot_be_loud_are_refused() -> None:
    clicks = np.zeros(2 * RATE)
    clicks[:: RATE // 4] = 0.5
    with pytest.raises(BadClip, match=r"survey\.loudness_lufs"):
        at_loudness(clicks, -14)
