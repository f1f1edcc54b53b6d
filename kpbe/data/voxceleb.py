"""VoxCeleb clips in FOMM's vox-metadata.csv, from videos that are already downloaded.

Source: AliaksandrSiarohin/video-preprocessing, load_videos.py. The videos are files `<video_id>.<any
extension>` in one folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path

import numpy as np

from kpbe.core.clip_tasks import Rejection
from kpbe.core.files import read_csv
from kpbe.data.clips import make_clip_id
from kpbe.data.crops import PixelBox
from kpbe.data.raw import VIDEO_SUFFIXES, RawVideo, parse_bbox
from kpbe.errors import KPBEError

REFERENCE_FPS = 25
COLUMNS = ("video_id", "start", "end", "bbox", "fps", "width", "height", "partition", "person_id")


@dataclass(frozen=True)
class VoxClip:
    """One row of vox-metadata.csv.

    Attributes:
        person_id, video_id: the speaker and the YouTube video. partition: `train` or `test`.
        start, end: frames at `fps`, `end` exclusive.
        bbox: crop in pixels of a `width` x `height` frame.
        fps, width, height: the reference of these numbers.
    """

    person_id: str
    video_id: str
    start: int
    end: int
    bbox: PixelBox
    fps: float
    width: int
    height: int
    partition: str

    @property
    def clip_id(self) -> str:
        """FOMM's file name without its suffix."""
        return make_clip_id(self.person_id, self.video_id, self.start, self.end)


def read_metadata(path: Path | str) -> list[VoxClip]:
    """Rows of vox-metadata.csv.

    Raises:
        KPBEError: the file is absent, has other columns, or a row does not fit; the message names the line.
    """
    try:
        rows = read_csv(path)
    except FileNotFoundError:
        raise KPBEError(f"{path} (data.metadata) does not exist.") from None
    if missing := [name for name in COLUMNS if not rows or name not in rows[0]]:
        raise KPBEError(f"{path} (data.metadata) lacks the columns {', '.join(missing)}.")
    clips = []
    for line, row in enumerate(rows, 2):
        try:
            clips.append(_clip(row))
        except (TypeError, ValueError) as error:
            raise KPBEError(f"{path}, line {line}: {error}.") from None
    return clips


def _clip(row: dict[str, str]) -> VoxClip:
    clip = VoxClip(
        person_id=row["person_id"],
        video_id=row["video_id"],
        start=int(row["start"]),
        end=int(row["end"]),
        bbox=parse_bbox(row["bbox"]),
        fps=float(row["fps"]),
        width=int(row["width"]),
        height=int(row["height"]),
        partition=row["partition"],
    )
    if not 0 <= clip.start < clip.end:
        raise ValueError(f"start {clip.start} and end {clip.end} are not a span of frames")
    if clip.fps != REFERENCE_FPS:
        raise ValueError(f"start and end count frames at {clip.fps:g} fps, expected {REFERENCE_FPS}")
    if clip.partition not in ("train", "test"):
        raise ValueError(f"partition {clip.partition!r} is neither train nor test")
    return clip


def native_frames(start: int, end: int, native_fps: float) -> range:
    """Frames i of a video of `native_fps` with i * 25 >= start * native_fps and i * 25 < end * native_fps."""
    first, stop = (ceil(Fraction(frame * native_fps) / REFERENCE_FPS) for frame in (start, end))
    return range(first, stop)


def reference_frames(start: int, frames: int, fps: float) -> np.ndarray:
    """Nearest frames at 25 fps of each of a clip's `frames` frames at `fps`, int64 (frames,).

    `start` is `Clip.start`.
    """
    return start + np.round(np.arange(frames) * REFERENCE_FPS / fps).astype(int)


def scale_bbox(bbox: PixelBox, reference: tuple[int, int], native: tuple[int, int]) -> PixelBox:
    """Scale a box from a reference frame (width, height) to the native frame, truncated towards zero."""
    share_x, share_y = reference[0] / native[0], reference[1] / native[1]
    left, top, right, bottom = bbox
    return int(left / share_x), int(top / share_y), int(right / share_x), int(bottom / share_y)


def raw_videos(metadata: Path, folder: Path) -> tuple[list[RawVideo], list[Rejection]]:
    """Rows of `metadata` whose videos are in `folder`, and a rejection for every other row.

    A clip listed twice counts once: the published file lists 299 clips more than once, three of them in both
    partitions. Those three are test clips here, which leaves no person in both partitions.

    Raises:
        KPBEError: the metadata cannot be read, or `folder` does not exist.
    """
    by_partition = sorted(read_metadata(metadata), key=lambda clip: clip.partition == "test")
    clips = {clip.clip_id: clip for clip in by_partition}
    if not folder.is_dir():
        raise KPBEError(
            f"{folder} (data.root) does not exist: put the downloaded videos there as <video_id>.mp4."
        )
    downloaded = {p.stem: p for p in sorted(folder.iterdir()) if p.suffix.lower() in VIDEO_SUFFIXES}
    videos, rejections = [], []
    for _, clip in sorted(clips.items()):
        path = downloaded.get(clip.video_id)
        if path is None:
            missing = str(folder / f"{clip.video_id}.mp4")
            rejections.append(Rejection(clip.clip_id, missing, "acquire", "the video was not downloaded"))
            continue
        videos.append(
            RawVideo(
                path=path,
                identity=clip.person_id,
                split=clip.partition,
                video_id=clip.video_id,
                start=clip.start,
                end=clip.end,
                bbox=clip.bbox,
                width=clip.width,
                height=clip.height,
                fps=clip.fps,
                source_url=f"https://www.youtube.com/watch?v={clip.video_id}",
            )
        )
    return videos, rejections
