"""The mel spectrograms that Wav2Lip and PC-AVS listen to."""

from __future__ import annotations

import itertools
from functools import cache
from typing import Literal

import numpy as np

from kpbe.errors import BadClip
from kpbe.media.audio import AUDIO_RATE

MEL_FRAMES_PER_SECOND = 80
MEL_WINDOW = 16
"""Mel frames that one Wav2Lip frame listens to (0.2 s)."""

MEL_BLOCK = 1024
"""Spectra that are in memory at a time."""

WAV2LIP_FFT = 800
WAV2LIP_HOP = 200
PCAVS_MEL_FRAMES_PER_SECOND = 100
PCAVS_FFT = 1280
PCAVS_HOP = 160
PCAVS_LOUDNESS = 0.1


def wav2lip_mel(wave: np.ndarray, padding: Literal["zeros", "reflect"] = "zeros") -> np.ndarray:
    """Wav2Lip's log-mel spectrogram of a 16 kHz wave (Rudrabha/Wav2Lip, audio.py and hparams.py).

    Pre-emphasis 0.97, magnitude STFT (Hann 800, hop 200, centred), 80 Slaney mel bands from 55 to 7600 Hz,
    20 log10 with floor 1e-5, minus 20 dB, -100..0 dB mapped to -4..4 and clipped.

    Args:
        wave: (n,) samples in [-1, 1] at 16 kHz.
        padding: what lies outside the wave: `zeros` as in current librosa, `reflect` as in the older librosa
            that the public checkpoints were trained with; only the first and last two frames differ.

    Returns:
        (80, 1 + n // 200) float32 in [-4, 4]; silence is -4.

    Raises:
        ValueError: `wave` is empty or not one-dimensional.
    """
    if wave.ndim != 1 or wave.size == 0:
        raise ValueError(f"a wave must be one-dimensional and not empty, got shape {wave.shape}")
    emphasised = wave.astype(np.float64)
    emphasised[1:] -= 0.97 * emphasised[:-1]
    padded = np.pad(emphasised, WAV2LIP_FFT // 2, mode="constant" if padding == "zeros" else "reflect")
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WAV2LIP_FFT) / WAV2LIP_FFT)
    decibels = _mel_decibels(padded, hann, WAV2LIP_HOP, slaney_mel_bands(80, 55.0, 7600.0))
    return np.ascontiguousarray(np.clip(8 * (decibels + 100) / 100 - 4, -4, 4).T.astype(np.float32))


def pcavs_mel(wave: np.ndarray) -> np.ndarray:
    """PC-AVS's log-mel spectrogram of a 16 kHz wave (Hangz-nju-cuhk/Talking-Face_PC-AVS, AudioConfig.py).

    The wave is brought to a root mean square of 0.1 (amplified at most a thousandfold), so the numbers depend
    on the whole of it. Magnitude STFT of the `lws` package (1280, hop 160, root of a half-sample symmetric
    Hann window, halved), 80 Slaney mel bands from 125 to 7600 Hz, 20 log10 with floor 1e-5, minus 20 dB,
    -100..0 dB mapped to 0..1 and clipped.

    Args:
        wave: (n,) samples in [-1, 1] at 16 kHz.

    Returns:
        (ceil(n / 160) + 7, 80) float32 in [0, 1], 100 rows per second; row m covers samples 160 m - 1120 to
        160 m + 159, outside of which there is silence. Silence is 0.

    Raises:
        ValueError: `wave` is empty or not one-dimensional.
    """
    if wave.ndim != 1 or wave.size == 0:
        raise ValueError(f"a wave must be one-dimensional and not empty, got shape {wave.shape}")
    loudness = np.sqrt(np.mean(wave.astype(np.float64) ** 2))
    lead = PCAVS_FFT - PCAVS_HOP
    padded = np.pad(wave * (PCAVS_LOUDNESS / max(1e-4, loudness)), (lead, lead + -len(wave) % PCAVS_HOP))
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(PCAVS_FFT) + 0.5) / PCAVS_FFT)
    bands = slaney_mel_bands(80, 125.0, 7600.0, PCAVS_FFT)
    decibels = _mel_decibels(padded, 0.5 * np.sqrt(hann), PCAVS_HOP, bands)
    return np.clip((decibels + 100) / 100, 0, 1).astype(np.float32)


def _mel_decibels(padded: np.ndarray, window: np.ndarray, hop: int, bands: np.ndarray) -> np.ndarray:
    """20 log10 of mel magnitudes with floor 1e-5, minus 20 dB, (T, bands); in blocks, since a long wave's
    spectra fill the memory.
    """
    frames = np.lib.stride_tricks.sliding_window_view(padded, len(window))[::hop]
    blocks = (frames[first : first + MEL_BLOCK] for first in range(0, len(frames), MEL_BLOCK))
    mels = [np.abs(np.fft.rfft(block * window, axis=1)) @ bands.T for block in blocks]
    return 20 * np.log10(np.maximum(1e-5, np.concatenate(mels))) - 20


@cache
def slaney_mel_bands(
    bands: int, low: float, high: float, fft: int = WAV2LIP_FFT, rate: int = AUDIO_RATE
) -> np.ndarray:
    """Triangular mel filters of equal area, (bands, fft // 2 + 1) float64.

    Slaney's Auditory Toolbox scale: linear to 1 kHz (15 mel), then logarithmic with 27 steps per factor 6.4.
    """
    step = 27 / np.log(6.4)

    def to_mel(hertz: float) -> float:
        return hertz * 3 / 200 if hertz < 1000 else 15 + step * float(np.log(hertz / 1000))

    mels = np.linspace(to_mel(low), to_mel(high), bands + 2)
    corners = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) / step))
    hertz = np.fft.rfftfreq(fft, 1 / rate)
    left, centre, right = (corners[i : i + bands, None] for i in range(3))
    triangles = np.minimum((hertz - left) / (centre - left), (right - hertz) / (right - centre))
    return np.maximum(0, triangles) * 2 / (right - left)


def mel_window_starts(mel_frames: int, fps: float) -> list[int]:
    """First mel frames of Wav2Lip's windows of 16 mel frames, one window for each video frame.

    Window i starts at int(i * 80 / fps); the first that would reach beyond the end is replaced by the last
    possible one, which ends the list (Rudrabha/Wav2Lip, inference.py).

    Raises:
        BadClip: the spectrogram is shorter than a window.
    """
    if mel_frames < MEL_WINDOW:
        raise BadClip(
            f"the sound has {mel_frames} mel frames, Wav2Lip needs {MEL_WINDOW}: use at least 0.2 s of sound."
        )
    last = mel_frames - MEL_WINDOW
    step = MEL_FRAMES_PER_SECOND / fps
    whole_windows = itertools.takewhile(
        lambda first: first <= last, (int(i * step) for i in itertools.count())
    )
    return [*whole_windows, last]
