"""Training batches: samples drawn, decoded ahead by threads, moved to the device and augmented there.

A batch is a pure function of (seed, step), so that a resumed training sees the same batches as an
uninterrupted one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from kpbe.data.clips import Clip
from kpbe.data.expression.labels import MIRRORED_SHAPES, POINTS, SHAPES, mirrored_points
from kpbe.errors import ParamsError
from kpbe.media.recording import FrameAccess
from kpbe.params import FrontendTrainParams
from kpbe.training.augment import as_images, augmented
from kpbe.training.frames import ClipFrames, FrameSource
from kpbe.training.placement import placed_picture, placed_points, placing, rolled_degrees
from kpbe.training.sampling import UNCHANGED, UNMOVED, Sampler, Samples

MIRRORED_ANGLES = np.array([-1, 1, -1], np.float32)
"""A mirrored face has the opposite yaw and roll."""

AHEAD = 3
"""Batches decoded ahead while the device computes: enough work for all threads, little memory."""


@dataclass(frozen=True)
class TrainingBatch:
    """Images of a training batch, float32 (B, 3, H, W) in [0, 1], and their labels; NaN where unknown.

    Attributes:
        source: gives appearance.
        pose: the frame that the head pose is taken from.
        expression: the frame that the expression is taken from, a backend's or a simulated one's; the same
            tensor as `pose` where the driving frame gives both.
        target: what the output is compared with; the same tensor as `pose` without grids.
        degrees, source_degrees: (B, 3) yaw, pitch and roll of the pose frame and of the source.
        source_points, pose_points, expression_points, target_points: (B, POINTS, 2), see `ExpressionLabels`.
        shapes: (B, len(SHAPES)) of the target, whose mouth is the expression frame's.
    """

    source: Tensor
    pose: Tensor
    expression: Tensor
    target: Tensor
    degrees: Tensor
    source_degrees: Tensor
    source_points: Tensor
    pose_points: Tensor
    expression_points: Tensor
    target_points: Tensor
    shapes: Tensor

    def to(self, device: torch.device) -> Self:
        """The same batch on another device; shared tensors stay shared."""
        return self._each(lambda tensor: tensor.to(device))

    def rows(self, rows: slice) -> Self:
        """Some samples of the batch, without copying; shared tensors stay shared."""
        return self._each(lambda tensor: tensor[rows])

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        changed = {id(tensor): change(tensor) for tensor in vars(self).values()}
        return replace(self, **{name: changed[id(tensor)] for name, tensor in vars(self).items()})


@dataclass(frozen=True)
class RawBatch:
    """A decoded batch on the CPU, before it is augmented.

    Attributes:
        frames: uint8 (n, b, H, W, 3) images of `names`, placed but not mirrored.
        names: of the images in `TrainingBatch` that are not shared with another one.
        degrees: float32 (2, b, 3) labels of source and pose, already placed and mirrored.
        points: float32 (4, b, POINTS, 2) of source, pose, expression and target, already placed and mirrored.
        shapes: float32 (b, len(SHAPES)), already mirrored.
        samples: its content, and how the device augments it.
    """

    frames: Tensor
    names: tuple[str, ...]
    degrees: Tensor
    points: Tensor
    shapes: Tensor
    samples: Samples

    def batch(self, device: torch.device) -> TrainingBatch:
        """The batch on the device, augmented."""
        images = augmented(as_images(self.frames.flatten(0, 1), device), self.samples)
        by_name = dict(zip(self.names, images.unflatten(0, self.frames.shape[:2]), strict=True))
        by_name.setdefault("expression", by_name["pose"])
        by_name.setdefault("target", by_name["pose"])
        points = self.points.to(device, non_blocking=True)
        degrees = self.degrees.to(device, non_blocking=True)
        return TrainingBatch(
            **by_name,
            source_degrees=degrees[0],
            degrees=degrees[1],
            source_points=points[0],
            pose_points=points[1],
            expression_points=points[2],
            target_points=points[3],
            shapes=self.shapes.to(device, non_blocking=True),
        )


class BatchLoader:
    """The batches of a training, in any order of steps; in rising order they are decoded ahead.

    Its threads start with the first batch and end with `close` (or the `with` block).

    Args:
        frames: frames to draw from.
        params: sampling, augmentation, warm-up, and the size of a batch of all processes together.
        seed: of the training.
        fabric: launched; each of its processes gets, and decodes, only its share of the batch's rows. None:
            one process on the CPU.
        threads: number of decoding threads.
        source: where frames come from; None uses `frames.source`, from the first batch on.

    Raises:
        ParamsError: the batch cannot be shared evenly among the processes.
    """

    def __init__(
        self,
        frames: ClipFrames,
        params: FrontendTrainParams,
        seed: int,
        fabric: Fabric | None = None,
        threads: int = 2,
        source: FrameSource | None = None,
    ):
        rank, world_size = (fabric.global_rank, fabric.world_size) if fabric else (0, 1)
        batch_size = params.schedule.batch_size
        if batch_size % world_size:
            raise ParamsError(
                f"a batch of {batch_size} cannot be shared evenly among {world_size} processes: choose a "
                f"schedule.batch_size that {world_size} divides."
            )
        share = batch_size // world_size
        self._batch_size, self._rows = batch_size, range(rank * share, (rank + 1) * share)
        self._frames, self._source = frames, source
        self._device = fabric.device if fabric else torch.device("cpu")
        self._sampler = Sampler(frames.clips, frames.videos_per_clip, params, seed, frames.grids)
        self._pool = ThreadPoolExecutor(threads, "batches")
        self._pending: dict[int, tuple[RawBatch, list[Future[None]]]] = {}

    @property
    def samples_per_epoch(self) -> int:
        """Samples of all processes until every identity (or clip) was shown `num_repeats` times."""
        return self._sampler.samples_per_epoch

    def batch(self, step: int) -> TrainingBatch:
        """This process's share of batch `step`, on the device and augmented; also starts the next batches.

        Raises:
            KPBEError: a video cannot be read; the message names it.
        """
        return self.raw_batch(step).batch(self._device)

    def raw_batch(self, step: int) -> RawBatch:
        """This process's share of batch `step`, decoded, on the CPU; also starts the next batches.

        Raises:
            KPBEError: a video cannot be read; the message names it.
        """
        source = self._frame_source
        steps = range(step, step + 1 + AHEAD)
        for unused in [pending for pending in self._pending if pending not in steps]:
            for future in self._pending.pop(unused)[1]:
                future.cancel()
        for ahead in steps:
            if ahead not in self._pending:
                raw = self._empty(ahead, self._rows)
                rows = range(len(raw.samples))
                futures = [self._pool.submit(_fill, self._frames, raw, row, source) for row in rows]
                self._pending[ahead] = raw, futures
        raw, futures = self._pending.pop(step)
        for future in futures:
            future.result()
        return raw

    def record_of(self, step: int) -> dict[str, np.ndarray]:
        """Everything about a batch of all processes, for a file: images, labels and samples.

        Images are uint8, before mirroring and colours. The calling thread decodes them.
        """
        raw = self._empty(step, range(self._batch_size))
        for row in range(len(raw.samples)):
            _fill(self._frames, raw, row, self._frame_source)
        samples = raw.samples
        clips = [*self._frames.clips, *(grid.clip for grid in self._frames.grids)]
        videos = [self._frames.video(*which) for which in zip(samples.clips, samples.videos, strict=True)]
        return {
            **{name: images.numpy() for name, images in zip(raw.names, raw.frames, strict=True)},
            "source_degrees": raw.degrees[0].numpy(),
            "degrees": raw.degrees[1].numpy(),
            "points": raw.points.numpy(),
            "shapes": raw.shapes.numpy(),
            "clip_ids": np.array([clips[clip].clip_id for clip in samples.clips]),
            "backend_videos": np.array([str(video or "") for video in videos]),
            "frame_indices": samples.frames,
            "spoiling": samples.spoiling,
            "mirrored": samples.mirrored,
            "colours": samples.colours,
            "colour_order": samples.order,
            "placements": samples.placements,
        }

    def close(self) -> None:
        """End the threads; batches that are not started are dropped."""
        self._pool.shutdown(cancel_futures=True)
        self._pending.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _empty(self, step: int, rows: range) -> RawBatch:
        """An empty batch for these rows, with its samples; page-locked for a GPU, for asynchronous copies."""
        return _room(self._frames, self._sampler.draw(step, rows), self._device.type == "cuda")

    @property
    def _frame_source(self) -> FrameSource:
        return self._source or self._frames.source


def _room(frames: ClipFrames, samples: Samples, pinned: bool = False) -> RawBatch:
    names = ["source", "pose"]
    if frames.gives_expression:
        names.append("expression")
    if frames.grids:
        names.append("target")
    count = len(samples)
    return RawBatch(
        torch.empty((len(names), count, *frames.size, 3), dtype=torch.uint8, pin_memory=pinned),
        tuple(names),
        torch.empty((2, count, 3), pin_memory=pinned),
        torch.empty((4, count, POINTS, 2), pin_memory=pinned),
        torch.empty((count, len(SHAPES)), pin_memory=pinned),
        samples,
    )


def _fill(frames: ClipFrames, raw: RawBatch, row: int, source: FrameSource) -> None:
    """Decode one sample into its row."""
    samples = raw.samples
    clip, (source_frame, pose, _, target) = int(samples.clips[row]), samples.frames[row].tolist()
    mirrored = bool(samples.mirrored[row])
    pictures = frames.pictures(
        clip, samples.frames[row].tolist(), int(samples.videos[row]), int(samples.spoiling[row]), source
    )
    placement = samples.placements[row]
    moves, matrix = bool((placement != UNMOVED).any()), placing(placement)
    for name, images in zip(raw.names, raw.frames.numpy(), strict=True):
        picture = getattr(pictures, name)
        images[row] = placed_picture(picture, matrix) if moves else picture
    shapes = frames.expressions[clip].shapes[target]
    points = [
        placed_points(known, matrix) if moves else known
        for known in (
            pictures.source_points,
            pictures.pose_points,
            pictures.expression_points,
            pictures.target_points,
        )
    ]
    for of_image, frame in zip(raw.degrees.numpy(), (source_frame, pose), strict=True):
        angles = rolled_degrees(frames.degrees[clip][frame], placement)
        of_image[row] = angles * MIRRORED_ANGLES if mirrored else angles
    raw.shapes.numpy()[row] = shapes[list(MIRRORED_SHAPES)] if mirrored else shapes
    for of_image, known in zip(raw.points.numpy(), points, strict=True):
        of_image[row] = mirrored_points(known) if mirrored else known


def fixed_batch(frames: ClipFrames, pairs: int, seed: int) -> TrainingBatch:
    """A validation batch that stays the same for a whole training.

    It holds two random frames of each clip in turn, and of each backend. They are few, so they are always
    read from the files. A simulated backend is one that is fed with the source.
    """
    rng, source = np.random.default_rng((seed, 0xF1)), FrameAccess()
    rows = []
    for index in range(pairs):
        clip = index % len(frames.clips)
        count = frames.clips[clip].frames
        first, second = rng.permutation(count)[:2].tolist() if count > 1 else (0, 0)
        rows.append((clip, (first, second, first, second), index % max(1, frames.videos_per_clip[clip])))
    clips, moments, videos = (np.array(column) for column in zip(*rows, strict=True))
    untouched = (np.tile(row, (pairs, 1)) for row in (UNCHANGED, np.arange(4), UNMOVED))
    samples = Samples(clips, moments, videos, np.arange(pairs), np.zeros(pairs, bool), *untouched)
    raw = _room(frames, samples)
    for row in range(pairs):
        _fill(frames, raw, row, source)
    return raw.batch(torch.device("cpu"))


def hold_out_validation(clips: Sequence[Clip], pairs: int) -> tuple[list[Clip], list[Clip]]:
    """Split training clips into (training, validation).

    Validation takes the last clip of up to `pairs` identities that have more than one. Where no identity has
    two clips, validation uses training clips, and the sheets show trained material.
    """
    by_identity: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        by_identity[clip.identity].append(clip)
    spare = [own[-1] for _, own in sorted(by_identity.items()) if len(own) > 1][:pairs]
    held_out = {clip.clip_id for clip in spare}
    training = [clip for clip in clips if clip.clip_id not in held_out]
    return training, spare or list(clips[:pairs])
