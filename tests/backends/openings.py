"""Expression labels that hold only the opening of the lips."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kpbe.data.clips import Clip
from kpbe.data.expression.labels import ExpressionLabels, label_path


def save_openings(clip: Clip, folder: Path, openings: np.ndarray) -> None:
    """Write labels of a face whose inner lips are `openings` (N,) apart, in distances between the eyes.

    NaN is a frame without a face.
    """
    labels = ExpressionLabels.unknown(len(openings))
    labels.points[:, :6] = [(-0.3, 0.5), (0, 0.5), (0.3, 0.5), (0, 0.5), (-0.5, -0.3), (0.5, -0.3)]
    labels.points[:, 3, 1] += openings
    labels.points[np.isnan(openings)] = np.nan
    labels.save(label_path(folder, clip))
