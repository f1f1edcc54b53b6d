"""Training of a backend's generator, where the backend can be trained."""

from __future__ import annotations

from pathlib import Path

from kpbe.params import Params
from kpbe.training.wav2lip import train_wav2lip

TRAINERS = {"wav2lip": train_wav2lip}


def train_backend(backend: str, params: Params, clips: Path, out: Path) -> None:
    """Train `backend` on the training clips of `clips` (data/clips); its checkpoint is left in `out`."""
    TRAINERS[backend](params, clips, out)
