"""Training batches: samples drawn, decoded ahead by threads, moved to the device and augmented there.

A batch is a pure function of (seed, step), so that a resumed training sees exactly the batches it would have seen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from kpbe.data.clips import Clip
from kpbe.errors import ParamsError
from kpbe.media.video import FrameAccess
from kpbe.params import AugmentParams, SamplingParams, WarmUpParams
from kpbe.training.augment import as_images, augmented
from kpbe.training.frames import ClipFrames, FrameSource
from kpbe.training.sampling import Sampler, Samples

MIRRORED_ANGLES = np.array([-1, 1, -1], np.float32)
"""A mirrored face has the opposite yaw and roll."""

AHEAD = 3
"""Batches that wait or are decoded while the device computes: enough for all threads, little memory."""


@dataclass(frozen=True)
class FramePair:
    """Images of one training batch, float32 (B, 3, H, W) in [0, 1].

    `pose` is the real frame that the head pose is taken from and that the output is compared with; `expression` is the frame that the
    expression is taken from: the same tensor in stage 1, the backend's frame in stage 2. `degrees` are the pose frame's labels, (B, 3)
    yaw, pitch and roll, NaN where there is none.
    """

    source: Tensor
    pose: Tensor
    expression: Tensor
    degrees: Tensor

    def to(self, device: torch.device) -> FramePair:
        """The same batch on another device; `expression is pose` is kept."""
        pose = self.pose.to(device)
        same = self.expression is self.pose
        expression = pose if same else self.expression.to(device)
        return FramePair(self.source.to(device), pose, expression, self.degrees.to(device))

    def rows(self, rows: slice) -> FramePair:
        """Some samples of the batch, without copying; `expression is pose` is kept."""
        pose = self.pose[rows]
        expression = pose if self.expression is self.pose else self.expression[rows]
        return FramePair(self.source[rows], pose, expression, self.degrees[rows])


@dataclass(frozen=True)
class RawBatch:
    """A batch as it is decoded.

    Attributes:
        frames: uint8 (2 or 3, b, H, W, 3), not mirrored: source, pose and, in stage 2, expression images.
        degrees: float32 (b, 3) labels, already mirrored.
        samples: what is in it, and what is done to it on the device.
    """

    frames: Tensor
    degrees: Tensor
    samples: Samples


class BatchLoader:
    """The batches of a training, in any order of steps; in rising order they are decoded ahead.

    Its threads begin with the first batch and end with `close` (or the `with` block).

    Args:
        frames: to draw from.
        sampling, augment, warm_up: how.
        batch_size: of all processes together.
        seed: of the training.
        rank: number of this process; it gets the rows of the batch that are its share, and only they are decoded.
        world_size: number of processes.
        threads: that decode.
        device: where batches go.
        source: where frames come from; None is `frames.source`.

    Raises:
        ParamsError: the batch cannot be shared evenly among the processes.
        KPBEError: frames are held in memory and a video cannot be read.
    """

    def __init__(
        self,
        frames: ClipFrames,
        sampling: SamplingParams,
        augment: AugmentParams,
        warm_up: WarmUpParams,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        threads: int = 2,
        device: torch.device | str = "cpu",
        source: FrameSource | None = None,
    ):
        if batch_size % world_size:
            raise ParamsError(
                f"a batch of {batch_size} cannot be shared evenly among {world_size} processes: choose a schedule.batch_size that "
                f"{world_size} divides."
            )
        share = batch_size // world_size
        self._batch_size, self._rows = batch_size, range(rank * share, (rank + 1) * share)
        self._frames, self._device = frames, torch.device(device)
        self._source = frames.source if source is None else source
        self._sampler = Sampler(
            frames.clips, frames.videos_per_clip, sampling, augment, warm_up, batch_size, seed
        )
        self._pool = ThreadPoolExecutor(threads, "batches")
        self._coming: dict[int, tuple[RawBatch, list[Future[None]]]] = {}

    @property
    def samples_per_epoch(self) -> int:
        """Samples, of all processes together, until every identity (or clip) was shown `num_repeats` times."""
        return self._sampler.samples_per_epoch

    def batch(self, step: int) -> FramePair:
        """This process's share of batch `step`, on the device and augmented; the next batches are begun.

        Raises:
            KPBEError: a video cannot be read; the message names it.
        """
        raw = self.raw_batch(step)
        images = augmented(as_images(raw.frames.flatten(0, 1), self._device), raw.samples)
        source, pose, *expression = images.unflatten(0, raw.frames.shape[:2])
        degrees = raw.degrees.to(self._device, non_blocking=True)
        return FramePair(source, pose, expression[0] if expression else pose, degrees)

    def raw_batch(self, step: int) -> RawBatch:
        """The same as it was decoded, before it goes to the device; the next batches are begun.

        Raises:
            KPBEError: a video cannot be read; the message names it.
        """
        wanted = range(step, step + 1 + AHEAD)
        for other in [known for known in self._coming if known not in wanted]:
            for future in self._coming.pop(other)[1]:
                future.cancel()
        for coming in wanted:
            if coming not in self._coming:
                raw = self._empty(coming, self._rows)
                futures = [self._pool.submit(self._fill, raw, row) for row in range(len(raw.samples))]
                self._coming[coming] = raw, futures
        raw, futures = self._coming.pop(step)
        for future in futures:
            future.result()
        return raw

    def record_of(self, step: int) -> dict[str, np.ndarray]:
        """All about a batch of all processes, for a file: its images (uint8, before augmentation), labels and samples; decoded by the
        calling thread.
        """
        raw = self._empty(step, range(self._batch_size))
        for row in range(len(raw.samples)):
            self._fill(raw, row)
        samples = raw.samples
        names = ("source", "pose", "expression")[: len(raw.frames)]
        clips = self._frames.clips
        videos = [self._frames.video(*which) for which in zip(samples.clips, samples.videos, strict=True)]
        return {
            **{name: images.numpy() for name, images in zip(names, raw.frames, strict=True)},
            "degrees": raw.degrees.numpy(),
            "clip_ids": np.array([clips[clip].clip_id for clip in samples.clips]),
            "backend_videos": np.array([str(video or "") for video in videos]),
            "frame_indices": samples.frames,
            "mirrored": samples.mirrored,
            "colours": samples.colours,
            "colour_order": samples.order,
        }

    def close(self) -> None:
        """End the threads; what they had not begun is dropped."""
        self._pool.shutdown(cancel_futures=True)
        self._coming.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _empty(self, step: int, rows: range) -> RawBatch:
        """Room for these rows of a batch, with their numbers; page-locked for a GPU, so that copying need not wait."""
        samples = self._sampler.draw(step, rows)
        images, pinned = 2 + self._frames.with_backend, self._device.type == "cuda"
        shape = (images, len(samples), *self._frames.size, 3)
        return RawBatch(
            torch.empty(shape, dtype=torch.uint8, pin_memory=pinned),
            torch.empty((len(samples), 3), pin_memory=pinned),
            samples,
        )

    def _fill(self, raw: RawBatch, row: int) -> None:
        samples = raw.samples
        clip, frames = int(samples.clips[row]), samples.frames[row].tolist()
        pictures = self._frames.pictures(clip, frames, int(samples.videos[row]), self._source)
        for images, picture in zip(raw.frames.numpy(), pictures, strict=False):
            images[row] = picture
        angles = self._frames.degrees[clip][frames[1]]
        raw.degrees.numpy()[row] = angles * MIRRORED_ANGLES if samples.mirrored[row] else angles


def fixed_pairs(frames: ClipFrames, pairs: int, seed: int) -> FramePair:
    """Validation pairs that stay the same for a whole training: two random frames of each clip in turn, and of each backend.

    They are few: they are read from the files, whatever the training does.
    """
    rng, source = np.random.default_rng((seed, 0xF1)), FrameAccess()
    rows, degrees = [], []
    for index in range(pairs):
        clip = index % len(frames.clips)
        count = frames.clips[clip].frames
        first, second = rng.permutation(count)[:2].tolist() if count > 1 else (0, 0)
        video = index % max(1, frames.videos_per_clip[clip])
        rows.append(frames.pictures(clip, (first, second), video, source))
        degrees.append(frames.degrees[clip][second])
    columns = [
        torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True) if column[0] is not None
    ]
    images = [as_images(column, torch.device("cpu")) for column in columns]
    return FramePair(images[0], images[1], images[-1], torch.from_numpy(np.stack(degrees)))


def hold_out_validation(clips: Sequence[Clip], pairs: int) -> tuple[list[Clip], list[Clip]]:
    """Split training clips into (training, validation).

    Validation takes the last clip of up to `pairs` identities that have more than one; where no identity has two clips,
    validation repeats training clips and the sheets show seen material.
    """
    by_identity: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        by_identity[clip.identity].append(clip)
    spare = [own[-1] for _, own in sorted(by_identity.items()) if len(own) > 1][:pairs]
    held_out = {clip.clip_id for clip in spare}
    training = [clip for clip in clips if clip.clip_id not in held_out]
    return training, spare or list(clips[:pairs])
