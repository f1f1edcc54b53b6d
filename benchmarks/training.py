"""Samples per second of a full stage-1 step against the reference's: `python -m benchmarks.training`.

Both sides train the same networks from the same weights on the same images in one process, in turns. Our side
includes its loader; the reference gets images that are already in memory. The report goes to
benchmarks/training.md.
"""

from __future__ import annotations

import argparse
import gc
import resource
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import torch
from lightning_fabric import Fabric

from benchmarks.clips import training_clip
from benchmarks.reference_training import PlainStep, plain_convolutions
from benchmarks.report import Page, machine, page, processor, table, write_page
from kpbe.checkpoints.catalogue import find
from kpbe.data.clips import Clip
from kpbe.data.head_pose.labels import label_path
from kpbe.frontend.model import Frontend
from kpbe.media.video_writer import write_video
from kpbe.params import (
    ComputeParams,
    FrontendLossParams,
    FrontendTrainParams,
    ModelParams,
    MotionFieldParams,
    PerceptualParams,
    ScheduleParams,
)
from kpbe.training.frames import ClipFrames, LabelFolders
from kpbe.training.frontend_trainee import FrontendTrainee
from kpbe.training.losses import RandomWarp
from kpbe.training.perceptual import VGG19Features

FRAMES = 24
CLIPS = 4
SEED = 0
LOSSES = FrontendLossParams(vgg19=10.0)
"""The reference's: VGG-19 pyramid, hinge GAN, feature matching, equivariance, keypoint prior, head pose,
expression.
"""

Step = Callable[[int], object]


@dataclass(frozen=True)
class Case:
    """One comparison: image size, batch, device, and how our side computes."""

    image_size: int
    batch_size: int
    device: str = "cpu"
    precision: str = "32-true"
    compile: bool = False

    @property
    def name(self) -> str:
        """Precision and compilation of our side in a few words."""
        words = ["bf16" if self.precision.startswith("bf16") else "fp32"]
        return " + ".join([*words, "compile"] if self.compile else words)


@dataclass
class Rates:
    """Samples per second of each round, and the peak memory of our side.

    The memory, in GB, is that of the GPU, or of the whole process so far.
    """

    case: Case
    reference: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    memory_gb: float = 0.0

    @property
    def ratio(self) -> float:
        """How many times as fast we are, by the medians."""
        return median(self.ours) / median(self.reference)


def model_of(image_size: int, narrow: bool = False) -> ModelParams:
    """The published OSFV sizes at another image size; features below 32x32 are halved once less."""
    blocks = 5 if image_size >= 128 else 4
    model = ModelParams(image_size=image_size, motion_field=MotionFieldParams(blocks=blocks))
    keypoints = model.canonical_keypoints.model_copy(update={"blocks": blocks})
    model = model.model_copy(update={"canonical_keypoints": keypoints})
    if narrow:  # for the tests
        model = model.model_copy(
            update={
                "depth": 4,
                "canonical_keypoints": keypoints.model_copy(update={"width": 4, "max_width": 16}),
                "pose_expression": model.pose_expression.model_copy(
                    update={"width": 4, "stage_blocks": (1, 1, 1, 1)}
                ),
                "appearance": model.appearance.model_copy(
                    update={"width": 4, "max_width": 16, "volume_channels": 4, "volume_blocks": 1}
                ),
                "motion_field": MotionFieldParams(blocks=blocks, width=4, max_width=16, mask_kernel=3),
                "generator": model.generator.model_copy(update={"width": 8, "blocks": 1}),
            }
        )
    return model


def make_clips(folder: Path, image_size: int) -> tuple[list[Clip], Path]:
    """Clips of moving waves, and a folder with head pose labels for them."""
    clips, head_poses = [], folder / "head_pose"
    head_poses.mkdir()
    y, x = np.mgrid[:image_size, :image_size] / image_size
    for number in range(CLIPS):
        phases = np.arange(FRAMES)[:, None, None, None] * 0.2 + np.arange(3) + number
        waves = np.sin(phases + (7 * x + (3 + number) * y)[None, :, :, None])
        clip = training_clip(folder, number, f"{number}.mp4", FRAMES, image_size, image_size)
        write_video(clip.video, (127.5 + 127.5 * waves).astype(np.uint8), 25.0, codec="h264-lossless")
        np.save(label_path(head_poses, clip), np.zeros((FRAMES, 3), np.float32))
        clips.append(clip)
    return clips, head_poses


