"""Box tubes and crops, exactly as FOMM's video preprocessing cuts them.

Source: AliaksandrSiarohin/video-preprocessing, crop_vox.py and util.py. Boxes are (left, top, right, bottom)
in pixels; a row of zeros stands for a frame without a face.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kpbe.errors import BadClip
from kpbe.media.images import scaled
from kpbe.params import CropParams

Box = tuple[float, float, float, float]
PixelBox = tuple[int, int, int, int]


@dataclass(frozen=True)
class Tube:
    """A run of frames whose face boxes stay near the first one.

    Attributes:
        start, end: frames, `end` exclusive.
        box: union of the face boxes.
    """

    start: int
    end: int
    box: Box


def iou(box: Sequence[float] | np.ndarray, others: Sequence[float] | np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (..., 4), broadcast.

    A box that ends at pixel r includes pixel r (the +1 convention).
    """
    a, b = np.asarray(box, float), np.asarray(others, float)
    overlap = np.minimum(a[..., 2:4], b[..., 2:4]) - np.maximum(a[..., :2], b[..., :2]) + 1
    intersection = np.prod(np.maximum(overlap, 0), axis=-1)
    areas = [np.prod(x[..., 2:4] - x[..., :2] + 1, axis=-1) for x in (a, b)]
    return intersection / (areas[0] + areas[1] - intersection)


def union(boxes: Sequence[Sequence[float]] | np.ndarray) -> Box:
    """The smallest box that holds all boxes (N, 4)."""
    boxes = np.asarray(boxes, float)
    left, top = boxes[:, :2].min(axis=0)
    right, bottom = boxes[:, 2:].max(axis=0)
    return float(left), float(top), float(right), float(bottom)


def box_tubes(boxes: np.ndarray, iou_with_first: float, max_frames: int) -> list[Tube]:
    """Cut a track (N, 4) into tubes.

    A tube ends before the frame whose box has an IoU below `iou_with_first` with the tube's first box, before
    a frame without a face, or after `max_frames`. Frames without a face belong to no tube.
    """
    tubes: list[Tube] = []
    visible = (boxes != 0).any(axis=1)
    start: int | None = None
    for i in range(len(boxes) + 1):
        inside = i < len(boxes) and bool(visible[i])
        if start is not None and (
            not inside or iou(boxes[start], boxes[i]) < iou_with_first or i - start >= max_frames
        ):
            tubes.append(Tube(start, i, union(boxes[start:i])))
            start = None
        if start is None and inside:
            start = i
    return tubes


def increase_to_square(box: Sequence[float], increase: float) -> PixelBox:
    """Enlarge a box about its centre to a square of (1 + 2 `increase`) times its longer side.

    Coordinates are truncated towards zero one by one, so the sides may differ by a pixel.
    """
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    share_x = max(increase, ((1 + 2 * increase) * height - width) / (2 * width))
    share_y = max(increase, ((1 + 2 * increase) * width - height) / (2 * height))
    return (
        int(left - share_x * width),
        int(top - share_y * height),
        int(right + share_x * width),
        int(bottom + share_y * height),
    )


def shift_inside(crop: PixelBox, width: int, height: int) -> PixelBox:
    """Shift a crop into a frame; if it is larger, use the largest square about its centre that fits."""
    left, top, right, bottom = crop
    crop_width, crop_height = right - left, bottom - top
    if crop_width > width or crop_height > height:
        side = min(width, height)
        left, top = (left + right - side) // 2, (top + bottom - side) // 2
        crop_width = crop_height = side
    left = min(max(left, 0), width - crop_width)
    top = min(max(top, 0), height - crop_height)
    return left, top, left + crop_width, top + crop_height


def crop_of_tube(tube: Tube, width: int, height: int, crop: CropParams, fps: float = 25.0) -> PixelBox:
    """The region of a width x height frame that shows a tube's face; `fps` is only used in messages.

    Raises:
        BadClip: the tube is too short or too small, or its crop leaves the frame and `at_border` is `reject`.
    """
    require_length(tube.end - tube.start, crop.min_frames, fps)
    size = max(tube.box[2] - tube.box[0], tube.box[3] - tube.box[1])
    if size < crop.min_size:
        raise BadClip(f"the face takes {size:.0f} pixels, less than data.crop.min_size = {crop.min_size}")
    box = increase_to_square(tube.box, crop.increase)
    if crop.at_border == "shift":
        return shift_inside(box, width, height)
    if box[0] < 0 or box[1] < 0 or box[2] > width or box[3] > height:
        raise BadClip(
            "the face is too near to the border of the frame (data.crop.at_border: shift would keep it)"
        )
    return box


def require_length(frames: int, min_frames: int, fps: float) -> None:
    """Refuse a clip of fewer than `min_frames` frames.

    Raises:
        BadClip: it is too short.
    """
    if frames < min_frames:
        raise BadClip(
            f"{frames} frames ({frames / fps:.2f} s) can be used, less than data.crop.min_frames = "
            f"{min_frames}"
        )


def centred_square(width: int, height: int) -> PixelBox:
    """The largest square in the middle of a width x height frame."""
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def boxes_in_crop(boxes: np.ndarray, crop: PixelBox, image_size: int) -> np.ndarray:
    """Boxes (N, 4) of the frame as float32 boxes in pixels of the crop resized to `image_size`.

    They are clipped at the crop's borders.
    """
    left, top, right, bottom = crop
    scale = image_size / np.array([right - left, bottom - top] * 2, float)
    return np.clip((boxes - (left, top, left, top)) * scale, 0, image_size).astype(np.float32)


def points_in_crop(points: np.ndarray, crop: PixelBox, image_size: int) -> np.ndarray:
    """Points (..., 2) of the frame as float32 points in pixels of the crop resized to `image_size`.

    They may lie outside.
    """
    left, top, right, bottom = crop
    scale = image_size / np.array([right - left, bottom - top], float)
    # pixel centres lie at whole numbers, hence the half pixel
    return ((points + 0.5 - (left, top)) * scale - 0.5).astype(np.float32)


def cropped(frame: np.ndarray, crop: PixelBox, size: int) -> np.ndarray:
    """The part of a frame (H, W, 3) uint8 RGB inside `crop`, scaled to (size, size, 3)."""
    left, top, right, bottom = crop
    return scaled(np.ascontiguousarray(frame[top:bottom, left:right]), size, size)
