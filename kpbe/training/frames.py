"""Where training takes its frames from: clips and backends' videos, decoded in memory or read at the asked moments."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from tqdm import tqdm

from kpbe.data.clips import Clip, backend_video
from kpbe.data.head_pose import label_path
from kpbe.errors import KPBEError
from kpbe.media.video import FrameAccess, read_frames
from kpbe.params import ComputeParams
from kpbe.work import is_follower


class FrameSource(Protocol):
    """Gives some frames of a video; called from several threads at once."""

    def read(self, path: Path, indices: Sequence[int], /) -> np.ndarray:
        """Frames in the order of `indices`, uint8 RGB (n, H, W, 3).

        Raises:
            IndexError: the video has no such frame.
            BrokenVideo: it cannot be read.
        """
        ...


class MemoryFrames:
    """All frames of some videos, decoded at once by several threads, with a progress bar where it takes a while.

    Raises:
        BrokenVideo: a video is unreadable or cut off.
    """

    def __init__(self, videos: Sequence[Path], threads: int):
        bar = tqdm(
            total=len(videos),
            desc="frames into memory",
            unit="video",
            dynamic_ncols=True,
            delay=1,
            disable=is_follower(),
        )
        self._frames: dict[Path, np.ndarray] = {}
        with bar, ThreadPoolExecutor(threads, "frames") as pool:
            try:
                for video, frames in zip(videos, pool.map(read_frames, videos), strict=True):
                    self._frames[video] = frames
                    bar.update()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def read(self, path: Path, indices: Sequence[int], /) -> np.ndarray:
        """See `FrameSource`."""
        return self._frames[path][list(indices)]


class Pictures(NamedTuple):
    """uint8 (H, W, 3) images of one sample; `expression` is None where the pose image gives it, too."""

    source: np.ndarray
    pose: np.ndarray
    expression: np.ndarray | None


class ClipFrames:
    """The frames of some clips, their head pose labels, and backends' videos of the same moments.

    Nothing is decoded before `source` is asked for.

    Args:
        clips: all of one size.
        head_poses: folder of head pose labels (data/head_pose).
        backend_videos: folders of backends' videos, `<split>/<clip_id>.mkv` in each; none in stage 1. A clip may lack some of them.
        where: memory or files, and how many threads fill the memory.

    Raises:
        KPBEError: there is no clip, clips have different sizes, no backend made a video of a clip, or labels do not fit their clip.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        head_poses: Path,
        backend_videos: Sequence[Path] = (),
        where: ComputeParams | None = None,
    ):
        if not clips:
            raise KPBEError("there is no training clip: see rejected.csv beside clips.csv for the reasons.")
        self.clips = list(clips)
        self.size = (clips[0].height, clips[0].width)
        for clip in clips:
            if (clip.height, clip.width) != self.size:
                raise KPBEError(
                    f"{clip.video} is {clip.width}x{clip.height}, but {clips[0].video} is {self.size[1]}x{self.size[0]}: run the stage "
                    "preprocess again."
                )
        self._real = [clip.video for clip in clips]
        self._made = [_videos_of(clip, backend_videos) for clip in clips]
        self.with_backend = bool(backend_videos)
        self.degrees = [_labels(clip, head_poses) for clip in clips]
        self._where = ComputeParams() if where is None else where
        self._source: FrameSource | None = None

    @property
    def labelled(self) -> int:
        """Number of clips with head pose labels."""
        return sum(not np.isnan(degrees).any() for degrees in self.degrees)

    @property
    def labels_digest(self) -> str:
        """Digest of the head pose labels."""
        return hashlib.sha256(b"".join(degrees.tobytes() for degrees in self.degrees)).hexdigest()

    @property
    def videos_per_clip(self) -> list[int]:
        """How many backends made a video of each clip."""
        return [len(videos) for videos in self._made]

    @property
    def gigabytes(self) -> float:
        """Memory that all frames take when decoded, by the manifest, in GB."""
        videos = ((clip.frames, 1 + len(made)) for clip, made in zip(self.clips, self._made, strict=True))
        return sum(frames * times for frames, times in videos) * self.size[0] * self.size[1] * 3 / 1e9

    @property
    def source(self) -> FrameSource:
        """Memory or files, as params say; memory is filled at the first call."""
        if self._source is None:
            fits = self.gigabytes <= self._where.frames_memory_gb
            in_memory = self._where.frames == "memory" or (self._where.frames == "auto" and fits)
            videos = [*self._real, *(video for made in self._made for video in made)]
            self._source = MemoryFrames(videos, self._where.loader_threads) if in_memory else FrameAccess()
        return self._source

    def video(self, clip: int, number: int) -> Path | None:
        """The backend's video of a clip; None in stage 1."""
        return self._made[clip][number] if self.with_backend else None

    def pictures(
        self, clip: int, frames: Sequence[int], video: int, source: FrameSource | None = None
    ) -> Pictures:
        """The images of one sample.

        Args:
            clip: index.
            frames: the source's and the driving frame.
            video: which of the clip's backend videos gives the expression.
            source: where frames come from; None is `self.source`.

        Raises:
            KPBEError: a video cannot be read, is too short, or has another size; the message names it.
        """
        source = source or self.source
        real = self._read(source, self._real[clip], frames, self.clips[clip])
        made = self.video(clip, video)
        if made is None:
            return Pictures(real[0], real[1], None)
        return Pictures(real[0], real[1], self._read(source, made, frames[1:], self.clips[clip])[0])

    def _read(self, source: FrameSource, path: Path, indices: Sequence[int], clip: Clip) -> np.ndarray:
        try:
            frames = source.read(path, indices)
        except IndexError:
            raise KPBEError(
                f"{path} has fewer frames than the {clip.frames} of its clip in clips.csv: run the stage that makes it again."
            ) from None
        if frames.shape[1:3] != self.size:
            raise KPBEError(
                f"{path} is {frames.shape[2]}x{frames.shape[1]} instead of {self.size[1]}x{self.size[0]}: run the stage that makes it "
                "again."
            )
        return frames


def _videos_of(clip: Clip, folders: Sequence[Path]) -> list[Path]:
    """Videos of a clip that exist in backends' folders, in the folders' order."""
    videos = [backend_video(folder, clip) for folder in folders]
    there = [video for video in videos if video.exists()]
    if videos and not there:
        raise KPBEError(f"{videos[0]} does not exist: run the stage synthesize first.")
    return there


def _labels(clip: Clip, head_poses: Path) -> np.ndarray:
    path = label_path(head_poses, clip)
    if not path.exists():
        return np.full((clip.frames, 3), np.nan, np.float32)
    degrees = np.load(path)
    if degrees.shape != (clip.frames, 3):
        raise KPBEError(
            f"{path} holds labels of shape {degrees.shape} for the {clip.frames} frames of its clip: run the stage label_pose again."
        )
    return degrees
