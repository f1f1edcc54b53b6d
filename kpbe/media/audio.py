"""Sound: any file as a mono wave on the video's time line, and WAV writing."""

from __future__ import annotations

import wave as wave_files
from collections.abc import Iterator
from math import gcd
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError

from kpbe.core.files import whole
from kpbe.errors import BadClip
from kpbe.media.demuxer import INDEXED_CONTAINERS, Demuxer, VideoInfo, video_stream

AUDIO_RATE = 16000
"""Samples per second that all models here listen to."""

SILENT_BELOW = 1e-3
"""Peak (-60 dBFS) under which nothing can be heard."""

JUMP_SECONDS = 0.04
"""Timestamps that disagree with the number of samples so far by less than this are rounding, not gaps."""

SEEK_MARGIN = 1.0
"""Seconds decoded around an asked span: coders with memory settle, the resampler sees past the edges."""


class NoAudio(BadClip):
    """A clip has no sound to drive the lips with."""


def audio_source(path: Path | str) -> Path:
    """The file that holds the sound of `path`: itself, or the .wav of the same name beside a mute video.

    Raises:
        NoAudio: neither has sound.
        BadClip: `path` is missing or unreadable.
    """
    path = Path(path)
    beside = path.with_suffix(".wav")
    for candidate in (path, beside):
        if candidate == path or candidate.is_file():
            with _open(candidate) as container:
                if container.streams.audio:
                    return candidate
    raise NoAudio(
        f"{path} has no audio track and no {beside.name} beside it: give it sound or take it off the list."
    )


def read_audio(
    path: Path | str,
    rate: int = AUDIO_RATE,
    start: float = 0.0,
    end: float | None = None,
    video: VideoInfo | None = None,
) -> np.ndarray:
    """Read sound as one mono wave in step with the video.

    Sample 0 is heard `start` seconds after the video's first frame is shown (after the first sample for files
    without video); where the track begins later, ends earlier or has gaps there is silence. Channels are
    averaged.

    Args:
        path: video or audio file; see `audio_source`.
        rate: samples per second of the result.
        start: seconds.
        end: seconds; None is the end of the video, or of the sound for files without video.
        video: what is known of the video; None scans it.

    Returns:
        float32 of round((end - start) * rate) samples in [-1, 1].

    Raises:
        NoAudio: there is no sound.
        BadClip: the file is unreadable or the span is empty.
    """
    path = Path(path)
    source = audio_source(path)
    if video is None and _has_video(path):
        video = Demuxer(path).info
    if end is None and video is not None:
        end = video.seconds
    if start < 0 or (end is not None and end <= start):
        raise BadClip(f"{path}: there is no sound from {start:.2f} to {end or 0:.2f} s, correct the times.")
    zero = video.first_timestamp if video is not None and source == path else None
    native, native_rate, offset = _decode(source, zero, start, end)
    if end is None:
        end = (offset + len(native)) / native_rate
    return _resampled(native, native_rate, offset, rate, start, round((end - start) * rate))


def _has_video(path: Path) -> bool:
    with _open(path) as container:
        return video_stream(container) is not None


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


def _open(path: Path) -> Any:
    if not path.is_file():
        raise BadClip(f"{path} is not a file: correct the path or fetch the file.")
    try:
        return av.open(f"file:{path}")
    except (FFmpegError, ValueError) as error:
        raise BadClip(f"{path} cannot be read ({error}): fetch it again or take it off the list.") from None


def _decode(path: Path, zero: float | None, start: float, end: float | None) -> tuple[np.ndarray, int, int]:
    """Decode the channels' mean around a span of the time line.

    Args:
        path: file with an audio track.
        zero: container time of the time line's zero, seconds; None is the first sample.
        start: seconds on the time line.
        end: seconds on the time line; None decodes to the end.

    Returns:
        (samples, their rate, time line index of the first one); gaps between timestamps are silence.
    """
    pieces: list[np.ndarray] = []
    offset = reached = 0
    with _open(path) as container:
        track = container.streams.audio[0]
        rate = track.rate
        # Matroska's times are rounded to milliseconds: after a seek the samples would sit a little beside
        # their place
        exact = container.format.name in INDEXED_CONTAINERS and track.time_base * rate <= 1
        skips = zero is not None and exact and start > 2 * SEEK_MARGIN
        if zero is not None and skips:
            container.seek(int((zero + start - SEEK_MARGIN) / track.time_base), stream=track)
        for frame in _float_frames(container, track):
            samples = frame.to_ndarray().mean(axis=0, dtype=np.float32)
            time = None if frame.pts is None else float(frame.pts * frame.time_base)
            zero = (time or 0.0) if zero is None else zero
            expected = reached if time is None else round((time - zero) * rate)
            if not pieces:
                offset = reached = expected
            elif expected - reached > JUMP_SECONDS * rate:
                pieces.append(np.zeros(expected - reached, np.float32))
                reached = expected
            pieces.append(samples)
            reached += len(samples)
            if end is not None and reached > (end + SEEK_MARGIN) * rate:
                break
    if not pieces and not skips:
        raise NoAudio(f"{path} has an empty audio track: give it sound or take it off the list.")
    return np.concatenate([*pieces, np.zeros(0, np.float32)]), rate, offset


def _float_frames(container: Any, track: Any) -> Iterator[Any]:
    """Decoded frames as planar float, all channels: ffmpeg's downmix of floats is louder than the mean."""
    resampler = av.AudioResampler("fltp", track.layout.name, track.rate)
    for packet in container.demux(track):
        try:
            frames = packet.decode()
        except FFmpegError:
            continue  # a damaged packet is a short gap, as in every player
        for frame in frames:
            yield from resampler.resample(frame)


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
