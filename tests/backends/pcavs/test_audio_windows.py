"""The mel front end and which part of it a frame hears, against the reference's numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kpbe.backends.pcavs import mel_windows, ping_pong, window_starts
from kpbe.media.mel import pcavs_mel, slaney_mel_bands

MEL = 1e-5


@pytest.fixture(scope="module")
def audio(golden):
    return golden("pcavs_audio")


@pytest.fixture(scope="module")
def wave(golden, audio):
    return golden.fill.waveform(f"pcavs/wave/{audio['input_label']}", 2.0)


def test_mel_equals_the_one_of_the_lws_package(golden, audio, wave):
    golden.compare(audio, "mel", pcavs_mel(wave), MEL)
    odd = golden.fill.waveform(f"pcavs/wave_odd/{audio['input_label']}", 0.7313)
    assert len(odd) == int(audio["mel_odd_samples"])
    golden.compare(audio, "mel_odd", pcavs_mel(odd), MEL)
    assert float(audio["lws_vs_numpy_formula_maxdiff"]) < 1e-12


def test_mel_is_the_one_of_the_reference_magnitudes_of_a_row_at_the_reference_loudness(audio, wave):
    assert float(audio["normalised_rms"]) == pytest.approx(0.1, rel=1e-6)
    energy = slaney_mel_bands(80, 125.0, 7600.0, 1280) @ audio["stft_abs_row100"]
    decibels = 20 * np.log10(np.maximum(1e-5, energy)) - 20
    np.testing.assert_allclose(pcavs_mel(wave)[100], np.clip((decibels + 100) / 100, 0, 1), rtol=0, atol=MEL)


def test_mel_of_silence_is_zero():
    assert not pcavs_mel(np.zeros(3200, np.float32)).any()


def test_mel_does_not_depend_on_loudness(wave):
    np.testing.assert_allclose(pcavs_mel(wave * 0.01), pcavs_mel(wave), rtol=0, atol=1e-5)


@settings(deadline=None, max_examples=50)
@given(samples=st.integers(1, 9000), level=st.sampled_from([0.0, 1e-9, 1e-3, 1.0]))
def test_mel_has_a_row_every_160_samples_and_is_never_nan(samples, level):
    mel = pcavs_mel(np.random.default_rng(samples).uniform(-level, level, samples).astype(np.float32))
    assert mel.shape == (-(-samples // 160) + 7, 80) and mel.dtype == np.float32
    assert np.all((mel >= 0) & (mel <= 1))


def test_mel_of_nothing_is_refused():
    with pytest.raises(ValueError, match="not empty"):
        pcavs_mel(np.zeros(0, np.float32))


def test_windows_of_the_frames_that_the_reference_renders_are_its_own(audio):
    rows = len(audio["mel"])
    starts = window_starts(60)
    rendered = [i for i, start in enumerate(starts) if start >= 0 and start + 20 <= rows]
    assert rendered == audio["frame_indices"].tolist()
    assert [starts[i] for i in rendered] == audio["audio_starts"].tolist()


def test_windows_hold_bands_by_rows_of_their_place(audio):
    windows = mel_windows(audio["mel"], [40, 120])
    assert windows.shape == (2, 1, 80, 20)
    np.testing.assert_array_equal(windows[1, 0].numpy(), audio["mel"][120:140].T)


@settings(deadline=None, max_examples=50)
@given(samples=st.integers(160, 9000), before=st.integers(0, 20), after=st.integers(0, 20))
def test_rows_that_cover_only_silence_around_the_sound_are_zero(samples, before, after):
    """Therefore zeros stand for what lies outside of a spectrogram."""
    sound = np.random.default_rng(samples).uniform(-1, 1, samples).astype(np.float32)
    mel = pcavs_mel(np.pad(sound, (before * 160, after * 160)))
    rows = np.arange(len(mel))
    silent = (rows < before) | (rows * 160 - 1120 >= before * 160 + samples)
    assert not mel[silent].any()
    assert mel[before + 1 : before + samples // 160].any(axis=1).all()


@given(rows=st.integers(0, 40), starts=st.lists(st.integers(-60, 60), min_size=1, max_size=5))
def test_windows_beyond_the_sound_are_filled_with_zeros(rows, starts):
    mel = np.random.default_rng(rows).uniform(0.1, 1, (rows, 80)).astype(np.float32)
    around = np.pad(mel, ((60, 80), (0, 0)))
    expected = [around[start + 60 : start + 80].T for start in starts]
    np.testing.assert_array_equal(mel_windows(mel, starts)[:, 0], expected)


@given(frames=st.integers(1, 2000), fps=st.sampled_from([12.5, 15.0, 24.0, 25.0, 29.97, 50.0, 59.94]))
@example(frames=2000, fps=25.0)
def test_windows_follow_the_frames_at_any_rate(frames, fps):
    starts = window_starts(frames, fps)
    assert len(starts) == frames and starts[0] == -8
    for i in (0, frames // 2, frames - 1):
        assert -1e-6 <= i / fps * 100 - (starts[i] + 8) < 1 + 1e-6


def test_pose_frames_go_forward_and_back_as_in_the_reference(audio):
    for key in (key for key in audio if key.startswith("loop_idx_")):
        count = int(key.removeprefix("loop_idx_"))
        assert [ping_pong(i, count) for i in range(len(audio[key]))] == audio[key].tolist(), key
