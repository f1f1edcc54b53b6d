"""The stages train_sync and train_backend: a backend's own trainings, where it has any."""

from __future__ import annotations

from pathlib import Path

from kpbe.backends.base import TrainingJob, backend_of
from kpbe.params import Params
from kpbe.training.files import SUMMARY_FILE
from kpbe.work import write_json


def train_sync(name: str, params: Params, clips: Path, out: Path) -> None:
    """Train the synchrony networks that the backend's generator learns from; a backend without any leaves a note in `out`.

    Raises:
        KPBEError: wrong settings, no training clip, SIGTERM, or a loss that is not finite.
    """
    backend, settings = backend_of(params, name)
    if backend.trainable:
        backend.train_sync(TrainingJob(name, settings, params, clips, out, out))
    else:
        _nothing_to_train(out, backend.kind)


def train_backend(name: str, params: Params, clips: Path, sync: Path, out: Path) -> None:
    """Train or fine-tune a backend's generator on the training clips, or take its public checkpoint, and leave it in `out`.

    Raises:
        KPBEError: as `train_sync`.
    """
    backend, settings = backend_of(params, name)
    if backend.trainable:
        backend.train(TrainingJob(name, settings, params, clips, sync, out))
    else:
        _nothing_to_train(out, backend.kind)


def _nothing_to_train(out: Path, kind: str) -> None:
    write_json(out / SUMMARY_FILE, {"trained": False, "reason": f"a backend of kind {kind} is used as it is"})
