"""One video with a clip's methods in a grid, so that a browser shows all of them at the same frame.

It is a copy for viewing, encoded when a clip is opened; metrics are computed from the lossless files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from kpbe.media.images import scaled

LEAST_SIDE = 128
"""Smaller pictures are enlarged to this many pixels, because 4:2:0 would blur their colours."""

AT_ONCE = 32
"""Frames of each video in memory at a time."""

CRF = 12
GOP = 6
"""Frames between key frames; few, so that scrubbing decodes few frames."""


@dataclass(frozen=True)
class Comparison:
    """The video (MP4, H.264, AAC) and where the methods lie in it.

    Attributes:
        video: the file.
        methods: row by row.
        columns, rows: of the grid; all cells have the same size.
        frames: length of the shortest of the videos.
    """

    video: bytes
    methods: tuple[str, ...]
    columns: int
    rows: int
    frames: int


def compare(videos: Mapping[str, Path], fps: float, sound: Path | None) -> Comparison:
    """Put videos side by side.

    Args:
        videos: by method; the first one's size sets the size of the cells.
        fps: frames per second of all of them.
        sound: file that the sound is taken from.

    Raises:
        BadClip: a video cannot be read.
    """
    from kpbe.media.recording import Recording
    from kpbe.media.video_writer import write_video

    readers = [Recording(path) for path in videos.values()]
    frames = min(len(reader) for reader in readers)
    columns = ceil(sqrt(len(readers)))
    rows = ceil(len(readers) / columns)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "comparison.mp4"
        grid = _grids(readers, frames, columns, rows)
        write_video(path, grid, fps, crf=CRF, gop=GOP, audio=sound)
        return Comparison(path.read_bytes(), tuple(videos), columns, rows, frames)


def _grids(readers: Sequence, frames: int, columns: int, rows: int) -> Iterator[np.ndarray]:
    width, height = _cell(*readers[0].size)
    for start in range(0, frames, AT_ONCE):
        indices = range(start, min(start + AT_ONCE, frames))
        batches = [reader.at(indices) for reader in readers]
        for offset in range(len(indices)):
            picture = np.zeros((rows * height, columns * width, 3), np.uint8)
            for place, batch in enumerate(batches):
                top, left = place // columns * height, place % columns * width
                picture[top : top + height, left : left + width] = scaled(batch[offset], width, height)
            yield picture


def _cell(width: int, height: int) -> tuple[int, int]:
    """Size of the cells: that of the pictures or larger, in even numbers."""
    factor = max(1, ceil(LEAST_SIDE / min(width, height)))
    return width * factor + width * factor % 2, height * factor + height * factor % 2
