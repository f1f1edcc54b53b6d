"""The training loop: progress, curves, sheets, checkpoints, exact resume, a time budget, a clean stop at SIGTERM."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from kpbe.errors import KPBEError
from kpbe.params import OptimiserParams, ScheduleParams
from kpbe.training.files import CURVES_FILE, SHEETS_FOLDER, STATE_FILE, SUMMARY_FILE
from kpbe.training.state import Stateful, load_state, save_state
from kpbe.work import whole, write_csv, write_json


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


def adam(parameters: Any, params: OptimiserParams) -> torch.optim.Adam:
    """Adam as params say; betas (0.5, 0.999) in the paper (IV.B)."""
    return torch.optim.Adam(parameters, lr=params.lr, betas=(params.beta1, params.beta2))


def scheduled_lr(params: OptimiserParams, step: int) -> float:
    """Learning rate at a step: divided by ten at each milestone."""
    return params.lr * 0.1 ** sum(step >= milestone for milestone in params.milestones)


def set_learning_rate(optimiser: torch.optim.Optimizer, params: OptimiserParams, step: int) -> None:
    """Give every parameter group the scheduled learning rate of a step, times the group's `factor` where it has one."""
    for group in optimiser.param_groups:
        group["lr"] = scheduled_lr(params, step) * group.get("factor", 1.0)


def train(
    name: str, trainee: Trainee, schedule: ScheduleParams, folder: Path, identity: str, facts: dict[str, Any]
) -> None:
    """Train to the end of the schedule, going on from the state in `folder` when there is one.

    Args:
        name: shown in front of the progress bar.
        trainee: what to train.
        schedule: steps, time budget (seconds of training, resumed parts included) and reporting.
        folder: gets state.pt, curves.csv, summary.json, sheets/ and what `trainee.export` writes.
        identity: digest of data and params that determine the result; a state with another one is not continued.
        facts: written into summary.json beside the last metrics.

    Raises:
        KPBEError: a loss is not finite, or SIGTERM came; the state on disk is whole in both cases.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = trainee.parts()
    progress = load_state(folder / STATE_FILE, parts, identity)
    if progress is None:
        shutil.rmtree(folder / SHEETS_FOLDER, ignore_errors=True)
        progress = {"identity": identity, "step": 0, "seconds": 0.0, "curves": []}
    rows: list[dict[str, float]] = progress["curves"]
    budget = schedule.time_budget_s or float("inf")

    def save() -> None:
        save_state(folder / STATE_FILE, parts, progress)
        _write_curves(folder, rows)

    def report(losses: dict[str, float]) -> dict[str, float]:
        metrics, sheet = trainee.validate()
        _write_sheet(folder / SHEETS_FOLDER / f"{progress['step']:07d}.png", sheet)
        row = {"step": progress["step"], **losses, **metrics}
        if rows and rows[-1]["step"] == row["step"]:
            row = rows.pop() | row
        rows.append(row)
        progress["metrics"], progress["validated"] = metrics, progress["step"]
        return metrics

    bar = tqdm(
        total=schedule.steps,
        initial=progress["step"],
        desc=name,
        unit="step",
        dynamic_ncols=True,
        mininterval=1,
    )
    metrics: dict[str, float] = progress.get("metrics", {})
    with bar, _sigterm() as asked_to_stop:
        while progress["step"] < schedule.steps and progress["seconds"] < budget:
            began = time.monotonic()
            losses = trainee.step(progress["step"])
            _refuse_not_finite(name, progress["step"], losses, folder)
            progress["step"] += 1
            step = progress["step"]
            if step % schedule.sheet_every == 0:
                metrics = report(losses)
            elif step % schedule.log_every == 0:
                rows.append({"step": step, **losses})
            progress["seconds"] += time.monotonic() - began
            bar.update()
            bar.set_postfix({k: f"{v:.3g}" for k, v in (losses | metrics).items()}, refresh=False)
            if step % schedule.checkpoint_every == 0 or asked_to_stop():
                save()
            if asked_to_stop():
                raise KPBEError(f"{name} was told to stop at step {step}: run it again to go on from there.")
    if progress.get("validated") != progress["step"]:
        report({})
    save()
    trainee.export(folder)
    done = {"steps": progress["step"], "seconds": round(progress["seconds"], 1)}
    stopped_by_budget = progress["step"] < schedule.steps
    write_json(
        folder / SUMMARY_FILE,
        {**facts, **done, "stopped_by_time_budget": stopped_by_budget, **progress["metrics"]},
    )


def _write_curves(folder: Path, rows: list[dict[str, float]]) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row)) or ["step"]
    write_csv(folder / CURVES_FILE, columns, [{k: f"{v:.6g}" for k, v in row.items()} for row in rows])


def _write_sheet(path: Path, sheet: np.ndarray) -> None:
    with whole(path) as temporary:
        Image.fromarray(sheet).save(temporary)


def _refuse_not_finite(name: str, step: int, losses: dict[str, float], folder: Path) -> None:
    wrong = [key for key, value in losses.items() if not np.isfinite(value)]
    if wrong:
        raise KPBEError(
            f"{name}: {', '.join(wrong)} is not finite at step {step}; {folder / STATE_FILE} still holds the last "
            "good state: lower the learning rate and run again."
        )


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
