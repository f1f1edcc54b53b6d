"""How a source is driven: which parts come from the talking video, absolute or relative motion, strength,
smoothing.

Absolute motion is eq. (2): the driving head's pose and expression take the place of the source's. Relative
motion is FOMM's and OSFV's: the source's keypoints move as the driving ones moved since a first frame.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from kpbe.core.choices import chosen
from kpbe.errors import KPBEError
from kpbe.frontend.detail import EYE_KEYPOINTS, LIP_KEYPOINTS
from kpbe.frontend.geometry import HeadPose, adapted_scale, relative_keypoints
from kpbe.frontend.images import to_tensor, to_uint8
from kpbe.frontend.model import Decomposition, Frontend

Part = Literal["expression", "pose", "lips", "eyes"]
PoseEnd = Literal["cut", "loop", "hold", "swing"]

SLOWEST_CUTOFF, FASTEST_CUTOFF = 0.5, 8.0
"""Cutoff of the one-euro filter for slow movements, in Hertz: at a smoothing of 1, and near 0."""

CUTOFF_SLOPE = 4.0
"""How much the cutoff grows with the speed of a movement: the filter's beta, in Hertz per unit and second."""

SPEED_CUTOFF = 1.0
"""Hertz of the filter's estimate of speed."""


@dataclass(frozen=True)
class Driving:
    """What of the talking video moves the source, and how.

    Attributes:
        take: parts that are taken from the talking video: `expression` (all keypoints), or of it only the
            `lips` or the `eyes`; `pose`. What is not taken stays the source's.
        relative: relative motion in place of absolute.
        adapt_scale: relative motion in the size of the source's head (OSFV's adapt_scale).
        strength: of the expression: 0 is the source's own, 1 the talking video's.
        smoothing: of head pose and expression, 0 (none) to 1, by a one-euro filter; lips are never smoothed.
    """

    take: frozenset[Part] = frozenset({"expression", "pose"})
    relative: bool = False
    adapt_scale: bool = True
    strength: float = 1.0
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 2:
            raise KPBEError(f"an expression strength of {self.strength:g} is not between 0 and 2.")
        if not 0 <= self.smoothing <= 1:
            raise KPBEError(f"a smoothing of {self.smoothing:g} is not between 0 and 1.")

    @property
    def takes_lips(self) -> bool:
        """Whether the lips are the talking video's."""
        return bool(self.take & {"expression", "lips"}) and self.strength > 0


def parts_of(text: str) -> frozenset[Part]:
    """Parts by their names, separated by commas.

    Raises:
        KPBEError: one is unknown, or there is none.
    """
    names = {name.strip() for name in text.split(",") if name.strip()}
    if not names or not names <= set(get_args(Part)):
        wrong = ", ".join(sorted(names - set(get_args(Part)))) or "nothing"
        raise KPBEError(f"{wrong} cannot be taken: name some of {', '.join(get_args(Part))}.")
    return frozenset(name for name in get_args(Part) if name in names)


def pose_end_of(word: str) -> PoseEnd:
    """What happens where the pose video is shorter, by its name.

    Raises:
        KPBEError: there is none of that name.
    """
    return chosen(word, get_args(PoseEnd), "pose end")


@dataclass(frozen=True)
class Motion:
    """Head poses and expressions of a whole video, frame by frame.

    Attributes:
        rotation: (N, 3, 3).
        translation: (N, 3).
        expression: (N, K, 3).
        canonical_keypoints: (N, K, 3) of the person that the video shows.
    """

    rotation: Tensor
    translation: Tensor
    expression: Tensor
    canonical_keypoints: Tensor

    def __len__(self) -> int:
        return len(self.rotation)

    def pose(self, index: slice | Tensor) -> HeadPose:
        """Head poses of some frames; their degrees are not known."""
        rotation = self.rotation[index]
        return HeadPose(rotation, self.translation[index], rotation.new_full((len(rotation), 3), torch.nan))


@torch.inference_mode()
def motion_of(frontend: Frontend, frames: Iterable[np.ndarray], batch_size: int = 16) -> Motion:
    """The motion of a video's frames, (S, S, 3) uint8 RGB, of one size."""
    found: list[tuple[Tensor, ...]] = []
    device = next(frontend.parameters()).device
    stream = iter(frames)
    while batch := list(islice(stream, batch_size)):
        known = frontend.keypoints_of(to_tensor(np.stack(batch)).to(device))
        pose = known.pose
        found.append((pose.rotation, pose.translation, known.expression, known.canonical_keypoints))
    return Motion(*(torch.cat(values) for values in zip(*found, strict=True)))


def smoothed(motion: Motion, strength: float, fps: float) -> Motion:
    """A motion without jitter: one-euro filter of head pose and expression, but for the lips (Casiez et al.
    2012).

    Args:
        motion: of a whole video.
        strength: 0 to 1.
        fps: of the video.
    """
    if strength == 0:
        return motion
    cutoff = FASTEST_CUTOFF * (SLOWEST_CUTOFF / FASTEST_CUTOFF) ** strength
    expression = one_euro(motion.expression, cutoff, fps)
    expression[:, LIP_KEYPOINTS] = motion.expression[:, LIP_KEYPOINTS]
    u, _, v = torch.linalg.svd(one_euro(motion.rotation, cutoff, fps))
    return replace(
        motion,
        rotation=u @ v,
        translation=one_euro(motion.translation, cutoff, fps),
        expression=expression,
    )


