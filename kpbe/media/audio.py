"""Sound as one mono wave in step with the video, and WAV writing."""

from __future__ import annotations

import wave as wave_files
from math import gcd
from pathlib import Path

import numpy as np

from kpbe.core.files import whole
from kpbe.errors import BadClip
from kpbe.media.demuxer import VideoInfo
from kpbe.media.sound_track import SoundTrack, as_float, find_sound

AUDIO_RATE = 16000
"""Samples per second that all models here listen to."""

SILENT_BELOW = 1e-3
"""Peak (-60 dBFS) under which nothing can be heard."""


def read_audio(
    path: Path | str,
    rate: int = AUDIO_RATE,
    start: float = 0.0,
    end: float | None = None,
    video: VideoInfo | None = None,
    track: int | None = None,
) -> np.ndarray:
    """Read sound as one mono wave in step with the video.

    Sample 0 is heard `start` seconds after the video's first frame is shown (after the first sample for files
    without video); where the track begins later, ends earlier or has gaps there is silence. Channels are
    averaged.

    Args:
        path: video or audio file; see `kpbe.media.sound_track.find_sound`.
        rate: samples per second of the result.
        start: seconds.
        end: seconds; None is the end of the video, or of the sound for files without video.
        video: what is known of the video; None scans it.
        track: which audio track, 1 is the first; None takes the file's default.

    Returns:
        float32 of round((end - start) * rate) samples in [-1, 1].

    Raises:
        NoAudio: there is no sound.
        BadClip: the file is unreadable or the span is empty.
    """
    sound = find_sound(path, track, video)
    end = sound.seconds if end is None else end
    if start < 0 or (end is not None and end <= start):
        raise BadClip(f"{path}: there is no sound from {start:.2f} to {end or 0:.2f} s, correct the times.")
    native, native_rate, offset = _mono(sound, start, end)
    if end is None:
        end = (offset + len(native)) / native_rate
    return _resampled(native, native_rate, offset, rate, start, round((end - start) * rate))


def _mono(sound: SoundTrack, start: float, end: float | None) -> tuple[np.ndarray, int, int]:
    """The channels' mean around a span of the time line: samples, their rate, place of the first one."""
    pieces: list[np.ndarray] = []
    rate, first = AUDIO_RATE, 0
    for samples in sound.samples(start, end):
        if not pieces:
            rate, first = samples.rate, samples.first
        # ffmpeg's own downmix of floats is louder than the mean
        pieces.append(as_float(samples.values).mean(axis=0, dtype=np.float32))
    return np.concatenate([*pieces, np.zeros(0, np.float32)]), rate, first


def write_wav(path: Path | str, wave: np.ndarray, rate: int = AUDIO_RATE) -> None:
    """Write a mono wave in [-1, 1] as 16-bit PCM, whole or not at all; values beyond are clipped.

    What was read from 16-bit PCM is written back bit for bit.

    Raises:
        ValueError: `wave` is not one-dimensional or has values that are not numbers.
    """
    if wave.ndim != 1 or not np.all(np.isfinite(wave)):
        raise ValueError(f"{path}: a wave must be one-dimensional and finite, got shape {wave.shape}")
    pcm = np.clip(np.rint(wave.astype(np.float64) * 32768), -32768, 32767).astype("<i2")
    with whole(path) as temporary, wave_files.open(str(temporary), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm.tobytes())


def is_silent(wave: np.ndarray) -> bool:
    """Whether a wave in [-1, 1] never exceeds -60 dBFS; an empty one is silent."""
    return wave.size == 0 or float(np.abs(wave).max()) < SILENT_BELOW


def _resampled(
    native: np.ndarray, native_rate: int, offset: int, rate: int, start: float, count: int
) -> np.ndarray:
    """`count` samples from time `start` on; `native` begins at sample `offset`, silence surrounds it."""
    divisor = gcd(rate, native_rate)
    up, down = rate // divisor, native_rate // divisor
    lead = 0 if up == down else -(-64 // up) + 16  # blocks of `up` samples: the filter sees past the edges
    first = round(start * native_rate) - lead * down
    needed = -(-count // up) * down + 2 * lead * down
    span = np.zeros(needed, np.float32)
    low, high = max(first, offset), min(first + needed, offset + len(native))
    if low < high:
        span[low - first : high - first] = native[low - offset : high - offset]
    if up != down:
        # its import takes seconds, and most clips are at 16 kHz already
        from scipy.signal import resample_poly

        span = resample_poly(span, up, down)
    return np.clip(span[lead * up : lead * up + count], -1.0, 1.0).astype(np.float32)
