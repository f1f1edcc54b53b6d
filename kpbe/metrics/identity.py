"""CSIM, the similarity of two faces: the cosine between their ArcFace embeddings (Deng et al. 2019)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kpbe.checkpoints import catalogue
from kpbe.errors import BadCheckpoint

SIDE = 112
EMBEDDING = 512

TEMPLATE = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)
"""Eyes, tip of the nose and corners of the mouth in ArcFace's 112x112 training pictures, pixels."""


class ArcFace:
    """ArcFace's MobileFaceNet through onnxruntime, on one core.

    Args:
        path: InsightFace's w600k_mbf.onnx.

    Raises:
        BadCheckpoint: the file is something else.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
            (entry,), (end,) = self._session.get_inputs(), self._session.get_outputs()
            fits = list(entry.shape[1:]) == [3, SIDE, SIDE] and list(end.shape[1:]) == [EMBEDDING]
        except Exception:  # onnxruntime has a class of errors for each status and no common one
            fits = False
        if not fits:
            raise BadCheckpoint(f"{path} cannot be loaded as ArcFace: get it again.")
        self._input = entry.name

    def embed(self, frame: np.ndarray, five_points: np.ndarray) -> np.ndarray:
        """The embedding of one face.

        Args:
            frame: (H, W, 3) uint8 RGB.
            five_points: (5, 2) eyes (left, right in the picture), tip of the nose, corners of the mouth
                (left, right), pixels.

        Returns:
            (512,) float32, not of unit length; compare by `cosine`.
        """
        face = (aligned_face(frame, five_points).astype(np.float32) - 127.5) / 127.5
        batch = np.ascontiguousarray(face.transpose(2, 0, 1)[None])
        return np.asarray(self._session.run(None, {self._input: batch})[0])[0]


def load_arcface() -> ArcFace:
    """ArcFace with its published weights, which are for non-commercial research.

    Raises:
        MissingWeights: the file is missing.
        BadCheckpoint: the file is something else.
    """
    return ArcFace(catalogue.require("arcface"))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Cosine in [-1, 1] between two embeddings (512,): CSIM."""
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(first @ second / max(float(np.linalg.norm(first) * np.linalg.norm(second)), 1e-12))


def aligned_face(frame: np.ndarray, five_points: np.ndarray) -> np.ndarray:
    """The face as ArcFace needs it: (112, 112, 3) uint8.

    A similarity brings its five points as near to the template's as possible.

    Raises:
        ValueError: the points are not (5, 2) finite numbers, or all the same.
    """
    import cv2

    return cv2.warpAffine(frame, _similarity(five_points), (SIDE, SIDE), flags=cv2.INTER_LINEAR)


def _similarity(five_points: np.ndarray) -> np.ndarray:
    """(2, 3) similarity matrix that fits the points to the template's in least squares (Umeyama 1991)."""
    points = np.asarray(five_points, np.float64)
    if points.shape != (5, 2) or not np.isfinite(points).all() or not np.ptp(points):
        raise ValueError(f"a face needs five different finite points (5, 2), not {points.shape}.")
    # in complex numbers a similarity is one product and one sum
    start, end = points @ (1, 1j), TEMPLATE @ (1, 1j)
    spread = start - start.mean()
    factor = np.vdot(spread, end - end.mean()) / np.vdot(spread, spread).real
    shift = end.mean() - factor * start.mean()
    return np.array([(factor.real, -factor.imag, shift.real), (factor.imag, factor.real, shift.imag)])
