"""A training's state on disk: everything needed to resume exactly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from kpbe.checkpoints.files import UNREADABLE, read_content
from kpbe.core.files import whole
from kpbe.errors import BadCheckpoint, MissingWeights


class Stateful(Protocol):
    """A network or an optimiser."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: Any) -> Any: ...


def save_state(path: Path, parts: Mapping[str, Stateful], progress: dict[str, Any]) -> None:
    """Write networks, optimisers and progress (plain values) as one file, whole or not at all."""
    with whole(path) as temporary:
        torch.save({"parts": {k: v.state_dict() for k, v in parts.items()}, "progress": progress}, temporary)


def load_state(path: Path, parts: Mapping[str, Stateful], identity: str, steps: int) -> dict[str, Any] | None:
    """Restore `parts` in place and return the progress; None when there is nothing to resume.

    A state of other data or params (another `identity`), or of more than `steps` steps, is not resumed; a
    printed line says so.

    Raises:
        BadCheckpoint: the file is damaged or does not fit the networks.
    """
    if not path.exists():
        return None
    try:
        state = read_content(path, mapped=False)
        progress = state["progress"]
        if progress["identity"] != identity:
            print(f"{path} was trained with other data or params: starting anew", flush=True)
            return None
        if progress["step"] > steps:
            print(f"{path} has {progress['step']} steps, more than {steps}: starting anew", flush=True)
            return None
        for name, part in parts.items():
            part.load_state_dict(state["parts"][name])
    except (BadCheckpoint, *UNREADABLE) as error:
        reason = str(error).splitlines()[0]
        raise BadCheckpoint(f"{path} cannot be resumed from ({reason}): delete it to start anew.") from None
    return progress


def is_state_of(path: Path, identity: str) -> bool:
    """Whether the file is a whole state of the training with this identity."""
    try:
        return read_content(path)["progress"]["identity"] == identity
    except (BadCheckpoint, MissingWeights, KeyError, TypeError):
        return False
