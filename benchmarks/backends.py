"""Our Wav2Lip and PC-AVS against the reference's batch synthesis: `python -m benchmarks.backends`.

Both sides run in one process on the same clip with the same weights, in turns. The report goes to
benchmarks/backends.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import get_args

import torch

from benchmarks import memory, procedures
from benchmarks.procedures import Job, Sizes
from benchmarks.reference_s3fd import S3FD, candidates_per_frame
from benchmarks.report import Page, Race, machine, page, parts_table, speed_table, table, write_page
from benchmarks.speech import FPS, Source, SpokenVideo, load_source
from benchmarks.stopwatch import Stopwatch
from kpbe.backends.base import Feed
from kpbe.errors import KPBEError
from kpbe.media.recording import Recording
from kpbe.params import SampleParams


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        video: a talking head; for None see `load_source`.
        seconds: length of the speech for Wav2Lip.
        pcavs_frames: frames of PC-AVS on a CPU, where its reference takes seconds per frame; on a GPU it
            speaks for `seconds`, too.
        rounds: how often each side runs.
        sizes: which networks are run.
        memory_seconds: lengths of speech whose peak memory is measured.
        devices: torch devices.
        sample: settings of a rendered clip; None renders one only where there is no real clip.
    """

    video: Path | None = None
    seconds: float = 10.0
    pcavs_frames: int = 24
    rounds: int = 2
    sizes: Sizes = field(default_factory=Sizes)
    memory_seconds: tuple[float, ...] = (10.0, 120.0)
    devices: tuple[str, ...] = ("cpu",)
    sample: SampleParams | None = None


@dataclass(frozen=True)
class Results:
    """What was measured.

    Attributes:
        source: the video.
        machine: description of the machine, a Markdown list.
        races: speeds.
        candidates: cells per frame that the loop of the reference's detection visits.
        memory: (procedure, seconds of speech) to peak MB.
    """

    source: Source
    machine: str
    races: list[Race]
    candidates: float
    memory: dict[tuple[str, float], float]


def measure(settings: Settings, folder: Path) -> Results:
    """Run all races and memory measurements; `folder` takes temporary files."""
    about = machine()
    source = load_source(settings.video, folder, settings.sample)
    # Measure memory before this process grows and leaves little for the others.
    peaks = {
        (name, seconds): memory.peak_memory(memory.MemoryRun(name, source, seconds))
        for name in get_args(memory.Procedure)
        for seconds in settings.memory_seconds
    }
    races, candidates = [], 0.0
    for name in settings.devices:
        device = torch.device(name)
        wav2lip = Wav2LipRaces(settings, source, folder, device)
        candidates = wav2lip.candidates
        races += wav2lip.run()
        races.append(pcavs_race(settings, source, folder, device))
    return Results(source, about, races, candidates, peaks)


class Wav2LipRaces:
    """Races of Wav2Lip, fed with the video or with one picture of it."""

    def __init__(self, settings: Settings, source: Source, folder: Path, device: torch.device) -> None:
        self.settings, self.folder, self.device = settings, folder, device
        self.generator, self.s3fd = settings.sizes.generator(device), S3FD(device)
        self.source = source
        self.talk = source.talk(max(1, round(settings.seconds * FPS)), folder)
        self.short = source.talk(min(8, len(self.talk.frames)), folder)
        self.candidates = candidates_per_frame(self.s3fd.plant(self.talk.first, source.boxes))

    def run(self) -> list[Race]:
        """Run all races on this device."""
        return [
            self._race("Wav2Lip, video, faces detected", "video", detected=True),
            self._race("Wav2Lip, video, faces given", "video", detected=False),
            self._race("Wav2Lip, source image, face detected", "source_image", detected=True),
        ]

    def _race(self, name: str, feed: Feed, detected: bool) -> Race:
        finds = self.source.detector if detected else "known"
        s3fd = self.s3fd if detected else None
        ours = partial(procedures.our_wav2lip, self.generator, feed=feed, detector=finds, device=self.device)
        reference = partial(
            procedures.reference_wav2lip, self.generator, feed=feed, detector=s3fd, device=self.device
        )
        return race(name, (ours, reference), (self.short, self.talk), self.settings.rounds, self.folder)


