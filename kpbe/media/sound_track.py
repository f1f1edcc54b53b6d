"""The sound of a file, sample by sample, on the time line of its video.

The time line starts with the video's first shown frame (`kpbe.media.recording`), or with the first sample
where a file has no video. Sound that starts late or pauses has silence there; sound from before the first
frame is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from av.stream import Disposition

from kpbe.errors import BadClip
from kpbe.media.demuxer import INDEXED_CONTAINERS, Demuxer, VideoInfo, video_stream

JUMP_SECONDS = 0.04
"""Timestamps that differ from the count of samples by less than this are rounding, not gaps."""

LARGEST_STEP_BACK = 1.0
"""Seconds that sound may overlap the sound before it, as where files were joined."""

LARGEST_GAP = 600.0
"""Seconds of silence before a sample above which timestamps are taken to be broken."""

SEEK_MARGIN = 1.0
"""Seconds decoded around a span: decoders with memory settle, the resampler sees past the edges."""

UNSIGNED_SILENCE = 128
"""Value of silence in 8-bit samples."""

CENTRE_SHARE = 2**-0.5
"""Share of a centre channel on each side of a stereo downmix (ITU-R BS.775)."""


class NoAudio(BadClip):
    """A clip has no sound to drive the lips with."""


@dataclass(frozen=True)
class Samples:
    """Consecutive samples of all channels.

    Attributes:
        first: place of the first one on the time line, in samples.
        values: (C, n) in the file's own type: uint8, int16, int32, int64, float32 or float64.
        rate: samples per second.
        channels: their names (FL, FR, FC, ...); NONE where the file does not name them.
    """

    first: int
    values: np.ndarray
    rate: int
    channels: tuple[str, ...]

    @property
    def end(self) -> int:
        """Place after the last sample."""
        return self.first + self.values.shape[1]


@dataclass(frozen=True)
class SoundTrack:
    """One audio track and where it lies on the time line.

    Attributes:
        path: the file that holds it.
        track: its index among the file's audio tracks.
        codec: ffmpeg's name of its coding, e.g. aac or pcm_s16le.
        zero: the container's time, in seconds, of the time line's start; None is that of the first sample.
        seconds: where the time line ends; None is the last sample's end.
    """

    path: Path
    track: int
    codec: str
    zero: float | None = None
    seconds: float | None = None

    def samples(self, start: float = 0.0, end: float | None = None) -> Iterator[Samples]:
        """The samples from about `start` to about `end` without gap or overlap, a packet at a time.

        The first ones may lie before `start`, or after it where the sound begins later. Damaged packets are
        silence.

        Raises:
            NoAudio: the track is empty.
            BadClip: a sample is not finite, the sample rate changes, or timestamps are out of order; the
                message names the second.
        """
        reached: int | None = None
        with _open(self.path) as container:
            stream = container.streams.audio[self.track]
            zero, skips = self.zero, self._skip_to(container, stream, start)
            for frame in _packed_frames(container, stream, self.path):
                rate = frame.sample_rate
                names = tuple(channel.name for channel in frame.layout.channels)
                values = np.ascontiguousarray(frame.to_ndarray().reshape(-1, len(names)).T)
                time = None if frame.pts is None else float(frame.pts * frame.time_base)
                zero = (time or 0.0) if zero is None else zero
                expected = round((time - zero) * rate) if time is not None else reached or 0
                values, first = self._in_order(values, rate, reached, expected)
                if not values.shape[1]:
                    continue
                self._refuse_unusable(values, first / rate)
                reached = first + values.shape[1]
                yield Samples(first, values, rate, names)
                if end is not None and reached > (end + SEEK_MARGIN) * rate:
                    return
        if reached is None and not skips:
            raise NoAudio(f"{self.path} has an empty audio track: give it sound or take it off the list.")

    def from_zero(self) -> Iterator[Samples]:
        """The samples from the time line's start on: silence before a late first one, nothing from before it.

        Raises:
            NoAudio, BadClip: as `samples`.
        """
        late = True
        for samples in self.samples():
            early = min(max(-samples.first, 0), samples.values.shape[1])
            values = samples.values[:, early:]
            if late and samples.first > 0:
                silence = np.full((len(values), samples.first), _silence(values.dtype), values.dtype)
                values = np.concatenate([silence, values], axis=1)
            late = late and not values.shape[1]
            yield replace(samples, first=max(samples.first, 0), values=values)

    def _skip_to(self, container: Any, stream: Any, start: float) -> bool:
        """Seek to shortly before `start` where that is exact; returns whether it did."""
        if self.zero is None or start <= 2 * SEEK_MARGIN:
            return False
        # Matroska rounds times to milliseconds: after a seek the samples would be a little out of place
        if container.format.name not in INDEXED_CONTAINERS or stream.time_base * stream.rate > 1:
            return False
        container.seek(int((self.zero + start - SEEK_MARGIN) / stream.time_base), stream=stream)
        return True

    def _in_order(
        self, values: np.ndarray, rate: int, reached: int | None, expected: int
    ) -> tuple[np.ndarray, int]:
        """Values with silence before them where they come later, without what overlaps; and their place."""
        gap = expected - (reached or 0)
        step_back = LARGEST_GAP if reached is None else LARGEST_STEP_BACK
        if gap > LARGEST_GAP * rate or gap < -step_back * rate:
            raise BadClip(
                f"{self.path}: the times of its sound jump by {gap / rate:.0f} s at "
                f"{(reached or 0) / rate:.2f} s: write the file anew with ffmpeg."
            )
        if reached is None:
            return values, expected
        if gap > JUMP_SECONDS * rate:
            silence = np.full((len(values), gap), _silence(values.dtype), values.dtype)
            return np.concatenate([silence, values], axis=1), reached
        if gap < -JUMP_SECONDS * rate:
            return values[:, -gap:], reached
        return values, reached

    def _refuse_unusable(self, values: np.ndarray, seconds: float) -> None:
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise BadClip(
                f"{self.path} has sound that is not a number (NaN or infinite) at {max(seconds, 0):.2f} s: "
                f"write the file anew."
            )


def find_sound(path: Path | str, track: int | None = None, video: VideoInfo | None = None) -> SoundTrack:
    """The sound of a file: its own, or that of the .wav of the same name beside a mute video.

    Args:
        path: video or audio file.
        track: which audio track, 1 is the first; None takes the one that the file marks as its default, else
            the first.
        video: what is known of the video; None scans it.

    Raises:
        NoAudio: there is no sound, here or beside.
        BadClip: `path` is missing or unreadable, or has no such track.
    """
    path = Path(path)
    with _open(path) as container:
        stream = video_stream(container)
        tracks = list(container.streams.audio)
        index = _chosen(tracks, track, path) if tracks else 0
        codec = tracks[index].codec.name if tracks else ""
    if video is None and stream is not None:
        video = Demuxer(path).info
    seconds = None if video is None else video.seconds
    if tracks:
        return SoundTrack(path, index, codec, None if video is None else video.first_timestamp, seconds)
    beside = path.with_suffix(".wav")
    if beside != path and beside.is_file():
        with _open(beside) as container:
            if tracks := list(container.streams.audio):
                index = _chosen(tracks, track, beside)
                return SoundTrack(beside, index, tracks[index].codec.name, seconds=seconds)
    raise NoAudio(
        f"{path} has no audio track and no {beside.name} beside it: give it sound or take it off the list."
    )


def as_float(values: np.ndarray) -> np.ndarray:
    """Samples (C, n) of any type as float32, where full scale is 1."""
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    if values.dtype == np.uint8:
        return (values.astype(np.float32) - UNSIGNED_SILENCE) / UNSIGNED_SILENCE
    return (values / -float(np.iinfo(values.dtype).min)).astype(np.float32)


def as_stereo(samples: Samples) -> np.ndarray:
    """Samples in float32 as one or two channels (C, n): more are mixed down to two, without clipping.

    Channels count for the side that their names tell (FL, BL, SL: left); those of the middle for both; low
    frequency effects for none. Where names are absent both sides are the mean.
    """
    values = as_float(samples.values)
    if len(values) <= 2:
        return values
    shares = np.array([_side_shares(name) for name in samples.channels], np.float32).T
    if not shares.any(axis=1).all():
        shares = np.ones((2, len(values)), np.float32)
    return (shares / shares.sum(axis=1, keepdims=True)) @ values


def _side_shares(name: str) -> tuple[float, float]:
    if name.startswith("LFE") or name == "NONE":
        return 0.0, 0.0
    if name.endswith("L"):
        return 1.0, 0.0
    if name.endswith("R"):
        return 0.0, 1.0
    return CENTRE_SHARE, CENTRE_SHARE


def _silence(dtype: np.dtype) -> int:
    return UNSIGNED_SILENCE if dtype == np.uint8 else 0


def _chosen(tracks: list[Any], track: int | None, path: Path) -> int:
    if track is None:
        return next((i for i, s in enumerate(tracks) if s.disposition & Disposition.default), 0)
    if not 1 <= track <= len(tracks):
        raise BadClip(f"{path} has {len(tracks)} audio tracks, so that there is no track {track}.")
    return track - 1


def _open(path: Path) -> Any:
    if not path.is_file():
        raise BadClip(f"{path} is not a file: correct the path or fetch the file.")
    try:
        return av.open(f"file:{path}")
    except (FFmpegError, ValueError) as error:
        raise BadClip(f"{path} cannot be read ({error}): fetch it again or take it off the list.") from None


def _packed_frames(container: Any, stream: Any, path: Path) -> Iterator[Any]:
    """Decoded frames, their channels interleaved: PyAV crashes on arrays of 8 planes and more."""
    resampler, format_of_first = None, None
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except FFmpegError:
            continue  # a damaged packet is a short gap, as in every player
        for frame in frames:
            kind = (frame.format.name, frame.sample_rate, len(frame.layout.channels))
            if resampler is None:
                format_of_first = kind
                resampler = av.AudioResampler(frame.format.packed.name, frame.layout, frame.sample_rate)
            if kind != format_of_first:
                seconds = float((frame.pts or 0) * frame.time_base)
                raise BadClip(
                    f"{path}: its sound changes from {_in_words(format_of_first)} to {_in_words(kind)} at "
                    f"{seconds:.2f} s: write the file anew with ffmpeg."
                )
            yield from resampler.resample(frame)


def _in_words(kind: tuple[str, int, int] | None) -> str:
    assert kind is not None
    return f"{kind[1]} Hz, {kind[2]} channels ({kind[0]})"
