"""Face crops of Wav2Lip: box padding and smoothing, 96x96 BGR crops, the generator's input, pasting back.

Follows the reference's inference script, including its rounding, with which its checkpoints were evaluated.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from kpbe.backends.wav2lip.networks import FACE_SIZE

SMOOTHING_WINDOW = 5
SEAM = 0.12
"""Share of the box over which a feathered paste fades; the mouth lies farther inside."""


def pad_boxes(boxes: np.ndarray, pads: Sequence[int], height: int, width: int) -> np.ndarray:
    """Whole-pixel boxes enlarged by `pads` and clipped to the frame.

    Args:
        boxes: (N, 4) left, top, right, bottom in pixels.
        pads: pixels added at the top, bottom, left, right.
        height: of the frame.
        width: of the frame.

    Returns:
        (N, 4) int64 left, top, right, bottom. Fractions are truncated, as in the reference.
    """
    top, bottom, left, right = pads
    whole = np.maximum(boxes, 0).astype(np.int64)
    return np.stack(
        (
            np.maximum(whole[:, 0] - left, 0),
            np.maximum(whole[:, 1] - top, 0),
            np.minimum(whole[:, 2] + right, width),
            np.minimum(whole[:, 3] + bottom, height),
        ),
        axis=1,
    )


def smooth_boxes(boxes: np.ndarray, window: int = SMOOTHING_WINDOW) -> np.ndarray:
    """Mean of each box and the next ones, as the reference computes it.

    The reference writes into the array that it reads, truncates fractions, and uses the last window, by then
    partly smoothed, for the last boxes. With fewer boxes than `window` its negative slice start selects only
    the last few of them.

    Args:
        boxes: (N, 4) integers.
        window: number of boxes in a mean.

    Returns:
        (N, 4) int64.
    """
    smoothed = np.array(boxes, dtype=np.int64)
    last = len(smoothed) - window
    for i in range(len(smoothed)):
        smoothed[i] = smoothed[min(i, last) :][:window].mean(axis=0)
    return smoothed


def crop_boxes(boxes: np.ndarray, pads: Sequence[int], smooth: bool, height: int, width: int) -> np.ndarray:
    """Crop rectangles of consecutive frames from their face boxes: padded, clipped, smoothed.

    Returns:
        (N, 4) int64 left, top, right, bottom inside the frame. A rectangle may be empty where the box lies
        outside.
    """
    padded = pad_boxes(boxes, pads, height, width)
    return smooth_boxes(padded) if smooth else padded


def crop_face(frame: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The 96x96 uint8 BGR crop of an RGB frame (H, W, 3).

    `box` is left, top, right, bottom in whole pixels.
    """
    left, top, right, bottom = (int(v) for v in box)
    face = np.ascontiguousarray(frame[top:bottom, left:right, ::-1])
    return cv2.resize(face, (FACE_SIZE, FACE_SIZE), interpolation=cv2.INTER_LINEAR)


def prepare_face_window(frames: Iterable[np.ndarray], boxes: np.ndarray) -> Tensor:
    """Crops of several frames as input of the networks.

    Args:
        frames: N uint8 RGB frames (H, W, 3).
        boxes: (N, 4) rectangles of `crop_boxes`.

    Returns:
        float32 (N, 3, 96, 96), BGR in [0, 1].
    """
    crops = np.stack([crop_face(frame, box) for frame, box in zip(frames, boxes, strict=True)])
    return torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255


def generator_input(faces: Tensor, references: Tensor) -> Tensor:
    """Channels [face with its lower half zeroed, reference face], (N, 6, 96, 96).

    Args:
        faces: (N, 3, 96, 96) faces to paint on, [0, 1].
        references: (N, 3, 96, 96) faces of the same person with the mouth: in synthesis `faces` itself, in
            training a random other moment, so that the mouth cannot be copied.
    """
    masked = faces.clone()
    masked[:, :, FACE_SIZE // 2 :] = 0
    return torch.cat((masked, references), dim=1)


def painted_faces(output: Tensor) -> np.ndarray:
    """Generator output (N, 3, 96, 96) in [0, 1] -> (N, 96, 96, 3) uint8.

    Fractions are truncated, as in the reference.
    """
    return (output * 255).byte().permute(0, 2, 3, 1).cpu().numpy()


def paste_face(frame: np.ndarray, face: np.ndarray, box: np.ndarray, seam: float = 0.0) -> np.ndarray:
    """A copy of an RGB frame with a 96x96 BGR face resized into `box`.

    Args:
        frame: uint8 (H, W, 3) RGB.
        face: uint8 (96, 96, 3) BGR.
        box: left, top, right, bottom in whole pixels, inside the frame.
        seam: width of the edge over which the face fades into the frame, as a share of the box's sides; 0 is
            the reference's hard edge. A side of the box that lies on the frame's border does not fade.
    """
    left, top, right, bottom = (int(v) for v in box)
    pasted = frame.copy()
    resized = cv2.resize(face, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)[:, :, ::-1]
    if seam:
        height, width = frame.shape[:2]
        down = _fading(bottom - top, seam, top > 0, bottom < height)
        across = _fading(right - left, seam, left > 0, right < width)
        share = (down[:, None] * across)[..., None]
        resized = np.rint(share * resized + (1 - share) * frame[top:bottom, left:right]).astype(np.uint8)
    pasted[top:bottom, left:right] = resized
    return pasted


def _fading(length: int, seam: float, first: bool, last: bool) -> np.ndarray:
    """The face's share along one side of its box, (length,) in [0, 1].

    It rises at the first end and falls at the last one (half a cosine).
    """
    inside = np.arange(length) + 0.5
    share = np.ones(length)
    for fades, distance in ((first, inside), (last, length - inside)):
        if fades:
            share *= 0.5 - 0.5 * np.cos(np.pi * np.clip(distance / (seam * length), 0, 1))
    return share