def pcavs_race(settings: Settings, source: Source, folder: Path, device: torch.device) -> Race:
    """Race of PC-AVS: the first frame speaks, and the video turns the head."""
    networks = settings.sizes.networks(device)
    frames = settings.pcavs_frames if device.type == "cpu" else round(settings.seconds * FPS)
    talks = source.talk(1, folder), source.talk(max(1, frames), folder)
    ours = partial(procedures.our_pcavs, networks, device=device)
    aligned = folder / "aligned"
    reference = partial(procedures.reference_pcavs, networks, folder=aligned, device=device)
    return race("PC-AVS, source image", (ours, reference), talks, settings.rounds, folder)


def race(
    name: str,
    sides: tuple[Callable[..., Job], Callable[..., Job]],
    talks: tuple[SpokenVideo, SpokenVideo],
    rounds: int,
    folder: Path,
) -> Race:
    """Let ours and the reference speak in turns.

    Args:
        name: for the report.
        sides: ours and the reference; each makes a job from the keyword argument `talk`.
        talks: a short one to warm up with, and the one that is timed.
        rounds: how often each side runs.
        folder: gets `ours.mkv` and `reference.mkv` of the last round.
    """
    outs = folder / "ours.mkv", folder / "reference.mkv"
    for make, out in zip(sides, outs, strict=True):
        make(talk=talks[0])(out, Stopwatch())
    jobs = [make(talk=talks[1]) for make in sides]
    device = next(str(s.keywords["device"]) for s in sides if isinstance(s, partial))
    result = Race(name, device, frames=len(talks[1].frames))
    for _ in range(rounds):
        for job, out, rates in zip(jobs, outs, (result.ours, result.reference), strict=True):
            watch, started = Stopwatch(), perf_counter()
            job(out, watch)
            seconds = perf_counter() - started
            rates.append(Recording(out).info.frames / seconds)
            if rates is result.reference:
                result.parts.append({**watch.seconds, "all": seconds})
    print(f"{name} on {device}: {result.ratio:.2f} times the reference", file=sys.stderr)
    return result


def report(settings: Settings, results: Results) -> Page:
    """The page with the results."""
    source = results.source
    detection = "YuNet" if source.detector == "yunet" else "no detection (YuNet's weights were not here)"
    networks = f"random weights, width {settings.sizes.width_multiplier:g} of the official one"
    kinds = [
        f"{kind} {path.name if path else networks}"
        for kind, path in (("Wav2Lip", settings.sizes.wav2lip), ("PC-AVS", settings.sizes.pcavs))
    ]
    paragraphs = [
        "# Backends: batch synthesis",
        "Written by `python -m benchmarks.backends`; run it again rather than edit this file.",
        results.machine,
        f"Video: {source.name}, {source.size[0]}x{source.size[1]}, looped to {settings.seconds:g} s at "
        f"{FPS:g} frames/s. Networks: {'; '.join(kinds)}. Speed does not depend on the weights' values. "
        "Loading the networks is not timed; reading, detecting, synthesising, pasting and writing (FFV1 "
        "with sound) are, on both sides by the same reader and writer. Both run in turns in one process, "
        "after a short warm-up; numbers are medians (slowest and fastest round).",
        "## Speed",
        speed_table(results.races),
        "Where the reference's time goes:",
        parts_table(results.races),
        "## What is compared",
        WHAT.format(detection=detection, candidates=results.candidates, frames=settings.pcavs_frames),
    ]
    if results.memory:
        paragraphs += ["## Memory", _memory_table(settings, results), MEMORY]
    return page(paragraphs)


