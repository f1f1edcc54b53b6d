"""`kpbe enhance` on whole videos against the usual loop: `python -m benchmarks.enhance`.

Both enhance the same 720p video in processes of their own, in turns, from decoding to encoding. The report
goes to benchmarks/enhance.md. The video is a real clip where there is one on this machine, else a head of the
built-in sample, in a larger picture and repeated.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Literal

import numpy as np

from benchmarks.memory import peak_rss
from benchmarks.report import Page, machine, page, table, write_page
from benchmarks.speech import REAL_CLIPS
from kpbe.checkpoints.catalogue import require
from kpbe.inference.frontends import frontend_file
from kpbe.media.audio import write_wav
from kpbe.media.images import scaled
from kpbe.media.recording import Recording
from kpbe.media.video_writer import write_video

Way = Literal["KPBE", "usual"]
WIDTH, HEIGHT, FPS = 1280, 720, 25.0


@dataclass
class Case:
    """One length.

    Attributes:
        seconds: of the video.
        rates: frames per second of each round, by way.
        peaks: peak memory of each round in MB.
    """

    seconds: float
    rates: dict[Way, list[float]] = field(default_factory=dict)
    peaks: dict[Way, list[float]] = field(default_factory=dict)


def main() -> None:
    """Run all and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, nargs="+", default=[10.0, 60.0])
    parser.add_argument("--rounds", type=int, nargs="+", default=[3, 1], help="for each length")
    parser.add_argument("--alone", type=float, nargs="*", default=[120.0], help="lengths that KPBE runs once")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/enhance.md"))
    arguments = parser.parse_args()
    start = machine()
    cases = [Case(seconds) for seconds in arguments.seconds]
    with TemporaryDirectory() as folder:
        for case, rounds in zip(cases, arguments.rounds, strict=True):
            video = write_talk(Path(folder) / f"{case.seconds:g}.mp4", case.seconds)
            for _ in range(rounds):
                for way in ("KPBE", "usual"):
                    rate, peak = run(way, video, Path(folder) / "out.mp4")
                    case.rates.setdefault(way, []).append(rate)
                    case.peaks.setdefault(way, []).append(peak)
                    print(f"{way}, {case.seconds:g} s: {rate:.2f} frames/s, {peak:.0f} MB", flush=True)
        for seconds in arguments.alone:
            video = write_talk(Path(folder) / f"{seconds:g}.mp4", seconds)
            rate, peak = run("KPBE", video, Path(folder) / "out.mp4")
            cases.append(Case(seconds, {"KPBE": [rate]}, {"KPBE": [peak]}))
    write_page(arguments.out, report(cases, start))


def write_talk(path: Path, seconds: float) -> Path:
    """A talking head in a 720p picture, with sound."""
    frames = round(seconds * FPS)
    write_wav(path.with_suffix(".wav"), np.sin(np.arange(round(seconds * 16000)) / 9).astype(np.float32) / 4)
    write_video(path, _pictures(frames), FPS, audio=path.with_suffix(".wav"))
    return path


def _pictures(frames: int) -> Iterator[np.ndarray]:
    head = _head()
    wall = np.linspace(60, 140, HEIGHT)[:, None, None].repeat(WIDTH, 1).repeat(3, 2).astype(np.uint8)
    for index in range(frames):
        turn = index % (2 * len(head) - 2)  # to and fro, without a cut
        picture = wall.copy()
        picture[160:672, 400:912] = scaled(head[min(turn, 2 * len(head) - 2 - turn)], 512, 512)
        yield picture


def _head() -> np.ndarray:
    clip = next(iter(sorted(REAL_CLIPS.glob("*.mp4"))), None)
    if clip is not None:
        return Recording(clip).frames()[:75]
    from kpbe.data.sample.clip import render_clip
    from kpbe.params import SampleParams

    return np.asarray(render_clip(0, 0, SampleParams(seconds=3.0)).frames)


def run(way: Way, video: Path, out: Path) -> tuple[float, float]:
    """Frames per second from start to end, the loading of weights included, and peak memory in MB."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_run_here, way, video, out).result()


def _run_here(way: Way, video: Path, out: Path) -> tuple[float, float]:
    from benchmarks.reference_enhance import enhance_as_usual
    from kpbe.inference.enhance_video import enhance_video
    from kpbe.inference.frontends import open_frontend

    file, detector = frontend_file(None), require("yunet")
    begun = perf_counter()
    if way == "KPBE":
        frames = enhance_video(open_frontend(file), video, None, out).frames
    else:
        frames = enhance_as_usual(file, detector, video, out)
    return frames / (perf_counter() - begun), peak_rss()


def report(cases: list[Case], start: str) -> Page:
    """The page."""
    rows = []
    for case in cases:
        rounds, ours = f"{len(case.rates['KPBE'])}", median(case.rates["KPBE"])
        memory = [f"{max(case.peaks[way]):.0f}" if way in case.peaks else "" for way in ("KPBE", "usual")]
        speed = [f"{ours:.2f}", "", ""]
        if "usual" in case.rates:
            usual = median(case.rates["usual"])
            speed = [f"{ours:.2f}", f"{usual:.2f}", f"{ours / usual:.1f}"]
        rows.append([f"{case.seconds:g} s", rounds, *speed, *memory])
    return page(
        [
            "# Enhancing whole videos",
            "`kpbe enhance` on a 1280x720 video at 25 fps, whose face takes a square of some 560 pixels, "
            "against the usual loop (benchmarks/reference_enhance.py): frame by frame, all frames in memory, "
            "the whole generator for each, imageio for reading and writing. Same weights (the released "
            "frontend with detail `warp_both`), same detector, on the CPU. Times run from opening the "
            "weights to the closed file; medians over rounds, in turns. Ours also looks for the best "
            "source frame, follows the face in a pass of its own and writes the sound; the loop does not. "
            "At 120 s the loop needs some 17 GB for frames alone, and is left out.",
            start,
            table(
                [
                    "length",
                    "rounds",
                    "KPBE, frames/s",
                    "usual, frames/s",
                    "ratio",
                    "KPBE, peak MB",
                    "usual, peak MB",
                ],
                rows,
            ),
            "Made by `python -m benchmarks.enhance`.",
        ]
    )


if __name__ == "__main__":
    main()
