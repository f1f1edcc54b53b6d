"""Placement augmentation: roll, scale and shift a training picture and its labels."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from kpbe.training.sampling import DOWN, RIGHT, ROLL, SCALE


def placing(placement: np.ndarray) -> np.ndarray:
    """The affine map (2, 3) for a row of `Samples.placements`.

    It acts on a picture's coordinates, whose -1 and 1 are the picture's edges.
    """
    radians, scale = np.radians(placement[ROLL]), placement[SCALE]
    turn = np.array([[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]])
    return np.column_stack([scale * turn, placement[[RIGHT, DOWN]]]).astype(np.float32)


def placed_picture(picture: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """A square picture (S, S, 3) uint8 moved by a map of `placing`.

    Beyond its edges the picture is mirrored.
    """
    side = picture.shape[0]
    centre = np.full(2, (side - 1) / 2)
    shift = centre - matrix[:, :2] @ centre + matrix[:, 2] * side / 2
    return cv2.warpAffine(
        picture,
        np.column_stack([matrix[:, :2], shift]),
        (side, side),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )


def placed_points(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (..., 2) in the picture's coordinates moved by a map of `placing`; NaN stays NaN."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def rolled_degrees(degrees: np.ndarray, placement: np.ndarray) -> np.ndarray:
    """Yaw, pitch and roll (3,), degrees, after the picture was rolled; NaN stays NaN.

    The convention is R = Rx(pitch) Ry(yaw) Rz(roll).
    """
    if not np.isfinite(degrees).all() or placement[ROLL] == 0:
        return degrees
    yaw, pitch, roll = degrees
    turned = Rotation.from_euler("z", placement[ROLL], degrees=True) * Rotation.from_euler(
        "XYZ", [pitch, yaw, roll], degrees=True
    )
    pitch, yaw, roll = turned.as_euler("XYZ", degrees=True)
    return np.array([yaw, pitch, roll], np.float32)
