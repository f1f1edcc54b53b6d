"""Reading two random frames of a random clip, as training does: `python -m benchmarks.loading`.

All kinds of storage are read in turns in one process, the same frames of the same clips each. The report goes
to benchmarks/loading.md.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
from PIL import Image

from benchmarks.clips import training_clip
from benchmarks.report import Page, machine, page, table, write_page
from benchmarks.speech import REAL_CLIPS
from kpbe.data.clips import Clip
from kpbe.data.sample.clip import render_clip
from kpbe.media.recording import FrameAccess, Recording
from kpbe.media.video_writer import write_video
from kpbe.params import FrontendTrainParams, SampleParams, ScheduleParams
from kpbe.training.batches import BatchLoader
from kpbe.training.frames import ClipFrames, FrameSource, LabelFolders, MemoryFrames

SHORT_GOP, LONG_GOP = 12, 250
CRF = 12
"""The default of `data.crf`."""
PEER = "mp4, GOP 250, decord"
"""What a clip is unless it is prepared for training: x264's default GOP and the usual reader."""


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        clips: how many at most.
        size: pixels of a side.
        draws: pairs of frames in a round, read one after the other in one thread.
        batches: batches in a round, per batch size.
        batch_sizes: for the loader.
        rounds: how often every way runs.
        threads: of the loader.
        sample: of rendered clips; None takes real ones where they are on this machine.
    """

    clips: int = 11
    size: int = 256
    draws: int = 60
    batches: int = 8
    batch_sizes: tuple[int, ...] = (8, 32)
    rounds: int = 3
    threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    sample: SampleParams | None = None


@dataclass
class Way:
    """One kind of storage with one reader.

    Attributes:
        name: for the report.
        source: reads frames of a clip, given the clip's path.
        megabytes: size of all clips as they are stored.
        milliseconds: time for a pair of frames, one median per round.
        batches_per_second: per batch size, one number per round.
    """

    name: str
    source: FrameSource
    megabytes: float
    milliseconds: list[float] = field(default_factory=list)
    batches_per_second: dict[int, list[float]] = field(default_factory=dict)


class PictureFolder:
    """One PNG per frame, as FOMM's loader prefers it: a folder per clip, listed at every access."""

    def read(self, path: Path, indices: Sequence[int], /) -> np.ndarray:
        """See `FrameSource`."""
        folder = path.with_suffix(".png")
        names = sorted(entry.name for entry in os.scandir(folder))
        return np.stack([np.asarray(Image.open(folder / names[index])) for index in indices])


@dataclass(frozen=True)
class Stored:
    """Calls `get` with the clip's file that has another suffix."""

    suffix: str
    get: Callable[[Path, Sequence[int]], np.ndarray]

    def read(self, path: Path, indices: Sequence[int], /) -> np.ndarray:
        """See `FrameSource`."""
        return self.get(path.with_suffix(self.suffix), indices)


class OfMemory:
    """Frames kept in memory, by the clip's path."""

    def __init__(self, paths: Sequence[Path], suffix: str, threads: int) -> None:
        self._suffix = suffix
        self._frames = MemoryFrames([path.with_suffix(suffix) for path in paths], threads)

    def read(self, path: Path, indices: Sequence[int], /) -> np.ndarray:
        """See `FrameSource`."""
        return self._frames.read(path.with_suffix(self._suffix), indices)


def decord_pair(path: Path, indices: Sequence[int]) -> np.ndarray:
    """Open the file with decord, as its users do, and read two frames."""
    import decord

    return decord.VideoReader(str(path), num_threads=1).get_batch(list(indices)).asnumpy()


def reader_pair(path: Path, indices: Sequence[int]) -> np.ndarray:
    """Open the file with our general reader, which scans it first and then uses decord or PyAV."""
    return Recording(path).at(indices)


