"""Frames for training: clips and backends' videos, decoded into memory or read on demand."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from tqdm import tqdm

from kpbe.core.files import arrays_sha256
from kpbe.core.processes import is_follower
from kpbe.data.clips import Clip, backend_video
from kpbe.data.expression.labels import labels_of
from kpbe.data.grids import DrawnGrid
from kpbe.data.head_pose.labels import label_path
from kpbe.errors import KPBEError
from kpbe.media.recording import FrameAccess, Recording
from kpbe.params import ComputeParams
from kpbe.training.simulated_backends import Head, simulate

SPOILING = 0x5B
"""Seed part of the random numbers of simulated backends."""


class LabelFolders(NamedTuple):
    """Folders of the labels of clips; a clip may have none."""

    head_pose: Path
    expression: Path


class TrainingFolders(NamedTuple):
    """Input folders of the frontend's trainings: clips, their labels (if any), and drawn people (if used)."""

    clips: Path
    head_pose: Path
    expression: Path
    grids: Path

    @property
    def labels(self) -> LabelFolders:
        """The folders of labels."""
        return LabelFolders(self.head_pose, self.expression)


class FrameSource(Protocol):
    """Reads frames of a video; must be callable from several threads at once."""

    def read(self, path: Path, indices: Sequence[int], /) -> np.ndarray:
        """Frames in the order of `indices`, uint8 RGB (n, H, W, 3).

        Raises:
            IndexError: the video has no such frame.
            BrokenVideo: it cannot be read.
        """
        ...


