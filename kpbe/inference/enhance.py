"""Enhancement: source image + backend video + pose video -> clean frames (paper Fig. 1 and 2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kpbe.core.clip_tasks import ClipTask, Rejection, run_clip_tasks
from kpbe.core.device import torch_device
from kpbe.core.files import fingerprint
from kpbe.core.processes import ShardMap, kept_by_worker, serial_map
from kpbe.data.clips import backend_video, enhanced_video, read_manifest
from kpbe.data.source_frame import random_seed, source_frame_index
from kpbe.errors import BadClip
from kpbe.frontend.checkpoints import load_frontend
from kpbe.frontend.images import frames_at_once, to_tensor, to_uint8
from kpbe.frontend.model import Frontend
from kpbe.media.images import scaled
from kpbe.media.recording import Recording
from kpbe.media.sheets import label_image
from kpbe.media.video_writer import write_video
from kpbe.methods import (
    CONTROLS,
    REAL_EXPRESSION,
    SHUFFLED_BACKEND,
    SOURCE_EXPRESSION,
    SOURCE_POSE,
    display_name,
    enhanced_method,
)
from kpbe.params import Params
from kpbe.recipes import recipe

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

    Frames have the size of the source image; pose and backend frames may have others.

    Args:
        frontend: trained networks in eval mode.
        source_image: (H, W, 3) uint8 RGB; gives appearance and canonical keypoints.
        pose_frames: frames that the head pose is taken from, uint8 RGB of one size.
        backend_frames: frames of the same person that the expression is taken from, one for each pose frame;
            with the detail `warp_both` they are the second source.
        batch_size: frames rendered at once; fewer where they are large.

    Yields:
        One (H, W, 3) uint8 RGB frame for each pair, until the shorter video ends.
    """
    device = next(frontend.parameters()).device

    def images(frames: Sequence[np.ndarray]) -> Tensor:
        return to_tensor(np.stack(frames)).to(device)

    source = frontend.decompose(images([source_image]))
    size = frames_at_once(batch_size, source_image.shape[0], source_image.shape[1])
    pairs = zip(pose_frames, backend_frames, strict=False)
    while batch := list(islice(pairs, size)):
        poses, backends = zip(*batch, strict=True)
        pose = None
        if not all(np.array_equal(pose, backend) for pose, backend in batch):
            pose, _ = frontend.estimate_pose_expression(images(poses))
        yield from to_uint8(frontend.reenact(source, pose, images(backends)).frame)


def control_inputs(
    control: str, source_image: np.ndarray, pose_frames: np.ndarray, backend_frames: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pose frames and backend frames of a control: one of the two inputs of `enhance` is replaced.

    Args:
        control: one of `kpbe.methods.CONTROLS`.
        source_image: (H, W, 3) uint8 RGB.
        pose_frames: (N, H, W, 3) uint8 RGB, the real frames.
        backend_frames: (N, H, W, 3) uint8 RGB.
        seed: of the shuffled backend's order.

    Returns:
        (N, H, W, 3) each.
    """
    still = np.broadcast_to(source_image, backend_frames.shape)
    if control == SOURCE_EXPRESSION:
        return pose_frames, still
    if control == SHUFFLED_BACKEND:
        order = np.random.default_rng(seed).permutation(len(backend_frames))
        if np.array_equal(order, np.arange(len(order))):
            order = np.roll(order, 1)
        return pose_frames, backend_frames[order]
    if control == REAL_EXPRESSION:
        return pose_frames, pose_frames
    if control == SOURCE_POSE:
        return still, backend_frames
    raise ValueError(f"there is no control {control!r}: {', '.join(CONTROLS)}.")


def enhance_clips(
    backend: str,
    params: Params,
    clips: Path,
    backend_videos: Path,
    checkpoint: Path,
    out: Path,
    map: ShardMap = serial_map,
) -> list[Rejection]:
    """Enhance the backend's videos of all test clips, and render their controls.

    Writes for each test clip `test/<clip_id>.mkv` and `<control>/<clip_id>.mkv` (lossless, what the metrics
    read), and `viewing/<clip_id>.mp4` (ground truth, backend, enhanced side by side, with sound). Controls
    are rendered on the frames that are scored (every `evaluate.score_every`-th) and held in between.

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
        main = enhanced_video(out, clip)
        tasks.append(
            ClipTask(
                clip_id=clip.clip_id,
                record=main.with_name(f"{clip.clip_id}.json"),
                outputs=(
                    main,
                    out / VIEWING_FOLDER / f"{clip.clip_id}.mp4",
                    *(enhanced_video(out, clip, control) for control in CONTROLS),
                ),
                fingerprint=fingerprint(
                    recipe("enhance"),
                    clip.sha256,
                    clip.wav if clip.wav.exists() else "missing",
                    video if video.exists() else "missing",
                    checkpoint_digest,
                    seed,
                    params.evaluate.score_every,
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
        score_every=params.evaluate.score_every,
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


@kept_by_worker
def _load(frontend: _Loadable) -> Frontend:
    return load_frontend(frontend.checkpoint, frontend.device).for_rendering()


def _enhance_clip(
    task: ClipTask, frontend: _Loadable, backend: str, seed: int, score_every: int, batch_size: int
) -> dict[str, int]:
    clip, video = task.payload
    if not video.exists():
        raise BadClip(f"{video} does not exist: the backend made no video of this clip.")
    real, synthesized = Recording(clip.video).frames(), Recording(video).frames()
    source_image = real[source_frame_index(clip.clip_id, len(real), seed)]
    frames = min(len(real), len(synthesized))
    real, synthesized = real[:frames], synthesized[:frames]

    def render(pose_frames: np.ndarray, backend_frames: np.ndarray) -> np.ndarray:
        return np.stack(list(enhance(network, source_image, pose_frames, backend_frames, batch_size)))

    network = _load(frontend)
    enhanced = render(real, synthesized)
    lossless, viewing, *of_controls = task.outputs
    write_video(lossless, enhanced, clip.fps, codec="ffv1", audio=clip.wav)
    columns = {
        "Ground truth": real,
        display_name(backend): synthesized,
        display_name(enhanced_method(backend)): enhanced,
    }
    write_video(viewing, _side_by_side(columns), clip.fps, audio=clip.wav)
    order = random_seed(clip.clip_id, seed)
    for control, path in zip(CONTROLS, of_controls, strict=True):
        inputs = control_inputs(control, source_image, real, synthesized, order)
        scored = render(*(frames[::score_every] for frames in inputs))
        held = np.repeat(scored, score_every, axis=0)[:frames]
        write_video(path, held, clip.fps, codec="ffv1", audio=clip.wav)
    return {"frames": len(enhanced)}


def _side_by_side(columns: dict[str, np.ndarray]) -> Iterator[np.ndarray]:
    frames = min(len(video) for video in columns.values())
    for index in range(frames):
        yield np.hstack([label_image(_enlarged(video[index]), label) for label, video in columns.items()])


def _enlarged(frame: np.ndarray) -> np.ndarray:
    return frame if max(frame.shape) >= VIEWING_SIZE else scaled(frame, VIEWING_SIZE, VIEWING_SIZE)
