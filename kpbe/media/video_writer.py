"""Writing videos: whole or not at all, the same bytes for the same frames, exact or small, with sound."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Self

import av
import numpy as np
from av.video.reformatter import (
    ColorPrimaries,
    ColorRange,
    Colorspace,
    ColorTrc,
    Interpolation,
    VideoReformatter,
)

from kpbe.core.files import whole
from kpbe.errors import BadClip, KPBEError
from kpbe.media.pixels import is_hd
from kpbe.media.sound_encoder import SoundEncoder
from kpbe.media.sound_track import SoundTrack, find_sound

Codec = Literal["h264", "h264-lossless", "ffv1"]

SUFFIXES = (".mp4", ".mov", ".mkv")
"""Containers that are written."""

QUICK_PRESET, QUICK_THREADS = "veryfast", 4
"""Of x264, for videos that people wait for."""


class VideoWriter:
    """Write RGB frames to a video that appears whole or not at all; the same frames give the same bytes.

    Args:
        path: a file whose suffix is one of `SUFFIXES`.
        fps: frames per second.
        codec: `h264` for people and training clips (4:2:0; an odd side gets its last pixels twice, since
            phones and QuickTime play even ones only), `h264-lossless` and `ffv1` give back the very same RGB
            values.
        gop: largest distance between key frames; short ones make random access fast.
        crf: x264's quality of `h264`, lower is better.
        audio: sound to mux, in step with the video that it comes from: a file (`find_sound`) or a track of
            one. AAC in .mp4, PCM in .mkv (uncompressed sound bit for bit); more than two channels are mixed
            down to two.
        quick: encode `h264` in a third of the time, to files somewhat larger.
        whole_audio: keep sound that goes on after the end of the last frame, up to the end of its own time
            line, instead of cutting it there.

    Raises:
        KPBEError: the suffix is another one.
        BadClip: no frame was written, or `audio` has no sound or cannot be read.
    """

    def __init__(
        self,
        path: Path | str,
        fps: float,
        codec: Codec = "h264",
        gop: int = 12,
        crf: int = 17,
        audio: Path | SoundTrack | None = None,
        whole_audio: bool = False,
        quick: bool = False,
    ) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in SUFFIXES:
            raise KPBEError(f"{path}: a video is written to {', '.join(SUFFIXES)}: name another file.")
        self.fps = Fraction(fps).limit_denominator(1001)
        self.codec, self.gop, self.crf, self.audio, self.whole_audio = codec, gop, crf, audio, whole_audio
        self.quick = quick
        self.frames = 0
        self._cleanup = ExitStack()
        self._reformatter = VideoReformatter()
        self._size: tuple[int, int] | None = None
        self._sound: SoundEncoder | None = None
        self._sound_seconds: Fraction | float | None = None

    def __enter__(self) -> Self:
        temporary = self._cleanup.enter_context(whole(self.path))
        self._container: Any = self._cleanup.enter_context(begin_container(temporary))
        return self

    def write(self, frame: np.ndarray) -> None:
        """Append one (H, W, 3) uint8 RGB frame; all have the size of the first.

        Raises:
            ValueError: wrong shape or type.
        """
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise ValueError(f"a frame must be (H, W, 3) uint8, got {frame.shape} {frame.dtype}")
        if self.codec == "h264" and (frame.shape[0] % 2 or frame.shape[1] % 2):
            frame = np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), "edge")
        size = (frame.shape[1], frame.shape[0])
        if self._size is None:
            self._begin(size)
        if size != self._size:
            raise ValueError(f"all frames of {self.path} are {self._size}, got {size}")
        picture = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24"),
            format=self._stream.pix_fmt,
            dst_colorspace=self._matrix if self.codec == "h264" else None,
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
        preset = QUICK_PRESET if self.quick else "medium"
        encoder, options = {
            # x264's macroblock tree reads uninitialised memory, so its bytes differ from run to run
            "h264": ("libx264", {"crf": str(self.crf), "preset": preset, "x264-params": "mbtree=0"}),
            "h264-lossless": ("libx264rgb", {"qp": "0", "preset": "medium"}),
            "ffv1": ("ffv1", {"level": "3", "slicecrc": "1"}),
        }[self.codec]
        stream: Any = self._container.add_stream(
            encoder, rate=self.fps, options={**options, "flags": "+bitexact"}
        )
        stream.width, stream.height = self._size = size
        stream.pix_fmt = {
            "h264": "yuv420p",
            "h264-lossless": "bgr24",
            "ffv1": "bgr0",
        }[self.codec]
        stream.codec_context.gop_size = 1 if self.codec == "ffv1" else self.gop
        # the bytes must not depend on the number of cores
        stream.codec_context.thread_count = QUICK_THREADS if self.quick else 1
        if self.codec == "h264":
            hd = is_hd(*size)
            self._matrix = Colorspace.ITU709 if hd else Colorspace.ITU601
            stream.codec_context.colorspace = self._matrix
            stream.codec_context.color_range = ColorRange.MPEG
            if hd:
                stream.codec_context.color_primaries = ColorPrimaries.BT709
                stream.codec_context.color_trc = ColorTrc.BT709
        self._stream = stream
        if self.audio is not None:
            track = self.audio if isinstance(self.audio, SoundTrack) else find_sound(self.audio)
            self._sound = SoundEncoder(track, self._container, self.path)
            if self.whole_audio:
                self._sound_seconds = track.seconds

    def _finish(self) -> None:
        if self._size is None:
            raise BadClip(f"{self.path} was not written: there is no frame to write.")
        self._container.mux(self._stream.encode(None))
        if self._sound is not None:
            self._sound.finish(self._sound_seconds if self.whole_audio else self.frames / self.fps)


def check_output(out: Path, inputs: Sequence[Path]) -> None:
    """Refuse, before anything is loaded, to write over an input or to what is no video.

    Raises:
        KPBEError: that is so.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise KPBEError(f"{out}: a video is written to {', '.join(SUFFIXES)}: name another file.")
    if out.is_dir():
        raise KPBEError(f"{out} is a folder: name a file.")
    for path in inputs:
        if out.exists() and path.exists() and out.samefile(path):
            raise KPBEError(f"{out} is an input and would be overwritten: name another file.")


def begin_container(path: Path) -> Any:
    """An empty PyAV container: without dates and random ids, an .mp4 so that it plays before it is loaded."""
    options = {"fflags": "+bitexact"}
    if path.suffix.lower() in (".mp4", ".mov"):
        options["movflags"] = "+faststart"
    return av.open(f"file:{path}", "w", options=options)


def write_video(path: Path | str, frames: Iterable[np.ndarray], fps: float, **options: Any) -> int:
    """Write all `frames` with `VideoWriter(path, fps, **options)`; returns how many there were."""
    with VideoWriter(path, fps, **options) as writer:
        for frame in frames:
            writer.write(frame)
    return writer.frames
