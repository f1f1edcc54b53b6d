"""Stage `preprocess`: cut raw videos into clips of one face.

Detects, tracks and crops faces, at a constant frame rate, with 16 kHz sound beside the video. The unit of
resumable work is one raw video (or one annotated part of it); its record lists its clips.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from kpbe.core.clip_tasks import ClipTask, Rejection, run_clip_tasks, write_rejections
from kpbe.core.files import file_sha256, fingerprint, whole
from kpbe.core.processes import ShardMap, kept_by_worker, serial_map
from kpbe.data.clips import Clip, make_clip_id, write_manifest
from kpbe.data.crops import boxes_in_crop, cropped, points_in_crop
from kpbe.data.cuts import Cut, Refusal, SampledFrames, plan_cuts
from kpbe.data.faces import DetectorKind, FaceDetector, get_detector, weight_files
from kpbe.data.raw import RawVideo, format_bbox, read_raw_videos
from kpbe.data.voxceleb import REFERENCE_FPS
from kpbe.errors import BadClip, ParamsError
from kpbe.media.audio import AUDIO_RATE, is_silent, write_wav
from kpbe.media.recording import Recording
from kpbe.media.sound_track import find_sound
from kpbe.media.video_writer import VideoWriter
from kpbe.params import DataParams
from kpbe.recipes import recipe

STAGE = "preprocess"


@dataclass(frozen=True)
class Job:
    """Input of one task."""

    video: RawVideo
    data: DataParams
    image_size: int


def preprocess(
    data: DataParams,
    image_size: int,
    raw: Path,
    out: Path,
    map: ShardMap = serial_map,
    shard_size: int = 64,
) -> list[Clip]:
    """Cut the videos of `raw`/videos.csv into clips and write `out`/clips.csv and `out`/rejected.csv.

    Each clip is `out`/<split>/<clip_id>.mp4 (square, constant rate, H.264) and .wav (16 kHz mono); where
    faces are known also .boxes.npy, and .landmarks.npy where these came with the video. A video is rejected
    when it cannot be read, has no or silent sound, shows no face, or gives no clip. Single tubes that are too
    short, too small, at the border or show two faces are listed in rejected.csv as well, but only videos
    without any clip count for `data.max_rejected_fraction`.

    Args:
        data: the data section of params.yaml.
        image_size: side of the clips in pixels.
        raw: folder of videos.csv.
        out: data/clips.
        map: see `kpbe.core.processes.ShardMap`; a shard is a number of raw videos.
        shard_size: raw videos per shard.

    Returns:
        The clips of clips.csv.

    Raises:
        MissingWeights: the detector's weights are not on this machine.
        ParamsError: the detector is `known`, but there are videos without known boxes to cut tubes from.
        KPBEError: videos.csv is missing or wrong, or too many videos were rejected.
    """
    videos = with_validation_identities(read_raw_videos(raw), data.validation_identities)
    _require_boxes(videos, data)
    digest = cache(_digest)
    detector = [digest(path) for path in weight_files(data.detector)]
    tasks = [_task(Job(video, data, image_size), out, detector, digest) for video in videos]
    finished, rejections = run_clip_tasks(
        STAGE,
        tasks,
        make_clips,
        out,
        map=map,
        shard_size=shard_size,
        max_rejected_fraction=data.max_rejected_fraction,
    )
    for task, facts in finished:
        rejections += [
            Rejection(clip_id, task.origin, STAGE, reason) for clip_id, reason in facts["rejected"]
        ]
    write_rejections(out, rejections)
    clips = [Clip(**row, folder=out) for _, facts in finished for row in facts["clips"]]
    write_manifest(out, clips)
    return clips


def with_validation_identities(videos: Sequence[RawVideo], count: int) -> list[RawVideo]:
    """Replace the test split by some training identities; a `count` of 0 changes nothing.

    Variants of a method are compared on these identities, so that the test clips are used only once, after
    all decisions.

    Args:
        videos: of both splits; those of the test split are dropped.
        count: number of training identities, those whose names have the smallest SHA-256.

    Raises:
        ParamsError: no training identity would be left.
    """
    if not count:
        return list(videos)
    training = {video.identity for video in videos if video.split == "train"}
    if count >= len(training):
        raise ParamsError(
            f"data.validation_identities = {count} leaves none of the {len(training)} training identities to "
            f"train on."
        )
    ranked = sorted(training, key=lambda name: sha256(name.encode()).digest())
    chosen = set(ranked[:count])
    return [
        replace(video, split="test" if video.identity in chosen else "train")
        for video in videos
        if video.split == "train"
    ]


def _require_boxes(videos: Iterable[RawVideo], data: DataParams) -> None:
    if data.detector != "known" or data.crop.mode == "whole":
        return
    unknown = next((video.path for video in videos if video.boxes is None and video.bbox is None), None)
    if unknown is not None:
        raise ParamsError(
            f"data.detector is known, but the faces in {unknown} are not: choose yunet, blazeface or sfd, or "
            "set data.crop.mode to whole."
        )


def _digest(path: Path) -> str | None:
    try:
        return file_sha256(path) if path.is_file() else None
    except OSError:
        return None  # what cannot be read is rejected when it is worked on


def _task(job: Job, out: Path, detector: list[str | None], digest: Callable[[Path], str | None]) -> ClipTask:
    video, data = job.video, job.data
    name = f"{video.identity}#{video.video_id}"
    if video.start is not None and video.end is not None:
        name = make_clip_id(video.identity, video.video_id, video.start, video.end)
    inputs = [video.path, video.path.with_suffix(".wav"), *filter(None, (video.boxes, video.landmarks))]
    made_from = fingerprint(
        {"recipe": recipe(STAGE), "image_size": job.image_size, "detector": [data.detector, *detector]},
        data.model_dump(mode="json", include={"fps", "gop", "crf", "crop"}),
        {
            **asdict(video),
            "path": None,
            "boxes": None,
            "landmarks": None,
            "inputs": [digest(path) for path in inputs],
        },
    )
    return ClipTask(name, out / video.split / f"{name}.json", (), made_from, str(video.path), job)


# -- one video ---------------------------------------------------------------------------------------------


def make_clips(task: ClipTask) -> dict[str, Any]:
    """Make all clips of one raw video.

    Returns:
        Facts for its record: `clips` (rows of clips.csv), `rejected` ([clip_id, reason] of parts that gave no
            clip) and `outputs` (names of the files written).

    Raises:
        BadClip: the video gives no clip.
    """
    job: Job = task.payload
    recording = Recording(job.video.path)
    find_sound(job.video.path, video=recording.info)
    frames = SampledFrames(job.video, recording, job.data.fps)
    cuts, refusals = plan_cuts(job.video, recording.info, frames, _detector(job.data.detector), job.data.crop)
    clips: list[Clip] = []
    try:
        for cut, pictures in _pictures_of(cuts, frames):
            clip = _describe(job, cut, task.record.parent)
            try:
                start = frames.start + cut.start / job.data.fps
                wave = recording.sound(AUDIO_RATE, start, start + clip.frames / clip.fps)
                clips.append(_write(clip, job, cut, pictures, wave))
            except SilentClip as error:
                refusals.append(Refusal(cut.start, cut.end, str(error)))
        if not clips:
            raise BadClip(max(refusals, key=lambda refusal: refusal.end - refusal.start).reason)
    except Exception:
        for clip in clips:
            _remove(clip)
        raise
    return {
        "clips": [clip.facts for clip in clips],
        "rejected": [(_clip_id(job, refusal.start, refusal.end), refusal.reason) for refusal in refusals],
        "outputs": [path.name for clip in clips for path in _files(clip) if path.exists()],
    }


@kept_by_worker
def _detector(kind: DetectorKind) -> FaceDetector | None:
    return get_detector(kind)


class SilentClip(BadClip):
    """A clip's sound is silent."""


