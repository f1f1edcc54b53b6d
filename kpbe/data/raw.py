"""The list of raw videos: data/raw/videos.csv, written by acquire and read by preprocess."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

from kpbe.core.files import read_csv, write_csv
from kpbe.data.clips import refuse_shared_identities
from kpbe.data.crops import PixelBox
from kpbe.errors import KPBEError

VIDEOS = "videos.csv"
VIDEO_SUFFIXES = frozenset(
    {
        ".3gp",
        ".avi",
        ".flv",
        ".m4v",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".mts",
        ".ogv",
        ".ts",
        ".webm",
        ".wmv",
    }
)
LONGEST_NAME = 80
"""Bytes of an identity's or a video's name in clip ids."""


@dataclass(frozen=True)
class RawVideo:
    """One video, or one annotated part of a video.

    Attributes:
        path: the file, relative to the repository root or absolute.
        identity: who speaks.
        split: `train` or `test`.
        video_id: name of the video in clip ids.
        start, end: the part in frames at 25 fps, `end` exclusive; None for the whole video.
        bbox: crop known from metadata, in pixels of a `width` x `height` frame; None when unknown.
        width, height, fps: reference size and rate of `bbox`, `start` and `end`; None without them.
        boxes: .npy with face boxes (frames of the raw video, 4); None when unknown.
        landmarks: .npy with eyes and mouth (frames of the raw video, 3, 2), only with `boxes`; None when
            unknown.
        source_url: where the video comes from, may be empty.
    """

    path: Path
    identity: str
    split: str
    video_id: str
    start: int | None = None
    end: int | None = None
    bbox: PixelBox | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    boxes: Path | None = None
    landmarks: Path | None = None
    source_url: str = ""


COLUMNS = tuple(f.name for f in fields(RawVideo))


def plain_name(name: str) -> str:
    """A name as part of a clip id: what is neither letter, digit, dot, dash nor underscore becomes a dash.

    Names of more than `LONGEST_NAME` bytes are cut, with a digest of the whole at their end, since clip ids
    are names of files.
    """
    plain = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "unnamed"
    encoded = plain.encode()
    if len(encoded) <= LONGEST_NAME:
        return plain
    digest = sha256(encoded).hexdigest()[:10]
    return f"{encoded[: LONGEST_NAME - 11].decode(errors='ignore')}-{digest}"


def write_raw_videos(folder: Path | str, videos: Iterable[RawVideo]) -> None:
    """Write videos.csv into `folder`.

    Raises:
        KPBEError: train and test share an identity.
    """
    videos = list(videos)
    path = Path(folder) / VIDEOS
    refuse_shared_identities(((video.identity, video.split) for video in videos), str(path))
    write_csv(path, COLUMNS, [_row(video) for video in videos])


def read_raw_videos(folder: Path | str) -> list[RawVideo]:
    """Rows of `folder`/videos.csv.

    Raises:
        KPBEError: there is no such file, or a row does not fit.
    """
    path = Path(folder) / VIDEOS
    try:
        rows = read_csv(path)
    except FileNotFoundError:
        raise KPBEError(f"{path} does not exist: run the stage acquire first (dvc repro acquire).") from None
    videos = []
    for line, row in enumerate(rows, 2):
        try:
            videos.append(_raw_video(row))
        except (KeyError, TypeError, ValueError) as error:
            raise KPBEError(f"{path}, line {line}: {error}; run the stage acquire again.") from None
    return videos


def parse_bbox(text: str) -> PixelBox:
    """Parse a box `left-top-right-bottom`.

    Raises:
        ValueError: the text is not such a box, or the box is empty.
    """
    try:
        left, top, right, bottom = map(int, text.split("-"))
    except ValueError:
        raise ValueError(f"bbox {text!r} is not left-top-right-bottom") from None
    if left >= right or top >= bottom:
        raise ValueError(f"bbox {text!r} is empty")
    return left, top, right, bottom


def format_bbox(box: PixelBox) -> str:
    """A box as `left-top-right-bottom`."""
    return "-".join(map(str, box))


def _row(video: RawVideo) -> dict[str, Any]:
    row: dict[str, Any] = {name: "" if (value := getattr(video, name)) is None else value for name in COLUMNS}
    row["bbox"] = "" if video.bbox is None else format_bbox(video.bbox)
    return row


def _raw_video(row: Mapping[str, str]) -> RawVideo:
    """A row of videos.csv.

    Raises:
        KeyError, ValueError: a column is missing or holds something else.
    """
    row = {name: row[name] for name in COLUMNS}
    return RawVideo(
        path=Path(row["path"]),
        identity=row["identity"],
        split=row["split"],
        video_id=row["video_id"],
        start=int(row["start"]) if row["start"] else None,
        end=int(row["end"]) if row["end"] else None,
        bbox=parse_bbox(row["bbox"]) if row["bbox"] else None,
        width=int(row["width"]) if row["width"] else None,
        height=int(row["height"]) if row["height"] else None,
        fps=float(row["fps"]) if row["fps"] else None,
        boxes=Path(row["boxes"]) if row["boxes"] else None,
        landmarks=Path(row["landmarks"]) if row["landmarks"] else None,
        source_url=row["source_url"],
    )
