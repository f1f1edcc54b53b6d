"""The true peak of a sound as ITU-T BS.1770 measures it, for tests."""

from __future__ import annotations

import numpy as np
from scipy.signal import resample_poly


def true_peak_db(wave: np.ndarray) -> float:
    """Highest level of the sound, between samples too (fourfold oversampling), in dBTP.

    It is minus infinity for digital silence.
    """
    return (
        20 * float(np.log10(max(1e-30, np.abs(resample_poly(wave, 4, 1)).max()))) if wave.any() else -np.inf
    )