def our_step(case: Case, frontend: Frontend, clips: Sequence[Clip], head_poses: Path) -> FrontendTrainee:
    """Our training, ready to make steps, with batches from its loader."""
    compute = ComputeParams.model_validate(
        {"device": case.device, "precision": case.precision, "compile": case.compile}
    )
    fabric = Fabric(accelerator=case.device, devices=1, precision=compute.precision)
    fabric.launch()
    params = FrontendTrainParams(
        schedule=ScheduleParams(steps=1, batch_size=case.batch_size, validation_pairs=1),
        losses=LOSSES,
        perceptual=PerceptualParams(missing="pixels"),
        ema_decay=0.999,
    )
    # no expression labels: the reference has none either
    frames = ClipFrames(clips, LabelFolders(head_poses, head_poses / "none"), where=compute)
    return FrontendTrainee(frontend, frames, frames, params, compute, SEED, fabric, {})


def race(case: Case, rounds: int, steps: int, warm_up: int, narrow: bool = False) -> Rates:
    """Run both sides in turns: `rounds` rounds of `steps` steps each, after `warm_up` untimed steps."""
    rates = Rates(case)
    device = torch.device(case.device)
    torch.manual_seed(SEED)
    frontend = Frontend(model_of(case.image_size, narrow))
    weights = find("vgg19")
    vgg = VGG19Features(weights)
    plain = PlainStep(
        frontend,
        vgg,
        LOSSES,
        FrontendTrainParams(schedule=ScheduleParams(steps=1, batch_size=1)).optimiser,
        PerceptualParams().scales,
        device,
    )
    with TemporaryDirectory() as folder:
        clips, head_poses = make_clips(Path(folder), case.image_size)
        trainee = our_step(case, frontend, clips, head_poses)
        pair = trainee.loader.batch(0)
        warp = RandomWarp.sample(case.batch_size, torch.Generator().manual_seed(SEED)).to(device)
        sides: list[tuple[list[float], Step]] = [
            (rates.reference, lambda step: plain(pair.source, pair.pose, warp)),
            (rates.ours, trainee.step),
        ]
        done = {id(speeds): 0 for speeds, _ in sides}
        with trainee.loader:
            for number in range(-1, rounds):
                for speeds, step in sides:
                    if device.type == "cuda":
                        torch.cuda.reset_peak_memory_stats()
                    begun = perf_counter()
                    for _ in range(steps if number >= 0 else warm_up):
                        step(done[id(speeds)])  # both end with a copy to the CPU, which waits for a GPU
                        done[id(speeds)] += 1
                    if number >= 0:
                        speeds.append(steps * case.batch_size / (perf_counter() - begun))
    if device.type == "cuda":  # since our side's last round began
        rates.memory_gb = torch.cuda.max_memory_allocated() / 1e9
    else:
        rates.memory_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return rates


@dataclass(frozen=True)
class Memory:
    """What a step keeps in fp32, in GB.

    The fixed part is the networks with gradients, optimiser states and average; the other is per sample.
    """

    fixed_gb: float
    sample_gb: float

    def at(self, batch_size: int) -> float:
        """Total for a batch."""
        return self.fixed_gb + batch_size * self.sample_gb


