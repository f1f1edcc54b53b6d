"""Motion of a sample person: head pose, gaze, blinks, brows, and the mouth that speaks.

Angles: yaw > 0 turns the face to the right of the picture, pitch > 0 upwards, roll > 0 tilts the head
clockwise in the picture; rotation = Ry(-yaw) Rx(-pitch) Rz(roll) takes head space (x right, y down, z away)
to camera space.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from kpbe.data.sample.head import JAW_DROP
from kpbe.data.sample.phonemes import Segment

FPS = 25.0
FINE_RATE = 400  # Hz, of the mouth tracks before they are sampled at the frames
YAW_LIMIT, PITCH_LIMIT, ROLL_LIMIT = 25.0, 12.0, 8.0
GAP = 0.20  # mouth opening of the widest vowel, head units


@dataclass(frozen=True)
class Motion:
    """Tracks over the N frames of a clip.

    Attributes:
        angles: (N, 3) yaw, pitch, roll in degrees. shift: (N, 3) of the head, head units.
        gaze: (N, 2) iris shift, head units. blink: (N,) 0 open to 1 closed.
        controls: mouth and brow control -> (N,).
    """

    angles: np.ndarray
    shift: np.ndarray
    gaze: np.ndarray
    blink: np.ndarray
    controls: dict[str, np.ndarray]


def rotation_matrices(angles: np.ndarray) -> np.ndarray:
    """(N, 3) yaw, pitch, roll in degrees to (N, 3, 3) head-to-camera rotations (convention above)."""
    yaw, pitch, roll = np.deg2rad(angles).T
    zero, one = np.zeros_like(yaw), np.ones_like(yaw)

    def stack(*rows: tuple) -> np.ndarray:
        return np.stack([np.stack(row, -1) for row in rows], -2)

    about_y = stack((np.cos(yaw), zero, -np.sin(yaw)), (zero, one, zero), (np.sin(yaw), zero, np.cos(yaw)))
    about_x = stack(
        (one, zero, zero), (zero, np.cos(pitch), np.sin(pitch)), (zero, -np.sin(pitch), np.cos(pitch))
    )
    about_z = stack(
        (np.cos(roll), -np.sin(roll), zero), (np.sin(roll), np.cos(roll), zero), (zero, zero, one)
    )
    return about_y @ about_x @ about_z


def move(rng: np.random.Generator, segments: Sequence[Segment], frames: int) -> Motion:
    """Random head motion and the mouth of the segments, for `frames` frames at 25 fps."""
    time = np.arange(frames) / FPS
    yaw = _swing(rng, time, (0.42, 0.85), rng.uniform(40, 2 * YAW_LIMIT), YAW_LIMIT)
    pitch = _swing(rng, time, (0.35, 0.80), rng.uniform(12, 20), PITCH_LIMIT)
    roll = _swing(rng, time, (0.45, 0.95), rng.uniform(8, 14), ROLL_LIMIT)
    stress = _track(segments, time, lambda s: s.stress, 0.05)
    pitch = np.clip(pitch - 2.0 * stress, -PITCH_LIMIT, PITCH_LIMIT)  # the head nods on stressed syllables
    shift = np.stack(
        [
            _swing(rng, time, (0.5, 1.0), rng.uniform(0.08, 0.18), 0.10) + rng.uniform(-0.05, 0.05),
            _swing(rng, time, (0.5, 1.0), rng.uniform(0.05, 0.10), 0.06) + rng.uniform(-0.03, 0.05),
            _swing(rng, time, (0.6, 1.2), rng.uniform(0.2, 0.5), 0.30),
        ],
        1,
    )
    look = _swing(rng, time, (0.25, 0.9), 0.024, 0.016)
    gaze = np.stack(
        [
            np.clip(-0.090 * np.sin(np.deg2rad(yaw)) + look, -0.050, 0.050),
            np.clip(0.060 * np.sin(np.deg2rad(pitch)), -0.016, 0.016),
        ],
        1,
    )
    controls = mouth_controls(segments, time)
    raised = 0.045 * stress + 0.012 * np.abs(_swing(rng, time, (0.6, 1.2), 1.4, 1.0))
    return Motion(
        np.stack([yaw, pitch, roll], 1), shift, gaze, _blinks(rng, time), {**controls, "brow": raised}
    )


def mouth_controls(segments: Sequence[Segment], time: np.ndarray) -> dict[str, np.ndarray]:
    """Mouth controls at times in seconds; neighbouring phonemes blend into each other (coarticulation)."""
    jaw = 0.85 * _track(segments, time, lambda s: s.phoneme.jaw * (1.12 if s.stress else 0.95), 0.040)
    gap = _track(segments, time, lambda s: s.phoneme.gap * (1.12 if s.stress else 0.95), 0.032)
    wide = _track(segments, time, lambda s: s.phoneme.wide, 0.045)
    forward = _track(segments, time, lambda s: s.phoneme.forward, 0.045)
    tuck = _track(segments, time, lambda s: s.phoneme.tuck, 0.022)
    tongue = _track(segments, time, lambda s: s.phoneme.tongue, 0.030)
    # a short closure must be fully visible, so it extends a little over its neighbours
    closed = _track(segments, time, lambda s: s.phoneme.closed, 0.014, reach=0.016)
    opening = GAP * gap * np.clip(1 - 1.15 * closed, 0, 1)
    upper = 0.22 * opening + 0.012 * tuck * (1 - closed)
    lower = JAW_DROP * jaw + upper - opening - 0.004 * closed
    return {
        "jaw": jaw,
        "upper_up": upper - 0.008 * closed,
        "lower_up": lower - 0.006 * closed,
        "wide": 0.042 * np.where(wide > 0, wide, 1.55 * wide),
        "forward": 0.060 * forward,
        "tuck": 0.030 * tuck + 0.020 * closed,
        "tongue": 0.045 * tongue,
    }


def _track(
    segments: Sequence[Segment],
    time: np.ndarray,
    value: Callable[[Segment], float],
    smooth: float,
    reach: float = 0.0,
) -> np.ndarray:
    """A per-phoneme value over time, smoothed by a Gaussian of `smooth` seconds, sampled at `time`."""
    count = int(np.ceil(segments[-1].end * FINE_RATE)) + 1
    fine = np.zeros(count)
    for segment in segments:
        fine[round(segment.start * FINE_RATE) :] = value(segment)
    if reach:
        for segment in segments:
            first, last = round((segment.start - reach) * FINE_RATE), round((segment.end + reach) * FINE_RATE)
            part = slice(max(first, 0), last + 1)
            fine[part] = np.maximum(fine[part], value(segment))
    fine = gaussian_filter1d(fine, smooth * FINE_RATE, mode="nearest")
    return np.interp(time, np.arange(count) / FINE_RATE, fine)


def _swing(
    rng: np.random.Generator, time: np.ndarray, stride: tuple[float, float], span: float, limit: float
) -> np.ndarray:
    """Minimum-jerk moves between places on alternating sides; max - min = span, |values| <= limit."""
    end = time[-1] if len(time) > 1 else 1.0
    scale = min(1.0, end / 1.6)  # short clips swing faster, so that they swing at all
    knots, places = [-float(rng.uniform(0, stride[1])) * scale], [0.0]
    side = 1.0 if rng.uniform() < 0.5 else -1.0
    while knots[-1] < end + stride[1]:
        knots.append(knots[-1] + scale * float(rng.uniform(*stride)))
        places.append(side * float(rng.uniform(0.45, 1.0)))
        side = -side
    index = np.clip(np.searchsorted(knots, time, "right") - 1, 0, len(knots) - 2)
    begin, finish = np.array(knots)[index], np.array(knots)[index + 1]
    t = (time - begin) / (finish - begin)
    eased = t**3 * (10 - 15 * t + 6 * t * t)
    value = np.array(places)[index] * (1 - eased) + np.array(places)[index + 1] * eased
    value += 0.10 * np.sin(2 * np.pi * (rng.uniform(0.8, 1.4) * time + rng.uniform()))
    low, high = value.min(), value.max()
    value = (value - low) / max(high - low, 1e-9)
    room = limit - 0.5 * span
    return span * (value - 0.5) + float(rng.uniform(-1, 1)) * max(room, 0.0)


def _blinks(rng: np.random.Generator, time: np.ndarray) -> np.ndarray:
    blink = np.zeros_like(time)
    at = float(rng.uniform(0.3, 1.3))
    while at < time[-1] + 0.2:
        t = time - at
        shut = np.where(t < 0, 1 + t / 0.09, 1 - (t - 0.04) / 0.16)
        blink = np.maximum(blink, np.clip(np.minimum(shut, 1.0), 0, 1))
        at += float(rng.uniform(1.1, 2.6))
    return blink * blink * (3 - 2 * blink)
