"""The stages train_sync and train_backend: a backend's own trainings, if it has any."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kpbe.backends.base import TrainableBackend, TrainingJob
from kpbe.backends.registry import backend_of, is_trainable
from kpbe.core.files import write_json
from kpbe.params import Params
from kpbe.paths import SUMMARY_FILE


def train_sync(name: str, params: Params, clips: Path, expression: Path, out: Path) -> None:
    """Train the synchrony networks that a backend's training uses.

    A backend that is not trained leaves a note in `out`.

    Args:
        name: the backend's name in params.yaml.
        params: the whole params.
        clips: data/clips.
        expression: data/expression.
        out: checkpoints/sync/<name>.

    Raises:
        KPBEError: wrong settings, no training clip, SIGTERM, or a loss that is not finite.
    """
    if trainable := _trained_backend(name, params, out):
        backend, settings = trainable
        backend.train_sync(TrainingJob(name, settings, params, clips, expression, out, out))


def train_backend(name: str, params: Params, clips: Path, expression: Path, sync: Path, out: Path) -> None:
    """Train or fine-tune a backend's generator on the training clips, or keep its public checkpoint.

    A backend that is not trained leaves a note in `out`.

    Args:
        name: as in `train_sync`.
        params: as in `train_sync`.
        clips: as in `train_sync`.
        expression: as in `train_sync`.
        sync: folder of `train_sync`'s result.
        out: checkpoints/backends/<name>.

    Raises:
        KPBEError: as in `train_sync`.
    """
    if trainable := _trained_backend(name, params, out):
        backend, settings = trainable
        backend.train(TrainingJob(name, settings, params, clips, expression, sync, out))


def _trained_backend(name: str, params: Params, out: Path) -> tuple[type[TrainableBackend], Any] | None:
    """Class and settings of a backend; None, with a note in `out`, if it is not trained."""
    backend, settings = backend_of(params, name)
    if settings.weights_of is not None:
        reason = f"the weights of {settings.weights_of} are used"
    elif is_trainable(backend):
        return backend, settings
    else:
        reason = f"a backend of kind {backend.kind} is used as it is"
    write_json(out / SUMMARY_FILE, {"trained": False, "reason": reason})
    return None