def memory(image_size: int, narrow: bool = False) -> Memory:
    """Count what autograd keeps for the backward pass of one sample, and the bytes of the networks.

    Work space of convolutions and the gradients of activations are not included; an allocator's peak is
    higher.
    """
    torch.manual_seed(SEED)
    frontend = plain_convolutions(Frontend(model_of(image_size, narrow)))  # as on a GPU
    kept: dict[int, int] = {}
    with TemporaryDirectory() as folder:
        clips, head_poses = make_clips(Path(folder), image_size)
        trainee = our_step(Case(image_size, 1), frontend, clips, head_poses)
        own = {
            p.untyped_storage().data_ptr() for p in (*frontend.parameters(), *trainee.perceptual.parameters())
        }

        def note(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with trainee.loader, torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            trainee.step(0)
        discriminator = trainee.adversary.network if trainee.adversary is not None else torch.nn.Identity()
        weights = [
            sum(p.nbytes for p in n.parameters()) for n in (frontend, discriminator, trainee.perceptual)
        ]
    # weights, gradients and Adam's two moments; the frontend's average
    fixed = 5 * weights[0] + 4 * weights[1] + weights[2]
    return Memory(fixed / 1e9, sum(kept.values()) / 1e9)


def memory_table(memory_kept: Memory) -> str:
    """Memory by batch size."""
    rows = [(str(size), f"{memory_kept.at(size):.1f}") for size in (1, 2, 4, 8, 16, 32)]
    return table(("batch of one GPU", "kept in fp32, GB"), rows)


def report(measured: Sequence[Rates], kept: Memory, about: str, rounds: int, steps: int) -> Page:
    """The page training.md."""
    rows = [
        (
            f"{rates.case.image_size}x{rates.case.image_size}",
            torch.cuda.get_device_name() if rates.case.device == "cuda" else processor(),
            str(rates.case.batch_size),
            rates.case.name,
            _range(rates.reference),
            _range(rates.ours),
            f"**{rates.ratio:.2f}**",
            f"{rates.memory_gb:.1f}",
        )
        for rates in measured
    ]
    header = (
        "images",
        "processor",
        "batch",
        "ours",
        "reference, samples/s",
        "ours, samples/s",
        "ratio",
        "peak memory, GB",
    )
    lines = [
        "# Training: a full stage-1 step",
        "",
        f"`python -m benchmarks.training` writes this page. {rounds} rounds of {steps} steps for each side, "
        "in turns, in one process; medians, with the slowest and fastest round.",
        "",
        about,
        "",
        table(header, rows),
        "",
        "Networks: the published OSFV sizes (`vox256`) at each image size. Reference: the plain procedure "
        "in fp32 (torch's own 3D convolutions and layout of weights, the pose teacher in the loop, the "
        "discriminator's gradients computed twice, four Adam optimisers, not fused; VGG on real images "
        "keeps no graph there either, since neither its weights nor they want gradients); it is given "
        "batches that are ready. Ours: stage 1's trainee with its loader, augmentation, moving average and "
        "checks. Peak memory is of the whole process on a CPU (both sides together) and of the GPU's "
        "allocator on a GPU.",
    ]
    lines += [
        "",
        "## Memory by batch size (vox256, 256x256)",
        "",
        memory_table(kept),
        "",
        "Counted on a CPU, not measured on a GPU: weights, gradients, Adam's moments and the average, and "
        "what autograd keeps for the backward pass of one sample times the batch. bf16 halves most of the "
        "latter; convolutions' work space comes on top. `train.stageN.accumulate` divides the batch.",
    ]
    if not any(rates.case.device == "cuda" for rates in measured):
        lines += ["", "No GPU was at hand: the GPU rows (fp32, bf16, bf16 + compile) are untested."]
    return page(lines)


def _range(rates: Sequence[float]) -> str:
    return f"{median(rates):.3g} ({min(rates):.3g} to {max(rates):.3g})"


def cases() -> list[Case]:
    """The comparisons to run on this machine."""
    comparisons = [Case(64, 8), Case(128, 4), Case(256, 2)]
    if torch.cuda.is_available():
        for batch_size in (8, 16, 32):
            comparisons.append(Case(256, batch_size, "cuda"))
            comparisons.append(Case(256, batch_size, "cuda", "bf16-mixed"))
            comparisons.append(Case(256, batch_size, "cuda", "bf16-mixed", compile=True))
    return comparisons


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="of each round")
    parser.add_argument("--only", default="", help="cpu or cuda")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    parsed = parser.parse_args(arguments)
    if find("vgg19") is None:  # our side would then compare pixels, which is far cheaper
        sys.exit(
            "error: VGG-19's weights are missing (`kpbe doctor` says where to get them): without them the "
            "two sides are not alike."
        )
    about, measured = machine(), []
    for case in cases():
        if parsed.only not in ("", case.device):
            continue
        try:
            measured.append(race(case, parsed.rounds, parsed.steps, warm_up=1 if case.device == "cpu" else 5))
            print(f"{case}: {measured[-1].ratio:.2f}", file=sys.stderr, flush=True)
        except torch.cuda.OutOfMemoryError:
            print(f"{case}: left out, the GPU's memory does not hold it", file=sys.stderr, flush=True)
        gc.collect()  # both sides hold reference cycles
        if case.device == "cuda":
            torch.cuda.empty_cache()
    write_page(parsed.out, report(measured, memory(256), about, parsed.rounds, parsed.steps))


if __name__ == "__main__":
    main()
