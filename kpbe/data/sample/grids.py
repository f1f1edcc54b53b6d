"""Stage `draw_grids`: draw people in every combination of some head poses and some mouths.

They are the only pictures for which eq. (2) has a true answer: a grid of P poses and M mouths gives
quadruples of source (any picture), pose frame (pose p, any mouth), expression frame (mouth m, any pose) and
target (pose p, mouth m).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from kpbe.core.clip_tasks import ClipTask, run_clip_tasks
from kpbe.core.files import file_sha256, fingerprint, whole, write_json
from kpbe.core.processes import ShardMap, serial_map
from kpbe.data.clips import Clip, make_clip_id, write_manifest
from kpbe.data.crops import cropped, increase_to_square, points_in_crop, shift_inside, union
from kpbe.data.expression.labels import ExpressionLabels, in_picture, label_path
from kpbe.data.grids import GRID_FILE, DrawnGrid
from kpbe.data.head_pose.labels import euler_degrees
from kpbe.data.head_pose.labels import label_path as head_pose_path
from kpbe.data.sample.clip import poses_of
from kpbe.data.sample.identity import generator, identity_name
from kpbe.data.sample.motion import FPS, Motion, move
from kpbe.data.sample.person import person
from kpbe.data.sample.phonemes import babble
from kpbe.media.video_writer import VideoWriter
from kpbe.params import GridParams
from kpbe.recipes import recipe

POSE_LIMITS = np.array((38.0, 20.0, 16.0))
"""Largest yaw, pitch and roll in degrees; yaw and pitch of talking people in VoxCeleb stay within them."""

SHIFT_LIMITS = np.array((0.22, 0.16, 0.7))
"""Largest shift of the head, right, down and away from the camera, head units."""

SPEECH_SECONDS = 12.0
MARGIN = 0.1
BLINKING = 0.08
CRF, GOP = 10, 8


def draw_grids(params: GridParams, image_size: int, out: Path, map: ShardMap = serial_map) -> list[DrawnGrid]:
    """Write grids of drawn people into `out`; finished people are kept.

    Each is `train/<clip_id>.mp4` with its expression labels and head pose labels beside it; clips.csv lists
    them, grid.json says how many poses and mouths there are.

    Args:
        params: numbers of people, poses and mouths.
        image_size: side of the pictures in pixels.
        out: data/grids.
        map: see `kpbe.core.processes.ShardMap`.
    """
    tasks = [_task(params, image_size, index, out) for index in range(params.identities)]
    finished: list[tuple[ClipTask, dict[str, Any]]] = []
    if tasks:
        finished, _ = run_clip_tasks(
            "grids",
            tasks,
            partial(_make, image_size=image_size),
            out,
            map=map,
            shard_size=2,
            max_rejected_fraction=0.0,
        )
    out.mkdir(parents=True, exist_ok=True)
    clips = [Clip(**facts["clip"], folder=out) for _, facts in finished]
    write_manifest(out, clips)
    write_json(out / GRID_FILE, {"poses": params.poses, "mouths": params.mouths})
    return [DrawnGrid(clip, params.poses, params.mouths) for clip in clips]


def _task(params: GridParams, image_size: int, index: int, out: Path) -> ClipTask:
    name = f"drawn-{identity_name(index)}"
    frames = params.poses * params.mouths
    clip_id = make_clip_id(name, f"{params.poses}x{params.mouths}", 0, frames)
    clip = Clip(
        clip_id,
        "train",
        name,
        f"train/{clip_id}.mp4",
        frames,
        FPS,
        image_size,
        image_size,
        frames / FPS,
        False,
        "",
        0,
        frames,
        "",
        "",
        out,
    )
    made_from = fingerprint(
        "grids",
        recipe("draw_grids"),
        params.model_dump(mode="json", exclude={"identities"}),
        image_size,
        index,
    )
    outputs = (clip.video, label_path(clip.video.parent, clip), head_pose_path(clip.video.parent, clip))
    return ClipTask(
        clip_id, clip.video.with_suffix(".json"), outputs, made_from, str(clip.video), (params, index, clip)
    )


def _make(task: ClipTask, image_size: int) -> dict[str, Any]:
    params, index, clip = task.payload
    actor = person(index, params.seed, params.frame_size)
    motion = grid_motion(index, params)
    poses = poses_of(motion)
    boxes, lips, eyes = zip(*(actor.landmarks(pose) for pose in poses), strict=True)
    square = increase_to_square(union(np.stack(boxes)), MARGIN)
    crop = shift_inside(square, params.frame_size, params.frame_size)
    surface, scene = (np.stack([of(pose) for pose in poses]) for of in (actor.surface, actor.scene))
    known = np.concatenate([np.stack(lips), np.stack(eyes), surface, scene], 1)
    points = points_in_crop(known, crop, image_size)
    labels = ExpressionLabels.unknown(len(poses))
    labels.points[:] = in_picture(points, (image_size, image_size))
    video, expression, head_pose = task.outputs
    with VideoWriter(video, FPS, codec="h264", gop=GOP, crf=CRF) as writer:
        for pose in poses:
            writer.write(cropped(actor.draw(pose), crop, image_size))
    labels.save(expression)
    with whole(head_pose) as temporary:
        np.save(temporary, euler_degrees(np.stack([pose.rotation for pose in poses])))
    return {"clip": replace(clip, sha256=file_sha256(video)).facts}


def grid_motion(index: int, params: GridParams) -> Motion:
    """Tracks of the P * M combinations of a person.

    Poses are drawn evenly within the limits; mouths and brows are moments of speech.
    """
    name, poses, mouths = identity_name(index), params.poses, params.mouths
    rng = generator(params.seed, name, "grid")
    segments = babble(generator(params.seed, name, "grid", "phonemes"), SPEECH_SECONDS)
    speech = move(generator(params.seed, name, "grid", "motion"), segments, round(SPEECH_SECONDS * FPS))
    moments = _spread_openings(rng, speech.controls["jaw"] - speech.controls["lower_up"], mouths)
    angles = rng.uniform(-1, 1, (poses, 3)) * POSE_LIMITS
    shift = rng.uniform(-1, 1, (poses, 3)) * SHIFT_LIMITS
    gaze = np.clip(np.stack([-0.09 * np.sin(np.deg2rad(angles[:, 0])), np.zeros(poses)], 1), -0.05, 0.05)
    blink = (rng.random(mouths) < BLINKING).astype(float)
    return Motion(
        np.repeat(angles, mouths, 0),
        np.repeat(shift, mouths, 0),
        np.repeat(gaze, mouths, 0),
        np.tile(blink, poses),
        {control: np.tile(track[moments], poses) for control, track in speech.controls.items()},
    )


def _spread_openings(rng: np.random.Generator, openness: np.ndarray, count: int) -> np.ndarray:
    """Indices of moments from closed to wide open mouths, one from each of `count` equal ranks."""
    ranked = np.argsort(openness)
    edges = np.linspace(0, len(ranked), count + 1).astype(int)
    return np.array([ranked[rng.integers(a, max(a + 1, b))] for a, b in pairwise(edges)])
