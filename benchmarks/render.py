"""Frames per second against the reference's plain rendering, and the time of each part.

Run it by `python -m benchmarks.render`. Both sides render the same frames with the same random weights in one
process, in turns; the report goes to benchmarks/render.md. On a busy machine the process's own time is the
better clock, so the page gives ratios by both.
"""

from __future__ import annotations

import argparse
import operator
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.reference_rendering import PlainRenderer
from benchmarks.report import Page, machine, page, processor, table, write_page
from benchmarks.training import model_of
from kpbe.frontend.model import DETAILS, Frontend
from kpbe.params import Detail, ModelParams, load_params

ROOT = Path(__file__).resolve().parents[1]
SEED = 0
LARGEST_DIFFERENCE = 1e-3
"""Largest difference allowed between our frames and the reference's, in [0, 1]."""

LEARNED = 0.9
"""Share of batch norms' statistics that are of the pictures: with all, random weights enlarge what was
rounded a thousand times.
"""

PARTS = {
    "appearance": "appearance",
    "pose and expression": "pose_expression",
    "motion field: compress": "motion_field.compress",
    "motion field: hourglass": "motion_field.hourglass",
    "motion field: mask": "motion_field.mask",
    "motion field: occlusion": "motion_field.occlusion",
    "motion field: relief": "motion_field.relief",
    "motion field": "motion_field",
    "generator": "generator",
    "compositor": "compositor",
}
"""Table row to module; a module that contains others gets only the rest of its time."""

REST = "warping at full size, changes of size"


@dataclass
class Clock:
    """Seconds of some rounds: by the wall clock, and of this process's own time on the processors."""

    wall: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)

    def time(self, work: Callable[[], object]) -> None:
        """Run `work` as one more round."""
        began = perf_counter(), process_time()
        work()
        self.wall.append(perf_counter() - began[0])
        self.own.append(process_time() - began[1])


@dataclass
class Comparison:
    """Ours against the reference, `frames` in each round."""

    frames: int
    ours: Clock = field(default_factory=Clock)
    reference: Clock = field(default_factory=Clock)
    difference: float = 0.0

    def ratios(self, clock: str) -> list[float]:
        """How many times as fast we are in each round, by the clock `wall` or `own`."""
        return [
            theirs / mine
            for mine, theirs in zip(getattr(self.ours, clock), getattr(self.reference, clock), strict=True)
        ]


@dataclass
class Speed:
    """How fast one model renders.

    Attributes:
        name: of the model.
        size: of the source and the frames.
        detail: of the frames.
        clock: of the rounds.
        frames: in each round.
        parts: module to milliseconds per frame, as `PARTS` names them (medians), and `REST`.
        gflop: module to 1e9 operations per frame.
    """

    name: str
    size: int
    detail: Detail
    frames: int
    clock: Clock = field(default_factory=Clock)
    parts: dict[str, float] = field(default_factory=dict)
    gflop: dict[str, float] = field(default_factory=dict)

    @property
    def milliseconds(self) -> float:
        """Milliseconds per frame, by the process's own time."""
        return 1e3 * median(self.clock.own) / self.frames


@torch.no_grad()
def frontend_of(model: ModelParams) -> Frontend:
    """The network with random weights.

    Its batch norms have seen random pictures: without their statistics all frames would be grey.
    """
    torch.manual_seed(SEED)
    frontend = Frontend(model).train()
    for module in frontend.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = LEARNED
    images = pictures(2, model.image_size)
    frontend.reenact(frontend.decompose(images), None, images.flip(0))
    return frontend.eval()


def pictures(count: int, size: int) -> Tensor:
    """Smooth pictures (count, 3, size, size) in [0, 1]."""
    coarse = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(SEED))
    return F.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)


