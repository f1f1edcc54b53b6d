"""Where nobody speaks."""

from __future__ import annotations

import numpy as np

from kpbe.core.spans import spans_of
from kpbe.media.sound_track import SoundTrack, as_float

QUIET_BELOW = 10 ** (-35 / 20)
"""Loudness under which a frame is silent, as a share of that of the loud frames."""

LOUD_QUANTILE = 0.95
SHORTEST_SECONDS = 0.2
"""Shorter pauses are part of speech: lips stay open for stops."""


def speaking_frames(track: SoundTrack, frames: int, fps: float) -> np.ndarray:
    """In which frames of a video something is said.

    Args:
        track: the video's sound.
        frames: of the video.
        fps: of the video.

    Returns:
        (N,) bool; pauses of less than `SHORTEST_SECONDS` count as speech.
    """
    energy, counts = np.zeros(frames), np.zeros(frames)
    for samples in track.from_zero():
        wave = as_float(samples.values).mean(axis=0, dtype=np.float64)
        index = ((samples.first + np.arange(len(wave))) * (fps / samples.rate)).astype(int)
        inside = index < frames
        np.add.at(energy, index[inside], wave[inside] ** 2)
        np.add.at(counts, index[inside], 1)
        if not inside.all():
            break
    loudness = np.sqrt(energy / np.maximum(counts, 1))
    speaks = loudness >= QUIET_BELOW * np.quantile(loudness, LOUD_QUANTILE)
    speaks &= loudness > 0
    for start, end in spans_of(~speaks):
        if end - start < SHORTEST_SECONDS * fps:
            speaks[start:end] = True
    return speaks
