"""Where the true mouth is in each frame of a clip: boxes of one size, in which every method's mouth is
scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kpbe.metrics.face_landmarks import FaceLandmarks
from kpbe.metrics.mouth import mouth_box, mouth_box_from_three_points


@dataclass(frozen=True)
class MouthBoxes:
    """Boxes of one size for a whole clip.

    Attributes:
        corners: (N, 2) int, left and top of each frame's box.
        width, height: of all boxes, pixels.
    """

    corners: np.ndarray
    width: int
    height: int

    def crop(self, frames: np.ndarray, indices: Sequence[int]) -> np.ndarray:
        """What the boxes hold, (n, height, width, 3), of frames (n, H, W, 3) that stand at `indices` of the
        clip.
        """
        placed = zip(frames, self.corners[list(indices)], strict=True)
        return np.stack([f[top : top + self.height, left : left + self.width] for f, (left, top) in placed])


def boxes_from_three_points(points: np.ndarray, width: int, height: int) -> MouthBoxes | None:
    """Boxes from eyes and mouth (N, 3, 2) of every frame, pixels; None where one is not known."""
    if not np.isfinite(points).all() or not len(points):
        return None
    return _of_one_size([mouth_box_from_three_points(p, (height, width)) for p in points], width, height)


def boxes_from_faces(
    faces: Sequence[FaceLandmarks | None], looked_at: Sequence[int], frames: int, width: int, height: int
) -> MouthBoxes | None:
    """Boxes from the landmarks of some frames; frames between them get what lies between, None without any
    face.

    Args:
        faces: of the frames `looked_at`, ascending; None without a face.
        looked_at: indices of these frames.
        frames: of the clip.
        width: of its frames, pixels.
        height: of its frames, pixels.
    """
    found = {
        index: mouth_box(face.lips, (height, width))
        for index, face in zip(looked_at, faces, strict=True)
        if face is not None
    }
    if not found:
        return None
    known = np.array(list(found.values()), np.float64)
    between = [np.interp(np.arange(frames), list(found), known[:, side]) for side in range(4)]
    return _of_one_size(np.stack(between, 1), width, height)


def _of_one_size(boxes: Sequence[Sequence[float]] | np.ndarray, width: int, height: int) -> MouthBoxes:
    """The largest box's size around every box's middle, moved into the frame."""
    array = np.asarray(boxes, np.float64)
    size = np.minimum(np.ceil((array[:, 2:] - array[:, :2]).max(0)), (width, height)).astype(int)
    middles = (array[:, :2] + array[:, 2:]) / 2
    corners = np.clip(np.round(middles - size / 2), 0, (width, height) - size).astype(int)
    return MouthBoxes(corners, int(size[0]), int(size[1]))
