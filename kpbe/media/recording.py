"""A video file, scanned once: its facts, its frames in order, at a constant rate and at any place, the sound
of any span.

The time line of a video starts with its first shown frame, whatever its timestamp; `kpbe.media.audio` uses
the same zero. All frames are (H, W, 3) uint8 RGB and upright: a phone's rotation mark is applied.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from kpbe.errors import BadClip
from kpbe.media.audio import AUDIO_RATE, read_audio
from kpbe.media.demuxer import Contents, Demuxer, VideoInfo


def sample_times(seconds: float, fps: float) -> np.ndarray:
    """Seconds k / fps of the round(seconds * fps) frames, at least one, of a constant-rate video, float64."""
    return np.arange(max(1, round(seconds * fps))) / fps


class Recording:
    """A video file; its packets are scanned once, its frames are decoded when they are asked for.

    Args:
        path: the file.
        contents: what an earlier scan of the same file found.

    Raises:
        BrokenVideo: the file is missing, no video, without frames, or cut off.
    """

    def __init__(self, path: Path | str, contents: Contents | None = None) -> None:
        self._video = Demuxer(path, contents)

    @property
    def info(self) -> VideoInfo:
        """Size, rate and length."""
        return self._video.info

    @property
    def contents(self) -> Contents:
        """What the scan found, for another `Recording` of the same file."""
        return self._video.contents

    @property
    def fps(self) -> float:
        """Frames per second on average."""
        return self.info.fps

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.info.width, self.info.height

    @property
    def times(self) -> np.ndarray:
        """Seconds after the first frame at which the stored frames are shown, float64 (N,)."""
        return self._video.times

    def __len__(self) -> int:
        """Number of frames as stored."""
        return self.info.frames

    def frames(self, size: tuple[int, int] | None = None) -> np.ndarray:
        """All frames as stored, (N, H, W, 3) uint8 RGB; `size` (width, height) scales them with area
        averaging.

        Raises:
            BrokenVideo: a frame cannot be decoded.
        """
        return np.stack([self._video.picture(frame, size) for _, frame in self._video.frames_from(0)])

    def at_fps(
        self, fps: float = 25.0, start: float = 0.0, end: float | None = None, exact: bool = False
    ) -> FramesAtFps:
        """The frames at a constant rate, whatever that of the file; frame k is shown at start + k / fps.

        The length in seconds is kept, so the sound of the same span stays in step.

        Args:
            fps: frames per second of the result.
            start: seconds after the first frame.
            end: seconds after the first frame; None is the end of the video.
            exact: levels rounded to the nearest, for what is encoded again; else the pixels of `at`, a level
                darker.

        Raises:
            BadClip: the asked span is empty or reaches beyond the video.
        """
        seconds = self.info.seconds
        stop = seconds if end is None else end
        if start < 0 or stop <= start or stop > seconds + 1.0 / fps:
            raise BadClip(
                f"{self.info.path} lasts {seconds:.2f} s, it has nothing from {start:.2f} to {stop:.2f} s: "
                f"check the times."
            )
        # rounded timestamps (Matroska: ms) are forgiven
        times = start + sample_times(stop - start, fps) + 0.1 / fps
        shown = np.maximum(np.searchsorted(self._video.times, times, side="right") - 1, 0)
        return FramesAtFps(self._video.path, self.contents, fps, tuple(shown.tolist()), exact)

    def __getitem__(self, index: int) -> np.ndarray:
        """Frame `index` as stored (negative counts from the end), (H, W, 3) uint8 RGB."""
        return self.at([index])[0]

    def at(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Frames as stored in the order of `indices`, (n, H, W, 3) uint8 RGB; each is decoded once.

        decord decodes where it is installed and known to give the same pixels as PyAV (upright 4:2:0 H.264 in
        MP4 or Matroska); PyAV decodes everything else (FFV1, AV1, RGB, rotated, MPEG).

        Raises:
            IndexError: an index is out of range.
            BrokenVideo: a frame cannot be decoded.
        """
        asked = self._checked(indices, -len(self))
        if not len(asked):
            return self._nothing()
        if self._decord is not None:
            try:
                return self._decord.get_batch(asked).asnumpy()
            except Exception:  # decord gives up (with errors of its own) on damage that PyAV can tell apart
                self._decord = None
        found = self._video.pictures_at(sorted(set(asked)))
        return np.stack([found[i] for i in asked])

    def a_few_at(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """As `at`, decoding only what the asked frames depend on; nothing stays open.

        In a clip with a key frame every 12 frames that is less than opening it with decord costs
        (benchmarks/loading.md).

        Raises:
            IndexError, BrokenVideo: as `at`.
        """
        asked = self._checked(indices, 0)
        if not len(asked):
            return self._nothing()
        found = self._video.pictures_apart(asked)
        return np.stack([found[i] for i in asked])

    def sound(self, rate: int = AUDIO_RATE, start: float = 0.0, end: float | None = None) -> np.ndarray:
        """The sound of a span, see `kpbe.media.audio.read_audio`.

        Raises:
            NoAudio: there is none, here or in a .wav beside.
            BadClip: the file is unreadable or the span is empty.
        """
        return read_audio(self.info.path, rate, start, end, self.info)

    def _checked(self, indices: Sequence[int] | np.ndarray, least: int) -> list[int]:
        count = len(self)
        asked = [int(i) for i in indices]
        if any(not least <= i < count for i in asked):
            raise IndexError(f"{self.info.path} has {count} frames, asked for {asked}")
        return [i % count for i in asked]

    def _nothing(self) -> np.ndarray:
        return np.empty((0, self.info.height, self.info.width, 3), np.uint8)

    @cached_property
    def _decord(self) -> Any | None:
        return _open_with_decord(self._video)


@dataclass(frozen=True)
class FramesAtFps:
    """Frames of a recording at a constant rate; every iteration decodes them again, so that one is in memory
    at a time.

    Attributes:
        path: the file.
        contents: of its scan.
        fps: frames per second.
        indices: of the stored frame that each one shows, rising.
        exact: see `Recording.at_fps`.
        size: width and height of smaller pictures; None is that of the video.
    """

    path: Path
    contents: Contents
    fps: float
    indices: tuple[int, ...]
    exact: bool = False
    size: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[np.ndarray]:
        """(H, W, 3) uint8 RGB frames.

        Raises:
            BrokenVideo: a frame cannot be decoded.
        """
        return self.from_frame(0)

    def from_frame(self, start: int, end: int | None = None) -> Iterator[np.ndarray]:
        """The frames from `start` on, to `end` (exclusive) where given; as iterating."""
        indices = self.indices[start:end]
        if not indices:
            return
        video = Demuxer(self.path, self.contents)
        todo, shown = 0, None
        for index, frame in itertools.chain(video.frames_from(indices[0]), [(len(video), None)]):
            while shown is not None and indices[todo] < index:
                yield video.picture(shown, self.size, self.exact)
                todo += 1
                if todo == len(indices):
                    return
            shown = frame


class FrameAccess:
    """A few frames each of many videos, every video opened for a moment; may be used from several threads.

    Where the frames of a video lie is found out at its first opening and kept (some kB a video, until the
    file changes).
    """

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int], Contents]] = {}

    def read(self, path: Path | str, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Frames in the order of `indices`, see `Recording.a_few_at`.

        Raises:
            IndexError: an index is out of range; the message names file and length.
            BrokenVideo: the file is unreadable or cut off, or a frame cannot be decoded.
        """
        return self._open(Path(path)).a_few_at(indices)

    def _open(self, path: Path) -> Recording:
        if not path.is_file():
            return Recording(path)
        status = path.stat()
        version = (status.st_size, status.st_mtime_ns)
        known = self._known.get(path)
        if known is not None and known[0] == version:
            return Recording(path, known[1])
        recording = Recording(path)
        self._known[path] = version, recording.contents
        return recording


def _open_with_decord(video: Demuxer) -> Any | None:
    if not video.decord_gives_the_same:
        return None
    try:
        import cv2  # noqa: F401  # first: beside decord's libraries an OpenCV that is loaded later reads no PNG
        import decord
    except (ImportError, OSError):
        return None
    decord.logging.set_level(decord.logging.QUIET)
    try:
        reader = decord.VideoReader(str(video.path), num_threads=1)
    except Exception:  # decord.DECORDError and RuntimeError: whatever it dislikes, PyAV decodes
        return None
    return reader if len(reader) == len(video) else None
