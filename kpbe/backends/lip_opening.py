"""Lip openings in backends' trainings: known labels, and whether painted mouths open with the true ones.

L1 and PSNR cannot measure that: a mouth that is half open in every frame scores best in both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from kpbe.core.files import arrays_sha256
from kpbe.data.clips import Clip
from kpbe.data.expression.labels import labels_of
from kpbe.errors import MissingWeights
from kpbe.metrics.face_landmarks import FaceLandmarker, load_face_landmarker, openings_of
from kpbe.metrics.mouth import opening_correlation

FRAMES_PER_CLIP = 24
"""Frames of a clip to read, evenly spaced; FaceLandmarker takes about 20 ms for each."""

BORDER = 0.25
"""Width of the grey border around a face crop, as a share of its edge; without it, one face in twenty is not
detected.
"""


class OpeningJudge:
    """Measures the openings of true and painted mouths; those of true ones only once.

    Args:
        landmarker: reads the faces.
    """

    def __init__(self, landmarker: FaceLandmarker):
        self._landmarker = landmarker
        self._true: dict[str, np.ndarray] = {}

    @classmethod
    def load(cls) -> OpeningJudge | None:
        """A judge with FaceLandmarker; None where its file or mediapipe is missing."""
        try:
            return cls(load_face_landmarker())
        except MissingWeights:
            return None

    def follows(
        self, name: str, frames: int, true: Callable[[int], np.ndarray], painted: Callable[[int], np.ndarray]
    ) -> float | None:
        """Correlation of a clip's painted mouth with the true one, see `opening_correlation`.

        None where the true mouth does not move.

        Args:
            name: of the clip; its true openings are cached by name.
            frames: number of the clip's frames.
            true: gives the face crop of a frame by its index, uint8 RGB (H, W, 3).
            painted: gives the painted crop of the same frame.
        """
        indices = np.unique(
            np.linspace(0, frames - 1, min(frames, FRAMES_PER_CLIP)).round().astype(int)
        ).tolist()
        if name not in self._true:
            self._true[name] = self._openings([true(i) for i in indices])
        if opening_correlation(self._true[name], self._true[name]) is None:
            return None
        return opening_correlation(self._true[name], self._openings([painted(i) for i in indices]))

    def _openings(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        return openings_of(self._landmarker.read(_with_border(crop)) for crop in crops)


def _with_border(crop: np.ndarray) -> np.ndarray:
    border = round(BORDER * max(crop.shape[:2]))
    crop = np.ascontiguousarray(crop)
    grey = (128, 128, 128)
    return cv2.copyMakeBorder(crop, border, border, border, border, cv2.BORDER_CONSTANT, value=grey)


def known_openings(clip: Clip, folder: Path, frames: int) -> Tensor:
    """Lip openings (N,) of a clip from its expression labels, with mean 0 and deviation 1; NaN where unknown.

    Args:
        clip: a clip of the manifest; it may have no labels.
        folder: data/expression.
        frames: N, the number of frames in the clip's video; frames beyond the labels are NaN.

    Raises:
        KPBEError: the labels have another number of frames than the manifest says.
    """
    openings = np.full(frames, np.nan, np.float32)
    labels = labels_of(clip, folder).openings[:frames]
    openings[: len(labels)] = labels
    known = openings[np.isfinite(openings)]
    spread = float(known.std()) if len(known) > 1 else 0.0
    return torch.from_numpy(
        (openings - known.mean()) / spread if spread else np.full(frames, np.nan, np.float32)
    )


def openings_digest(openings: Iterable[Tensor]) -> str:
    """Digest of the openings that a training uses, a part of its identity."""
    return arrays_sha256(opening.numpy() for opening in openings)
