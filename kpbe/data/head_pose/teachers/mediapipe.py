"""MediaPipe's FaceLandmarker as a head pose teacher: the pose of its canonical face in the picture."""

from __future__ import annotations

import numpy as np

from kpbe.data.head_pose.labels import euler_degrees
from kpbe.metrics.face_landmarks import FaceLandmarks, load_face_landmarker

AXES = np.diag([1.0, -1.0, -1.0])
"""From MediaPipe's axes (y up, z towards the viewer) to the frontend's (y down, z away)."""


class MediaPipeTeacher:
    """See `PoseTeacher`; angles of frames without a face are interpolated between their neighbours.

    Raises:
        MissingWeights, BadCheckpoint: as `load_face_landmarker`.
    """

    def __init__(self) -> None:
        self._network = load_face_landmarker()

    def estimate(self, frames: np.ndarray) -> np.ndarray:
        """See `PoseTeacher.estimate`; NaN everywhere when no frame shows a face."""
        faces = [self._network.read(np.ascontiguousarray(frame)) for frame in frames]
        degrees = np.full((len(frames), 3), np.nan, np.float32)
        for row, face in enumerate(faces):
            if face is not None:
                degrees[row] = degrees_of(face)
        known = np.flatnonzero(np.isfinite(degrees).all(1))
        if 0 < len(known) < len(degrees):
            rows = np.arange(len(degrees))
            columns = [np.interp(rows, known, degrees[known, i]) for i in range(3)]
            degrees = np.stack(columns, 1).astype(np.float32)
        return degrees


def degrees_of(face: FaceLandmarks) -> np.ndarray:
    """Yaw, pitch and roll (3,) of a face in degrees, in the frontend's convention."""
    return euler_degrees((AXES @ face.rotation @ AXES)[None])[0]
