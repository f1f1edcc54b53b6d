"""A video file's packets: where its frames are, and decoding from any of them. `kpbe.media.recording` reads
with it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.error import FFmpegError
from av.stream import Disposition

from kpbe.errors import BadClip
from kpbe.media.pixels import PixelFacts, PixelReader, UnreadablePixels

TRUNCATED_BELOW = 0.9
"""A video with less than this share of its declared frames or seconds counts as cut off."""

INDEXED_CONTAINERS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
"""Containers whose seek lands on the key frame at or before a time; others are decoded from their start."""

PICTURE_BRANDS = frozenset({"heic", "heix", "heim", "heis", "mif1", "mif2", "avif"})
"""Brands of ISO files that hold pictures."""

NOT_VIDEO = Disposition.attached_pic | Disposition.dependent
"""Covers of songs, and tiles of pictures."""

ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


class BrokenVideo(BadClip):
    """The file is missing, cut off, has no frame, or is no video at all."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds.

    Attributes:
        path: the file.
        width: pixels of the picture as it is shown: upright, with square pixels.
        height: likewise.
        fps: frames per second on average.
        frames: number of shown frames.
        seconds: from the first frame's start to the last frame's end.
        has_audio: whether there is an audio track.
        rotation: degrees clockwise (0, 90, 180, 270) by which readers turn the stored picture.
        hdr: PQ or HLG where readers bring a high dynamic range to BT.709, else None.
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
    hdr: str | None
    constant_fps: bool
    first_timestamp: float


def video_stream(container: Any) -> Any | None:
    """The video track of an opened PyAV container; None for sound (covers do not count), pictures, text."""
    if container.format.name in ("tty", "image2") or container.format.name.endswith("_pipe"):
        return None
    if container.metadata.get("major_brand") in PICTURE_BRANDS:
        return None
    tracks = (s for s in container.streams.video if not s.disposition & NOT_VIDEO)
    return next(tracks, None)


@dataclass(frozen=True, eq=False)
class Contents:
    """Where the frames of a video are.

    Attributes:
        info: see `VideoInfo`.
        pts: int64 (N,) timestamps of the shown frames, rising, in ticks.
        tick: seconds.
        keys: indices of the frames where decoding can begin, rising.
        indexed: whether the container can be entered at a key frame.
        stamped: whether decoded frames tell their timestamps.
        coding: codec and pixel format.
        pixels: how they become a picture.
    """

    info: VideoInfo
    pts: np.ndarray
    tick: float
    keys: np.ndarray
    indexed: bool
    stamped: bool
    coding: tuple[str, str]
    pixels: PixelFacts


