"""A clip of a sample person: frames, sound and ground truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kpbe.data.sample.identity import generator, identity_name
from kpbe.data.sample.motion import FPS, Motion, move, rotation_matrices
from kpbe.data.sample.person import DISTANCE, NECK_BASE, SKULL_BASE, Person, Pose, person
from kpbe.data.sample.phonemes import Segment, babble
from kpbe.data.sample.speech import synthesise
from kpbe.params import SampleParams

BODY_FOLLOWS = np.array((0.22, 0.05, 0.12))  # shares of the head's yaw, pitch and roll that the body makes
BODY_DRIFTS = 0.55  # share of the head's shift that the body makes


@dataclass(frozen=True)
class Truth:
    """Ground truth of a clip's N frames.

    Attributes:
        rotation: (N, 3, 3), translation: (N, 3): camera = rotation @ head + translation, in head units (about
            11 cm; x right, y down, z away from the camera). Pixels: see `kpbe.data.sample.person.project`.
        angles: (N, 3) yaw (right), pitch (up), roll (clockwise), degrees.
        mouth_opening: (N,) height between the inner lips, head units. blink: (N,) 0 open, 1 closed.
        boxes: (N, 4) face boxes left, top, right, bottom, pixels.
        lips: (N, 4, 2) left corner, upper inner lip, right corner, lower inner lip, pixels.
        eyes: (N, 2, 2) centres of the eyes, from left to right in the picture, pixels.
        surface: (N, 96, 2) points spread over the face, pixels; NaN where they face away.
        scene: (N, 96, 2) points of the rest of the picture, see `Person.scene`; NaN where they are hidden.
        phonemes: symbols; starts, ends: their times in seconds.
    """

    rotation: np.ndarray
    translation: np.ndarray
    angles: np.ndarray
    mouth_opening: np.ndarray
    blink: np.ndarray
    boxes: np.ndarray
    lips: np.ndarray
    eyes: np.ndarray
    surface: np.ndarray
    scene: np.ndarray
    phonemes: tuple[str, ...]
    starts: np.ndarray
    ends: np.ndarray

    @property
    def landmarks(self) -> np.ndarray:
        """Eyes and middle of the mouth, float32 (N, 3, 2) pixels, in the order of `kpbe.data.landmarks`."""
        return np.concatenate([self.eyes, self.lips.mean(1, keepdims=True)], 1).astype(np.float32)


@dataclass(frozen=True)
class RenderedClip:
    """frames: (N, H, W, 3) uint8 sRGB at 25 fps. wave: (S,) float32 in [-1, 1] at 16 kHz."""

    frames: np.ndarray
    wave: np.ndarray
    truth: Truth


@dataclass(frozen=True)
class ClipPlan:
    """Everything about a clip except its pictures."""

    actor: Person
    poses: list[Pose]
    wave: np.ndarray
    truth: Truth


def render_clip(identity: int, clip: int, params: SampleParams) -> RenderedClip:
    """Draw a clip and synthesise its speech.

    Args:
        identity: index of the person from 0, the train identities first.
        clip: index of the person's clip from 0.
        params: seed, seconds and frame size; its other values do not matter.
    """
    plan = plan_clip(identity, clip, params)
    return RenderedClip(np.stack([plan.actor.draw(pose) for pose in plan.poses]), plan.wave, plan.truth)


def plan_clip(identity: int, clip: int, params: SampleParams) -> ClipPlan:
    """Plan a clip without drawing it; arguments as for `render_clip`."""
    actor = person(identity, params.seed, params.frame_size)
    name = identity_name(identity)
    frames = max(2, round(params.seconds * FPS))
    seconds = frames / FPS
    segments = babble(generator(params.seed, name, clip, "phonemes"), seconds)
    motion = move(generator(params.seed, name, clip, "motion"), segments, frames)
    wave = synthesise(
        segments,
        seconds,
        actor.who.pitch_hz,
        actor.who.vocal_tract,
        generator(params.seed, name, clip, "noise"),
    )
    poses = poses_of(motion)
    return ClipPlan(actor, poses, wave, _truth(actor, poses, motion, segments))


def poses_of(motion: Motion) -> list[Pose]:
    """The pose in each frame of a motion; the body follows the head a little."""
    rotations = rotation_matrices(motion.angles)
    bodies = rotation_matrices(motion.angles * BODY_FOLLOWS)
    camera = np.array((0.0, 0.0, DISTANCE))
    poses = []
    for n, (rotation, body) in enumerate(zip(rotations, bodies, strict=True)):
        drift = BODY_DRIFTS * motion.shift[n]
        body_translation = camera + drift + NECK_BASE - body @ NECK_BASE
        # the head turns about the base of the skull, which the body carries
        neck = body @ SKULL_BASE + body_translation
        translation = neck + motion.shift[n] - drift - rotation @ SKULL_BASE
        poses.append(
            Pose(
                rotation=rotation,
                translation=translation,
                body_rotation=body,
                body_translation=body_translation,
                controls={name: float(track[n]) for name, track in motion.controls.items()},
                gaze=(float(motion.gaze[n, 0]), float(motion.gaze[n, 1])),
                blink=float(motion.blink[n]),
            )
        )
    return poses


def _truth(actor: Person, poses: list[Pose], motion: Motion, segments: list[Segment]) -> Truth:
    boxes, lips, eyes = zip(*(actor.landmarks(pose) for pose in poses), strict=True)
    return Truth(
        rotation=np.stack([pose.rotation for pose in poses]).astype(np.float32),
        translation=np.stack([pose.translation for pose in poses]).astype(np.float32),
        angles=motion.angles.astype(np.float32),
        mouth_opening=np.array([actor.mouth_gap(pose) for pose in poses], np.float32),
        blink=motion.blink.astype(np.float32),
        boxes=np.stack(boxes),
        lips=np.stack(lips),
        eyes=np.stack(eyes),
        surface=np.stack([actor.surface(pose) for pose in poses]),
        scene=np.stack([actor.scene(pose) for pose in poses]),
        phonemes=tuple(segment.phoneme.symbol for segment in segments),
        starts=np.array([segment.start for segment in segments], np.float32),
        ends=np.array([segment.end for segment in segments], np.float32),
    )
