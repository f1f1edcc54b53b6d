"""The training loop: progress, curves, sheets, checkpoints, exact resume, a time budget, a clean stop at SIGTERM.

With several processes (data parallel) all make the same steps; the first of them judges, writes and decides when to stop.
"""

from __future__ import annotations

import shutil
import signal
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from lightning_fabric import Fabric
from PIL import Image
from tqdm import tqdm

from kpbe.core.files import whole, write_csv, write_json
from kpbe.errors import KPBEError
from kpbe.frontend.preparation import denormals_as_zero
from kpbe.params import ScheduleParams
from kpbe.training.files import (
    CULPRIT_FILE,
    CURVES_FILE,
    PREVIOUS_STATE_FILE,
    SHEETS_FOLDER,
    STATE_FILE,
    SUMMARY_FILE,
)
from kpbe.training.state import Stateful, load_state, save_state
from kpbe.training.still_mouth import still_mouth

RED, PLAIN = "\033[31m", "\033[0m"
"""Of a terminal's letters."""


class Trainee(Protocol):
    """What the loop trains: networks, how one step changes them, how they are judged and handed on."""

    def parts(self) -> dict[str, Stateful]:
        """Networks and optimisers that make up a checkpoint."""
        ...

    def step(self, step: int) -> dict[str, float]:
        """Make training step `step` (a function of the step number and the parts) and return its losses."""
        ...

    def validate(self) -> tuple[dict[str, float], np.ndarray]:
        """Metrics on the fixed validation pairs and their picture sheet, uint8 (H, W, 3)."""
        ...

    def export(self, folder: Path) -> None:
        """Write the weights that later stages use."""
        ...


@runtime_checkable
class RemembersBatches(Protocol):
    """A trainee that can show the batch of a step again."""

    def batch_of(self, step: int) -> dict[str, np.ndarray]:
        """What the step was made from, for a file that people look into."""
        ...


