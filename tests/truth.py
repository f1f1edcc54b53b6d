"""Ground truth of drawn clips, for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kpbe.data.sample import Truth


def read_truth(path: Path) -> Truth:
    """Ground truth of a clip from its .truth.npz."""
    with np.load(path) as arrays:
        values = {name: arrays[name] for name in arrays.files}
    return Truth(**{**values, "phonemes": tuple(str(symbol) for symbol in values["phonemes"])})