def compare(model: ModelParams, rounds: int, frames: int) -> Comparison:
    """Run both sides in turns, after a round that is not timed.

    Raises:
        AssertionError: their pictures differ.
    """
    comparison, frontend = Comparison(frames), frontend_of(model)
    reference = PlainRenderer(frontend)
    frontend.for_rendering()
    images = pictures(1 + frames, model.image_size)
    source, driving = images[:1], images[1:]
    rendered: dict[str, np.ndarray] = {}
    with torch.inference_mode():
        decomposed = frontend.decompose(source)

        def ours() -> None:
            rendered["ours"] = frontend.reenact(decomposed, None, driving).frame.permute(0, 2, 3, 1).numpy()

        def theirs() -> None:
            rendered["reference"] = np.stack(list(reference(source, driving.split(1))))

        for number in range(-1, rounds):
            for clock, side in ((comparison.reference, theirs), (comparison.ours, ours)):
                (clock if number >= 0 else Clock()).time(side)
    comparison.difference = float(np.abs(rendered["ours"] - rendered["reference"]).max())
    assert rendered["ours"].std() > LARGEST_DIFFERENCE, "all pictures are grey"
    assert comparison.difference <= LARGEST_DIFFERENCE, f"pictures differ by {comparison.difference:.2g}"
    return comparison


def measure(model: ModelParams, size: int, detail: Detail, rounds: int, frames: int) -> Speed:
    """Render with pose and expression of two different videos, as `enhance` does, and time each part."""
    speed, frontend = Speed(model.name, size, detail, frames), frontend_of(model).use_detail(detail)
    images = pictures(1 + 2 * frames, size)
    source, pose_frames, backend_frames = images[:1], images[1 : 1 + frames], images[1 + frames :]
    with torch.no_grad():
        decomposed = frontend.decompose(source)

        def render() -> None:
            pose, _ = frontend.estimate_pose_expression(pose_frames)
            frontend.reenact(decomposed, pose, backend_frames)

        with FlopCounterMode(display=False) as counter:
            operations = by_part(frontend, render, counter.get_total_flops)
        speed.gflop = {part: count / frames / 1e9 for part, count in operations.items()}
        decomposed = frontend.for_rendering().decompose(source)
        render()
        for _ in range(rounds):
            speed.clock.time(render)
        times = [by_part(frontend, render, process_time) for _ in range(rounds)]
        speed.parts = {part: 1e3 * median(time[part] for time in times) / frames for part in times[0]}
    return speed


def of_themselves(values: dict[str, float]) -> dict[str, float]:
    """The values of each part less those of the parts that it contains (`PARTS`)."""
    return {
        part: value
        - sum(other for name, other in values.items() if PARTS[name].startswith(f"{PARTS[part]}."))
        for part, value in values.items()
    }


def by_part(frontend: Frontend, render: Callable[[], None], reading: Callable[[], float]) -> dict[str, float]:
    """How far a meter advances in each part of `PARTS` while `render` runs, and in the `REST`."""
    totals = dict.fromkeys(PARTS, 0.0)
    begun: dict[str, float] = {}

    def begin(part: str) -> None:
        begun[part] = reading()

    def end(part: str) -> None:
        totals[part] += reading() - begun[part]

    handles = []
    for part, path in PARTS.items():
        module = operator.attrgetter(path)(frontend)
        if module is not None:
            handles.append(module.register_forward_pre_hook(lambda *_, part=part: begin(part)))
            handles.append(module.register_forward_hook(lambda *_, part=part: end(part)))
    began = reading()
    render()
    whole = reading() - began
    for handle in handles:
        handle.remove()
    own = of_themselves(totals)
    return {**own, REST: whole - sum(own.values())}


def matrix_rate() -> float:
    """1e9 operations per second of matrix products, on this machine with its number of threads.

    It is the faster of two products: one by BLAS, and one by oneDNN in the form of a convolution. On some
    processors one of the two libraries supports fewer instruction sets.
    """
    side, places = 1024, 64
    square = torch.rand(side, side)
    picture = torch.rand(1, 256, places, places).contiguous(memory_format=torch.channels_last)
    kernel = torch.rand(256, 256, 3, 3).contiguous(memory_format=torch.channels_last)
    work: list[tuple[float, Callable[[], object]]] = [
        (2.0 * side**3, lambda: square @ square),
        (2.0 * 256 * 256 * 9 * (places - 2) ** 2, lambda: F.conv2d(picture, kernel)),
    ]
    rates = []
    with torch.inference_mode():
        for operations, product in work:
            clock = Clock()
            for _ in range(10):
                clock.time(product)
            rates.append(operations / min(clock.own) * torch.get_num_threads() / 1e9)
    return max(rates)


