"""Plan which parts of a video become clips: face tubes, whole frames, or a crop from metadata."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from kpbe.data.crops import (
    PixelBox,
    Tube,
    box_tubes,
    centred_square,
    crop_of_tube,
    require_length,
    shift_inside,
)
from kpbe.data.faces import FaceDetector
from kpbe.data.raw import RawVideo
from kpbe.data.tracking import RIVAL_SHARE, FaceTrack, fill_missing, track_face
from kpbe.data.voxceleb import REFERENCE_FPS, native_frames, scale_bbox
from kpbe.errors import BadClip
from kpbe.media.demuxer import VideoInfo
from kpbe.media.recording import Recording, sample_times
from kpbe.params import CropParams

KEPT_BYTES = 256 * 2**20
"""Frames of a video stay in memory between detection and cropping up to this size; larger videos are decoded
twice.
"""

LONG_VIDEO_FRAMES = 3000
"""Longer videos (two minutes at 25 fps) show their own progress bar."""


@dataclass(frozen=True)
class Cut:
    """A clip to be written.

    Attributes:
        start, end: sampled frames, `end` exclusive.
        crop: region in pixels of the raw video.
        boxes: (end - start, 4) face boxes in pixels of the raw video, or None when they are not known.
        landmarks: (end - start, 3, 2) eyes and mouth likewise.
    """

    start: int
    end: int
    crop: PixelBox
    boxes: np.ndarray | None
    landmarks: np.ndarray | None = None


@dataclass(frozen=True)
class Refusal:
    """Sampled frames [start, end) that do not become a clip, and why."""

    start: int
    end: int
    reason: str


class SampledFrames:
    """The requested part of a video at a constant rate, iterable more than once.

    A short part is decoded only once.

    Attributes:
        start: time of the first frame in the video, seconds.
        fps: frames per second.
    """

    def __init__(self, video: RawVideo, recording: Recording, fps: float) -> None:
        self.start = (video.start or 0) / REFERENCE_FPS
        self.fps = fps
        self._recording, info = recording, recording.info
        self._end = info.seconds if video.end is None else video.end / REFERENCE_FPS
        self._kept: list[np.ndarray] = []
        self._may_keep = len(self) * info.width * info.height * 3 <= KEPT_BYTES

    def __len__(self) -> int:
        return len(sample_times(self._end - self.start, self.fps))

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield frames, (H, W, 3) uint8 RGB, upright."""
        if len(self._kept) == len(self):
            yield from self._kept
            return
        self._kept.clear()
        frames = self._recording.at_fps(self.fps, self.start, self._end, exact=True)
        long = len(self) > LONG_VIDEO_FRAMES
        name = self._recording.info.path.name
        for frame in tqdm(
            frames, name, len(self), unit="frame", leave=False, mininterval=2, disable=not long
        ):
            if self._may_keep:
                self._kept.append(frame)
            yield frame


def plan_cuts(
    video: RawVideo,
    info: VideoInfo,
    frames: SampledFrames,
    detector: FaceDetector | None,
    crop: CropParams,
) -> tuple[list[Cut], list[Refusal]]:
    """Decide which parts of a video become clips.

    A crop from metadata is used unchanged. Otherwise `crop.mode` selects face tubes or whole frames (their
    middle square, in pieces of at most `crop.max_frames`).

    Args:
        video: the row of videos.csv.
        info: of the video file.
        frames: its frames at a constant rate.
        detector: finds the faces; None where boxes come with the video or are not needed.
        crop: rules for tubes.

    Returns:
        Cuts and refusals in the order of time; at least one of either.

    Raises:
        BadClip: the video is too short or shows no face, or metadata does not fit it.
    """
    if video.bbox is None:
        require_length(len(frames), crop.min_frames, frames.fps)
    track = _track(video, info, frames, detector)
    if track is not None and not track.boxes.any():
        raise BadClip("no face was found")
    if video.bbox is not None:
        return [_annotated_cut(video, info, frames, track)], []
    cuts, refusals = [], []
    for tube in _parts(frames, track, crop):
        try:
            cuts.append(_cut(tube, info, frames, track, crop))
        except BadClip as error:
            refusals.append(Refusal(tube.start, tube.end, str(error)))
    return cuts, refusals


def _track(
    video: RawVideo, info: VideoInfo, frames: SampledFrames, detector: FaceDetector | None
) -> FaceTrack | None:
    if detector is not None:
        return track_face(frames, detector, None if video.bbox is None else _native_bbox(video, info))
    if video.boxes is None:
        return None
    boxes = np.load(video.boxes) if video.boxes.is_file() else None
    if boxes is None or boxes.ndim != 2 or boxes.shape[1] != 4 or not len(boxes):
        raise BadClip(f"{video.boxes} does not hold one face box (left, top, right, bottom) for each frame")
    times = frames.start + sample_times(len(frames) / frames.fps, frames.fps)
    indices = np.minimum(((times + 0.1 / frames.fps) * info.fps).astype(int), len(boxes) - 1)
    landmarks = None if video.landmarks is None else np.load(video.landmarks)[indices]
    return FaceTrack(boxes[indices].astype(float), np.zeros(len(indices), bool), landmarks)


def _parts(frames: SampledFrames, track: FaceTrack | None, crop: CropParams) -> list[Tube]:
    if crop.mode == "tube" and track is not None:
        return box_tubes(track.boxes, crop.iou, crop.max_frames)
    starts = range(0, len(frames), crop.max_frames)
    return [Tube(start, min(start + crop.max_frames, len(frames)), (0, 0, 0, 0)) for start in starts]


def _cut(
    tube: Tube, info: VideoInfo, frames: SampledFrames, track: FaceTrack | None, crop: CropParams
) -> Cut:
    if track is not None and track.rivals[tube.start : tube.end].mean() > RIVAL_SHARE:
        raise BadClip("two faces of similar size are visible in most of the frames")
    if crop.mode == "tube":
        box = crop_of_tube(tube, info.width, info.height, crop, frames.fps)
    else:
        require_length(tube.end - tube.start, crop.min_frames, frames.fps)
        box = centred_square(info.width, info.height)
    if track is None:
        return Cut(tube.start, tube.end, box, None)
    landmarks = None if track.landmarks is None else track.landmarks[tube.start : tube.end]
    return Cut(tube.start, tube.end, box, fill_missing(track.boxes)[tube.start : tube.end], landmarks)


def _native_bbox(video: RawVideo, info: VideoInfo) -> PixelBox:
    assert video.bbox is not None
    reference = (video.width or info.width, video.height or info.height)
    return scale_bbox(video.bbox, reference, (info.width, info.height))


def _annotated_cut(video: RawVideo, info: VideoInfo, frames: SampledFrames, track: FaceTrack | None) -> Cut:
    if video.start is not None and video.end is not None:
        part = native_frames(video.start, video.end, info.fps)
        if part.stop > info.frames + 1:  # average rates are rounded
            raise BadClip(
                f"the video has {info.frames} frames, the clip needs {part.start} to {part.stop - 1}: "
                f"fetch it again"
            )
    box = shift_inside(_native_bbox(video, info), info.width, info.height)
    return Cut(0, len(frames), box, None if track is None else fill_missing(track.boxes))
