"""Peak memory of a synthesis, measured in a process that does nothing else."""

from __future__ import annotations

import resource
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from benchmarks.speech import FPS, Source

NARROW = 0.0625
"""Width multiplier of the networks: what is asked is how much of the video is kept, not how large the
networks are.
"""

Procedure = Literal["Wav2Lip, ours", "Wav2Lip, reference", "PC-AVS, ours"]


@dataclass(frozen=True)
class MemoryRun:
    """One synthesis by narrow networks on the CPU, faces given.

    Attributes:
        procedure: which synthesis.
        source: video to loop.
        seconds: of speech.
        image_size: of PC-AVS.
    """

    procedure: Procedure
    source: Source
    seconds: float
    image_size: int = 224


def peak_memory(run: MemoryRun) -> float:
    """Peak resident memory, in MB, of a fresh process that does `run`."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_peak_of_this_process, run).result()


def _peak_of_this_process(run: MemoryRun) -> float:
    import torch

    from benchmarks import procedures
    from benchmarks.stopwatch import Stopwatch

    cpu = torch.device("cpu")
    sizes = procedures.Sizes(NARROW, run.image_size)
    with TemporaryDirectory() as folder:
        talk = run.source.talk(round(run.seconds * FPS), Path(folder))
        if run.procedure == "Wav2Lip, ours":
            job = procedures.our_wav2lip(sizes.generator(cpu), talk, "video", "known", cpu)
        elif run.procedure == "Wav2Lip, reference":
            job = procedures.reference_wav2lip(sizes.generator(cpu), talk, "video", None, cpu)
        else:
            job = procedures.our_pcavs(sizes.networks(cpu), talk, cpu)
        job(Path(folder) / "spoken.mkv", Stopwatch())
    return peak_rss()


def peak_rss() -> float:
    """Peak resident memory of this process in MB.

    getrusage will not do on Linux: its peak outlives exec, so it would be the parent's if that is higher.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024