def _pictures_of(cuts: Iterable[Cut], frames: SampledFrames) -> Iterator[tuple[Cut, Iterator[np.ndarray]]]:
    """Yield each cut with an iterator over its frames, which need not be read."""
    stream = enumerate(frames)
    reached = 0

    def pictures(cut: Cut) -> Iterator[np.ndarray]:
        nonlocal reached
        for index, frame in islice(stream, cut.start - reached, cut.end - reached):
            reached = index + 1
            yield frame

    for cut in cuts:
        yield cut, pictures(cut)


def _clip_id(job: Job, start: int, end: int) -> str:
    first, stop = _reference_frames(job, start, end)
    return make_clip_id(job.video.identity, job.video.video_id, first, stop)


def _reference_frames(job: Job, start: int, end: int) -> tuple[int, int]:
    scale = REFERENCE_FPS / job.data.fps
    offset = job.video.start or 0
    return offset + round(start * scale), offset + round(end * scale)


def _describe(job: Job, cut: Cut, folder: Path) -> Clip:
    """The row of clips.csv, with an empty digest."""
    clip_id = _clip_id(job, cut.start, cut.end)
    start, end = _reference_frames(job, cut.start, cut.end)
    frames = cut.end - cut.start
    return Clip(
        clip_id=clip_id,
        split=job.video.split,
        identity=job.video.identity,
        path=f"{job.video.split}/{clip_id}.mp4",
        frames=frames,
        fps=job.data.fps,
        width=job.image_size,
        height=job.image_size,
        seconds=frames / job.data.fps,
        has_audio=True,
        source_url=job.video.source_url,
        start=start,
        end=end,
        bbox=format_bbox(cut.crop),
        sha256="",
        folder=folder.parent,
    )


def _write(clip: Clip, job: Job, cut: Cut, pictures: Iterator[np.ndarray], wave: np.ndarray) -> Clip:
    """Write a clip's files, sound first."""
    if is_silent(wave):
        raise SilentClip("its sound is silent")
    try:
        write_wav(clip.wav, wave)
        with VideoWriter(clip.video, clip.fps, "h264", gop=job.data.gop, crf=job.data.crf) as writer:
            for picture in pictures:
                writer.write(cropped(picture, cut.crop, job.image_size))
        if cut.boxes is not None:
            with whole(clip.boxes) as temporary:
                np.save(temporary, boxes_in_crop(cut.boxes, cut.crop, job.image_size))
        if cut.landmarks is not None:
            with whole(clip.landmarks) as temporary:
                np.save(temporary, points_in_crop(cut.landmarks, cut.crop, job.image_size))
    except Exception:
        _remove(clip)
        raise
    return replace(clip, sha256=file_sha256(clip.video))


def _files(clip: Clip) -> tuple[Path, ...]:
    return clip.video, clip.wav, clip.boxes, clip.landmarks


def _remove(clip: Clip) -> None:
    for path in _files(clip):
        path.unlink(missing_ok=True)