def one_euro(values: Tensor, cutoff: float, fps: float) -> Tensor:
    """One-euro filter of (N, ...) values at a constant rate: slow movements are smoothed, fast ones pass."""

    def share(hertz: Tensor | float) -> Tensor | float:
        return 1 / (1 + fps / (2 * torch.pi * hertz))

    out = values.clone()
    speed = torch.zeros_like(values[0])
    for index in range(1, len(values)):
        speed = speed + share(SPEED_CUTOFF) * ((values[index] - values[index - 1]) * fps - speed)
        weight = share(cutoff + CUTOFF_SLOPE * speed.abs())
        out[index] = out[index - 1] + weight * (values[index] - out[index - 1])
    return out


def extended(count: int, frames: int, end: PoseEnd) -> np.ndarray:
    """Which of `count` pose frames belongs to each of `frames` frames, (n,) int64, where the pose video is
    shorter: `cut` ends there, `loop` begins again, `hold` keeps the last, `swing` goes back and forth.
    """
    index = np.arange(frames)
    if end == "cut" or count >= frames:
        return index[:count]
    if end == "loop":
        return index % count
    if end == "hold":
        return np.minimum(index, count - 1)
    period = max(2 * (count - 1), 1)
    return np.minimum(index % period, period - index % period)


class Driver:
    """Renders a source as talking frames drive it.

    Args:
        frontend: in eval mode.
        source: of one picture, with appearance.
        driving: what moves and how.
        same_person: whether the talking frames show the source's person; then their mouths may be used.
        initial: the frame (batch 1) that relative motion counts from; needed for it.
    """

    def __init__(
        self,
        frontend: Frontend,
        source: Decomposition,
        driving: Driving,
        same_person: bool = True,
        initial: Decomposition | None = None,
    ) -> None:
        self.frontend, self.source, self.driving, self.same_person = frontend, source, driving, same_person
        self.initial = initial
        self._scale = 1.0
        if driving.relative:
            assert initial is not None
            if driving.adapt_scale:
                self._scale = adapted_scale(source.keypoints, initial.keypoints)

    @torch.inference_mode()
    def render(
        self,
        talking: np.ndarray,
        pose: HeadPose | None = None,
        expression: Tensor | None = None,
        speaks: np.ndarray | None = None,
    ) -> np.ndarray:
        """Frames of the source.

        Args:
            talking: (B, S, S, 3) uint8 RGB.
            pose: batch B, in place of the talking frames' own.
            expression: (B, K, 3), in place of the talking frames' own.
            speaks: (B,) bool; where false the lips stay the source's. None: it speaks throughout.

        Returns:
            (B, H, W, 3) uint8 RGB of the source's size.
        """
        frontend, source, driving = self.frontend, self.source, self.driving
        images = to_tensor(talking).to(source.canonical_keypoints.device)
        second = frontend.second_source(source, images, self.same_person)
        base = self.initial if driving.relative and self.initial is not None else source
        pose = second.pose if pose is None else pose
        if "pose" not in driving.take:
            pose = _repeated(base.pose, len(images))
        expression = self._expression(second.expression if expression is None else expression, base, speaks)
        if driving.relative:
            pose, keypoints = self._relative(pose, expression)
        else:
            keypoints = source.driven_by(pose, expression)
        counts = np.full(len(images), driving.takes_lips) & (True if speaks is None else speaks)
        counted = torch.from_numpy(np.asarray(counts)).to(keypoints.device)
        return to_uint8(frontend.render(source, keypoints, pose, second, counted).frame)

    def _expression(self, own: Tensor, base: Decomposition, speaks: np.ndarray | None) -> Tensor:
        """What is taken of the talking frames' expressions, on those of `base`."""
        taken = torch.zeros(own.shape[1], dtype=own.dtype, device=own.device)
        if "expression" in self.driving.take:
            taken[:] = 1
        if "lips" in self.driving.take:
            taken[LIP_KEYPOINTS] = 1
        if "eyes" in self.driving.take:
            taken[EYE_KEYPOINTS] = 1
        share = (self.driving.strength * taken).expand(len(own), -1)[..., None].clone()
        if speaks is not None:
            share[torch.from_numpy(~speaks), LIP_KEYPOINTS] = 0
        return base.expression + share * (own - base.expression)

    def _relative(self, pose: HeadPose, expression: Tensor) -> tuple[HeadPose, Tensor]:
        """The source's pose and keypoints moved as the driving ones moved since the initial frame."""
        assert self.initial is not None
        initial, source = self.initial, self.source
        driving = replace(initial, canonical_keypoints=initial.canonical_keypoints).driven_by(
            pose, expression
        )
        keypoints = relative_keypoints(source.keypoints, driving, initial.keypoints, self._scale)
        rotation = pose.rotation @ initial.pose.rotation.mT @ source.pose.rotation
        translation = source.pose.translation + self._scale * (pose.translation - initial.pose.translation)
        return HeadPose(rotation, translation, pose.degrees), keypoints


def _repeated(pose: HeadPose, count: int) -> HeadPose:
    return HeadPose(
        pose.rotation.expand(count, -1, -1),
        pose.translation.expand(count, -1),
        pose.degrees.expand(count, -1),
    )
