"""Lip openings in backends' trainings: labels where they are known, and whether painted mouths open when the true ones do.

L1 and PSNR cannot tell: a mouth that is half open in every frame has the best of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from kpbe.data.clips import Clip
from kpbe.errors import KPBEError, MissingWeights
from kpbe.media.video import read_frames
from kpbe.metrics.face_landmarks import FaceLandmarker, load_face_landmarker, openings_of
from kpbe.metrics.mouth import opening_correlation
from kpbe.work import whole

FRAMES_PER_CLIP = 24
"""So many frames of a clip are read, evenly spaced: FaceLandmarker takes about 20 ms for each."""

BORDER = 0.25
"""Width of the grey border around a face crop, as a share of its edge: without one, one face in twenty is not found."""


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
        """With FaceLandmarker; None where its file or mediapipe is missing, so that trainings need neither."""
        try:
            return cls(load_face_landmarker())
        except MissingWeights:
            return None

    def follows(
        self, name: str, frames: int, true: Callable[[int], np.ndarray], painted: Callable[[int], np.ndarray]
    ) -> float | None:
        """How the painted mouth of a clip follows the true one, see `opening_correlation`; None where the true one does not move.

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


def known_openings(clip: Clip, frames: int) -> Tensor:
    """Lip openings that lie beside a clip as labels, (N,) with mean 0 and standard deviation 1 over the clip; NaN where unknown.

    Raises:
        KPBEError: there are as many as another clip has frames.
    """
    if not clip.opening.exists():
        return torch.full((frames,), torch.nan)
    opening = np.load(clip.opening).astype(np.float32)
    if opening.shape != (frames,):
        raise KPBEError(
            f"{clip.opening} has the shape {opening.shape}, the clip has {frames} frames: remove or remake it."
        )
    known = opening[np.isfinite(opening)]
    spread = float(known.std()) if len(known) > 1 else 0.0
    return torch.from_numpy((opening - known.mean()) / spread if spread else np.full_like(opening, np.nan))


def label_openings(clips: Sequence[Clip], landmarker: FaceLandmarker, every: int = 3) -> None:
    """Read lip openings of clips and leave them beside the videos as labels (`Clip.opening`); clips that have some are kept.

    Args:
        clips: of the manifest, in a folder that can be written.
        landmarker: reads the faces.
        every: so many frames are one step; those between are interpolated, those before the first and after the last are unknown.
    """
    for clip in clips:
        if clip.opening.exists():
            continue
        frames = read_frames(clip.video)
        faces = {index: landmarker.read(frames[index]) for index in range(every // 2, len(frames), every)}
        found = {index: face.opening for index, face in faces.items() if face is not None}
        opening = np.full(len(frames), np.nan)
        if found:
            opening = np.interp(
                np.arange(len(frames)), list(found), list(found.values()), left=np.nan, right=np.nan
            )
        with whole(clip.opening) as temporary, temporary.open("wb") as file:
            np.save(file, opening.astype(np.float32))
