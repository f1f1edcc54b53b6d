"""Which frames a training sees: identities, clips, moments, flips and colours, drawn as in FOMM.

This module draws numbers only. Sample i of a training is a function of (seed, i), so resumed trainings, other
batch sizes and several processes see the same samples. Batch `step` holds the samples from step * batch_size
on; only the warm-up depends on the step itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from kpbe.data.clips import Clip
from kpbe.data.grids import DrawnGrid
from kpbe.params import FrontendTrainParams, SamplingParams

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
"""Columns of `Samples.colours`, and the values of `Samples.order`."""

UNCHANGED = np.array([1, 1, 1, 0], np.float32)
"""The row of `Samples.colours` that leaves an image as it is."""

ROLL, SCALE, RIGHT, DOWN = range(4)
"""Columns of `Samples.placements`."""

UNMOVED = np.array([0, 1, 0, 0], np.float32)
"""The row of `Samples.placements` that leaves a picture as it is."""

EPOCH, SAMPLE = 0xE9, 0x5A
"""Seed parts of the random numbers: one for the order of an epoch, one for each sample."""


@dataclass(frozen=True)
class Samples:
    """The content of b samples.

    Attributes:
        clips: (b,) indices of clips, grids after all others.
        frames: (b, 4) frame indices in the clip: source, pose frame, head of a simulated backend, target
            (which has the pose of the pose frame and the mouth of the backend). In a clip, pose frame and
            target are one frame.
        videos: (b,) number of the clip's backend video; 0 where there is none.
        spoiling: (b,) seeds of simulated backends.
        mirrored: (b,) whether left and right are swapped.
        colours: float32 (b, 4) factors of brightness, contrast and saturation, and turn of the hue (share of
            a full turn).
        order: (b, 4) these four in the order in which they are applied.
        placements: float32 (b, 4) roll in degrees, clockwise; scale; shift to the right and down, with the
            picture from -1 to 1. They are applied before mirroring.
    """

    clips: np.ndarray
    frames: np.ndarray
    videos: np.ndarray
    spoiling: np.ndarray
    mirrored: np.ndarray
    colours: np.ndarray
    order: np.ndarray
    placements: np.ndarray

    def __len__(self) -> int:
        return len(self.clips)


def samples_per_epoch(clips: Sequence[Clip], sampling: SamplingParams) -> int:
    """Samples until every identity (or clip) was shown `num_repeats` times."""
    return len(_groups(clips, sampling.by_identity)) * sampling.num_repeats


class Sampler:
    """Draws the samples of a training.

    Args:
        clips: clips to draw from.
        videos: number of backend videos of each clip, zeros in stage 1.
        params: length of an epoch, flips and colours, largest distance of the two frames of a sample, samples
            per step of all processes together.
        seed: of the training.
        grids: drawn people; `sampling.drawn_share` of the samples are of them.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        videos: Sequence[int],
        params: FrontendTrainParams,
        seed: int,
        grids: Sequence[DrawnGrid] = (),
    ):
        sampling = params.sampling
        self._groups = _groups(clips, sampling.by_identity)
        self._lengths = [clip.frames for clip in clips]
        self._videos, self._grids = list(videos), list(grids)
        self._drawn_share = sampling.drawn_share if grids else 0.0
        self._augment, self._warm_up = params.augment, params.warm_up
        self._batch_size, self._seed = params.schedule.batch_size, seed
        self.samples_per_epoch = samples_per_epoch(clips, sampling)
        self._order_of = lru_cache(maxsize=2)(self._shuffled)

    def draw(self, step: int, rows: range) -> Samples:
        """Draw the given rows of batch `step`."""
        reach = self._warm_up.reach(step)
        samples = [self._sample(step * self._batch_size + row, reach) for row in rows]
        columns = [np.array(column) for column in zip(*samples, strict=True)]
        return Samples(*columns)

    def _shuffled(self, epoch: int) -> np.ndarray:
        """Groups in the order of an epoch."""
        rng = np.random.default_rng((self._seed, EPOCH, epoch))
        return rng.permutation(self.samples_per_epoch) % len(self._groups)

    def _sample(
        self, index: int, reach: float
    ) -> tuple[int, tuple[int, int, int, int], int, int, bool, np.ndarray, np.ndarray, np.ndarray]:
        own = self._groups[self._order_of(index // self.samples_per_epoch)[index % self.samples_per_epoch]]
        rng = np.random.default_rng((self._seed, SAMPLE, index))
        augment = self._augment
        if rng.random() < self._drawn_share:
            number = int(rng.integers(len(self._grids)))
            clip, video = len(self._lengths) + number, 0
            frames = _of_grid(rng, self._grids[number])
            mirrored = bool(rng.random() < 0.5)
        else:
            clip = own[rng.integers(len(own))]
            first, second = _two_frames(rng, self._lengths[clip], reach)
            video = int(rng.integers(max(1, self._videos[clip])))
            backwards, mirrored = (rng.random(2) < 0.5).tolist()
            if augment.time_flip and backwards:
                first, second, mirrored = second, first, False
            frames = (first, second, _head_of_backend(rng, first, second, self._lengths[clip]), second)
        most = (augment.brightness, augment.contrast, augment.saturation, augment.hue)
        colours = UNCHANGED + (rng.uniform(-1, 1, 4) * most).astype(np.float32)
        spoiling = int(rng.integers(2**31))
        order = rng.permutation(4)
        away = rng.uniform(-1, 1, 4) * (augment.roll, np.log1p(augment.scale), augment.shift, augment.shift)
        away[SCALE] = np.exp(away[SCALE])
        return (
            clip,
            frames,
            video,
            spoiling,
            augment.mirror and mirrored,
            colours,
            order,
            away.astype(np.float32),
        )


def _head_of_backend(rng: np.random.Generator, source: int, driving: int, frames: int) -> int:
    """Index of the frame whose head a simulated backend gives a mouth to.

    It is the source, as of a backend that is fed with a still; the driving frame, as of one that is fed with
    the video; or any frame.
    """
    kind = rng.random()
    return source if kind < 0.6 else driving if kind < 0.85 else int(rng.integers(frames))


def _of_grid(rng: np.random.Generator, grid: DrawnGrid) -> tuple[int, int, int, int]:
    """Source, pose frame, backend and target of a quadruple of two poses and some mouths."""
    pose, other_pose = rng.integers(grid.poses, size=2).tolist()
    mouth, *others = rng.integers(grid.mouths, size=3).tolist()
    backend_pose = other_pose if rng.random() < 0.6 else int(rng.integers(grid.poses))
    return (
        other_pose * grid.mouths + others[0],
        pose * grid.mouths + others[1],
        backend_pose * grid.mouths + mouth,
        pose * grid.mouths + mouth,
    )


def _groups(clips: Sequence[Clip], by_identity: bool) -> list[list[int]]:
    """Indices of the clips of each identity, identities sorted by name; or each clip by itself."""
    if not by_identity:
        return [[index] for index in range(len(clips))]
    groups = defaultdict(list)
    for index, clip in enumerate(clips):
        groups[clip.identity].append(index)
    return [groups[identity] for identity in sorted(groups)]


def _two_frames(rng: np.random.Generator, frames: int, reach: float) -> tuple[int, int]:
    """Two frames in their order, drawn with replacement, at most `reach` of the clip apart."""
    first = int(rng.integers(frames))
    apart = round(reach * (frames - 1))
    second = int(rng.integers(max(0, first - apart), min(frames, first + apart + 1)))
    return min(first, second), max(first, second)
