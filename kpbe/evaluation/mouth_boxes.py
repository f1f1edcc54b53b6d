"""Boxes of the true mouth in each frame of a clip, all of one size; mouths are scored in them."""

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
        """Crop frames (n, H, W, 3), which are at `indices` of the clip, to (n, height, width, 3)."""
        pairs = zip(frames, self.corners[list(indices)], strict=True)
        return np.stack([f[top : top + self.height, left : left + self.width] for f, (left, top) in pairs])


def boxes_from_three_points(points: np.ndarray, width: int, height: int) -> MouthBoxes | None:
    """Boxes from eyes and mouth (N, 3, 2) of every frame, pixels; None if a point is unknown."""
    if not np.isfinite(points).all() or not len(points):
        return None
    return _of_one_size([mouth_box_from_three_points(p, (height, width)) for p in points], width, height)


def boxes_from_faces(
    faces: Sequence[FaceLandmarks | None], looked_at: Sequence[int], frames: int, width: int, height: int
) -> MouthBoxes | None:
    """Boxes from the landmarks of some frames, interpolated between them; None without any face.

    Args:
        faces: faces in the frames `looked_at`; None without a face.
        looked_at: indices of these frames, ascending.
        frames: number of the clip's frames.
        width: of its frames, pixels.
        height: of its frames, pixels.
    """
    boxes = {
        index: mouth_box(face.lips, (height, width))
        for index, face in zip(looked_at, faces, strict=True)
        if face is not None
    }
    if not boxes:
        return None
    known = np.array(list(boxes.values()), np.float64)
    between = [np.interp(np.arange(frames), list(boxes), known[:, side]) for side in range(4)]
    return _of_one_size(np.stack(between, 1), width, height)


def _of_one_size(boxes: Sequence[Sequence[float]] | np.ndarray, width: int, height: int) -> MouthBoxes:
    """Boxes of the largest box's size around every box's middle, shifted into the frame."""
    array = np.asarray(boxes, np.float64)
    size = np.minimum(np.ceil((array[:, 2:] - array[:, :2]).max(0)), (width, height)).astype(int)
    middles = (array[:, :2] + array[:, 2:]) / 2
    corners = np.clip(np.round(middles - size / 2), 0, (width, height) - size).astype(int)
    return MouthBoxes(corners, int(size[0]), int(size[1]))
