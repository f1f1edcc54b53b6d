"""How much head poses differ, and what share of the driving head's movement a result makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from kpbe.metrics.face_landmarks import FaceLandmarks

LEAST_TURN = 2.0
"""Degrees, root mean square over frames; a head that turns less from the source's pose counts as still.
FaceLandmarker's own noise is 0.2 (0.6 at the 95th percentile), which at this limit lowers a share by a tenth
at most.
"""

LEAST_SHIFT = 0.02
"""Face sizes, root mean square over frames, in each direction; the noise is 0.002 (0.004 at the 95th
percentile).
"""


@dataclass(frozen=True)
class AngleError:
    """Mean absolute differences in degrees: of each axis, and the mean of the three."""

    yaw: float
    pitch: float
    roll: float
    mean: float


@dataclass(frozen=True)
class ShareOfTheWay:
    """The share of the driving head's movement away from the source that a result makes.

    1 is right, 0 stays at the source's pose.

    Attributes:
        turn: of the rotation about all three axes.
        across, down: of the shift of the face in the picture.

    Each is None where the driving head hardly moves (2 degrees; 0.02 face sizes; root mean square) or no
    frame can be compared.
    """

    turn: float | None
    across: float | None
    down: float | None


def mean_angle_error(degrees_truth: np.ndarray, degrees_test: np.ndarray) -> AngleError:
    """Mean absolute difference of yaw, pitch and roll over frames.

    Args:
        degrees_truth: (N, 3) yaw, pitch, roll; a frame with NaN in either is left out.
        degrees_test: (N, 3), same convention.

    Returns:
        Differences are taken the short way round the circle; NaN when no frame can be compared.
    """
    truth, test = np.asarray(degrees_truth, np.float64), np.asarray(degrees_test, np.float64)
    if truth.shape != test.shape or truth.ndim != 2 or truth.shape[1] != 3:
        raise ValueError(f"angles of shape {truth.shape} and {test.shape} cannot be compared.")
    difference = np.abs((test - truth + 180) % 360 - 180)
    difference = difference[np.isfinite(difference).all(1)]
    yaw, pitch, roll = difference.mean(0).tolist() if len(difference) else [float("nan")] * 3
    return AngleError(yaw, pitch, roll, (yaw + pitch + roll) / 3)


def share_of_the_way(
    source: FaceLandmarks, driving: Sequence[FaceLandmarks | None], result: Sequence[FaceLandmarks | None]
) -> ShareOfTheWay:
    """The share of the way, from faces read in pictures; frames where either has no face are left out.

    Args:
        source: face of the source picture.
        driving: faces of the N driving frames, which show the same person at the same scale (the clip drives
            its own head pose).
        result: faces of the N frames of the result.

    Raises:
        ValueError: driving and result differ in length.
    """
    if len(driving) != len(result):
        raise ValueError(f"{len(driving)} driving and {len(result)} resulting frames cannot be compared.")
    pairs = [(d, r) for d, r in zip(driving, result, strict=True) if d is not None and r is not None]
    if not pairs:
        return ShareOfTheWay(None, None, None)
    drivers, results = zip(*pairs, strict=True)
    return share_of_the_way_of_poses(
        (source.rotation, source.centre),
        (np.stack([face.rotation for face in drivers]), np.stack([face.centre for face in drivers])),
        (np.stack([face.rotation for face in results]), np.stack([face.centre for face in results])),
        source.size,
    )


def share_of_the_way_of_poses(
    source: tuple[np.ndarray, np.ndarray],
    driving: tuple[np.ndarray, np.ndarray],
    result: tuple[np.ndarray, np.ndarray],
    face_size: float,
) -> ShareOfTheWay:
    """The share of the way, from poses: how far the result moved over how far the driving head moved.

    Each share is the slope of a regression through 0, pooled over frames, of movements from the source. Turns
    are the rotation vectors of R_frame R_source^T (all three components pooled); shifts are those of the
    face's centre over the face's size.

    Args:
        source: (3, 3) rotation and (2,) centre of the face, pixels.
        driving: (N, 3, 3) rotations and (N, 2) centres; a frame with NaN here or in `result` is left out.
        result: (N, 3, 3) and (N, 2) likewise.
        face_size: of the source's face, in the unit of the centres.

    Raises:
        ValueError: driving and result differ in shape.
    """
    (rotation, centre), driving, result = source, _arrays(driving), _arrays(result)
    if driving[0].shape != result[0].shape or driving[1].shape != result[1].shape:
        raise ValueError(
            f"{len(driving[0])} driving and {len(result[0])} resulting frames cannot be compared."
        )
    seen = np.all([np.isfinite(x.reshape(len(x), -1)).all(1) for x in (*driving, *result)], axis=0)
    start = np.broadcast_to(np.asarray(rotation, np.float64), driving[0].shape)[seen]
    turns = [_rotation_vectors(start, poses[0][seen]) for poses in (driving, result)]
    shifts = [(poses[1][seen] - centre) / face_size for poses in (driving, result)]
    return ShareOfTheWay(
        _slope(turns[0], turns[1], LEAST_TURN),
        _slope(shifts[0][:, :1], shifts[1][:, :1], LEAST_SHIFT),
        _slope(shifts[0][:, 1:], shifts[1][:, 1:], LEAST_SHIFT),
    )


def _arrays(poses: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(poses[0], np.float64), np.asarray(poses[1], np.float64)


def _rotation_vectors(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """(N, 3) rotation vectors in degrees of end start^T; NaN where a matrix has NaN."""
    vectors = np.full((len(start), 3), np.nan)
    known = np.isfinite(start).all((1, 2)) & np.isfinite(end).all((1, 2))
    if known.any():
        turn = Rotation.from_matrix(end[known]) * Rotation.from_matrix(start[known]).inv()
        vectors[known] = turn.as_rotvec(degrees=True)
    return vectors


def _slope(driving: np.ndarray, result: np.ndarray, least: float) -> float | None:
    """Regression through 0 of (N, K) movements; None where the driving ones are smaller than `least`."""
    power = float(np.square(driving).sum())
    if not len(driving) or power / len(driving) < least**2:
        return None
    return float((driving * result).sum() / power)
