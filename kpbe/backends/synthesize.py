"""The synthesize stage: every clip's speech through one backend, as lossless videos that training and metrics read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from kpbe.backends.base import Backend, BackendParams, SynthesisRequest, backend_params, get_backend
from kpbe.compute import torch_device
from kpbe.data.clips import Clip, backend_video, read_manifest
from kpbe.errors import BadClip, MissingWeights
from kpbe.evaluation.protocol import source_frame_index
from kpbe.media.audio import AUDIO_RATE, read_audio
from kpbe.media.video import VideoReader, VideoWriter, frames_at_constant_fps
from kpbe.params import Params
from kpbe.work import ClipTask, Rejection, ShardMap, file_sha256, fingerprint, run_clip_tasks, serial_map

PROCEDURE = 1
"""Part of every fingerprint: raise it when the same inputs give other pixels than before."""


def synthesize(
    backend_name: str,
    params: Params,
    clips_folder: Path,
    checkpoint: Path,
    out: Path,
    *,
    map: ShardMap = serial_map,
    splits: Sequence[str] = ("train", "test"),
) -> tuple[list[tuple[ClipTask, dict[str, Any]]], list[Rejection]]:
    """Synthesise the clips of some splits; clips that are already whole stay.

    Writes `out`/<split>/<clip_id>.mkv (FFV1, the clip's frame rate and number of frames, its sound as PCM), a record beside each,
    and `out`/rejected.csv. The backend gets the clip's source frame (feed "source_image") or all its frames ("video"), and its
    frames as pose video.

    Args:
        backend_name: a registered backend; its settings are `params.backend.<name>`.
        params: all params.
        clips_folder: the folder of clips.csv.
        checkpoint: the backend's weights.
        out: data/backend/<name>.
        map: how shards of clips are run; the default suits a network on one device.
        splits: which clips.

    Returns:
        (task, facts) of all whole clips, and the rejections; facts are `frames`, `fps` and `source_frame` (None for feed "video").

    Raises:
        KPBEError: unknown backend, bad checkpoint, too many rejected clips.
    """
    section = backend_params(params, backend_name)
    settings = get_backend(backend_name).fingerprint_params(section)
    if not checkpoint.is_file():
        raise MissingWeights(
            f"{checkpoint} does not exist: train the backend {backend_name} or name its public checkpoint."
        )
    weights = file_sha256(checkpoint)
    tasks = []
    for clip in (c for split in splits for c in read_manifest(clips_folder, split)):
        source_frame = None
        if section.feed == "source_image":
            source_frame = source_frame_index(clip.clip_id, clip.frames, params.evaluate.seed)
        inputs = [clip.sha256, *(file_sha256(p) if p.exists() else None for p in (clip.wav, clip.boxes))]
        made_from = fingerprint(
            PROCEDURE, backend_name, settings, section.feed, source_frame, weights, inputs
        )
        video = backend_video(out, clip)
        record = video.with_name(f"{clip.clip_id}.json")
        tasks.append(
            ClipTask(clip.clip_id, record, (video,), made_from, str(clip.video), (clip, source_frame))
        )
    speaker = _Speaker(backend_name, section, checkpoint, weights, str(torch_device(params.compute)))
    return run_clip_tasks(
        f"synthesize {backend_name}",
        tasks,
        partial(_synthesize_clip, speaker),
        out,
        map=map,
        shard_size=params.compute.shard_size,
        max_rejected_fraction=params.data.max_rejected_fraction,
    )


@dataclass(frozen=True)
class VideoFrames:
    """Frames of a video at a constant rate; every iteration decodes it again, so nothing is kept in memory."""

    path: Path
    fps: float

    def __iter__(self) -> Iterator[np.ndarray]:
        return frames_at_constant_fps(self.path, self.fps)


def fit_wave(wave: np.ndarray, frames: int, fps: float) -> np.ndarray:
    """Cut a 16 kHz wave, or append silence, so that it lasts `frames` video frames to the nearest sample."""
    length = round(frames * AUDIO_RATE / fps)
    return np.pad(wave[:length], (0, max(0, length - len(wave))))


@dataclass(frozen=True)
class _Speaker:
    """What a worker process needs to load the backend; `weights` makes a rewritten checkpoint another key."""

    backend_name: str
    section: BackendParams
    checkpoint: Path
    weights: str
    device: str


@lru_cache(maxsize=1)
def _load(speaker: _Speaker) -> Backend:
    return get_backend(speaker.backend_name).from_checkpoint(
        speaker.checkpoint, speaker.section, speaker.device
    )


def _synthesize_clip(speaker: _Speaker, task: ClipTask) -> dict[str, Any]:
    clip, source_frame = task.payload
    backend = _load(speaker)
    request = _request(clip, source_frame)
    written = 0
    with VideoWriter(task.outputs[0], clip.fps, codec="ffv1", audio=clip.wav) as writer:
        for frame in backend.synthesize(request):
            writer.write(frame)
            written += 1
        if written != clip.frames:
            raise BadClip(f"{clip.video}: {speaker.backend_name} made {written} frames of {clip.frames}.")
    return {"frames": written, "fps": clip.fps, "source_frame": source_frame}


def _request(clip: Clip, source_frame: int | None) -> SynthesisRequest:
    if not clip.has_audio:
        raise BadClip(
            f"{clip.video} has no sound, and a backend needs speech: give it sound or take it off the list."
        )
    frames = VideoFrames(clip.video, clip.fps)
    boxes = np.load(clip.boxes) if clip.boxes.exists() else None
    if source_frame is not None:
        boxes = boxes[source_frame : source_frame + 1] if boxes is not None else None
    return SynthesisRequest(
        name=str(clip.video),
        source_frames=frames if source_frame is None else [VideoReader(clip.video)[source_frame]],
        wave=fit_wave(read_audio(clip.wav), clip.frames, clip.fps),
        fps=clip.fps,
        boxes=boxes,
        pose_frames=frames,
    )
