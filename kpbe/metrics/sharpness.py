"""How sharp frames are, and how much a video trembles."""

from __future__ import annotations

import numpy as np

from kpbe.metrics.image import LUMINANCE


def sharpness(frame: np.ndarray) -> float:
    """Variance of the Laplacian (4 neighbours, reflected edges) of BT.601 luma.

    A usual measure of focus (Pech-Pacheco et al. 2000). It grows with contrast and with noise, so compare it
    with the truth's value.

    Args:
        frame: (H, W, 3) RGB, 0..255.

    Returns:
        Grey levels squared; 0 for a flat picture.

    Raises:
        ValueError: the frame has another shape.
    """
    import cv2

    if frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(f"a frame must be (H, W, 3), not {frame.shape}.")
    return float(cv2.Laplacian(_luma(frame), cv2.CV_64F).var())


def temporal_jitter(points: np.ndarray, face_size: float | np.ndarray) -> float | None:
    """Mean length of the second difference over time of face points, over the size of the face.

    A steady movement gives 0, trembling a large value. A real face accelerates too, so compare it with the
    truth's value.

    Args:
        points: (N, K, 2) of N consecutive frames, pixels. A frame without a face is NaN; differences that
            involve it are left out.
        face_size: one size for the video or (N,) one per frame, pixels (see FaceLandmarks.size).

    Returns:
        Face sizes per frame squared; None where no three frames in a row have a face.

    Raises:
        ValueError: the points have another shape.
    """
    points = np.asarray(points, np.float64)
    if points.ndim != 3 or points.shape[2] != 2 or not points.shape[1]:
        raise ValueError(f"points must be (N, K, 2), not {points.shape}.")
    if len(points) < 3:
        return None
    size = np.broadcast_to(np.asarray(face_size, np.float64), len(points))[1:-1]
    change = np.linalg.norm(np.diff(points, 2, axis=0), axis=2).mean(1) / size
    known = change[np.isfinite(change)]
    return float(known.mean()) if len(known) else None


def _luma(frame: np.ndarray) -> np.ndarray:
    return frame.astype(np.float64) @ np.array(LUMINANCE)
