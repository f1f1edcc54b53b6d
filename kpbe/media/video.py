"""Reading and writing videos: probing, constant-rate sampling by timestamps, random access, exact writing.

The time line of a video starts with its first shown frame, whatever its timestamp; `kpbe.media.audio` uses
the same zero. All frames are (H, W, 3) uint8 RGB and upright: every reader applies a phone's rotation mark.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kpbe.errors import BadClip
from kpbe.media.demuxer import BrokenVideo, Contents, Demuxer, VideoInfo
from kpbe.media.video_writer import VideoWriter

__all__ = [
    "BrokenVideo",
    "FrameAccess",
    "VideoInfo",
    "VideoReader",
    "VideoWriter",
    "frames_at_constant_fps",
    "probe",
    "read_frames",
    "read_frames_at",
    "sample_times",
    "write_video",
]


def probe(path: Path | str) -> VideoInfo:
    """Read a video's size, rate and length from its packets (nothing but the first frame is decoded).

    Raises:
        BrokenVideo: the file is missing, no video, without frames, or cut off.
    """
    return Demuxer(path).info


def sample_times(seconds: float, fps: float) -> np.ndarray:
    """Times k / fps of the round(seconds * fps) frames of a constant-rate video, float64 seconds."""
    return np.arange(round(seconds * fps)) / fps


def frames_at_constant_fps(
    path: Path | str, fps: float = 25.0, start: float = 0.0, end: float | None = None
) -> Iterator[np.ndarray]:
    """Sample a video of any, even varying, rate at a constant one; frame k is shown at start + k / fps.

    Streams: one decoded frame is held at a time. The length in seconds is kept, so the sound of the same span
    (`kpbe.media.audio.read_audio`) stays in step.

    Args:
        path: the video.
        fps: frames per second of the result.
        start: seconds after the first frame.
        end: seconds after the first frame; None is the end of the video.

    Returns:
        Iterator over round((end - start) * fps) frames, (H, W, 3) uint8 RGB.

    Raises:
        BrokenVideo: at once where the file is unreadable or cut off; while iterating where decoding fails.
        BadClip: the asked span is empty or reaches beyond the video.
    """
    video = Demuxer(path)
    seconds = video.info.seconds
    stop = seconds if end is None else end
    if start < 0 or stop <= start or stop > seconds + 1.0 / fps:
        raise BadClip(
            f"{path} lasts {seconds:.2f} s, it has nothing from {start:.2f} to {stop:.2f} s: check the times."
        )
    times = start + sample_times(stop - start, fps)
    return _shown_at(video, times, tolerance=0.1 / fps)


def _shown_at(video: Demuxer, times: np.ndarray, tolerance: float) -> Iterator[np.ndarray]:
    """The frame shown at each time; `tolerance` seconds forgive rounded timestamps (Matroska: ms)."""
    wanted = np.maximum(np.searchsorted(video.times, times + tolerance, side="right") - 1, 0).tolist()
    if not wanted:
        return
    todo, shown = 0, None
    for index, frame in itertools.chain(video.frames_from(wanted[0]), [(len(video), None)]):
        while shown is not None and wanted[todo] < index:
            yield video.picture(shown)
            todo += 1
            if todo == len(wanted):
                return
        shown = frame


def read_frames(path: Path | str, size: tuple[int, int] | None = None) -> np.ndarray:
    """All frames as stored, (N, H, W, 3) uint8 RGB; `size` (width, height) scales them with area averaging.

    Raises:
        BrokenVideo: the file is unreadable or cut off.
    """
    video = Demuxer(path)
    return np.stack([video.picture(frame, size) for _, frame in video.frames_from(0)])


class VideoReader:
    """Random access to the frames of a video as stored.

    decord decodes where it is installed and known to give the same pixels as PyAV (upright 4:2:0 H.264 in MP4
    or Matroska); PyAV decodes everything else (FFV1, AV1, RGB, rotated, MPEG).

    Attributes:
        info: what `probe` says about the file.
        fps: average frames per second.
        size: (width, height).

    Raises:
        BrokenVideo: the file is unreadable or cut off.
    """

    def __init__(self, path: Path | str) -> None:
        self._video = Demuxer(path)
        self.info = self._video.info
        self.fps = self.info.fps
        self.size = (self.info.width, self.info.height)
        self._decord = _open_with_decord(self._video)

    def __len__(self) -> int:
        return self.info.frames

    def __getitem__(self, index: int) -> np.ndarray:
        """Frame `index` (negative counts from the end), (H, W, 3) uint8 RGB."""
        return self.get_batch([index])[0]

    def get_batch(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Frames in the order of `indices`, (n, H, W, 3) uint8 RGB; each is decoded once.

        Raises:
            IndexError: an index is out of range.
            BrokenVideo: a frame cannot be decoded.
        """
        count = len(self)
        asked = [int(i) for i in indices]
        if any(not -count <= i < count for i in asked):
            raise IndexError(f"{self.info.path} has {count} frames, asked for {asked}")
        asked = [i % count for i in asked]
        if not asked:
            return np.empty((0, self.info.height, self.info.width, 3), np.uint8)
        if self._decord is not None:
            try:
                return self._decord.get_batch(asked).asnumpy()
            except Exception:  # decord gives up (with errors of its own) on damage that PyAV can tell apart
                self._decord = None
        found = self._video.pictures_at(sorted(set(asked)))
        return np.stack([found[i] for i in asked])


class FrameAccess:
    """A few frames each of many videos, every video opened for a moment.

    Where the frames of a video lie is found out at its first opening and kept (some kB a video, until the file changes), and only what
    the asked frames depend on is decoded: in a clip with a key frame every 12 frames that is less than opening it with decord costs
    (benchmarks/loading.md). The pixels are those of `read_frames`. May be used from several threads.
    """

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int], Contents]] = {}

    def read(self, path: Path | str, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Frames in the order of `indices`, (n, H, W, 3) uint8 RGB.

        Raises:
            IndexError: an index is out of range; the message names file and length.
            BrokenVideo: the file is unreadable or cut off, or a frame cannot be decoded.
        """
        video = self._open(Path(path))
        asked = [int(i) for i in indices]
        if any(not 0 <= i < len(video) for i in asked):
            raise IndexError(f"{path} has {len(video)} frames, asked for {asked}")
        found = video.pictures_apart(asked)
        size = (video.info.height, video.info.width, 3)
        return np.stack([found[i] for i in asked]) if asked else np.empty((0, *size), np.uint8)

    def _open(self, path: Path) -> Demuxer:
        if not path.is_file():
            return Demuxer(path)
        status = path.stat()
        version = (status.st_size, status.st_mtime_ns)
        known = self._known.get(path)
        if known is not None and known[0] == version:
            return Demuxer(path, known[1])
        video = Demuxer(path)
        self._known[path] = version, video.contents
        return video


def read_frames_at(path: Path | str, indices: Sequence[int] | np.ndarray) -> np.ndarray:
    """Some frames of one video, see `FrameAccess.read`."""
    return FrameAccess().read(path, indices)


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


def write_video(path: Path | str, frames: Iterable[np.ndarray], fps: float, **options: Any) -> int:
    """Write all `frames` with `VideoWriter(path, fps, **options)`; returns how many there were."""
    with VideoWriter(path, fps, **options) as writer:
        for frame in frames:
            writer.write(frame)
    return writer.frames