class MemoryFrames:
    """All frames of some videos, decoded by several threads; slow decoding shows a progress bar.

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
                for video, frames in zip(
                    videos, pool.map(lambda path: Recording(path).frames(), videos), strict=True
                ):
                    self._frames[video] = frames
                    bar.update()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def read(self, path: Path, indices: Sequence[int], /) -> np.ndarray:
        """See `FrameSource`."""
        return self._frames[path][list(indices)]


class Pictures(NamedTuple):
    """uint8 (H, W, 3) images of one sample, and the points (POINTS, 2) of each; NaN where unknown.

    For the points see `ExpressionLabels`. `expression` is None where the pose frame also gives the
    expression.
    """

    source: np.ndarray
    pose: np.ndarray
    expression: np.ndarray | None
    target: np.ndarray
    source_points: np.ndarray
    pose_points: np.ndarray
    expression_points: np.ndarray
    target_points: np.ndarray


class ClipFrames:
    """The frames of some clips, their labels, backends' videos of them, and drawn people.

    Nothing is decoded before `source` is read.

    Args:
        clips: all of one size.
        labels: folders of head pose labels and expression labels (data/head_pose, data/expression).
        backend_videos: folders of backends' videos, `<split>/<clip_id>.mkv` in each; none in stage 1. A clip
            may lack some of them.
        where: whether frames are in memory or files, and how many threads fill the memory.
        grids: drawn people, of the clips' size; their indices follow those of the clips.
        simulate: whether a simulated backend gives the expression where no backend's video does.

    Raises:
        KPBEError: there is no clip, clips have different sizes, no backend made a video of a clip, or labels
            do not fit their clip.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        labels: LabelFolders,
        backend_videos: Sequence[Path] = (),
        where: ComputeParams | None = None,
        grids: Sequence[DrawnGrid] = (),
        simulate: bool = False,
    ):
        if not clips:
            raise KPBEError("there is no training clip: see rejected.csv beside clips.csv for the reasons.")
        self.clips, self.grids, self.simulate = list(clips), list(grids), simulate
        self.size = (clips[0].height, clips[0].width)
        drawn = [grid.clip for grid in grids]
        self._all = [*clips, *drawn]
        for clip in self._all:
            if (clip.height, clip.width) != self.size:
                raise KPBEError(
                    f"{clip.video} is {clip.width}x{clip.height}, but {clips[0].video} is "
                    f"{self.size[1]}x{self.size[0]}: run the stage preprocess again."
                )
        self._clip_videos = [clip.video for clip in self._all]
        self._backend_videos = [*(_videos_of(clip, backend_videos) for clip in clips), *([] for _ in drawn)]
        self.with_backend = bool(backend_videos)
        folders = [labels] * len(clips) + [
            LabelFolders(clip.video.parent, clip.video.parent) for clip in drawn
        ]
        self.degrees = [_degrees(clip, at.head_pose) for clip, at in zip(self._all, folders, strict=True)]
        self.expressions = [
            labels_of(clip, at.expression) for clip, at in zip(self._all, folders, strict=True)
        ]
        self._where = ComputeParams() if where is None else where
        self._source: FrameSource | None = None

    @property
    def labelled(self) -> int:
        """Number of clips with head pose labels, drawn people included."""
        return sum(not np.isnan(degrees).any() for degrees in self.degrees)

    @property
    def with_expression_labels(self) -> int:
        """Number of clips with expression labels, drawn people included."""
        return sum(bool(np.isfinite(labels.points).any()) for labels in self.expressions)

    @property
    def labels_digest(self) -> str:
        """Digest of all labels."""
        of_clips = zip(self.degrees, self.expressions, strict=True)
        return arrays_sha256(
            array for degrees, labels in of_clips for array in (degrees, labels.points, labels.shapes)
        )

    @property
    def videos_per_clip(self) -> list[int]:
        """For each clip, the number of backends that made a video of it."""
        return [len(videos) for videos in self._backend_videos[: len(self.clips)]]

    @property
    def gives_expression(self) -> bool:
        """Whether samples have a separate expression frame: a backend's, or a simulated one's."""
        return self.with_backend or self.simulate

    @property
    def gigabytes(self) -> float:
        """Memory that all decoded frames take according to the manifest, in GB."""
        counts = zip(self._all, self._backend_videos, strict=True)
        videos = ((clip.frames, 1 + len(videos)) for clip, videos in counts)
        return sum(frames * times for frames, times in videos) * self.size[0] * self.size[1] * 3 / 1e9

    @property
    def source(self) -> FrameSource:
        """Frames in memory or in files, as params say; the first call fills the memory."""
        if self._source is None:
            fits = self.gigabytes <= self._where.frames_memory_gb
            in_memory = self._where.frames == "memory" or (self._where.frames == "auto" and fits)
            videos = [*self._clip_videos, *(video for videos in self._backend_videos for video in videos)]
            self._source = MemoryFrames(videos, self._where.loader_threads) if in_memory else FrameAccess()
        return self._source

    def video(self, clip: int, number: int) -> Path | None:
        """A clip's backend video by its number; None where there is none."""
        return self._backend_videos[clip][number] if self._backend_videos[clip] else None

    def pictures(
        self,
        clip: int,
        frames: Sequence[int],
        video: int,
        spoiling: int,
        source: FrameSource | None = None,
    ) -> Pictures:
        """The images of one sample.

        Args:
            clip: index.
            frames: four indices of the clip's frames, see `Samples.frames`.
            video: number of the clip's backend video that gives the expression.
            spoiling: seed of a simulated backend.
            source: where frames come from; None uses `self.source`.

        Raises:
            KPBEError: a video cannot be read, is too short, or has another size; the message names it.
        """
        source = source or self.source
        own, path = self._all[clip], self._clip_videos[clip]
        indices = sorted(set(frames))
        pictures = dict(zip(indices, self._read(source, path, indices, own), strict=True))
        first, pose, head, target = frames
        points = self.expressions[clip].points
        video_path, expression, expression_points = self.video(clip, video), None, points[target]
        if video_path is not None:
            expression = self._read(source, video_path, [target], own)[0]
            expression_points = np.full_like(points[target], np.nan)
        elif self.simulate:
            speaker = Head(pictures[target], points[target])
            still = speaker if head == target else Head(pictures[head], points[head])
            if clip >= len(self.clips):  # a grid's head has the target's mouth already
                speaker = still
            backend = simulate(still, speaker, np.random.default_rng((spoiling, SPOILING)))
            expression, expression_points = backend.picture, backend.points
        return Pictures(
            pictures[first],
            pictures[pose],
            expression,
            pictures[target],
            points[first],
            points[pose],
            expression_points,
            points[target],
        )

    def _read(self, source: FrameSource, path: Path, indices: Sequence[int], clip: Clip) -> np.ndarray:
        try:
            frames = source.read(path, indices)
        except IndexError:
            raise KPBEError(
                f"{path} has fewer frames than the {clip.frames} of its clip in clips.csv: run the stage "
                f"that makes it again."
            ) from None
        if frames.shape[1:3] != self.size:
            raise KPBEError(
                f"{path} is {frames.shape[2]}x{frames.shape[1]} instead of {self.size[1]}x{self.size[0]}: "
                "run the stage that makes it again."
            )
        return frames


def _videos_of(clip: Clip, folders: Sequence[Path]) -> list[Path]:
    """Videos of a clip that exist in backends' folders, in the folders' order."""
    videos = [backend_video(folder, clip) for folder in folders]
    existing = [video for video in videos if video.exists()]
    if videos and not existing:
        raise KPBEError(f"{videos[0]} does not exist: run the stage synthesize first.")
    return existing


def _degrees(clip: Clip, head_poses: Path) -> np.ndarray:
    path = label_path(head_poses, clip)
    if not path.exists():
        return np.full((clip.frames, 3), np.nan, np.float32)
    degrees = np.load(path)
    if degrees.shape != (clip.frames, 3):
        raise KPBEError(
            f"{path} holds labels of shape {degrees.shape} for the {clip.frames} frames of its clip: run the "
            f"stage label_pose again."
        )
    return degrees
