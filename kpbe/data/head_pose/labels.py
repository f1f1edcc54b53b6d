"""Head pose labels: their files and the convention of their angles.

kpbe/data/head_pose/label.py writes them, the trainings read them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kpbe.data.clips import Clip


def label_path(folder: Path, clip: Clip) -> Path:
    """Path of a clip's head pose labels; the file may not exist."""
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
