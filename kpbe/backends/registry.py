"""The kinds of backends, and the class and settings of each backend in params.yaml."""

from __future__ import annotations

from typing import Any, TypeGuard

from pydantic import ConfigDict

from kpbe.backends.base import Backend, TrainableBackend
from kpbe.backends.external.command import CommandBackend
from kpbe.backends.external.folder import FolderBackend
from kpbe.backends.pcavs.backend import PCAVS
from kpbe.backends.perfect import PerfectBackend
from kpbe.backends.wav2lip.backend import Wav2Lip
from kpbe.errors import KPBEError, ParamsError
from kpbe.params import Params, Section, parse_section

BACKENDS: dict[str, type[Backend]] = {
    backend.kind: backend for backend in (Wav2Lip, PCAVS, PerfectBackend, CommandBackend, FolderBackend)
}
"""Every kind of backend; a new one is added here."""


def get_backend(kind: str) -> type[Backend]:
    """The backend class of a kind.

    Raises:
        KPBEError: there is no such kind; the message lists the known ones.
    """
    if kind not in BACKENDS:
        raise KPBEError(f"there is no backend of kind {kind!r}: known are {', '.join(sorted(BACKENDS))}.")
    return BACKENDS[kind]


def is_trainable(backend: type[Backend]) -> TypeGuard[type[TrainableBackend]]:
    """Whether the DAG trains a backend; the others use `settings.checkpoint` as it is."""
    return hasattr(backend, "train")


def backend_of(params: Params, name: str) -> tuple[type[Backend], Any]:
    """Class and settings of the backend that params.yaml calls `name`.

    Raises:
        ParamsError: there is no section backend.<name>, it does not fit its class (the message names each
            wrong key) or the rest of params.yaml, or `weights_of` names no trained backend of the same kind.
        KPBEError: its kind is unknown.
    """
    values = _section(params, name)
    backend = get_backend(parse_section(_Kind, values, "params.yaml", f"backend.{name}.").kind)
    if values.get("weights_of") is not None:
        values = _with_weights_of(params, name, backend)
    settings = parse_section(backend.Settings, values, "params.yaml", f"backend.{name}.")
    settings.refuse_unfit(params, name)
    return backend, settings


def _section(params: Params, name: str) -> dict[str, Any]:
    values = params.backend.get(name)
    if values is None:
        raise ParamsError(
            f"params.yaml has no section backend.{name}: it has {', '.join(params.backend) or 'none'}; see "
            f"conf/backend/."
        )
    return values


def _with_weights_of(params: Params, name: str, backend: type[Backend]) -> dict[str, Any]:
    """The section of a backend that uses another's weights; missing keys come from the other's section."""
    own = _section(params, name)
    of = own["weights_of"]
    other = params.backend.get(of) if isinstance(of, str) and of != name else None
    start = f"params.yaml: backend.{name}.weights_of is {of}"
    if other is None:
        raise ParamsError(
            f"{start}, which is no other backend: name one of "
            f"{', '.join(n for n in params.backend if n != name) or 'none'}, or choose "
            f"{of} as well (backend=[{of},{name}])."
        )
    if other.get("kind") != backend.kind or not is_trainable(backend):
        raise ParamsError(
            f"{start}, whose kind is {other.get('kind')}: a backend of kind {backend.kind} needs a trained "
            f"one of its own kind."
        )
    if other.get("weights_of") is not None:
        raise ParamsError(f"{start}, which uses those of {other['weights_of']} itself: name that one.")
    if own.get("checkpoint") is not None:
        raise ParamsError(f"{start}, so it cannot have a checkpoint of its own: remove one of the two.")
    return {**other, "checkpoint": None, **own}


class _Kind(Section):
    """The key that selects the class of the whole section."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    kind: str
