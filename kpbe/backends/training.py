"""The stages train_sync and train_backend: a backend's own trainings, where it has any."""

from __future__ import annotations

from pathlib import Path

from kpbe.backends.base import Backend, BackendSettings, TrainingJob, backend_of
from kpbe.core.files import write_json
from kpbe.params import Params
from kpbe.training.files import SUMMARY_FILE


def train_sync(name: str, params: Params, clips: Path, expression: Path, out: Path) -> None:
    """Train the synchrony networks that the backend's generator learns from; a backend without any, or with another's weights,
    leaves a note in `out`.

    Raises:
        KPBEError: wrong settings, no training clip, SIGTERM, or a loss that is not finite.
    """
    backend, settings = backend_of(params, name)
    if reason := _not_trained(backend, settings):
        write_json(out / SUMMARY_FILE, {"trained": False, "reason": reason})
    else:
        backend.train_sync(TrainingJob(name, settings, params, clips, expression, out, out))


def train_backend(name: str, params: Params, clips: Path, expression: Path, sync: Path, out: Path) -> None:
    """Train or fine-tune a backend's generator on the training clips, or take its public checkpoint, and leave it in `out`;
    a backend that is not trained, or uses another's weights, leaves a note.

    Raises:
        KPBEError: as `train_sync`.
    """
    backend, settings = backend_of(params, name)
    if reason := _not_trained(backend, settings):
        write_json(out / SUMMARY_FILE, {"trained": False, "reason": reason})
    else:
        backend.train(TrainingJob(name, settings, params, clips, expression, sync, out))


def _not_trained(backend: type[Backend], settings: BackendSettings) -> str:
    """Why a backend is not trained; empty where it is."""
    if settings.weights_of is not None:
        return f"the weights of {settings.weights_of} are used"
    return "" if backend.trainable else f"a backend of kind {backend.kind} is used as it is"
