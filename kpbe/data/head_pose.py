"""Head pose labels: yaw, pitch and roll of every frame, for the head pose term of stage 1.

The built-in sample knows its true poses. Other sources have no labels here; the term is then off and the training says so.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kpbe.data.clips import Clip, read_manifest
from kpbe.data.raw import read_raw_videos
from kpbe.work import whole


def label_head_pose(raw: Path, clips: Path, out: Path) -> int:
    """Write `out`/<clip_id>.npy, float32 (frames, 3) yaw, pitch, roll in degrees, for each training clip with known poses.

    Labels of clips that are gone are removed.

    Args:
        raw: data/raw.
        clips: data/clips.
        out: data/head_pose.

    Returns:
        Number of labelled clips.
    """
    out.mkdir(parents=True, exist_ok=True)
    truths = {
        f"{video.identity}#{video.video_id}": video.path.with_suffix(".truth.npz")
        for video in read_raw_videos(raw)
    }
    wanted = set()
    for clip in read_manifest(clips, "train"):
        truth = truths.get(clip.clip_id.rsplit("#", 2)[0])
        if truth is None or not truth.exists():
            continue
        path = label_path(out, clip)
        wanted.add(path)
        with np.load(truth) as arrays:
            degrees = euler_degrees(arrays["rotation"][clip.start : clip.end])
        with whole(path) as temporary:
            np.save(temporary, degrees)
    for path in set(out.glob("*.npy")) - wanted:
        path.unlink()
    return len(wanted)


def label_path(folder: Path, clip: Clip) -> Path:
    """Where the labels of a clip lie; the file may not exist."""
    return folder / f"{clip.clip_id}.npy"


def euler_degrees(rotation: np.ndarray) -> np.ndarray:
    """Angles of rotations in the frontend's convention R = Rx(pitch) Ry(yaw) Rz(roll).

    Args:
        rotation: (N, 3, 3), head to camera, x right, y down, z away from the camera.

    Returns:
        float32 (N, 3) yaw, pitch, roll in degrees; yaw in [-90, 90].
    """
    yaw = np.arcsin(np.clip(rotation[:, 0, 2], -1, 1))
    pitch = np.arctan2(-rotation[:, 1, 2], rotation[:, 2, 2])
    roll = np.arctan2(-rotation[:, 0, 1], rotation[:, 0, 0])
    return np.degrees(np.stack([yaw, pitch, roll], axis=1)).astype(np.float32)
