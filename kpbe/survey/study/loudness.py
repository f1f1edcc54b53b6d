"""Loudness by EBU R128 (ITU-R BS.1770-5), and amplification to a target loudness without clipping.

Everything is at 48 kHz, for which BS.1770 gives its filters.
"""

from __future__ import annotations

import numpy as np

from kpbe.errors import BadClip

RATE = 48000
BLOCK = 0.4
"""Seconds of a gating block; blocks start every quarter of it. Shorter sound has no loudness."""

PEAK_CEILING_DB = -2.0
"""Highest true peak before AAC, which adds up to 1 dB; R128's limit is -1 dBTP."""

CLOSE_ENOUGH_LU = 0.05

SHELF = (
    (1.53512485958697, -2.69169618940638, 1.19839281085285),
    (1.0, -1.69065929318241, 0.73248077421585),
)
HIGH_PASS = ((1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621))
"""K-weighting: numerator and denominator of the two filters (BS.1770, tables 1 and 2)."""


def integrated_loudness(wave: np.ndarray) -> float:
    """Integrated loudness of one channel, with the gates at -70 LUFS and 10 LU below the rest.

    Args:
        wave: (n,) samples at 48 kHz, full scale 1.

    Returns:
        LUFS; minus infinity where nothing passes the gate (silence, or less than one gating block).
    """
    from scipy.signal import lfilter

    weighted = np.asarray(lfilter(*HIGH_PASS, lfilter(*SHELF, wave.astype(np.float64))))
    block, step = round(BLOCK * RATE), round(BLOCK * RATE / 4)
    if len(weighted) < block:
        return -np.inf
    energy = np.concatenate([[0.0], np.cumsum(weighted**2)])
    starts = np.arange(0, len(weighted) - block + 1, step)
    power = (energy[starts + block] - energy[starts]) / block
    loud = power[_lufs(power) > -70]
    if loud.size:
        loud = loud[_lufs(loud) > _lufs(loud.mean()) - 10]
    return float(_lufs(loud.mean())) if loud.size else -np.inf


def at_loudness(wave: np.ndarray, lufs: float) -> np.ndarray:
    """A wave amplified to a loudness, with its true peaks limited to `PEAK_CEILING_DB`.

    Where peaks are limited, the rest is amplified until the loudness is reached.

    Args:
        wave: (n,) samples at 48 kHz.
        lufs: target of the integrated loudness.

    Returns:
        (n,) float64.

    Raises:
        BadClip: the sound is silent, shorter than a gating block, or has too high peaks for this loudness.
    """
    measured = integrated_loudness(wave)
    if not np.isfinite(measured):
        raise BadClip(
            f"its sound has no loudness: it is silent, or shorter than the {BLOCK:g} s that R128 measures "
            f"over."
        )
    gain = missing = lufs - measured
    for _ in range(20):
        result = limited(wave * 10 ** (gain / 20))
        missing = lufs - integrated_loudness(result)
        if abs(missing) <= CLOSE_ENOUGH_LU:
            return result
        gain += missing
    raise BadClip(
        f"its sound reaches {lufs - missing:.1f} LUFS without clipping, not {lufs:g}: lower "
        f"survey.loudness_lufs."
    )


def limited(wave: np.ndarray, ceiling_db: float = PEAK_CEILING_DB) -> np.ndarray:
    """A wave (n,) whose true peaks are limited to a ceiling by a gain that changes within 5 ms.

    It is unchanged where no peak exceeds the ceiling.
    """
    from scipy.ndimage import minimum_filter1d

    peaks = np.abs(_oversampled(wave)).reshape(-1, 4).max(axis=1)
    needed = np.minimum(1.0, 10 ** (ceiling_db / 20) / np.maximum(peaks, 1e-30))
    if needed.min() == 1.0:
        return np.asarray(wave, np.float64)
    reach = round(0.005 * RATE)
    # each gain averaged for a sample is low enough for it, so their mean is too
    gains = np.pad(minimum_filter1d(needed, 2 * reach + 1), reach, mode="edge")
    window = np.hanning(2 * reach + 3)[1:-1]
    return wave * np.convolve(gains, window / window.sum(), mode="valid")


def _oversampled(wave: np.ndarray) -> np.ndarray:
    """(4 n,) samples at four times the rate."""
    from scipy.signal import resample_poly

    return np.asarray(resample_poly(wave.astype(np.float64), 4, 1))


def _lufs(power: np.ndarray | float) -> np.ndarray:
    return -0.691 + 10 * np.log10(np.maximum(power, 1e-30))
