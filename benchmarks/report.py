"""Pages of the benchmarks: the machine, tables of speed and memory."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch

from kpbe.core.files import write_json, write_text
from kpbe.core.markdown import markdown_table


@dataclass
class Race:
    """Ours against the reference, some rounds each.

    Attributes:
        name: what was run.
        device: where.
        frames: of our video.
        ours: frames per second of each round.
        reference: likewise.
        parts: of the reference's rounds: name to seconds, `all` being the whole.
    """

    name: str
    device: str
    frames: int
    ours: list[float] = field(default_factory=list)
    reference: list[float] = field(default_factory=list)
    parts: list[Mapping[str, float]] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """How many times as fast we are, by the medians."""
        return median(self.ours) / median(self.reference)


class Table(str):
    """A table in Markdown that keeps its cells; the first column is text, the others are numbers."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table of a page; `rows` hold the texts of their cells."""
    result = Table(markdown_table([header, *rows], numbers=slice(1, None)))
    result.head, result.rows = tuple(header), tuple(map(tuple, rows))
    return result


class Page(str):
    """A page in Markdown that keeps its parts: headings, paragraphs and tables."""

    parts: tuple[str, ...]


def page(parts: Iterable[str]) -> Page:
    """A page made of parts; empty parts are left out."""
    kept = tuple(part for part in parts if part.strip())
    result = Page("\n\n".join(kept) + "\n")
    result.parts = kept
    return result


def write_page(path: Path, written: Page) -> None:
    """Write a page as Markdown for people, and beside it as JSON for the site."""
    write_text(path, written)
    write_json(path.with_suffix(".json"), [_block(part) for part in written.parts])


def _block(part: str) -> dict[str, Any]:
    if isinstance(part, Table):
        return {"head": part.head, "rows": part.rows}
    if part.startswith("#"):
        marks, heading = part.split(" ", 1)
        return {"heading": heading, "level": len(marks)}
    return {"text": part}


def speed_table(races: Sequence[Race]) -> Table:
    """Frames per second of both sides (median, slowest, fastest round) and the ratio of the medians."""
    header = ("procedure", "device", "frames", "rounds", "reference, frames/s", "ours, frames/s", "ratio")
    rows = [
        (
            race.name,
            race.device,
            str(race.frames),
            str(len(race.ours)),
            _rates(race.reference),
            _rates(race.ours),
            f"**{race.ratio:.2f}**",
        )
        for race in races
    ]
    return table(header, rows)


def _rates(rates: Sequence[float]) -> str:
    return f"{median(rates):.3g} ({min(rates):.3g} to {max(rates):.3g})"


def parts_table(races: Sequence[Race]) -> Table:
    """Where the reference's time goes, as shares of the whole (medians of the rounds)."""
    names = sorted({name for race in races for parts in race.parts for name in parts} - {"all"})
    rows = []
    for race in races:
        shares = {n: median(parts.get(n, 0.0) / parts["all"] for parts in race.parts) for n in names}
        cells = [f"{shares[n]:.0%}" if any(n in parts for parts in race.parts) else "" for n in names]
        rows.append((race.name, race.device, *cells, f"{1 - sum(shares.values()):.0%}"))
    return table(("reference", "device", *names, "rest"), rows)


def machine() -> str:
    """Processor, cores, load, GPU and versions, as a Markdown list."""
    free = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    facts = {
        "processor": f"{processor()}, {free} cores",
        "load at the start": f"{load} running processes",
        "GPU": gpu,
        "PyTorch": f"{torch.__version__}, {torch.get_num_threads()} threads",
        "Python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
    }
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())


def processor() -> str:
    """The processor's name, as the system reports it."""
    listed = Path("/proc/cpuinfo")
    if listed.exists():
        for line in listed.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
