"""The training loop: progress, curves, sheets, checkpoints, exact resume, time budget, clean stop.

SIGTERM stops it cleanly. With several processes (data parallel) all make the same steps; the first of them
validates, writes and decides when to stop.
"""

from __future__ import annotations

import shutil
import signal
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, Protocol, runtime_checkable

import numpy as np
import torch
from lightning_fabric import Fabric
from PIL import Image
from tqdm import tqdm

from kpbe.core.files import whole, write_csv, write_json
from kpbe.errors import KPBEError
from kpbe.frontend.preparation import denormals_as_zero
from kpbe.params import ScheduleParams
from kpbe.paths import SUMMARY_FILE
from kpbe.training.files import CULPRIT_FILE, CURVES_FILE, PREVIOUS_STATE_FILE, SHEETS_FOLDER, STATE_FILE
from kpbe.training.state import Stateful, load_state, save_state
from kpbe.training.still_mouth import still_mouth

RED, PLAIN = "\033[31m", "\033[0m"
"""Escape sequences of the terminal's colours."""


class Trainee(Protocol):
    """What the loop trains: networks, their training step, their validation and their export."""

    def parts(self) -> dict[str, Stateful]:
        """Networks and optimisers that make up a checkpoint."""
        ...

    def step(self, step: int) -> dict[str, float]:
        """Make training step `step` and return its losses; depends on the step number and the parts only."""
        ...

    def validate(self) -> tuple[dict[str, float], np.ndarray]:
        """Metrics on the fixed validation pairs and their picture sheet, uint8 (H, W, 3)."""
        ...

    def export(self, folder: Path) -> None:
        """Write the weights that later stages use."""
        ...


@runtime_checkable
class RemembersBatches(Protocol):
    """A trainee that can reproduce the batch of a step."""

    def batch_of(self, step: int) -> dict[str, np.ndarray]:
        """Arrays of the step's batch by name, for a file that people inspect."""
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
    """Train to the end of the schedule, resuming from the state in `folder` if there is one.

    Args:
        name: shown in front of the progress bar.
        trainee: what to train.
        schedule: steps, time budget (seconds of training, resumed parts included) and reporting.
        folder: gets state.pt, curves.csv, summary.json, sheets/ and the files of `trainee.export`.
        identity: digest of data and params that determine the result. A state with another identity, or with
            more steps than scheduled, is not resumed; it stays as state.previous.pt until this training ends.
        facts: written into summary.json with the last metrics.
        fabric: of a training over several processes.

    Raises:
        KPBEError: a loss is not finite, or SIGTERM arrived; the state on disk is whole in both cases.
        SystemExit: the same, in processes other than the first.
    """
    Training(name, trainee, schedule, folder, identity, fabric).run(facts)


