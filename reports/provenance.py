"""What a result was made from: the git revision, the record in dvc.lock, and params changed since then."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kpbe.errors import KPBEError
from kpbe.params import Params
from kpbe.paths import PARAMS_FILE
from reports.project import read_when_changed, root

LOCK = "dvc.lock"
GIT_SECONDS = 5
SHORT_HASH = 8
MISSING = object()
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Libyaml's loader where PyYAML has it, six times as fast: the other needs 0.3 s for thirty stages."""


@dataclass(frozen=True)
class Revision:
    """The checked-out commit; `dirty` if tracked files differ from it."""

    commit: str
    dirty: bool


@dataclass(frozen=True)
class Output:
    """A stage's output as recorded in dvc.lock; size and files are None where DVC did not count them."""

    stage: str
    path: str
    digest: str
    size: int | None
    files: int | None


@dataclass(frozen=True)
class ParamChange:
    """A param whose value has changed since the stage ran."""

    stage: str
    key: str
    then: Any
    now: Any


def revision() -> Revision | None:
    """The repository's revision now, None outside git or without commits."""
    commit = _git("rev-parse", "--short", "HEAD")
    if commit is None:
        return None
    return Revision(commit, bool(_git("status", "--porcelain", "--untracked-files=no")))


def recorded() -> Revision | None:
    """The commit that last changed dvc.lock, and so recorded the run; None if git does not know it.

    It is `dirty` if a later run has changed dvc.lock without a commit.
    """
    commit = _git("log", "-1", "--format=%h", "--", LOCK)
    if not commit:
        return None
    return Revision(commit, bool(_git("status", "--porcelain", "--", LOCK)))


def outputs() -> list[Output] | None:
    """The stages' outputs, None if dvc.lock does not exist.

    Raises:
        KPBEError: dvc.lock is damaged.
    """
    stages = _lock(root() / LOCK)
    if stages is None:
        return None
    return [
        Output(stage, out["path"], out.get("md5", "")[:SHORT_HASH], out.get("size"), out.get("nfiles"))
        for stage, entry in stages.items()
        for out in entry.get("outs", ())
    ]


def changed_params(now: Params) -> list[ParamChange]:
    """Params that differ between `now` and the run that dvc.lock recorded.

    Raises:
        KPBEError: dvc.lock is damaged.
    """
    values = now.model_dump(mode="json")
    changes = []
    for stage, entry in (_lock(root() / LOCK) or {}).items():
        for key, then in entry.get("params", {}).get(PARAMS_FILE, {}).items():
            changes += [ParamChange(stage, *change) for change in _differences(key, then, _at(values, key))]
    return changes


def _differences(key: str, then: Any, now: Any) -> list[tuple[str, Any, Any]]:
    """(key, then, now) of every leaf of `then` that has another value in `now`."""
    if isinstance(then, dict) and isinstance(now, dict):
        return [
            change
            for name, value in then.items()
            for change in _differences(f"{key}.{name}", value, now.get(name, MISSING))
        ]
    if then == now:
        return []
    return [(key, then, "no longer there" if now is MISSING else now)]


def _at(values: Any, key: str) -> Any:
    for name in key.split("."):
        if not isinstance(values, dict) or name not in values:
            return MISSING
        values = values[name]
    return values


def _git(*arguments: str) -> str | None:
    try:
        completed = subprocess.run(
            ["git", "-C", str(root()), *arguments],
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return completed.stdout.strip()


def _read_lock(path: Path) -> dict[str, dict[str, Any]]:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), LOADER)["stages"]
    except (KeyError, TypeError, yaml.YAMLError):
        raise KPBEError(
            f"{path} is damaged: take it back with `git checkout {LOCK}` or run `dvc repro`."
        ) from None


_lock = read_when_changed(_read_lock)
