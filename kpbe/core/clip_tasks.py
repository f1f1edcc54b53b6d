"""Per-clip work that survives `kill -9`: records with fingerprints, rejected clips, shards.

A stage describes each clip as a `ClipTask` (what it is made from, which files it makes) and gives
`run_clip_tasks` a plain function that makes one clip. A clip whose record has the right fingerprint is not
made again. A clip that cannot be made is listed in rejected.csv. Files of clips that no task names are
removed.
"""

from __future__ import annotations

import errno
import json
import logging
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from kpbe.core.files import RECORD_SUFFIX, UNFINISHED, write_csv, write_json
from kpbe.core.processes import ShardMap, serial_map
from kpbe.errors import BadClip, KPBEError
from kpbe.paths import REJECTED_FILE

ERRORS_OF_ALL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE})
"""A full or read-only disk, too many open files: the next clip would meet them too."""

REJECTED_COLUMNS = ("clip_id", "path", "stage", "reason")


@dataclass(frozen=True)
class ClipTask:
    """One clip to make, or one video whose clips are not known beforehand.

    For such a video, the facts that `make` returns hold a list `outputs`: file names relative to the record's
    folder.

    Attributes:
        clip_id: unique within the stage.
        record: JSON file beside the outputs that says what they were made from; its name ends in `.json`.
        outputs: files that `make` writes, each whole or not at all.
        fingerprint: digest of everything the outputs depend on.
        origin: file named to the user when the clip is rejected.
        payload: what `make` needs, picklable.
    """

    clip_id: str
    record: Path
    outputs: tuple[Path, ...]
    fingerprint: str
    origin: str = ""
    payload: Any = field(default=None, compare=False)

    def finished(self) -> dict[str, Any] | None:
        """The record's facts when the outputs exist and match the fingerprint, else None."""
        try:
            record = json.loads(self.record.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        if not isinstance(record, dict) or record.get("fingerprint") != self.fingerprint:
            return None
        facts = record.get("facts")
        if not isinstance(facts, dict):
            return None
        return facts if all(path.exists() for path in self.all_outputs(facts)) else None

    def all_outputs(self, facts: dict[str, Any]) -> tuple[Path, ...]:
        """The outputs known beforehand and those that `facts` lists."""
        return (*self.outputs, *(self.record.parent / name for name in facts.get("outputs", ())))


@dataclass(frozen=True)
class Rejection:
    """Why a clip could not be processed."""

    clip_id: str
    path: str
    stage: str
    reason: str


def run_clip_tasks(
    stage: str,
    tasks: Sequence[ClipTask],
    make: Callable[[ClipTask], dict[str, Any]],
    folder: Path,
    *,
    map: ShardMap = serial_map,
    shard_size: int = 64,
    max_rejected_fraction: float = 1.0,
) -> tuple[list[tuple[ClipTask, dict[str, Any]]], list[Rejection]]:
    """Make every missing or outdated clip, write rejected.csv and remove what no task names.

    Args:
        stage: name written into rejected.csv.
        tasks: the clips; their records and outputs lie below `folder`.
        make: makes one clip and returns facts about it (JSON-able); raises `BadClip` when the clip is to be
            rejected. Other errors reject it as well, with their traceback in the log, but for those that
            concern all clips (other `KPBEError`s, a full disk). Must be picklable when `map` uses processes.
        folder: the stage's own output folder. Unfinished files are removed everywhere below it; files that
            no task names are removed from the folders of clips (those that hold a record or an output).
        map: see `ShardMap`.
        shard_size: clips per shard.
        max_rejected_fraction: share of clips that may be rejected before the stage fails.

    Returns:
        (task, facts) of all whole clips in the order of `tasks`, and the rejections.

    Raises:
        KPBEError: too many clips were rejected, or none is left; the reasons are listed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    facts = {task.clip_id: record for task in tasks if (record := task.finished()) is not None}
    _remove_stale(folder, tasks, facts)
    missing = [task for task in tasks if task.clip_id not in facts]
    size = max(1, min(shard_size, -(-len(missing) // 16)))  # small jobs still show progress
    shards = [missing[i : i + size] for i in range(0, len(missing), size)]
    rejections: list[Rejection] = []
    if facts and missing:
        print(f"{stage}: {len(facts)} of {len(tasks)} clips are already there", flush=True)
    for results in map(partial(_make_shard, make, stage), shards, stage):
        for clip_id, outcome in results:
            if isinstance(outcome, Rejection):
                rejections.append(outcome)
            else:
                facts[clip_id] = outcome
    write_rejections(folder, rejections)
    refuse_too_many(stage, len(tasks), rejections, max_rejected_fraction)
    return [(task, facts[task.clip_id]) for task in tasks if task.clip_id in facts], rejections


def _make_shard(
    make: Callable[[ClipTask], dict[str, Any]], stage: str, shard: Sequence[ClipTask]
) -> list[tuple[str, dict[str, Any] | Rejection]]:
    results: list[tuple[str, dict[str, Any] | Rejection]] = []
    for task in shard:
        task.record.unlink(missing_ok=True)
        try:
            facts = make(task)
        except Exception as error:
            reason = _reason(error, stage, task)
            if reason is None:
                raise
            for path in task.outputs:
                path.unlink(missing_ok=True)
            results.append((task.clip_id, Rejection(task.clip_id, task.origin, stage, reason)))
            continue
        write_json(task.record, {"fingerprint": task.fingerprint, "facts": facts})
        results.append((task.clip_id, facts))
    return results


def _reason(error: Exception, stage: str, task: ClipTask) -> str | None:
    """Why an error rejects one clip; None where it concerns all of them. Unforeseen ones go to the log."""
    if isinstance(error, BadClip):
        return str(error)
    if isinstance(error, KPBEError) or (isinstance(error, OSError) and error.errno in ERRORS_OF_ALL):
        return None
    logging.getLogger(__name__).error("%s: %s failed", stage, task.origin or task.clip_id, exc_info=error)
    first_line = (str(error).strip().splitlines() or ["no message"])[0]
    return f"an unforeseen error, see the log: {type(error).__name__}: {first_line}"


def _remove_stale(folder: Path, tasks: Sequence[ClipTask], facts: dict[str, dict[str, Any]]) -> None:
    """Remove unfinished files and files of clips that no task names; `facts` are those of finished tasks."""
    task_files = {
        path for task in tasks for path in (task.record, *task.all_outputs(facts.get(task.clip_id, {})))
    }
    for path in folder.rglob(f"{UNFINISHED}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    clip_folders = {path.parent for path in task_files} | {
        p.parent for p in folder.rglob(f"*{RECORD_SUFFIX}")
    }
    for parent in clip_folders - {folder}:
        for path in parent.iterdir() if parent.exists() else ():
            if path.is_file() and path not in task_files:
                path.unlink()


def write_rejections(folder: Path, rejections: Iterable[Rejection]) -> None:
    """Write `folder`/rejected.csv, one row per rejection."""
    write_csv(folder / REJECTED_FILE, REJECTED_COLUMNS, [vars(r) for r in rejections])


def refuse_too_many(stage: str, total: int, rejections: Sequence[Rejection], allowed: float) -> None:
    """Fail a stage when too many of its clips were rejected.

    Raises:
        KPBEError: there was no clip, no clip is left, or more than the share `allowed` (0 to 1) was rejected;
            lists the reasons.
    """
    if not total:
        raise KPBEError(f"{stage}: there is no clip to process.")
    if len(rejections) == total or len(rejections) > allowed * total:
        reasons = "\n".join(f"  {r.path or r.clip_id}: {r.reason}" for r in rejections[:20])
        more = f"\n  ... and {len(rejections) - 20} more" if len(rejections) > 20 else ""
        raise KPBEError(
            f"{stage}: {len(rejections)} of {total} clips were rejected (allowed: "
            f"{allowed:.0%}):\n{reasons}{more}"
        )