def train(
    name: str,
    trainee: Trainee,
    schedule: ScheduleParams,
    folder: Path,
    identity: str,
    facts: dict[str, Any],
    fabric: Fabric | None = None,
) -> None:
    """Train to the end of the schedule, going on from the state in `folder` when there is one.

    Args:
        name: shown in front of the progress bar.
        trainee: what to train.
        schedule: steps, time budget (seconds of training, resumed parts included) and reporting.
        folder: gets state.pt, curves.csv, summary.json, sheets/ and what `trainee.export` writes.
        identity: digest of data and params that determine the result. A state with another one, or with more steps than asked for, is
            not continued; it stays as state.previous.pt until this training is done.
        facts: written into summary.json beside the last metrics.
        fabric: of a training over several processes.

    Raises:
        KPBEError: a loss is not finite, or SIGTERM came; the state on disk is whole in both cases.
        SystemExit: the same, in processes other than the first.
    """
    processes = fabric if fabric is not None and fabric.world_size > 1 else None
    leads = processes is None or processes.is_global_zero
    folder.mkdir(parents=True, exist_ok=True)
    parts = trainee.parts()
    progress = load_state(folder / STATE_FILE, parts, identity, schedule.steps)
    if processes is not None:
        processes.barrier()  # before the first process moves the file
    if progress is None:
        if leads:
            shutil.rmtree(folder / SHEETS_FOLDER, ignore_errors=True)
            if (folder / STATE_FILE).exists():
                (folder / STATE_FILE).replace(folder / PREVIOUS_STATE_FILE)
        progress = {"identity": identity, "step": 0, "seconds": 0.0, "curves": []}
    rows: list[dict[str, float]] = progress["curves"]
    budget = schedule.time_budget_s or float("inf")

    def save() -> None:
        if leads:
            save_state(folder / STATE_FILE, parts, progress)
            _write_curves(folder, rows)

    def report(losses: dict[str, float]) -> dict[str, float]:
        if not leads:
            return {}
        metrics, sheet = trainee.validate()
        _write_sheet(folder / SHEETS_FOLDER / f"{progress['step']:07d}.png", sheet)
        row = {"step": progress["step"], **losses, **metrics}
        if rows and rows[-1]["step"] == row["step"]:
            row = rows.pop() | row
        rows.append(row)
        progress["metrics"], progress["validated"] = metrics, progress["step"]
        return metrics

    def verdict(asked_to_stop: bool) -> str:
        """What the first process says: go on, stop now, or enough time was spent."""
        mine = "stop" if asked_to_stop else "go on" if progress["seconds"] < budget else "enough"
        return mine if processes is None else processes.broadcast(mine)

    def together() -> None:
        """Wait until the first process has written; the others then leave in peace, since Fabric kills it when one of them fails."""
        if processes is not None:
            processes.barrier()
            if not leads:
                raise SystemExit(0)

    def give_up() -> str:
        """Leave the bad step's batch and the last good weights; where they are, and what can be done."""
        said = ""
        if isinstance(trainee, RemembersBatches):
            with whole(folder / CULPRIT_FILE) as temporary:
                batch = trainee.batch_of(progress["step"])
                np.savez_compressed(temporary, allow_pickle=False, step=progress["step"], **batch)
            said = f" (its batch: {folder / CULPRIT_FILE})"
        good = load_state(folder / STATE_FILE, parts, identity, schedule.steps)
        if good is None:
            return f"{said}, before the first checkpoint: lower the learning rate."
        trainee.export(folder)
        return (
            f"{said}; {folder} holds the last good state and its weights, of step {good['step']}: copy the weights, let the training start "
            "from the copy, and lower the learning rate."
        )

    bar = tqdm(
        total=schedule.steps,
        initial=progress["step"],
        desc=name,
        unit="step",
        dynamic_ncols=True,
        mininterval=1,
        disable=not leads,
    )
    metrics: dict[str, float] = progress.get("metrics", {})
    first, started = progress["step"], progress["seconds"]
    with bar, _sigterm() as asked_to_stop, denormals_as_zero():
        while progress["step"] < schedule.steps and (now := verdict(asked_to_stop())) != "enough":
            if now == "stop":
                save()
                together()
                raise KPBEError(
                    f"{name} was told to stop at step {progress['step']}: run it again to go on from there."
                )
            began = time.monotonic()
            # dropout draws from torch's own random numbers: they too are a function of the step
            torch.manual_seed(zlib.crc32(identity.encode()) + progress["step"])
            losses = trainee.step(progress["step"])
            if wrong := [key for key, value in losses.items() if not np.isfinite(value)]:
                advice = give_up() if leads else ""
                together()
                raise KPBEError(
                    f"{name}: {', '.join(wrong)} is not finite at step {progress['step']}{advice}"
                )
            progress["step"] += 1
            step = progress["step"]
            if step % schedule.sheet_every == 0:
                metrics = report(losses)
            elif step % schedule.log_every == 0:
                rows.append({"step": step, **losses})
            progress["seconds"] += time.monotonic() - began
            bar.update()
            rate = (step - first) * schedule.batch_size / (progress["seconds"] - started)
            bar.set_postfix_str(_told(rate, budget - progress["seconds"], losses | metrics), refresh=False)
            if step % schedule.checkpoint_every == 0:
                save()
    if progress.get("validated") != progress["step"]:
        report({})
    save()
    if not leads:
        return
    trainee.export(folder)
    (folder / PREVIOUS_STATE_FILE).unlink(missing_ok=True)
    done = {"steps": progress["step"], "seconds": round(progress["seconds"], 1)}
    stopped_by_budget = progress["step"] < schedule.steps
    write_json(
        folder / SUMMARY_FILE,
        {**facts, **done, "stopped_by_time_budget": stopped_by_budget, **progress["metrics"]},
    )
    if said := still_mouth(progress["metrics"]):
        print(f"{RED}{name}: {said}{PLAIN}", flush=True)


def _told(samples_per_second: float, seconds_left: float, numbers: dict[str, float]) -> str:
    """The end of the progress line, after tqdm's own steps/s and time left."""
    parts = [f"{samples_per_second:.1f} samples/s"]
    if np.isfinite(seconds_left):
        parts.append(f"budget {tqdm.format_interval(max(0, seconds_left))}")
    shown = {key: value for key, value in numbers.items() if not key.startswith("share_")}
    return ", ".join([*parts, *(f"{key}={value:.3g}" for key, value in shown.items())])


def _write_curves(folder: Path, rows: list[dict[str, float]]) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row)) or ["step"]
    write_csv(folder / CURVES_FILE, columns, [{k: f"{v:.6g}" for k, v in row.items()} for row in rows])


def _write_sheet(path: Path, sheet: np.ndarray) -> None:
    with whole(path) as temporary:
        Image.fromarray(sheet).save(temporary)


@contextmanager
def _sigterm() -> Iterator[Callable[[], bool]]:
    """Collect SIGTERM instead of dying of it (only possible in the main thread; elsewhere it keeps its meaning)."""
    asked = False

    def ask(*_: object) -> None:
        nonlocal asked
        asked = True

    try:
        before = signal.signal(signal.SIGTERM, ask)
    except ValueError:
        yield lambda: False
        return
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGTERM, before)
