"""Lip openings in backends' trainings: labels where they are known, and whether painted mouths open when the
true ones do.

L1 and PSNR cannot tell: a mouth that is half open in every frame has the best of them.
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
"""So many frames of a clip are read, evenly spaced: FaceLandmarker takes about 20 ms for each."""

BORDER = 0.25
"""Width of the grey border around a face crop, as a share of its edge: without one, one face in twenty is not
found.
"""


class OpeningJudge:
    """Reads the openings of true and painted mouths; those of the true ones once.

    Args:
        landmarker: reads the faces.
    """

    def __init__(self, landmarker: FaceLandmarker):
        self._landmarker = landmarker
        self._true: dict[str, np.ndarray] = {}

    @classmethod
    def load(cls) -> OpeningJudge | None:
        """With FaceLandmarker; None where its file or mediapipe is missing, so that trainings need
        neither.
        """
        try:
            return cls(load_face_landmarker())
        except MissingWeights:
            return None

    def follows(
        self, name: str, frames: int, true: Callable[[int], np.ndarray], painted: Callable[[int], np.ndarray]
    ) -> float | None:
        """How the painted mouth of a clip follows the true one, see `opening_correlation`; None where the
        true one does not move.

        Args:
            name: of the clip; its true openings are kept under it.
            frames: of the clip.
            true: face crop of a frame, uint8 RGB (H, W, 3).
            painted: the painted crop of the same frame.
        """
        shown = np.unique(
            np.linspace(0, frames - 1, min(frames, FRAMES_PER_CLIP)).round().astype(int)
        ).tolist()
        if name not in self._true:
            self._true[name] = self._openings([true(i) for i in shown])
        if opening_correlation(self._true[name], self._true[name]) is None:
            return None
        return opening_correlation(self._true[name], self._openings([painted(i) for i in shown]))

    def _openings(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        return openings_of(self._landmarker.read(_with_border(crop)) for crop in crops)


def _with_border(crop: np.ndarray) -> np.ndarray:
    border = round(BORDER * max(crop.shape[:2]))
    crop = np.ascontiguousarray(crop)
    grey = (128, 128, 128)
    return cv2.copyMakeBorder(crop, border, border, border, border, cv2.BORDER_CONSTANT, value=grey)


def known_openings(clip: Clip, folder: Path, frames: int) -> Tensor:
    """Lip openings of a clip by its expression labels, (N,) with mean 0 and standard deviation 1 over the
    clip; NaN where unknown.

    Args:
        clip: of the manifest; it may have no labels.
        folder: data/expression.
        frames: of the clip's video; as many as the manifest says, or the last ones are unknown.

    Raises:
        KPBEError: there are labels of as many frames as another clip has.
    """
    openings = np.full(frames, np.nan, np.float32)
    found = labels_of(clip, folder).openings[:frames]
    openings[: len(found)] = found
    known = openings[np.isfinite(openings)]
    spread = float(known.std()) if len(known) > 1 else 0.0
    return torch.from_numpy(
        (openings - known.mean()) / spread if spread else np.full(frames, np.nan, np.float32)
    )


def openings_digest(openings: Iterable[Tensor]) -> str:
    """Digest of the openings that a training learns from, a part of its identity."""
    return arrays_sha256(opening.numpy() for opening in openings)
