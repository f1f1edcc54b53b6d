"""A small world in which the method has a true answer.

It has two drawn heads in a few poses and with a few mouths, and every combination is drawn. `PerfectFrontend`
recognises these pictures and renders them by their keypoints (paper eq. 1 and 2), so the code around a
frontend must produce the picture with one video's pose and the other's mouth. This module shares no line with
the code under test: it computes its keypoints itself.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from kpbe.data.sample.clip import plan_clip
from kpbe.data.sample.motion import rotation_matrices
from kpbe.frontend.geometry import HeadPose
from kpbe.frontend.model import Decomposition, Frontend, Rendering
from kpbe.frontend.motion_field import Motion
from kpbe.params import ModelParams, SampleParams

SIZE = 64
POINTS = 15
PEOPLE = 2
LIPS = (0, 1)
HEADS = ((0, 0, 0), (22, 0, 0), (-22, 4, 0), (0, 0, 0), (0, -9, 6))
"""Yaw, pitch, roll in degrees."""

SHIFTS = ((0, 0, 0), (0, 0, 0), (0.1, 0, 0), (0.45, 0.2, 0), (-0.3, 0.1, 0))
"""Head units. The first and the fourth pose differ by the shift alone."""

MOUTHS = 4
UNKNOWN = 0.5
"""Grey level of a picture that the perfect frontend cannot render: keypoints of no pose and mouth."""


@cache
def drawings(person: int = 0) -> np.ndarray:
    """(poses, mouths, SIZE, SIZE, 3) uint8 pictures of one of two people; mouths from closed to wide open."""
    plan = plan_clip(person, 0, SampleParams(seconds=3.0, frame_size=SIZE, seed=1))
    by_opening = sorted(plan.poses, key=plan.actor.mouth_gap)
    chosen = [by_opening[round(k)] for k in np.linspace(0, len(by_opening) - 1, MOUTHS)]
    rest = by_opening[0]
    rows = []
    for rotation, shift in zip(rotation_matrices(np.array(HEADS, float)), SHIFTS, strict=True):
        translation = rest.translation + np.array(shift)
        poses = [
            replace(rest, rotation=rotation, translation=translation, controls=mouth.controls, blink=0.0)
            for mouth in chosen
        ]
        rows.append([plan.actor.draw(pose) for pose in poses])
    return np.array(rows)


class PerfectFrontend(Frontend):
    """Recognises and renders the drawn pictures; has a frontend's interface and one idle weight."""

    pictures: Tensor
    degrees: Tensor
    rotations: Tensor
    shifts: Tensor
    expressions: Tensor
    canonical: Tensor
    keypoints: Tensor

    def __init__(self) -> None:
        nn.Module.__init__(self)  # none of a frontend's networks
        self.params = ModelParams(name="perfect", image_size=SIZE, num_keypoints=POINTS)
        self.detail, self.compositor = "none", None
        self.idle = nn.Parameter(torch.zeros(1))
        rng = np.random.default_rng(0)
        drawn = np.stack([drawings(person) for person in range(PEOPLE)])
        pictures = torch.from_numpy(drawn).permute(0, 1, 2, 5, 3, 4).float() / 255
        degrees = torch.tensor(HEADS, dtype=torch.float32)
        rotations = torch.from_numpy(rotation_matrices(np.array(HEADS, float))).float()
        shifts = torch.tensor(SHIFTS, dtype=torch.float32) / 2
        expressions = torch.zeros(MOUTHS, POINTS, 3)
        for mouth in range(MOUTHS):
            expressions[mouth, LIPS, 1] = torch.tensor([-0.02, 0.04]) * mouth
        canonical = torch.from_numpy(rng.uniform(-0.5, 0.5, (POINTS, 3))).float()
        keypoints = torch.stack(
            [
                torch.stack([(rotation @ canonical.T).T + shift + exp for exp in expressions])
                for rotation, shift in zip(rotations, shifts, strict=True)
            ]
        )
        for name, tensor in {
            "pictures": pictures, "degrees": degrees, "rotations": rotations, "shifts": shifts,
            "expressions": expressions, "canonical": canonical, "keypoints": keypoints,
        }.items():  # fmt: skip
            self.register_buffer(name, tensor, persistent=False)

    def recognise(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Indices (B,) of person, pose and mouth of the most similar picture."""
        known = self.pictures.flatten(0, 2).flatten(1)
        nearest = torch.cdist(image.flatten(1), known).argmin(1)
        person, rest = nearest // (len(HEADS) * MOUTHS), nearest % (len(HEADS) * MOUTHS)
        return person, rest // MOUTHS, rest % MOUTHS

    def _pose_expression(self, inner: Tensor) -> tuple[HeadPose, Tensor]:
        _, pose, mouth = self.recognise(inner)
        return HeadPose(self.rotations[pose], self.shifts[pose], self.degrees[pose]), self.expressions[mouth]

    def decompose(self, image: Tensor) -> Decomposition:
        pose, expression = self.estimate_pose_expression(image)
        canonical = self.canonical.expand(len(image), -1, -1)
        appearance = self.recognise(image)[0].float().view(-1, 1, 1, 1, 1)
        return Decomposition(appearance, canonical, pose, expression)

    def render(self, source: Decomposition, driving_keypoints: Tensor, *_: object, **__: object) -> Rendering:
        assert source.appearance is not None
        known = self.keypoints.flatten(0, 1)
        distance = (driving_keypoints[:, None] - known).abs().amax((2, 3))
        person = source.appearance.flatten().long().expand(len(distance))
        frame = self.pictures.flatten(1, 2)[person, distance.argmin(1)].clone()
        frame[distance.amin(1) > 1e-4] = UNKNOWN
        nothing = torch.empty(0)
        return Rendering(frame + 0 * self.idle, Motion(nothing, nothing, nothing), frame)


TURNING = [0, 1, 2, 3, 4, 3, 1]
"""Pose of each frame of the video that turns the head with a still mouth."""

SPEAKING = [0, 2, 3, 1, 2, 0, 3]
"""Mouth of each frame of the video that opens the mouth with a still head."""


def head_turns() -> np.ndarray:
    """A video that turns the head; its mouth stays closed. (N, SIZE, SIZE, 3) uint8."""
    return drawings()[TURNING, 0]


def mouth_opens() -> np.ndarray:
    """A video that opens the mouth; its head stays where it is. (N, SIZE, SIZE, 3) uint8."""
    return drawings()[0, SPEAKING]