WHAT = """\
The reference procedures are written from descriptions of the published inference scripts
(`benchmarks/reference_*.py`); none of their code is here.

- Wav2Lip, faces detected: the reference runs S3FD on every whole frame in batches of 16 and then a Python
  loop over every candidate cell of the batch. The network has random weights (its published file was not
  here), so behind it stand the answers that a trained one is taught to give: our detector's box at every cell
  whose anchor overlaps it by at least 0.35, {candidates:.1f} cells a frame. The boxes used are the same on
  both sides. We use {detection}. S3FD's cost grows with the size of the frames.
- Wav2Lip, faces given: the same without either detection. What is left is the same network on the same
  frames.
- Wav2Lip, source image: one picture speaks (`--static`); the reference detects its face once and encodes it
  for every frame, we encode it once.
- Wav2Lip's reference video ends 0.1 s before the speech does, ours covers it; frames per second count each
  side's own frames.
- PC-AVS: the reference encodes identity and head pose of the source picture again for every frame, renders
  two pictures a frame (fixed and driven head pose), and convolves in groups with one weight per sample. Its
  frames are aligned beforehand and not pasted back; ours are aligned, and pasted into the source picture,
  within the time. It is slow: on a CPU {frames} frames are measured, on a GPU as many as for Wav2Lip. On a
  GPU the published code has compiled kernels for blur and activation; here they are PyTorch's operations."""

MEMORY = f"""\
Each number is a process of its own. The networks are narrow (width {memory.NARROW:g}) and faces are given:
what is asked is how much of the video is kept while it is synthesised; most of each number is PyTorch itself.
The reference keeps all frames."""


def _memory_table(settings: Settings, results: Results) -> str:
    lengths = settings.memory_seconds
    rows = []
    for name in get_args(memory.Procedure):
        peaks = [results.memory[name, seconds] for seconds in lengths]
        grown = (peaks[-1] - peaks[0]) / max(1e-9, lengths[-1] - lengths[0])
        rows.append((name, *(f"{peak:.0f}" for peak in peaks), f"{grown:.2f}" if len(peaks) > 1 else ""))
    header = (
        "peak memory, MB",
        *(f"{seconds:g} s of speech" for seconds in lengths),
        "MB per further second",
    )
    return table(header, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backends", description=__doc__)
    default = Settings()
    parser.add_argument(
        "--video", type=Path, help="a talking head; default: a real clip, else a rendered one"
    )
    parser.add_argument("--seconds", type=float, default=default.seconds)
    parser.add_argument("--pcavs-frames", type=int, default=default.pcavs_frames, help="on a CPU")
    parser.add_argument("--rounds", type=int, default=default.rounds)
    parser.add_argument("--wav2lip-checkpoint", type=Path)
    parser.add_argument("--pcavs-checkpoint", type=Path)
    parser.add_argument("--width", type=float, default=1.0, help="of random networks; 1 is the official size")
    parser.add_argument("--memory-seconds", type=float, nargs="*", default=default.memory_seconds)
    gpus = ["cuda"] if torch.cuda.is_available() else []
    parser.add_argument("--devices", nargs="+", default=["cpu", *gpus])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    parsed = parser.parse_args(arguments)
    settings = Settings(
        video=parsed.video,
        seconds=parsed.seconds,
        pcavs_frames=parsed.pcavs_frames,
        rounds=parsed.rounds,
        sizes=Sizes(parsed.width, wav2lip=parsed.wav2lip_checkpoint, pcavs=parsed.pcavs_checkpoint),
        memory_seconds=tuple(parsed.memory_seconds),
        devices=tuple(parsed.devices),
    )
    try:
        with TemporaryDirectory() as folder:
            written = report(settings, measure(settings, Path(folder)))
    except KPBEError as error:
        sys.exit(str(error))
    write_page(parsed.out, written)
    print(written)


if __name__ == "__main__":
    main()
