"""What KPBE asks of an audio-driven method, and the registry that finds one by name.

A backend is one module (or package) of `kpbe.backends` with one class decorated by `@register("<name>")`; its settings are
the section `backend.<name>` of params.yaml. Nothing else changes when a backend is added.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self, TypeVar

import numpy as np

from kpbe.errors import KPBEError
from kpbe.media.audio import AUDIO_RATE
from kpbe.params import Params

Feed = Literal["source_image", "video"]


@dataclass(frozen=True)
class SynthesisRequest:
    """One video to synthesise.

    Attributes:
        name: clip id or file name, for messages and for backends that look videos up by it.
        source_frames: uint8 RGB (H, W, 3) frames of the speaker, all of one size. Exactly one frame means a still image. May be
            iterated more than once, and is read again from its start when the audio lasts longer.
        wave: float32 mono speech in [-1, 1] at 16 kHz; sample 0 belongs to the first frame.
        fps: frames per second of the source and of the output.
        boxes: (N, 4) face boxes of the source frames as left, top, right, bottom in pixels; None lets the backend detect faces.
        pose_frames: uint8 RGB frames whose head pose the output follows; only for backends that take pose from a video.
    """

    name: str
    source_frames: Iterable[np.ndarray]
    wave: np.ndarray
    fps: float = 25.0
    boxes: np.ndarray | None = None
    pose_frames: Iterable[np.ndarray] | None = None

    @property
    def frames(self) -> int:
        """Number of output frames: as many as cover the audio, round(fps * seconds)."""
        return round(self.fps * len(self.wave) / AUDIO_RATE)


class BackendParams(Protocol):
    """What every backend's section of params.yaml has at least."""

    @property
    def checkpoint(self) -> Path | None: ...

    @property
    def feed(self) -> Feed: ...


class Backend(Protocol):
    """An audio-driven method, loaded and ready.

    Attributes:
        name: the key of params.yaml and of output folders; set by `register`.
        trainable: whether KPBE can train a checkpoint when none is given.
    """

    name: ClassVar[str]
    trainable: ClassVar[bool]

    @classmethod
    def from_checkpoint(cls, path: Path, params: Any, device: str) -> Self:
        """Load the networks.

        Args:
            path: weights in any layout that the backend documents.
            params: the backend's section of params.yaml.
            device: a torch device name.

        Raises:
            MissingWeights: there is no such file.
            BadCheckpoint: the file is something else.
        """
        ...

    @classmethod
    def fingerprint_params(cls, params: Any) -> dict[str, Any]:
        """The settings that output pixels depend on, JSON-able; leaves out batch sizes and the path of the checkpoint."""
        ...

    def synthesize(self, request: SynthesisRequest) -> Iterator[np.ndarray]:
        """Yield exactly `request.frames` uint8 RGB frames of the source's size, in constant memory.

        Raises:
            BadClip: this video cannot be done (no face, no source frame).
        """
        ...


BackendClass = TypeVar("BackendClass", bound=type[Backend])

_registry: dict[str, type[Backend]] = {}


def register(name: str) -> Callable[[BackendClass], BackendClass]:
    """Class decorator that makes a backend known as `name`."""

    def add(cls: BackendClass) -> BackendClass:
        cls.name = name
        _registry[name] = cls
        return cls

    return add


def backend_names() -> list[str]:
    """Names of all backends, sorted."""
    package = importlib.import_module(__package__ or "kpbe.backends")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return sorted(_registry)


def get_backend(name: str) -> type[Backend]:
    """The backend class called `name`.

    Raises:
        KPBEError: there is none; the message lists the known ones.
    """
    if name not in _registry and name not in (known := backend_names()):
        raise KPBEError(f"there is no backend called {name!r}: known are {', '.join(known)}.")
    return _registry[name]


def backend_params(params: Params, name: str) -> BackendParams:
    """The section `backend.<name>` of params.

    Raises:
        KPBEError: params.yaml has no such section.
    """
    section = getattr(params.backend, name, None)
    if section is None:
        raise KPBEError(
            f"params.yaml has no section backend.{name}: add its settings (conf/backend/{name}.yaml)."
        )
    return section
