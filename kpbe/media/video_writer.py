"""Writing videos: whole or not at all, the same bytes for the same frames, exact or small, with sound."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Self

import av
import numpy as np
from av.error import FFmpegError
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from kpbe.core.files import whole
from kpbe.errors import BadClip

Codec = Literal["h264", "h264-lossless", "ffv1"]

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


class VideoWriter:
    """Write RGB frames to a video that appears whole or not at all; the same frames give the same bytes.

    Args:
        path: .mp4 or .mkv file.
        fps: frames per second.
        codec: `h264` for people and training clips (4:2:0; 4:4:4 where a side is odd, few players take it),
            `h264-lossless` and `ffv1` give back the very same RGB values.
        gop: largest distance between key frames; short ones make random access fast.
        crf: x264's quality of `h264`, lower is better.
        audio: sound to mux from its beginning: AAC in .mp4, PCM in .mkv (uncompressed sound bit for bit).
        whole_audio: keep sound that goes on after the end of the last frame instead of cutting it there.

    Raises:
        BadClip: no frame was written, or `audio` has no sound.
    """

    def __init__(
        self,
        path: Path | str,
        fps: float,
        codec: Codec = "h264",
        gop: int = 12,
        crf: int = 17,
        audio: Path | None = None,
        whole_audio: bool = False,
    ) -> None:
        self.path = Path(path)
        self.fps = Fraction(fps).limit_denominator(1001)
        self.codec, self.gop, self.crf, self.audio, self.whole_audio = codec, gop, crf, audio, whole_audio
        self.frames = 0
        self._cleanup = ExitStack()
        self._reformatter = VideoReformatter()
        self._size: tuple[int, int] | None = None
        self._sound: _Sound | None = None

    def __enter__(self) -> Self:
        temporary = self._cleanup.enter_context(whole(self.path))
        options = {"fflags": "+bitexact"}  # no dates, no random ids
        if self.path.suffix.lower() in (".mp4", ".mov"):
            options["movflags"] = "+faststart"
        self._container = self._cleanup.enter_context(av.open(f"file:{temporary}", "w", options=options))
        return self

    def write(self, frame: np.ndarray) -> None:
        """Append one (H, W, 3) uint8 RGB frame; all have the size of the first.

        Raises:
            ValueError: wrong shape or type.
        """
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise ValueError(f"a frame must be (H, W, 3) uint8, got {frame.shape} {frame.dtype}")
        size = (frame.shape[1], frame.shape[0])
        if self._size is None:
            self._begin(size)
        if size != self._size:
            raise ValueError(f"all frames of {self.path} are {self._size}, got {size}")
        picture = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24"),
            format=self._stream.pix_fmt,
            dst_colorspace=Colorspace.ITU601 if self.codec == "h264" else None,
            dst_color_range=ColorRange.MPEG if self.codec == "h264" else None,
            interpolation=Interpolation.AREA | Interpolation.ACCURATE_RND,
        )
        picture.pts, picture.time_base = self.frames, 1 / self.fps
        self._container.mux(self._stream.encode(picture))
        self.frames += 1
        if self._sound is not None:
            self._sound.write_until(self.frames / self.fps)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        try:
            if error is None:
                self._finish()
        except BaseException as failure:
            self._cleanup.__exit__(type(failure), failure, failure.__traceback__)
            raise
        self._cleanup.__exit__(kind, error, trace)

    def _begin(self, size: tuple[int, int]) -> None:
        encoder, options = {
            # x264's macroblock tree reads uninitialised memory, so its bytes differ from run to run
            "h264": ("libx264", {"crf": str(self.crf), "preset": "medium", "x264-params": "mbtree=0"}),
            "h264-lossless": ("libx264rgb", {"qp": "0", "preset": "medium"}),
            "ffv1": ("ffv1", {"level": "3", "slicecrc": "1"}),
        }[self.codec]
        stream: Any = self._container.add_stream(
            encoder, rate=self.fps, options={**options, "flags": "+bitexact"}
        )
        stream.width, stream.height = self._size = size
        stream.pix_fmt = {
            "h264": "yuv444p" if size[0] % 2 or size[1] % 2 else "yuv420p",
            "h264-lossless": "bgr24",
            "ffv1": "bgr0",
        }[self.codec]
        stream.codec_context.gop_size = 1 if self.codec == "ffv1" else self.gop
        stream.codec_context.thread_count = 1  # the bytes must not depend on the number of cores
        if self.codec == "h264":
            stream.codec_context.colorspace = Colorspace.ITU601
            stream.codec_context.color_range = ColorRange.MPEG
        self._stream = stream
        if self.audio is not None:
            self._sound = self._cleanup.enter_context(_Sound(self.audio, self._container, self.path))

    def _finish(self) -> None:
        if self._size is None:
            raise BadClip(f"{self.path} was not written: there is no frame to write.")
        self._container.mux(self._stream.encode(None))
        if self._sound is not None:
            self._sound.finish(None if self.whole_audio else self.frames / self.fps)


class _Sound:
    """An audio file that is encoded into a container beside its growing video, a little at a time."""

    def __init__(self, source: Path, container: Any, target: Path) -> None:
        try:
            self._source = av.open(f"file:{source}")
        except (FFmpegError, ValueError) as error:
            raise BadClip(f"{source} cannot be read as sound ({error}): give a .wav file.") from None
        if not self._source.streams.audio:
            self._source.close()
            raise BadClip(f"{source} has no sound to write into {target}: give a .wav file.")
        track = self._source.streams.audio[0]
        pcm = target.suffix.lower() == ".mkv"
        encoder, sample_format = "aac", "fltp"
        if pcm:
            encoder = track.codec.name if track.codec.name in PCM_FORMATS else "pcm_s16le"
            sample_format = PCM_FORMATS[encoder]
        rates = av.Codec(encoder, "w").audio_rates
        rate = track.rate if pcm or rates is None or track.rate in rates else 48000
        self._container = container
        self._stream: Any = container.add_stream(encoder, rate=rate, options={"flags": "+bitexact"})
        layout = {1: "mono", 2: "stereo"}.get(
            track.layout.nb_channels, track.layout.name
        )  # WAV may leave it unnamed
        self._stream.layout = layout
        if not pcm:
            self._stream.bit_rate = 96000 * track.layout.nb_channels
        self._rate = rate
        self._written = 0
        self._fifo = av.AudioFifo()
        self._chunks = self._resampled(track, av.AudioResampler(sample_format, layout, rate))
        self._frame = 1024

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()

    def _resampled(self, track: Any, resampler: Any) -> Iterator[Any]:
        for frame in itertools.chain(self._source.decode(track), [None]):
            for piece in resampler.resample(frame):
                piece.pts = None
                yield piece

    def write_until(self, seconds: Fraction) -> None:
        """Encode whole frames of sound that begin before `seconds`."""
        while (self._written + self._frame) <= seconds * self._rate and self._encode(self._frame):
            pass

    def finish(self, seconds: Fraction | None) -> None:
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


def write_video(path: Path | str, frames: Iterable[np.ndarray], fps: float, **options: Any) -> int:
    """Write all `frames` with `VideoWriter(path, fps, **options)`; returns how many there were."""
    with VideoWriter(path, fps, **options) as writer:
        for frame in frames:
            writer.write(frame)
    return writer.frames
