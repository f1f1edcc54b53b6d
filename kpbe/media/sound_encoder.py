"""Encoding a sound track into a container beside its growing video."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from kpbe.media.sound_track import Samples, SoundTrack, as_stereo

PCM_FORMATS = {
    "pcm_u8": "u8",
    "pcm_s16le": "s16",
    "pcm_s24le": "s32",
    "pcm_s32le": "s32",
    "pcm_f32le": "flt",
}
"""Uncompressed sound that .mkv keeps as it is, with the sample format that its coder works in; all else
becomes pcm_s16le there.
"""

COMMON_RATE = 48000
"""Samples per second of AAC where the sound's own rate is none of AAC's."""


class SoundEncoder:
    """A sound track that is encoded into a container beside its growing video, a little at a time.

    The track's time line and the video's begin together; where the track begins later there is silence.
    """

    def __init__(self, track: SoundTrack, container: Any, target: Path) -> None:
        pieces = track.from_zero()
        first = next(pieces)
        pcm = target.suffix.lower() == ".mkv"
        self._exact = pcm and track.codec in PCM_FORMATS and len(first.values) <= 2
        encoder = track.codec if self._exact else "pcm_s16le" if pcm else "aac"
        rates = av.Codec(encoder, "w").audio_rates
        self._rate = first.rate if pcm or rates is None or first.rate in rates else COMMON_RATE
        self._layout = "mono" if len(first.values) == 1 else "stereo"
        self._container = container
        self._stream: Any = container.add_stream(encoder, rate=self._rate, options={"flags": "+bitexact"})
        self._stream.layout = self._layout
        if not pcm:
            self._stream.bit_rate = 96000 * min(len(first.values), 2)
        self._format = PCM_FORMATS[encoder] if pcm else "fltp"
        self._fifo = av.AudioFifo()
        self._chunks = self._converted(itertools.chain([first], pieces))
        self._written = 0
        self._frame = 1024

    def _converted(self, pieces: Iterator[Samples]) -> Iterator[Any]:
        """The samples as frames in the encoder's format."""
        resampler = av.AudioResampler(self._format, self._layout, self._rate)
        for samples in pieces:
            values = samples.values if self._exact else as_stereo(samples)
            if values.shape[1]:
                packed = np.ascontiguousarray(values.T).reshape(1, -1)
                format = self._format if self._exact else "flt"
                frame = av.AudioFrame.from_ndarray(packed, format=format, layout=self._layout)
                frame.sample_rate = samples.rate
                yield from _without_time(resampler.resample(frame))
        yield from _without_time(resampler.resample(None))

    def write_until(self, seconds: Fraction | float) -> None:
        """Encode whole frames of sound that begin before `seconds`."""
        while (self._written + self._frame) <= seconds * self._rate and self._encode(self._frame):
            pass

    def finish(self, seconds: Fraction | float | None) -> None:
        """Encode the rest, up to `seconds` where given, and flush."""
        if seconds is None:
            while self._encode(self._frame):
                pass
        else:
            self.write_until(seconds)
            self._encode(round(seconds * self._rate) - self._written)
        self._container.mux(self._stream.encode(None))

    def _encode(self, samples: int) -> bool:
        while self._fifo.samples < samples and (piece := next(self._chunks, None)) is not None:
            self._fifo.write(piece)
        frame = self._fifo.read(samples, partial=True) if samples > 0 else None
        if frame is None:
            return False
        frame.pts, frame.time_base = self._written, Fraction(1, self._rate)
        self._written += frame.samples
        self._container.mux(self._stream.encode(frame))
        return True


def _without_time(frames: Iterable[Any]) -> Iterator[Any]:
    for frame in frames:
        frame.pts = None
        yield frame