class Demuxer:
    """A video file with the timestamps of all its frames; opens a decoder when frames are asked for.

    Args:
        path: the file.
        contents: what another demuxer of the same file found; None scans it.

    Raises:
        BrokenVideo: the file is missing, no video, without frames, or cut off.
    """

    def __init__(self, path: Path | str, contents: Contents | None = None) -> None:
        self.path = Path(path)
        self._decoding: Iterator[tuple[int, Any]] = iter(())
        self._upcoming = -1
        if contents is None:
            contents = self._scanned()
        self.contents = contents
        self.info, self._pts, self._keys = contents.info, contents.pts, contents.keys
        self._pixels = PixelReader(contents.pixels)

    def __len__(self) -> int:
        return len(self._pts)

    @property
    def times(self) -> np.ndarray:
        """Seconds of the shown frames on our time line, float64 (N,)."""
        return (self._pts - self._pts[0]) * self.contents.tick

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

    def _decoded(self, container: Any, stream: Any) -> Iterator[Any]:
        """All frames from where the container stands."""
        decoder = _decoder_of(stream)
        for packet in itertools.chain(_whole_packets(container, [stream]), [None]):
            yield from decoder.decode(packet)

    def _scanned(self) -> Contents:
        if not self.path.is_file():
            raise BrokenVideo(f"{self.path} is not a file: correct the path or fetch the file.")
        try:
            return self._scan()
        except UnreadablePixels as error:
            raise BrokenVideo(f"{self.path} {error}.") from None
        except (FFmpegError, ValueError, OverflowError) as error:
            raise self._broken("cannot be read as a video", error) from None

    def _scan(self) -> Contents:
        container, stream = self._open()
        with container:
            first = next(self._decoded(container, stream), None)
            pixel_aspect = stream.sample_aspect_ratio
        if first is None:
            self._refuse_without_times()
            raise self._broken("has no frame that can be decoded")
        pixels = PixelFacts.of(first, pixel_aspect)
        container, stream = self._open()
        with container:
            has_audio = bool(container.streams.audio)
            marks = [_mark(p) for p in _whole_packets(container, container.streams.get())]
            shown = sorted(m for m in marks if m.track == stream.index and not m.hidden)
            if not shown:
                raise self._broken("has no frames")
            tick = float(stream.time_base)
            all_stamped = all(m.stamped for m in shown)
            pts = np.array([m.pts for m in shown], np.int64)
            times = (pts - pts[0]) * tick
            intervals = np.diff(times)
            usual = float(np.median(intervals)) if len(intervals) else 1 / float(stream.average_rate or 25)
            last = shown[-1].duration * tick or usual
            self._refuse_cut_off(container, stream, marks, last)
            nominal = float(stream.average_rate or 0)
            coding = (stream.codec_context.name, stream.codec_context.pix_fmt)
            container_name = container.format.name
        seconds = float(times[-1]) + last
        average = len(shown) / seconds
        steady = bool(np.all(np.abs(intervals - usual) <= max(0.1 * usual, 2 * tick)))
        info = VideoInfo(
            path=self.path,
            width=pixels.width,
            height=pixels.height,
            fps=nominal if steady and abs(nominal - average) <= 0.01 * average else average,
            frames=len(shown),
            seconds=seconds,
            has_audio=has_audio,
            rotation=pixels.orientation.degrees,
            hdr=pixels.hdr,
            constant_fps=steady,
            first_timestamp=int(pts[0]) * tick,
        )
        return Contents(
            info=info,
            pts=pts,
            tick=tick,
            keys=np.array([i for i, m in enumerate(shown) if m.key], np.int64),
            indexed=container_name in INDEXED_CONTAINERS and all_stamped,
            stamped=container_name != "avi" and all_stamped,
            coding=coding,
            pixels=pixels,
        )

    def _refuse_without_times(self) -> None:
        container, stream = self._open()
        with container:
            packets = [packet for packet in container.demux(stream) if packet.size]
            if packets and all(packet.pts is None and packet.dts is None for packet in packets):
                raise BrokenVideo(
                    f"{self.path} is a raw {stream.codec_context.name} stream, whose frames have no times: "
                    f"put it into a container (ffmpeg -i FILE -c copy FILE.mp4)."
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
        contents = self.contents
        return contents.indexed and contents.coding == ("h264", "yuv420p") and contents.pixels.plain

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
            for frame in self._decoded(container, stream):
                stamped = self.contents.stamped and frame.pts is not None
                reached = max(reached + 1, self._nearest(frame.pts) if stamped else 0)
                if reached < len(self):
                    yield reached, frame

    def _key_before(self, index: int) -> int:
        """The frame where decoding has to begin to get frame `index`."""
        before = self._keys[self._keys <= index]
        return int(before[-1]) if self.contents.indexed and len(before) else 0

    def _nearest(self, pts: Any) -> int:
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

    def pictures_apart(self, indices: Sequence[int]) -> dict[int, np.ndarray]:
        """Upright pictures at a few `indices`, decoding only what they depend on; nothing stays open.

        Raises:
            BrokenVideo: a frame cannot be decoded.
        """
        wanted = sorted(set(indices))
        found: dict[int, np.ndarray] = {}
        if self.contents.indexed and self.contents.stamped:
            try:
                found = self._decoded_alone(wanted)
            except (FFmpegError, ValueError):
                found = {}  # the patient way tells what is wrong
        missing = [index for index in wanted if index not in found]
        return found | self.pictures_at(missing) if missing else found

    def _decoded_alone(self, wanted: Sequence[int]) -> dict[int, np.ndarray]:
        found: dict[int, np.ndarray] = {}
        container, stream = self._open()
        decoder = _decoder_of(stream)
        may_skip = decoder.name == "h264"  # no picture depends on one that its coder marked as no reference
        with container:
            for key, own in itertools.groupby(wanted, self._key_before):
                index_of = {int(self._pts[index]): index for index in own}
                awaited = set(index_of)
                container.seek(int(self._pts[key]), stream=stream)
                for packet in _packets_until_fed(container, stream, awaited):
                    if packet is not None and may_skip:
                        decoder.skip_frame = "DEFAULT" if packet.pts in awaited else "NONREF"
                    for frame in decoder.decode(packet):
                        if frame.pts in index_of:
                            found[index_of[frame.pts]] = self.picture(frame)
        return found

    def picture(self, frame: Any, size: tuple[int, int] | None = None, exact: bool = False) -> np.ndarray:
        """(H, W, 3) uint8 RGB of a decoded frame; see `kpbe.media.pixels.PixelReader.picture`.

        Raises:
            BrokenVideo: the frame has another shape than the first one.
        """
        try:
            return self._pixels.picture(frame, size, exact)
        except UnreadablePixels as error:
            raise BrokenVideo(f"{self.path} {error}.") from None


def _decoder_of(stream: Any) -> Any:
    """The stream's decoder; libvpx's where there is an alpha channel, which FFmpeg's own leaves out."""
    library = ALPHA_DECODERS.get(stream.codec_context.name)
    if library is None or stream.metadata.get("alpha_mode", stream.metadata.get("ALPHA_MODE")) != "1":
        return stream.codec_context
    decoder = av.CodecContext.create(library, "r")
    decoder.extradata = stream.codec_context.extradata
    return decoder


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


def _packets_until_fed(container: Any, stream: Any, awaited: set[int]) -> Iterator[Any]:
    """Packets until those with the `awaited` timestamps are handed out (they are taken off), then None, which
    empties the decoder.
    """
    for packet in _whole_packets(container, [stream]):
        yield packet
        awaited.discard(packet.pts)
        if not awaited:
            break
    yield None