def report(comparison: Comparison, speeds: Sequence[Speed], rate: float, about: str, rounds: int) -> Page:
    """The page render.md."""
    ratios = {name: comparison.ratios(clock) for name, clock in (("wall clock", "wall"), ("own time", "own"))}
    header = (
        "vox256, 256x256",
        "rounds",
        "reference, s/frame",
        "ours, s/frame",
        "ratio (slowest to fastest)",
    )
    compared = [
        (
            f"{processor()}, {name}",
            str(len(values)),
            f"{median(getattr(comparison.reference, clock)) / comparison.frames:.3f}",
            f"{median(getattr(comparison.ours, clock)) / comparison.frames:.3f}",
            f"**{median(values):.2f}** ({min(values):.2f} to {max(values):.2f})",
        )
        for (name, values), clock in zip(ratios.items(), ("wall", "own"), strict=True)
    ]
    lines = [
        "# Rendering",
        "",
        f"`python -m benchmarks.render` writes this page. {rounds} rounds of each, the two sides in turns, "
        f"in one process; medians.",
        "",
        about,
        f"- matrix products: {rate:.0f} GFLOP/s, measured",
        "",
        table(header, compared),
        "",
        f"Random weights, the same on both sides; detail `none`; {comparison.frames} frames at once on "
        "ours, pose and expression of one video. No pixel differs by more than "
        f"{comparison.difference:.1g}. Reference: the whole generator for each frame, the source encoded "
        "again, sampling point by point. What both do once per video (canonical keypoints) is left out. "
        "Own time is the process's time on the processors, all threads together, which other programs "
        "hardly change. The allocator's settings (`prepare_for`) serve both sides.",
        "",
        "## Frames per second",
        "",
        table(
            (
                "model",
                "processor",
                "frames",
                "detail",
                "frames/s, wall clock",
                "frames/s, own time",
                "of the floor",
            ),
            [_speed_row(speed, rate) for speed in speeds],
        ),
        "",
        "Pose frames and backend's frames differ, so both are looked at. The floor is the time that the "
        "network's operations would take as matrix products at the measured rate. It counts the "
        "convolutions as published; ours need fewer where pictures are doubled and in large kernels.",
    ]
    for speed in speeds:
        lines += ["", f"## {_title(speed)}", "", parts_table(speed, rate)]
    return page(lines)


def _title(speed: Speed) -> str:
    return f"{speed.name}, {speed.size}x{speed.size}, {speed.detail}"


def _speed_row(speed: Speed, rate: float) -> tuple[str, ...]:
    floor = 1e3 * sum(speed.gflop.values()) / rate
    return (
        speed.name,
        processor(),
        f"{speed.size}x{speed.size}",
        speed.detail,
        f"{speed.frames / median(speed.clock.wall):.3g}",
        f"{1e3 / speed.milliseconds:.3g}",
        f"{floor / speed.milliseconds:.0%}",
    )


def parts_table(speed: Speed, rate: float) -> str:
    """Time, operations and floor of each part, per frame."""
    rows = []
    for part, milliseconds in speed.parts.items():
        gflop = speed.gflop.get(part, 0.0)
        if milliseconds >= 0.005 or gflop:
            name = "motion field: the rest" if part == "motion field" else part
            rows.append((name, f"{gflop:.2f}", f"{milliseconds:.2f}", f"{1e3 * gflop / rate:.2f}"))
    whole = sum(speed.parts.values())
    operations = sum(speed.gflop.values())
    rows.append(("whole frame", f"{operations:.2f}", f"{whole:.2f}", f"{1e3 * operations / rate:.2f}"))
    return table(("module", "GFLOP", "ms", "floor, ms"), rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.render", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=8, help="rendered at once")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    parsed = parser.parse_args(arguments)
    about, rate = machine(), matrix_rate()
    large, small = model_of(256), load_params(ROOT / "params.yaml").model
    comparison = compare(large, parsed.rounds, parsed.frames)
    print(f"ratio: {median(comparison.ratios('own')):.2f}", file=sys.stderr, flush=True)
    speeds = [measure(large, 256, "none", parsed.rounds, parsed.frames)]
    for size in (256, 512):
        for detail in DETAILS:
            speeds.append(measure(small, size, detail, parsed.rounds, parsed.frames))
            print(f"{_title(speeds[-1])}: {speeds[-1].milliseconds:.1f} ms", file=sys.stderr, flush=True)
    write_page(parsed.out, report(comparison, speeds, rate, about, parsed.rounds))


if __name__ == "__main__":
    main()
