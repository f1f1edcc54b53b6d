"""Order of the DAG's stages, and reproduction of one stage by DVC.

The graph comes from DVC only.
"""

from __future__ import annotations

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

from kpbe.errors import KPBEError

OUTCOMES = {
    "didn't change, skipping": "cached",
    "is cached - skipping run": "restored",
    "Running stage": "ran",
}


class StageRun(NamedTuple):
    """A stage's outcome: `ran`, `cached` (nothing to do) or `restored` (from DVC's cache)."""

    stage: str
    outcome: str
    seconds: float


def stages_in_order(targets: Sequence[str] = ()) -> list[str]:
    """DVC's stages, each after its dependencies; only `targets` and their dependencies if there are any.

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
    needed: set[str] = set()
    waiting = list(targets or needs)
    while waiting:
        stage = waiting.pop()
        if stage not in needed:
            needed.add(stage)
            waiting.extend(needs[stage])
    return list(TopologicalSorter({stage: needs[stage] for stage in sorted(needed)}).static_order())


def reproduce(stage: str, force: bool = False, say: Callable[[str], Any] = print) -> StageRun:
    """Let DVC reproduce one stage, and pass its output on line by line.

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
    """Run a process; if the block fails, its whole process group gets SIGTERM (trainings then save)."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT__")}
    environment["PYTHONUNBUFFERED"] = "1"
    # `python` in dvc.yaml must be this one, even if its environment is not activated
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
    """Lines of the output as they come; of a progress bar only its last state."""
    assert process.stdout is not None
    for line in io.TextIOWrapper(process.stdout, encoding="utf-8", errors="replace", newline="\n"):
        shown = line.rstrip("\r\n").rsplit("\r", 1)[-1].rstrip()
        if shown:
            yield shown