def make_clips(settings: Settings, folder: Path) -> tuple[str, list[Clip]]:
    """Store every clip in every way; return where the clips come from, and the clips."""
    real = [] if settings.sample else sorted(REAL_CLIPS.glob("*.mp4"))[: settings.clips]
    name = f"{len(real)} real clips (VoxCeleb2), scaled"
    videos = (Recording(path).frames((settings.size, settings.size)) for path in real)
    if not real:
        sample = settings.sample or SampleParams(seconds=6.0, frame_size=settings.size)
        name = f"{settings.clips} rendered clips of the built-in sample"
        videos = (render_clip(number, 0, sample).frames for number in range(settings.clips))
    clips = []
    for number, frames in enumerate(videos):
        clip = training_clip(folder, number, f"{number}.any", *frames.shape[:3])
        for suffix, gop in ((".short.mp4", SHORT_GOP), (".long.mp4", LONG_GOP)):
            write_video(clip.video.with_suffix(suffix), frames, 25.0, gop=gop, crf=CRF)
        write_video(clip.video.with_suffix(".mkv"), frames, 25.0, codec="ffv1")
        pictures = clip.video.with_suffix(".png")
        pictures.mkdir()
        for index, frame in enumerate(frames):
            Image.fromarray(frame).save(pictures / f"{index:07}.png")
        clips.append(clip)
    return name, clips


def ways_of(settings: Settings, clips: Sequence[Clip]) -> list[Way]:
    """All ways of storing and reading; ours is the last."""
    paths = [clip.video for clip in clips]
    short, long, ffv1 = FrameAccess(), FrameAccess(), FrameAccess()
    in_memory = sum(clip.frames * clip.width * clip.height * 3 for clip in clips) / 1e6
    named_sources = [("PNG folders, PIL", PictureFolder(), ".png")]
    try:
        import decord  # noqa: F401
    except (ImportError, OSError):
        print("decord is not installed here: its rows are left out", file=sys.stderr)
    else:
        named_sources += [
            (PEER, Stored(".long.mp4", decord_pair), ".long.mp4"),
            ("mp4, GOP 12, decord", Stored(".short.mp4", decord_pair), ".short.mp4"),
        ]
    named_sources += [
        ("mp4, GOP 250, ours", Stored(".long.mp4", long.read), ".long.mp4"),
        ("mp4, GOP 12, `Recording.at`", Stored(".short.mp4", reader_pair), ".short.mp4"),
        (
            "mp4, GOP 12, ours, first opening",
            Stored(".short.mp4", lambda path, indices: Recording(path).a_few_at(indices)),
            ".short.mp4",
        ),
        ("mp4, GOP 12, ours", Stored(".short.mp4", short.read), ".short.mp4"),
        ("FFV1 mkv (backends' videos), ours", Stored(".mkv", ffv1.read), ".mkv"),
    ]
    ways = [Way(name, source, _megabytes(paths, suffix)) for name, source, suffix in named_sources]
    return [*ways, Way("memory, ours", OfMemory(paths, ".short.mp4", settings.threads), in_memory)]


def _megabytes(paths: Sequence[Path], suffix: str) -> float:
    stored = [path.with_suffix(suffix) for path in paths]
    files = [file for path in stored for file in (path.iterdir() if path.is_dir() else [path])]
    return sum(file.stat().st_size for file in files) / 1e6


def measure(settings: Settings, clips: Sequence[Clip]) -> list[Way]:
    """Run all ways in turns, after a first round that is not counted."""
    ways = ways_of(settings, clips)
    for number in range(-1, settings.rounds):
        rng = np.random.default_rng(max(number, 0))
        numbers = rng.integers(len(clips), size=settings.draws)
        pairs = [
            (clips[clip], np.sort(rng.integers(clips[clip].frames, size=2)).tolist()) for clip in numbers
        ]
        for way in ways:
            times = [_milliseconds(way.source, clip, pair) for clip, pair in pairs]
            if number >= 0:
                way.milliseconds.append(median(times))
        for size in settings.batch_sizes:
            for way in ways:
                rate = _batches_per_second(settings, clips, way.source, size, number)
                if number >= 0:
                    way.batches_per_second.setdefault(size, []).append(rate)
        print(f"round {number + 1} of {settings.rounds} is done", file=sys.stderr)
    return ways


def _milliseconds(source: FrameSource, clip: Clip, indices: Sequence[int]) -> float:
    begun = perf_counter()
    source.read(clip.video, indices)
    return 1e3 * (perf_counter() - begun)


