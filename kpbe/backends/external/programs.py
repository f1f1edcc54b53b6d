"""Run an external program with a time-out and a log; it never outlives this process."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from kpbe.errors import KPBEError

GUARD = 'read -r _ || { kill -s KILL -- "-$1"; rm -rf -- "$2"; }'
"""Shell script that runs beside the program and kills it when our process dies, even of SIGKILL: only then
does its input end without a line.
"""

TAIL_BYTES = 8192
LINE_LENGTH = 200
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Ended:
    """How a program ended.

    Attributes:
        code: its exit code, negative for the signal that killed it; None when its time was up.
        seconds: how long it ran.
        last_line: its last printed line that is not blank, at most 200 characters; "" if it printed nothing.
    """

    code: int | None
    seconds: float
    last_line: str

    @property
    def how(self) -> str:
        """How the program ended, as the rest of a sentence that begins with "the command"."""
        if self.code is None:
            return f"did not end within {self.seconds:.0f} s (timeout_s) and was stopped"
        if self.code < 0:
            killed = -self.code == signal.SIGKILL
            return f"was killed by signal {-self.code}" + (" (out of memory?)" if killed else "")
        return f"ended with exit code {self.code}"


def run_program(
    arguments: Sequence[str],
    *,
    log: Path,
    timeout_s: float,
    working_folder: Path,
    environment: Mapping[str, str],
    scratch: Path,
) -> Ended:
    """Run a program without a shell, wait for it, and kill every process that it left.

    The program has its own process group, which is also killed when this process is interrupted or killed.

    Args:
        arguments: the program's path and its arguments.
        log: gets the command and the program's output as it is printed; overwritten.
        timeout_s: seconds after which the program is killed.
        working_folder: where it runs.
        environment: all its environment variables.
        scratch: folder that is removed if this process is killed.

    Raises:
        KPBEError: the program cannot be started.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(f"$ {shlex.join(arguments)}\n", encoding="utf-8", errors="surrogateescape")
    header = log.stat().st_size
    begin = time.monotonic()
    with log.open("ab") as output:
        try:
            process = subprocess.Popen(
                arguments,
                cwd=working_folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise KPBEError(
                f"{arguments[0]} cannot be started ({error.strerror}): correct `command`."
            ) from None
        code = None
        with _gone_afterwards(process, scratch), suppress(subprocess.TimeoutExpired):
            code = process.wait(timeout_s)
        seconds = time.monotonic() - begin
        ended = Ended(code, seconds, _last_line(log, header))
        output.write(f"\n[kpbe] the command {ended.how}; it ran {seconds:.1f} s\n".encode())
    return ended


@contextmanager
def _gone_afterwards(process: subprocess.Popen[bytes], scratch: Path) -> Iterator[None]:
    """Kill the process group of `process` at the end of the block, or when this process dies in it."""
    guard = None
    try:
        guard = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, "kpbe-guard", str(process.pid), str(scratch)],
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        yield
    finally:
        with suppress(ProcessLookupError, PermissionError):  # macOS raises the latter for a group of zombies
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if guard is not None:
            guard.communicate(b"\n")


def _last_line(log: Path, header: int) -> str:
    with log.open("rb") as file:
        file.seek(max(header, log.stat().st_size - TAIL_BYTES))
        text = ESCAPES.sub("", file.read().decode(errors="replace"))
    lines = [line for part in re.split(r"[\r\n]+", text) if (line := part.strip())]
    return lines[-1][:LINE_LENGTH] if lines else ""
