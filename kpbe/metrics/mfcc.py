"""Mel-frequency cepstral coefficients with the defaults of python_speech_features.

SyncNet was trained on them. That package has had no release since 2017 and no wheel; this code gives the same
numbers.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.fft import dct

RATE = 16_000
WINDOW, HOP = 400, 160  # 25 ms and 10 ms, no window function
SPECTRUM = 512
BANDS, COEFFICIENTS = 26, 13
PREEMPHASIS = 0.97
LIFTER = 22
SMALLEST = np.finfo(np.float64).eps


def mfcc(wave: np.ndarray) -> np.ndarray:
    """Thirteen coefficients every 10 ms; the first is the logarithm of the window's energy.

    Args:
        wave: (S,) mono sound at 16 kHz; int16, or floating point in [-1, 1], which is scaled to the
            range of int16.

    Returns:
        (M, 13) float64, M = 1 + ceil((S - 400) / 160), at least 1; the last window is filled up with zeros.

    Raises:
        ValueError: the sound is empty or not mono.
    """
    if wave.ndim != 1 or not len(wave):
        raise ValueError(f"sound must be (S,), not {wave.shape}.")
    signal = _on_int16_scale(wave)
    signal = np.append(signal[0], signal[1:] - PREEMPHASIS * signal[:-1])
    windows = 1 + max(0, -(-(len(signal) - WINDOW) // HOP))
    padded = np.pad(signal, (0, max(0, (windows - 1) * HOP + WINDOW - len(signal))))
    framed = sliding_window_view(padded, WINDOW)[::HOP][:windows]
    power = np.square(np.abs(np.fft.rfft(framed, SPECTRUM))) / SPECTRUM
    energies = np.maximum(power @ _mel_bands().T, SMALLEST)
    cepstrum = np.asarray(dct(np.log(energies), type=2, axis=1, norm="ortho"))[:, :COEFFICIENTS]
    cepstrum *= 1 + LIFTER / 2 * np.sin(np.pi * np.arange(COEFFICIENTS) / LIFTER)
    cepstrum[:, 0] = np.log(np.maximum(power.sum(1), SMALLEST))
    return cepstrum


def _on_int16_scale(wave: np.ndarray) -> np.ndarray:
    if np.issubdtype(wave.dtype, np.floating):
        return np.clip(np.rint(wave.astype(np.float64) * 32768), -32768, 32767)
    return wave.astype(np.float64)


@cache
def _mel_bands() -> np.ndarray:
    """(26, 257) triangles between 0 and 8 kHz, corners on whole bins of the spectrum (HTK's mel scale)."""
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, BANDS + 2) / 2595) - 1)
    corners = np.floor((SPECTRUM + 1) * corners / RATE)
    bins = np.arange(SPECTRUM // 2 + 1)
    low, middle, high = (corners[i : i + BANDS, None] for i in range(3))
    with np.errstate(divide="ignore", invalid="ignore"):
        rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
    bands = np.where(bins < middle, rising, falling)
    return np.where((bins >= low) & (bins < high), bands, 0.0)
