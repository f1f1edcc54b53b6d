"""The whole DAG as one flow: DVC names the stages and decides which of them run, Prefect shows it.

    python -m flows.pipeline [stage ...] [--force]

Stages are reproduced in order by `dvc repro --single-item`, each a task with live logs that says ran, cached or restored; the
stages' own flows appear in the same UI. The graph is asked of DVC and stands nowhere else.
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, NamedTuple

from flows.tracking import prepare_prefect, tracked
from kpbe.errors import KPBEError

OUTCOMES = {
    "didn't change, skipping": "cached",
    "is cached - skipping run": "restored",
    "Running stage": "ran",
}


class StageRun(NamedTuple):
    """How a stage of the pipeline went: `ran`, `cached` (nothing to do) or `restored` (from DVC's cache)."""

    stage: str
    outcome: str
    seconds: float


def stages_in_order(targets: Sequence[str] = ()) -> list[str]:
    """DVC's stages, each after all it depends on; only `targets` and what they need when any are given.

    Raises:
        KPBEError: a target is no stage, or dvc.yaml is not valid.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            graph = repo.index.graph
            needs = {s.addressing: sorted(d.addressing for d in graph.successors(s)) for s in graph.nodes}
    except DvcException as error:
        raise KPBEError(f"dvc.yaml: {error}.") from None
    unknown = sorted(set(targets) - set(needs))
    if unknown:
        raise KPBEError(f"no stage is called {', '.join(unknown)}: DVC knows {', '.join(sorted(needs))}.")
    wanted: set[str] = set()
    waiting = list(targets or needs)
    while waiting:
        stage = waiting.pop()
        if stage not in wanted:
            wanted.add(stage)
            waiting.extend(needs[stage])
    return list(TopologicalSorter({stage: needs[stage] for stage in sorted(wanted)}).static_order())


def reproduce(stage: str, force: bool = False, say: Callable[[str], Any] = print) -> StageRun:
    """Let DVC reproduce one stage, handing on its output line by line.

    Raises:
        KPBEError: the stage failed; the message is the stage's own.
    """
    command = [sys.executable, "-m", "dvc", "repro", "--single-item", stage, *(["--force"] if force else [])]
    began = time.monotonic()
    outcome = "cached"
    own_error: list[str] = []
    dvc_error = ""
    with _running(command) as process:
        for line in _lines(process):
            say(line)
            outcome = next((word for text, word in OUTCOMES.items() if text in line), outcome)
            if line.startswith("ERROR: "):
                dvc_error = dvc_error or line.removeprefix("ERROR: ")
            elif line.startswith("error: ") or (own_error and not dvc_error):
                own_error.append(line.removeprefix("error: "))
    if process.returncode:
        reason = "\n".join(own_error).strip() or dvc_error or f"dvc exited with {process.returncode}"
        raise KPBEError(f"stage {stage} failed: {reason}")
    return StageRun(stage, outcome, time.monotonic() - began)


@contextmanager
def _running(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose whole family is told to stop (trainings then save themselves) when the block is left by an error."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT__")}
    environment["PYTHONUNBUFFERED"] = "1"
    # dvc.yaml says `python`: this one, also where its environment is not activated
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", "")])
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        raise
    finally:
        process.wait()


def _lines(process: subprocess.Popen[bytes]) -> Iterator[str]:
    """Lines as they come; of a progress bar that redraws itself only what it last showed."""
    assert process.stdout is not None
    for line in io.TextIOWrapper(process.stdout, encoding="utf-8", errors="replace", newline="\n"):
        shown = line.rstrip("\r\n").rsplit("\r", 1)[-1].rstrip()
        if shown:
            yield shown


def pipeline(targets: Sequence[str] = (), force: bool = False) -> None:
    """Reproduce all stages, or `targets` and what they need, in order.

    Raises:
        KPBEError: a stage failed; those after it were not begun.
    """
    if tracked():
        prepare_prefect()
        from flows.pipeline_flow import pipeline_flow

        state = pipeline_flow(list(targets), force, return_state=True)
        if not state.is_completed():
            raise KPBEError(state.message or f"the pipeline ended as {state.name}.")
        return
    runs = [reproduce(stage, force) for stage in stages_in_order(targets)]
    print("\n".join(f"{run.stage}: {run.outcome} ({run.seconds:.0f} s)" for run in runs))


def main() -> None:
    """Entry point of `python -m flows.pipeline`."""
    parser = argparse.ArgumentParser(prog="python -m flows.pipeline", description=pipeline.__doc__)
    parser.add_argument(
        "targets", nargs="*", help="stages as `dvc stage list` names them; all when none is given"
    )
    parser.add_argument("--force", action="store_true", help="run stages even when nothing changed")
    arguments = parser.parse_args()
    try:
        pipeline(arguments.targets, arguments.force)
    except KPBEError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
