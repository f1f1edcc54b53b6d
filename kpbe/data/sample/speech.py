"""Sound of a phoneme sequence: a glottal source and noise through moving formant resonators."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numba import njit
from scipy.ndimage import gaussian_filter1d

from kpbe.data.sample.phonemes import Segment

RATE = 16000
_FOURTH_FORMANT = 3500.0
_TRACK_RATE = 2000  # Hz, of all values that change with the phonemes


def synthesise(
    segments: Sequence[Segment], seconds: float, pitch_hz: float, vocal_tract: float, rng: np.random.Generator
) -> np.ndarray:
    """Speech-like sound of the segments.

    Args:
        segments: phonemes in time. seconds: length of the result.
        pitch_hz: middle of the speaker's pitch range. vocal_tract: factor on all formants (1: a long, male
            tract).
        rng: noise source.

    Returns:
        (round(16000 * seconds),) float32 in [-1, 1]; digital silence inside pauses.
    """
    count = round(RATE * seconds)
    formants = np.stack(
        [_track(segments, count, lambda s, k=k: s.phoneme.formants[k] * vocal_tract, 0.022) for k in range(3)]
    )
    voice = _track(segments, count, lambda s: s.phoneme.voice * (1.15 if s.stress else 1.0), 0.010)
    noise_centre = _track(segments, count, lambda s: s.phoneme.noise[0] or 3000.0, 0.008)
    noise_width = _track(segments, count, lambda s: s.phoneme.noise[1], 0.008)
    noise_level = _track(
        segments, count, lambda s: s.phoneme.noise[2] if s.phoneme.kind == "fricative" else 0.0, 0.008
    )
    nasal = _track(segments, count, lambda s: float(s.phoneme.kind == "nasal"), 0.010)
    _close_and_burst(segments, voice, noise_level)
    time = np.arange(count) / RATE
    stress = _track(segments, count, lambda s: s.stress, 0.05)
    wobble = gaussian_filter1d(
        rng.normal(size=count * _TRACK_RATE // RATE + 2), 0.03 * _TRACK_RATE, mode="nearest"
    )
    wobble = _to_samples(wobble / wobble.std(), count)
    pitch = pitch_hz * (1.10 - 0.22 * time / max(seconds, 1e-6)) * (1 + 0.16 * stress + 0.02 * wobble)
    sound = _resonate(
        _glottal_pulses(pitch) * voice,
        rng.normal(size=count),
        noise_level,
        noise_centre,
        noise_width,
        formants,
        nasal,
    )
    silent = _track(segments, count, lambda s: float(s.phoneme.kind == "pause"), 0.006)
    sound *= 1 - np.clip(1.25 * silent, 0, 1)
    peak = np.abs(sound).max()
    return (0.8 * sound / peak).astype(np.float32) if peak > 0 else sound.astype(np.float32)


def _track(
    segments: Sequence[Segment], count: int, value: Callable[[Segment], float], smooth: float
) -> np.ndarray:
    """A per-phoneme value over `count` samples, smoothed by a Gaussian of `smooth` seconds."""
    coarse = np.empty(count * _TRACK_RATE // RATE + 2)
    for segment in segments:
        coarse[round(segment.start * _TRACK_RATE) :] = value(segment)
    return _to_samples(gaussian_filter1d(coarse, smooth * _TRACK_RATE, mode="nearest"), count)


def _to_samples(coarse: np.ndarray, count: int) -> np.ndarray:
    return np.interp(np.arange(count) / RATE, np.arange(len(coarse)) / _TRACK_RATE, coarse)


def _close_and_burst(segments: Sequence[Segment], voice: np.ndarray, noise: np.ndarray) -> None:
    """Change the tracks at plosives: closed for two thirds of their time, then a burst of about 15 ms."""
    for segment in segments:
        if segment.phoneme.kind != "plosive":
            continue
        first, last = round(segment.start * RATE), min(round(segment.end * RATE), len(voice))
        release = first + 2 * (last - first) // 3
        voice[first:release] *= np.linspace(1, 0.35, release - first)
        decay = np.exp(-np.arange(len(noise) - release) / (0.009 * RATE))
        noise[release:] += segment.phoneme.noise[2] * decay * (decay > 0.02)


def _glottal_pulses(pitch: np.ndarray) -> np.ndarray:
    """Derivative of Rosenberg's glottal flow: rise over 40 % of the period, fall over 16 %."""
    phase = np.cumsum(pitch / RATE) % 1.0
    rising = 0.5 * (1 - np.cos(np.pi * phase / 0.40))
    falling = np.cos(0.5 * np.pi * (phase - 0.40) / 0.16)
    flow = np.where(phase < 0.40, rising, np.where(phase < 0.56, falling, 0.0))
    return np.diff(flow, prepend=flow[0]) * 8


@njit(cache=True)
def _resonate(source, white, noise_level, noise_centre, noise_width, formants, nasal):
    """Filter the voice with four second-order resonators in a row and the noise with one.

    The coefficients change with time.
    """
    count = source.shape[0]
    out = np.zeros(count)
    memory = np.zeros((5, 2))
    widths = (70.0, 95.0, 130.0, 220.0)
    for n in range(count):
        x = source[n] + 0.004 * white[n] * abs(source[n])
        for k in range(4):
            centre = formants[k, n] if k < 3 else _FOURTH_FORMANT
            width = widths[k] * (1 + 1.2 * nasal[n])
            radius = np.exp(-np.pi * width / RATE)
            b = 2 * radius * np.cos(2 * np.pi * min(centre, 7200.0) / RATE)
            c = -radius * radius
            y = (1 - b - c) * x + b * memory[k, 0] + c * memory[k, 1]
            memory[k, 1] = memory[k, 0]
            memory[k, 0] = y
            x = y
        voiced = x
        radius = np.exp(-np.pi * noise_width[n] / RATE)
        b = 2 * radius * np.cos(2 * np.pi * min(noise_centre[n], 7400.0) / RATE)
        c = -radius * radius
        y = (1 - radius) * white[n] * noise_level[n] + b * memory[4, 0] + c * memory[4, 1]
        memory[4, 1] = memory[4, 0]
        memory[4, 0] = y
        out[n] = voiced + 1.1 * y
    return out
