"""Enhancement: source image + backend video + pose video -> clean frames (paper Fig. 1 and 2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from kpbe.compute import torch_device
from kpbe.data.clips import backend_video, read_manifest
from kpbe.data.source_frame import source_frame_index
from kpbe.errors import BadClip
from kpbe.frontend.checkpoints import load_frontend
from kpbe.frontend.images import to_tensor, to_uint8
from kpbe.frontend.model import Frontend
from kpbe.media.sheets import label_image
from kpbe.media.video import read_frames, write_video
from kpbe.methods import display_name, enhanced_method
from kpbe.params import Params
from kpbe.work import ClipTask, Rejection, ShardMap, fingerprint, run_clip_tasks, serial_map

VIEWING_FOLDER = "viewing"
VIEWING_SIZE = 256


@torch.inference_mode()
def enhance(
    frontend: Frontend,
    source_image: np.ndarray,
    pose_frames: Iterable[np.ndarray],
    backend_frames: Iterable[np.ndarray],
    batch_size: int = 16,
) -> Iterator[np.ndarray]:
    """Render the source person with the head pose of one video and the expression of another (eq. 2).

    Args:
        frontend: trained networks in eval mode.
        source_image: (H, W, 3) uint8 RGB at the frontend's image size; gives appearance and canonical keypoints.
        pose_frames: frames that the head pose is taken from, as `source_image`.
        backend_frames: frames that the expression is taken from, one for each pose frame.
        batch_size: frames rendered at once.

    Yields:
        One (H, W, 3) uint8 RGB frame for each pair, until the shorter video ends.
    """
    device = next(frontend.parameters()).device

    def images(frames: list[np.ndarray]) -> Tensor:
        return to_tensor(np.stack(frames)).to(device)

    source = frontend.decompose(images([source_image]))
    for batch in _batches(zip(pose_frames, backend_frames, strict=False), batch_size):
        pose, _ = frontend.estimate_pose_expression(images([pair[0] for pair in batch]))
        _, expression = frontend.estimate_pose_expression(images([pair[1] for pair in batch]))
        yield from to_uint8(frontend.render(source, source.driven_by(pose, expression), pose).frame)


def enhance_clips(
    backend: str,
    params: Params,
    clips: Path,
    backend_videos: Path,
    checkpoint: Path,
    out: Path,
    map: ShardMap = serial_map,
) -> list[Rejection]:
    """Enhance the backend's videos of all test clips.

    Writes `test/<clip_id>.mkv` (lossless, what the metrics read) and `viewing/<clip_id>.mp4` (ground truth, backend, enhanced side by side,
    with sound) for each test clip.

    Args:
        backend: name shown in the viewing copies.
        params: the whole params.
        clips: data/clips.
        backend_videos: the backend's videos, `test/<clip_id>.mkv`.
        checkpoint: frontend of stage 2.
        out: data/enhanced/<backend>.
        map: how shards are run.

    Returns:
        The clips that could not be enhanced.
    """
    seed = params.evaluate.seed
    checkpoint_digest = fingerprint(checkpoint)
    tasks = []
    for clip in read_manifest(clips, "test"):
        video = backend_video(backend_videos, clip)
        tasks.append(
            ClipTask(
                clip_id=clip.clip_id,
                record=out / "test" / f"{clip.clip_id}.json",
                outputs=(out / "test" / f"{clip.clip_id}.mkv", out / VIEWING_FOLDER / f"{clip.clip_id}.mp4"),
                fingerprint=fingerprint(
                    clip.sha256, video if video.exists() else "missing", checkpoint_digest, seed
                ),
                origin=str(video),
                payload=(clip, video),
            )
        )
    frontend = _Loadable(checkpoint, checkpoint_digest, str(torch_device(params.compute)))
    _load(frontend)  # a bad one is the stage's error, not every clip's
    make = partial(
        _enhance_clip,
        frontend=frontend,
        backend=backend,
        seed=seed,
        batch_size=params.compute.render_batch,
    )
    _, rejected = run_clip_tasks(
        f"enhance {backend}",
        tasks,
        make,
        out,
        map=map,
        shard_size=params.compute.shard_size,
        max_rejected_fraction=params.data.max_rejected_fraction,
    )
    return rejected


@dataclass(frozen=True)
class _Loadable:
    """What a worker process needs to load the frontend; `digest` makes a rewritten checkpoint another key."""

    checkpoint: Path
    digest: str
    device: str


@lru_cache(maxsize=1)
def _load(frontend: _Loadable) -> Frontend:
    return load_frontend(frontend.checkpoint, frontend.device).for_rendering()


def _enhance_clip(
    task: ClipTask, frontend: _Loadable, backend: str, seed: int, batch_size: int
) -> dict[str, int]:
    clip, video = task.payload
    if not video.exists():
        raise BadClip(f"{video} does not exist: the backend made no video of this clip.")
    real, synthesized = read_frames(clip.video), read_frames(video)
    source_image = real[source_frame_index(clip.clip_id, len(real), seed)]
    enhanced = np.stack(list(enhance(_load(frontend), source_image, real, synthesized, batch_size)))
    lossless, viewing = task.outputs
    write_video(lossless, enhanced, clip.fps, codec="ffv1", audio=clip.wav)
    columns = {
        "Ground truth": real,
        display_name(backend): synthesized,
        display_name(enhanced_method(backend)): enhanced,
    }
    write_video(viewing, _side_by_side(columns), clip.fps, audio=clip.wav)
    return {"frames": len(enhanced)}


def _side_by_side(columns: dict[str, np.ndarray]) -> Iterator[np.ndarray]:
    frames = min(len(video) for video in columns.values())
    for index in range(frames):
        yield np.hstack([label_image(_enlarged(video[index]), label) for label, video in columns.items()])


def _enlarged(frame: np.ndarray) -> np.ndarray:
    if max(frame.shape) >= VIEWING_SIZE:
        return frame
    return cv2.resize(frame, (VIEWING_SIZE, VIEWING_SIZE), interpolation=cv2.INTER_CUBIC)


def _batches(items: Iterable, size: int) -> Iterator[list]:
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
