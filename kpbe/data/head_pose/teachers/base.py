"""The protocol of head pose teachers, and the convention of their angles.

Hopenet, WHENet and FSA-Net were trained on 300W-LP, whose angles (Zhu et al. 2016) are positive for a head
that, as seen in the picture, turns to the left (yaw), looks up (pitch) and tilts clockwise (roll). They form
a rotation in the same order as the frontend's R = Rx(pitch) Ry(yaw) Rz(roll). With x right, y down and z away
from the camera such an R turns a head to the left for a positive yaw, clockwise for a positive roll, but down
for a positive pitch. So teachers return minus their network's pitch.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

TO_FRONTEND = np.array([1, -1, 1], np.float32)
"""Signs that convert 300W-LP's yaw, pitch, roll to the frontend's."""


class PoseTeacher(Protocol):
    """Estimates head poses."""

    def estimate(self, frames: np.ndarray) -> np.ndarray:
        """Angles of the head in each picture.

        Args:
            frames: (N, H, W, 3) uint8 RGB head crops with a margin of about 10 %, as preprocess makes them.

        Returns:
            float32 (N, 3) yaw, pitch, roll in degrees, in the frontend's convention R = Rx(pitch) Ry(yaw)
            Rz(roll).
        """
        ...
