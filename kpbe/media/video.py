"""Reading and writing videos: probing, constant-rate sampling by timestamps, random access, exact writing.

The time line of a video starts with its first shown frame, whatever its timestamp; `kpbe.media.audio` uses
the same zero. All frames are (H, W, 3) uint8 RGB and upright: every reader applies a phone's rotation mark.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.error import FFmpegError
from av.stream import Disposition
from av.video.reformatter import Interpolation, VideoReformatter

from kpbe.errors import BadClip
from kpbe.media.video_writer import VideoWriter

TRUNCATED_BELOW = 0.9
"""A video with less than this share of its declared frames or seconds counts as cut off."""

INDEXED_CONTAINERS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
"""Containers whose seek lands on the key frame at or before a time; others are decoded from their start."""


class BrokenVideo(BadClip):
    """The file is missing, cut off, has no frame, or is no video at all."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds.

    Attributes:
        path: the file.
        width: pixels of the upright picture.
        height: pixels of the upright picture.
        fps: frames per second on average.
        frames: number of shown frames.
        seconds: from the first frame's start to the last frame's end.
        has_audio: whether there is an audio track.
        rotation: degrees clockwise (0, 90, 180, 270) by which readers turn the stored picture.
        constant_fps: whether all frames last equally long.
        first_timestamp: the container's time of the first shown frame, the zero of our time line, in seconds.
    """

    path: Path
    width: int
    height: int
    fps: float
    frames: int
    seconds: float
    has_audio: bool
    rotation: int
    constant_fps: bool
    first_timestamp: float


def probe(path: Path | str) -> VideoInfo:
    """Read a video's size, rate and length from its packets (nothing but the first frame is decoded).

    Raises:
        BrokenVideo: the file is missing, no video, without frames, or cut off.
    """
    return _Demuxer(path).info


def video_stream(container: Any) -> Any | None:
    """The video track of an opened PyAV container; None for sound (covers do not count), images, text."""
    if container.format.name in ("tty", "image2") or container.format.name.endswith("_pipe"):
        return None
    tracks = (s for s in container.streams.video if not s.disposition & Disposition.attached_pic)
    return next(tracks, None)


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
    video = _Demuxer(path)
    seconds = video.info.seconds
    stop = seconds if end is None else end
    if start < 0 or stop <= start or stop > seconds + 1.0 / fps:
        raise BadClip(
            f"{path} lasts {seconds:.2f} s, it has nothing from {start:.2f} to {stop:.2f} s: check the times."
        )
    times = start + sample_times(stop - start, fps)
    return _shown_at(video, times, tolerance=0.1 / fps)


def _shown_at(video: _Demuxer, times: np.ndarray, tolerance: float) -> Iterator[np.ndarray]:
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
    video = _Demuxer(path)
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
        self._video = _Demuxer(path)
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


def _open_with_decord(video: _Demuxer) -> Any | None:
    if not video.decord_gives_the_same:
        return None
    try:
        import decord
    except (ImportError, OSError):
        return None
    decord.logging.set_level(decord.logging.QUIET)
    try:
        reader = decord.VideoReader(str(video.path), num_threads=1)
    except Exception:  # decord.DECORDError and RuntimeError: whatever it dislikes, PyAV decodes
        return None
    return reader if len(reader) == len(video) else None


class _Demuxer:
    """A video file with the timestamps of all its frames; opens a decoder when frames are asked for."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._decoding: Iterator[tuple[int, Any]] = iter(())
        self._upcoming = -1
        self._reformatter = VideoReformatter()
        if not self.path.is_file():
            raise BrokenVideo(f"{path} is not a file: correct the path or fetch the file.")
        try:
            self._scan()
        except (FFmpegError, ValueError, OverflowError) as error:
            raise self._broken("cannot be read as a video", error) from None

    def __len__(self) -> int:
        return len(self._pts)

    def _broken(self, what: str, error: Exception | None = None) -> BrokenVideo:
        reason = f" ({getattr(error, 'strerror', None) or error})" if error else ""
        return BrokenVideo(f"{self.path} {what}{reason}: fetch it again or take it off the list.")

    def _open(self) -> tuple[Any, Any]:
        container = av.open(f"file:{self.path}")  # without `file:` a colon in the name would be a protocol
        stream = video_stream(container)
        if stream is None:
            container.close()
            raise self._broken("is not a video")
        stream.codec_context.thread_count = 1  # clips are decoded beside each other, not each on all cores
        return container, stream

    def _scan(self) -> None:
        container, stream = self._open()
        with container:
            first = next(container.decode(stream), None)
        if first is None:
            raise self._broken("has no frame that can be decoded")
        self.rotation = round(-first.rotation / 90) * 90 % 360
        self._stored_size = (first.width, first.height)
        container, stream = self._open()
        with container:
            tracks = [stream, *container.streams.audio]
            marks = [_mark(p) for p in _whole_packets(container, tracks)]
            shown = sorted(m for m in marks if m.track == stream.index and not m.hidden)
            if not shown:
                raise self._broken("has no frames")
            tick = float(stream.time_base)
            self._indexed = container.format.name in INDEXED_CONTAINERS and all(m.stamped for m in shown)
            self._stamped = container.format.name != "avi" and all(m.stamped for m in shown)
            self._coding = (stream.codec_context.name, stream.codec_context.pix_fmt)
            self._pts = np.array([m.pts for m in shown], np.int64)
            self._keys = np.array([i for i, m in enumerate(shown) if m.key], np.int64)
            self.times = (self._pts - self._pts[0]) * tick
            intervals = np.diff(self.times)
            usual = float(np.median(intervals)) if len(intervals) else 1 / float(stream.average_rate or 25)
            last = shown[-1].duration * tick or usual
            self._refuse_cut_off(container, stream, marks, last)
            nominal = float(stream.average_rate or 0)
        seconds = float(self.times[-1]) + last
        average = len(shown) / seconds
        steady = bool(np.all(np.abs(intervals - usual) <= max(0.1 * usual, 2 * tick)))
        width, height = self._stored_size if self.rotation % 180 == 0 else self._stored_size[::-1]
        self.info = VideoInfo(
            path=self.path,
            width=width,
            height=height,
            fps=nominal if steady and abs(nominal - average) <= 0.01 * average else average,
            frames=len(shown),
            seconds=seconds,
            has_audio=len(tracks) > 1,
            rotation=self.rotation,
            constant_fps=steady,
            first_timestamp=int(self._pts[0]) * tick,
        )

    def _refuse_cut_off(self, container: Any, stream: Any, marks: list[_Mark], last: float) -> None:
        pts = [m.pts for m in marks if m.track == stream.index]
        present = (max(pts) - min(pts)) * float(stream.time_base) + last
        declared = float((stream.duration or 0) * stream.time_base)
        if not declared and container.format.name == "matroska,webm":
            # Matroska only says when its longest track ends
            present = max(m.end for m in marks)
            declared = (container.duration or 0) / av.time_base
        if present < TRUNCATED_BELOW * declared:
            raise self._broken(f"is cut off: {present:.2f} of {declared:.2f} s are there")

    @property
    def decord_gives_the_same(self) -> bool:
        """Whether decord is known to return PyAV's pixels for this file."""
        return self._indexed and self._coding == ("h264", "yuv420p") and not self.rotation

    def frames_from(self, index: int) -> Iterator[tuple[int, Any]]:
        """Decoded (index, frame) pairs beginning at frame `index` (or the next one that can be decoded).

        Raises:
            BrokenVideo: decoding fails, or ends long before the declared end.
        """
        reached = index - 1
        try:
            for reached, frame in self._frames_from_key_before(index):
                if reached >= index:
                    yield reached, frame
        except (FFmpegError, ValueError) as error:
            raise self._broken("cannot be decoded", error) from None
        if reached + 1 < TRUNCATED_BELOW * len(self):
            raise self._broken(f"is damaged: only {reached + 1} of {len(self)} frames can be decoded")

    def _frames_from_key_before(self, index: int) -> Iterator[tuple[int, Any]]:
        container, stream = self._open()
        with container:
            if (key := self._key_before(index)) > 0:
                container.seek(int(self._pts[key]), stream=stream)
            reached = -1
            for packet in itertools.chain(_whole_packets(container, [stream]), [None]):
                for frame in stream.codec_context.decode(packet):
                    nearest = self._nearest(frame.pts) if self._stamped and frame.pts is not None else 0
                    reached = max(reached + 1, nearest)
                    if reached < len(self):
                        yield reached, frame

    def _key_before(self, index: int) -> int:
        """The frame where decoding has to begin to get frame `index`."""
        before = self._keys[self._keys <= index]
        return int(before[-1]) if self._indexed and len(before) else 0

    def _nearest(self, pts: int) -> int:
        right = int(np.searchsorted(self._pts, pts))
        if right == len(self._pts) or (right and pts - self._pts[right - 1] < self._pts[right] - pts):
            return right - 1
        return right

    def pictures_at(self, indices: Sequence[int]) -> dict[int, np.ndarray]:
        """Upright pictures at rising `indices`; goes on where the last call stopped if that is near."""
        found: dict[int, np.ndarray] = {}
        for index in indices:
            if not self._key_before(index) <= self._upcoming <= index:
                self._decoding, self._upcoming = self.frames_from(index), index
            for reached, frame in self._decoding:
                self._upcoming = reached + 1
                if reached >= index:
                    found[index] = self.picture(frame)
                    break
            else:
                self._upcoming = len(self)
                raise self._broken(f"is damaged: frame {index} of {len(self)} cannot be decoded")
        return found

    def picture(self, frame: Any, size: tuple[int, int] | None = None) -> np.ndarray:
        """Upright (H, W, 3) uint8 RGB of a decoded frame, scaled to `size` (width, height) if given."""
        width, height = self._stored_size
        if size is not None:
            width, height = size if self.rotation % 180 == 0 else size[::-1]
        scaling = Interpolation.AREA if size else Interpolation.BILINEAR  # without scaling: decord's pixels
        rgb = self._reformatter.reformat(frame, width, height, "rgb24", interpolation=scaling)
        return np.ascontiguousarray(np.rot90(rgb.to_ndarray(), -self.rotation // 90))


class _Mark(NamedTuple):
    """What is kept of a packet; sorts by presentation time."""

    pts: int
    duration: int
    end: float
    track: int
    key: bool
    hidden: bool
    stamped: bool


def _mark(packet: Any) -> _Mark:
    pts = packet.dts if packet.pts is None else packet.pts
    duration = packet.duration or 0
    return _Mark(
        pts=pts,
        duration=duration,
        end=float((pts + duration) * packet.time_base),
        track=packet.stream_index,
        key=packet.is_keyframe,
        hidden=packet.is_discard,
        stamped=packet.pts is not None,
    )


def _whole_packets(container: Any, streams: Sequence[Any]) -> Iterator[Any]:
    """Packets with data and a time, without those known to be damaged, such as a half-stored last one."""
    for packet in container.demux(streams):
        if packet.size and not packet.is_corrupt and (packet.pts is not None or packet.dts is not None):
            yield packet


def write_video(path: Path | str, frames: Iterable[np.ndarray], fps: float, **options: Any) -> int:
    """Write all `frames` with `VideoWriter(path, fps, **options)`; returns how many there were."""
    with VideoWriter(path, fps, **options) as writer:
        for frame in frames:
            writer.write(frame)
    return writer.frames