def _batches_per_second(
    settings: Settings, clips: Sequence[Clip], source: FrameSource, batch_size: int, seed: int
) -> float:
    """Batches per second of the loader, up to where bytes go to the device."""
    none = clips[0].folder / "no labels"
    frames = ClipFrames(clips, LabelFolders(none, none))
    params = FrontendTrainParams(schedule=ScheduleParams(steps=1, batch_size=batch_size))
    count = settings.batches if seed >= 0 else 1
    with BatchLoader(frames, params, max(seed, 0), threads=settings.threads, source=source) as loader:
        begun = perf_counter()
        for step in range(count):
            loader.raw_batch(step)
        return count / (perf_counter() - begun)


def report(settings: Settings, about: str, name: str, clips: Sequence[Clip], ways: Sequence[Way]) -> Page:
    """The page loading.md."""
    peer = next((way for way in ways if way.name == PEER), ways[0])
    seconds = sum(clip.seconds for clip in clips)
    header = (
        "stored as, read by",
        "MB per minute",
        "ms per pair",
        "times as fast",
        *(f"batches of {size}/s" for size in settings.batch_sizes),
    )
    rows = []
    for way in ways:
        ratio = median(peer.milliseconds) / median(way.milliseconds)
        rates = [_range(way.batches_per_second[size]) for size in settings.batch_sizes]
        bold = "**" if way is not peer else ""
        rows.append(
            (
                way.name,
                f"{way.megabytes / seconds * 60:.0f}",
                _range(way.milliseconds),
                f"{bold}{ratio:.2f}{bold}",
                *rates,
            )
        )
    paragraphs = [
        "# Loading: two random frames of a random clip",
        "Written by `python -m benchmarks.loading`; run it again rather than edit this file.",
        about,
        f"{name}, {settings.size}x{settings.size}, {seconds:.0f} s together; H.264 with crf {CRF}. "
        f"{settings.rounds} rounds of {settings.draws} pairs and {settings.batches} batches, all ways in "
        "turns on the same draws in one process; medians of the rounds (fastest and slowest). The files "
        "are in the operating system's cache.",
        table(header, rows),
        WHAT.format(peer=peer.name, threads=settings.threads),
    ]
    return page(paragraphs)


def _range(values: Sequence[float]) -> str:
    return f"{median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


WHAT = """\
- A pair: open the clip, decode two random frames, close it; one thread. `times as fast` is against {peer}.
- Batches: the training's loader with {threads} threads, two images a sample, up to where the bytes go to the
  device. PNG folders and decord take our loader's place for frames only: threads, order and buffers are the
  same.
- PNG folders: what FOMM recommends; the folder is listed at every access, as its loader does. No video
  decoding, but every frame is stored by itself, without loss.
- ours: `FrameAccess`. It remembers where each clip's frames lie after its first opening (the row `first
  opening` shows what that costs), enters the file at the key frame before, and leaves out pictures that no
  other picture needs.
- `Recording.at`: our reader for whole videos. It looks through the file at every opening, to tell damaged
  ones apart.
- memory: `compute.frames: memory`, frames as bytes; the size is theirs."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loading", description=__doc__)
    default = Settings()
    for name in ("clips", "size", "draws", "batches", "rounds", "threads"):
        parser.add_argument(f"--{name}", type=int, default=getattr(default, name))
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=default.batch_sizes)
    parser.add_argument(
        "--rendered", type=float, metavar="SECONDS", help="clips of the built-in sample, not real ones"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    options = vars(parser.parse_args(arguments))
    out, rendered = options.pop("out"), options.pop("rendered")
    sample = SampleParams(seconds=rendered, frame_size=options["size"]) if rendered else None
    sizes = tuple(options.pop("batch_sizes"))
    settings = Settings(**options, batch_sizes=sizes, sample=sample)
    about = machine()
    with TemporaryDirectory() as folder:
        name, clips = make_clips(settings, Path(folder))
        written = report(settings, about, name, clips, measure(settings, clips))
    write_page(out, written)
    print(written)


if __name__ == "__main__":
    main()