class Training:
    """One training in its folder, from the state on disk to the end of the schedule; arguments as `train`."""

    def __init__(
        self,
        name: str,
        trainee: Trainee,
        schedule: ScheduleParams,
        folder: Path,
        identity: str,
        fabric: Fabric | None = None,
    ):
        self.name, self.trainee, self.schedule = name, trainee, schedule
        self.folder, self.identity = folder, identity
        self.processes = fabric if fabric is not None and fabric.world_size > 1 else None
        self.leads = self.processes is None or self.processes.is_global_zero
        self.budget = schedule.time_budget_s or float("inf")
        self.parts = trainee.parts()
        self.progress = self._resumed()
        self.metrics: dict[str, float] = self.progress.get("metrics", {})

    def run(self, facts: dict[str, Any]) -> None:
        """Make the remaining steps; write state, curves, sheets, weights and summary."""
        first, seconds_before = self.step, self.progress["seconds"]
        with self._bar() as bar, _sigterm() as asked_to_stop, denormals_as_zero():
            while self.step < self.schedule.steps and (verdict := self._verdict(asked_to_stop())) != "enough":
                if verdict == "stop":
                    self._stop()
                losses = self._one_step()
                bar.update()
                samples = (self.step - first) * self.schedule.batch_size
                rate = samples / (self.progress["seconds"] - seconds_before)
                left = self.budget - self.progress["seconds"]
                bar.set_postfix_str(_progress_text(rate, left, losses | self.metrics), refresh=False)
                if self.step % self.schedule.checkpoint_every == 0:
                    self._save()
        if self.progress.get("validated") != self.step:
            self._validate({})
        self._save()
        if self.leads:
            self._hand_over(facts)

    @property
    def step(self) -> int:
        """Steps made so far."""
        return self.progress["step"]

    @property
    def rows(self) -> list[dict[str, float]]:
        """Rows of the curves so far."""
        return self.progress["curves"]

    def _resumed(self) -> dict[str, Any]:
        """The progress on disk, with `parts` restored; a fresh progress if there is nothing to resume."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = self.folder / STATE_FILE
        progress = load_state(state, self.parts, self.identity, self.schedule.steps)
        if self.processes is not None:
            self.processes.barrier()  # before the first process moves the file
        if progress is not None:
            return progress
        if self.leads:
            shutil.rmtree(self.folder / SHEETS_FOLDER, ignore_errors=True)
            if state.exists():
                state.replace(self.folder / PREVIOUS_STATE_FILE)
        return {"identity": self.identity, "step": 0, "seconds": 0.0, "curves": []}

    def _bar(self) -> tqdm[Any]:
        return tqdm(
            total=self.schedule.steps,
            initial=self.step,
            desc=self.name,
            unit="step",
            dynamic_ncols=True,
            mininterval=1,
            disable=not self.leads,
        )

    def _verdict(self, asked_to_stop: bool) -> str:
        """The first process's decision: "go on", "stop" (SIGTERM) or "enough" (the time budget is spent)."""
        mine = "stop" if asked_to_stop else "go on" if self.progress["seconds"] < self.budget else "enough"
        return mine if self.processes is None else self.processes.broadcast(mine)

    def _one_step(self) -> dict[str, float]:
        """Make a step, record its results and return its losses."""
        began = time.monotonic()
        # dropout uses torch's random numbers; seeded here, they too are a function of the step
        torch.manual_seed(zlib.crc32(self.identity.encode()) + self.step)
        losses = self.trainee.step(self.step)
        if wrong := [key for key, value in losses.items() if not np.isfinite(value)]:
            self._give_up(wrong)
        self.progress["step"] += 1
        if self.step % self.schedule.sheet_every == 0:
            self._validate(losses)
        elif self.step % self.schedule.log_every == 0:
            self.rows.append({"step": self.step, **losses})
        self.progress["seconds"] += time.monotonic() - began
        return losses

    def _validate(self, losses: dict[str, float]) -> None:
        """Let the first process validate: write a sheet, and a row of the curves with losses and metrics."""
        if not self.leads:
            return
        self.metrics, sheet = self.trainee.validate()
        _write_sheet(self.folder / SHEETS_FOLDER / f"{self.step:07d}.png", sheet)
        row = {"step": self.step, **losses, **self.metrics}
        if self.rows and self.rows[-1]["step"] == row["step"]:
            row = self.rows.pop() | row
        self.rows.append(row)
        self.progress["metrics"], self.progress["validated"] = self.metrics, self.step

    def _save(self) -> None:
        if self.leads:
            save_state(self.folder / STATE_FILE, self.parts, self.progress)
            _write_curves(self.folder, self.rows)

    def _stop(self) -> NoReturn:
        """Save and end the training after SIGTERM."""
        self._save()
        self._leave_together()
        raise KPBEError(
            f"{self.name} was told to stop at step {self.step}: run it again to go on from there."
        )

    def _give_up(self, wrong: Sequence[str]) -> NoReturn:
        """End a training whose losses `wrong` are not finite, with advice."""
        advice = self._advice() if self.leads else ""
        self._leave_together()
        raise KPBEError(f"{self.name}: {', '.join(wrong)} is not finite at step {self.step}{advice}")

    def _advice(self) -> str:
        """Write the bad step's batch and the last good weights; returns their places and advice."""
        text = ""
        if isinstance(self.trainee, RemembersBatches):
            with whole(self.folder / CULPRIT_FILE) as temporary:
                batch = self.trainee.batch_of(self.step)
                np.savez_compressed(temporary, allow_pickle=False, step=self.step, **batch)
            text = f" (its batch: {self.folder / CULPRIT_FILE})"
        good = load_state(self.folder / STATE_FILE, self.parts, self.identity, self.schedule.steps)
        if good is None:
            return f"{text}, before the first checkpoint: lower the learning rate."
        self.trainee.export(self.folder)
        return (
            f"{text}; {self.folder} holds the last good state and its weights, of step {good['step']}: copy "
            "the weights, let the training start from the copy, and lower the learning rate."
        )

    def _leave_together(self) -> None:
        """Wait until the first process has written; the other processes then exit with 0.

        If one of them failed, Fabric would kill the first.
        """
        if self.processes is not None:
            self.processes.barrier()
            if not self.leads:
                raise SystemExit(0)

    def _hand_over(self, facts: dict[str, Any]) -> None:
        """Write weights and summary; print a warning if the mouth does not move."""
        self.trainee.export(self.folder)
        (self.folder / PREVIOUS_STATE_FILE).unlink(missing_ok=True)
        summary = {
            **facts,
            "steps": self.step,
            "seconds": round(self.progress["seconds"], 1),
            "stopped_by_time_budget": self.step < self.schedule.steps,
            **self.progress["metrics"],
        }
        write_json(self.folder / SUMMARY_FILE, summary)
        if warning := still_mouth(self.progress["metrics"]):
            print(f"{RED}{self.name}: {warning}{PLAIN}", flush=True)


def _progress_text(samples_per_second: float, seconds_left: float, numbers: dict[str, float]) -> str:
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
    """Record SIGTERM instead of dying of it; yields a function that tells whether it came.

    This works in the main thread only; in other threads SIGTERM keeps its meaning.
    """
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
