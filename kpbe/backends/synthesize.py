"""The stage `synthesize`: make every clip's video with one backend, lossless, for training and metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kpbe.backends.base import Backend, BackendSettings, DrawnClip, Feed, SynthesisRequest
from kpbe.backends.registry import backend_of, get_backend, is_trainable
from kpbe.backends.speech_video import write_speech_video
from kpbe.checkpoints.catalogue import trained_weights
from kpbe.core.clip_tasks import ClipTask, Rejection, run_clip_tasks
from kpbe.core.device import torch_device
from kpbe.core.files import file_sha256, fingerprint
from kpbe.core.processes import ShardMap, kept_by_worker, serial_map
from kpbe.data.clips import Clip, backend_video, read_manifest
from kpbe.data.raw import parse_bbox
from kpbe.data.source_frame import source_frame_index
from kpbe.errors import BadClip, MissingWeights
from kpbe.media.audio import AUDIO_RATE, read_audio
from kpbe.media.recording import Recording
from kpbe.params import DataParams, Params
from kpbe.recipes import recipe

LOGS = "logs"
"""Folder beside those of the splits: output of external backends' programs, <clip_id>.log."""


def synthesize(
    backend_name: str,
    params: Params,
    clips_folder: Path,
    trained: Path,
    out: Path,
    *,
    map: ShardMap = serial_map,
    splits: Sequence[str] = ("train", "test"),
) -> tuple[list[tuple[ClipTask, dict[str, Any]]], list[Rejection]]:
    """Synthesise the clips of some splits; finished clips stay.

    Writes `out`/<split>/<clip_id>.mkv (FFV1, the clip's frame rate and number of frames, its sound as PCM,
    bit for bit), a record beside each, `out`/logs/<clip_id>.log where the backend runs a program, and
    `out`/rejected.csv. The backend gets the clip's source frame (feed "source_image"), or all its frames and
    the index of the source frame (feed "video"), and its frames as pose video. Decoding, the backend and
    encoding run in parallel.

    Args:
        backend_name: the backend's name in params.yaml.
        params: all params.
        clips_folder: the folder of clips.csv.
        trained: folder of train_backend's result (checkpoints/backends/<name>). Backends that cannot be
            trained take `settings.checkpoint`; those with `settings.weights_of` take the folder of that name
            beside it.
        out: data/backend/<name>.
        map: see `kpbe.core.processes.ShardMap`; the default suits a network on one device.
        splits: splits of the clips.

    Returns:
        (task, facts) of all whole clips, and the rejections; facts are `frames`, `fps` and `source_frame`
        (None for feed "video").

    Raises:
        KPBEError: unknown backend, bad checkpoint, too many rejected clips.
    """
    backend, settings = backend_of(params, backend_name)
    checkpoint = settings.checkpoint
    if is_trainable(backend):
        checkpoint = trained_weights(trained.parent / settings.weights_of if settings.weights_of else trained)
    if checkpoint is not None and not checkpoint.is_file():
        raise MissingWeights(
            f"{checkpoint} (backend.{backend_name}.checkpoint) is not a file: correct the path or fetch it."
        )
    weights = file_sha256(checkpoint) if checkpoint else ""
    tasks = []
    for clip in (c for split in splits for c in read_manifest(clips_folder, split)):
        source_frame = source_frame_index(clip.clip_id, clip.frames, params.evaluate.seed)
        beside = (clip.wav, clip.boxes, clip.landmarks)
        inputs = [clip.sha256, *(file_sha256(p) if p.exists() else None for p in beside)]
        made_from = fingerprint(
            recipe("synthesize"),
            backend.kind,
            backend.made_from(settings, clip.clip_id),
            settings.feed,
            source_frame,
            weights,
            inputs,
        )
        video = backend_video(out, clip)
        record = video.with_name(f"{clip.clip_id}.json")
        log = out / LOGS / f"{clip.clip_id}.log"
        tasks.append(
            ClipTask(
                clip.clip_id,
                record,
                (video,),
                made_from,
                str(clip.video),
                (clip, _drawn(clip, source_frame, params.data), source_frame, settings.feed, log),
            )
        )
    _remove_stale_logs(out / LOGS, tasks)
    speaker = _Speaker(backend.kind, settings, checkpoint, weights, str(torch_device(params.compute)))
    return run_clip_tasks(
        f"synthesize {backend_name}",
        tasks,
        partial(_synthesize_clip, speaker),
        out,
        map=map,
        shard_size=params.compute.shard_size,
        max_rejected_fraction=params.data.max_rejected_fraction,
    )


def _remove_stale_logs(folder: Path, tasks: Sequence[ClipTask]) -> None:
    """Remove logs without a task. Logs are no outputs, since a rejected clip loses its outputs."""
    names = {f"{task.clip_id}.log" for task in tasks}
    for path in folder.glob("*.log"):
        if path.name not in names:
            path.unlink()


def fit_wave(wave: np.ndarray, frames: int, fps: float) -> np.ndarray:
    """Cut a 16 kHz wave, or append silence, so that it lasts `frames` video frames to the nearest sample."""
    length = round(frames * AUDIO_RATE / fps)
    return np.pad(wave[:length], (0, max(0, length - len(wave))))


@dataclass(frozen=True)
class _Speaker:
    """What a worker needs to load the backend; the digest `weights` reloads a rewritten checkpoint."""

    kind: str
    settings: BackendSettings
    checkpoint: Path | None
    weights: str
    device: str


@kept_by_worker
def _load(speaker: _Speaker) -> Backend:
    return get_backend(speaker.kind).from_checkpoint(speaker.checkpoint, speaker.settings, speaker.device)


def _synthesize_clip(speaker: _Speaker, task: ClipTask) -> dict[str, Any]:
    clip, drawn, source_frame, feed, log = task.payload
    backend = _load(speaker)
    request = _request(clip, drawn, source_frame, feed, log)
    write_speech_video(task.outputs[0], backend, request, clip.wav)
    shown = source_frame if feed == "source_image" else None
    return {"frames": clip.frames, "fps": clip.fps, "source_frame": shown}


def _drawn(clip: Clip, source_frame: int, data: DataParams) -> DrawnClip | None:
    if data.source != "sample" or not clip.bbox:
        return None
    return DrawnClip(data.sample, clip.start, parse_bbox(clip.bbox), source_frame)


def _request(
    clip: Clip, drawn: DrawnClip | None, source_frame: int, feed: Feed, log: Path
) -> SynthesisRequest:
    if not clip.has_audio:
        raise BadClip(
            f"{clip.video} has no sound, and a backend needs speech: give it sound or take it off the list."
        )
    recording = Recording(clip.video)
    frames = recording.at_fps(clip.fps)
    boxes, landmarks = (np.load(p) if p.exists() else None for p in (clip.boxes, clip.landmarks))
    still = feed == "source_image"
    own = slice(source_frame, source_frame + 1) if still else slice(None)
    return SynthesisRequest(
        name=str(clip.video),
        source_frames=[recording[source_frame]] if still else frames,
        wave=fit_wave(read_audio(clip.wav), clip.frames, clip.fps),
        fps=clip.fps,
        boxes=None if boxes is None else boxes[own],
        landmarks=None if landmarks is None else landmarks[own],
        pose_frames=frames,
        pose_landmarks=landmarks,
        source_frame=0 if still else source_frame,
        clip_id=clip.clip_id,
        drawn=drawn,
        log=log,
    )
