"""The shape of head and neck: rings around a face profile, relief of the features, mouth movements.

Head space: unit = about 11 cm; x to the right of the picture, y down, z away from the camera when the head
looks into it. Eyes lie at y = 0, the chin at y = 1, the mouth slit at `MOUTH_Y`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from kpbe.data.sample.identity import Identity
from kpbe.data.sample.pieces import bump, smoothstep

# Rings from crown to neck: y and z of the front, y and z of the back, half width, y and z of the widest
# point, and how many rows lie between this ring and the next.
RINGS = np.array(
    [
        (-1.12, 0.08, -1.12, 0.08, 0.00, -1.12, 0.08, 6),
        (-1.08, -0.25, -1.05, 0.44, 0.37, -1.05, 0.10, 6),
        (-0.96, -0.49, -0.88, 0.72, 0.58, -0.87, 0.12, 6),
        (-0.77, -0.655, -0.60, 0.91, 0.695, -0.62, 0.13, 8),
        (-0.52, -0.745, -0.30, 0.97, 0.735, -0.36, 0.13, 14),
        (-0.24, -0.775, 0.00, 0.95, 0.73, -0.11, 0.12, 22),
        (0.00, -0.735, 0.20, 0.87, 0.705, 0.09, 0.11, 18),
        (0.20, -0.730, 0.36, 0.76, 0.68, 0.26, 0.09, 24),
        (0.41, -0.735, 0.48, 0.64, 0.645, 0.43, 0.07, 20),
        (0.60, -0.735, 0.58, 0.55, 0.60, 0.575, 0.05, 20),
        (0.80, -0.710, 0.66, 0.49, 0.54, 0.69, 0.03, 14),
        (0.95, -0.670, 0.74, 0.46, 0.48, 0.79, 0.01, 8),
        (1.03, -0.550, 0.80, 0.45, 0.44, 0.87, 0.02, 6),
        (1.05, -0.350, 0.86, 0.45, 0.435, 0.95, 0.07, 6),
        (1.08, -0.180, 0.95, 0.46, 0.44, 1.05, 0.12, 5),
        (1.25, -0.130, 1.10, 0.48, 0.44, 1.22, 0.15, 4),
        (1.55, -0.100, 1.35, 0.53, 0.46, 1.45, 0.19, 4),
        (1.85, -0.080, 1.60, 0.60, 0.52, 1.75, 0.22, 0),
    ]
)
MOUTH_RING = 9
BAG_ROWS = 6
COLUMNS = 125
EYE_X, EYE_Y = 0.300, 0.0
MOUTH_Y = 0.60
JAW_DROP = 0.20  # how far a wide open jaw (control 1) lowers the lower lip


@dataclass(frozen=True)
class Proportions:
    """Places of the features on one identity's face, head units."""

    eye_x: float
    mouth_half_width: float
    upper_lip: float
    lower_lip: float
    nose_tip_y: float
    nose_base_y: float
    brow_y: float


@dataclass(frozen=True)
class HeadSurface:
    """Head and neck as a grid.

    Attributes:
        rest: (R, C, 3). flat: (R, C, 2) x, y before the relief is added: the plane in which features are
            drawn.
        angle: (C,) angle around the head, 0 = front, negative = left in the picture. front: (R, C) 1 on the
            face.
        ring: (R,) place in `RINGS` of each row. bag: first and one past the last row of the mouth's inside.
        shapes: control -> (R, C, 3). places: where features are.
    """

    rest: np.ndarray
    flat: np.ndarray
    angle: np.ndarray
    front: np.ndarray
    ring: np.ndarray
    bag: tuple[int, int]
    shapes: dict[str, np.ndarray]
    places: Proportions


def proportions(who: Identity) -> Proportions:
    """Feature places of an identity."""
    tip = 0.02 + 0.315 * who.nose_length
    return Proportions(
        eye_x=EYE_X * who.eye_distance * (0.5 + 0.5 * who.face_width),
        mouth_half_width=0.255 * who.mouth_width,
        upper_lip=0.062 * who.upper_lip,
        lower_lip=0.080 * who.lower_lip,
        nose_tip_y=tip,
        nose_base_y=tip + 0.085,
        brow_y=-0.225 - who.brow_height,
    )


def ring_rows() -> tuple[np.ndarray, tuple[int, int]]:
    """Ring place of every row, and the rows (first, one past last) inside the mouth.

    The rows inside the mouth share one place.
    """
    places: list[float] = []
    bag = (0, 0)
    for index, count in enumerate(RINGS[:-1, -1].astype(int)):
        if index == MOUTH_RING:
            places.append(float(index))
            bag = (len(places), len(places) + BAG_ROWS)
            places += [float(index)] * (BAG_ROWS + 1)
            places += [index + k / count for k in range(1, count)]
        else:
            places += [index + k / count for k in range(count)]
    return np.array([*places, len(RINGS) - 1.0]), bag


def column_angles(columns: int = COLUMNS) -> np.ndarray:
    """Angles from -pi to pi (columns,), denser over the face."""
    u = np.linspace(-1, 1, columns)
    return np.pi * (0.42 * u + 0.58 * u**3)


def ring_surface(rings: np.ndarray, rows: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Surface (R, C, 3) through rings (n, 7) at fractional ring places `rows`.

    Each ring is a half ellipse in front and one behind.
    """
    y_front, z_front, y_back, z_back, half_width, y_side, z_side = CubicSpline(
        np.arange(len(rings)), rings[:, :7]
    )(rows).T[..., None]
    cosine, sine = np.cos(angle)[None], np.sin(angle)[None]
    ahead, behind = np.maximum(cosine, 0), np.maximum(-cosine, 0)
    # A face is flatter in front than an ellipse.
    x = half_width * sine * (1 + 0.10 * ahead**2 * (1 - ahead))
    z = z_side + (z_front - z_side) * (ahead + 0.12 * ahead * (1 - ahead)) + (z_back - z_side) * behind
    y = y_side + (y_front - y_side) * ahead**2 + (y_back - y_side) * behind**2
    return np.stack(np.broadcast_arrays(x, y, z), -1)


def identity_rings(who: Identity) -> np.ndarray:
    """`RINGS` with an identity's face width, jaw, chin, forehead and neck."""
    rings = RINGS[:, :7].copy()
    place = np.arange(len(rings))
    jaw = np.exp(-0.5 * ((place - 10.8) / 1.5) ** 2)
    neck = smoothstep(12.5, 14.5, place)
    rings[:, 4] *= who.face_width * (1 - neck) + who.neck_width * neck
    rings[:, 4] *= 1 + (who.jaw_width - 1) * jaw
    rings[:, 1] *= 1 + 0.03 * (who.jaw_width - 1) * jaw
    chin = np.exp(-0.5 * ((place - 11.8) / 1.0) ** 2)
    rings[:, 0] += who.chin_length * chin
    forehead = np.exp(-0.5 * ((place - 3.5) / 1.0) ** 2)
    rings[:, 1] -= who.forehead * forehead
    return rings


def build_head(who: Identity) -> HeadSurface:
    """Head, neck and mouth cavity of an identity with the shapes that move them."""
    rows, bag = ring_rows()
    angle = column_angles()
    surface = ring_surface(identity_rings(who), rows, angle)
    flat = surface[..., :2].copy()
    x, y = flat[..., 0], flat[..., 1]
    front = smoothstep(0.05, 0.45, np.cos(angle))[None] * smoothstep(1.10, 0.98, y)
    places = proportions(who)
    relief = _features(who, places, x, y)
    rest = surface.copy()
    rest[..., 2] -= front * relief
    smile = bump(np.abs(x), y, (places.mouth_half_width * 1.1, MOUTH_Y), 0.12, 0.13)
    rest[..., 1] -= front * who.smile * smile
    in_slit = np.exp(-0.5 * ((y - MOUTH_Y) / 0.018) ** 2)
    rest[..., 2] += front * 0.035 * in_slit * _lens(x / places.mouth_half_width)
    return HeadSurface(
        rest=rest,
        flat=flat,
        angle=angle,
        front=front,
        ring=rows,
        bag=bag,
        shapes=_mouth_shapes(places, flat, front, angle, rows, bag) | _brow_shape(places, flat, front),
        places=places,
    )


def _lens(u: np.ndarray, power: float = 0.65) -> np.ndarray:
    """1 in the middle of the mouth, 0 at its corners and outside."""
    return np.maximum(1 - u * u, 0) ** power


def _features(who: Identity, at: Proportions, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Relief of the face over the rings, head units."""
    ax = np.abs(x)
    relief = 0.050 * who.brow_ridge * bump(ax, y, (0.27, at.brow_y + 0.02), 0.17, 0.07)
    relief += 0.030 * who.brow_ridge * bump(x, y, (0, at.brow_y + 0.04), 0.12, 0.07)
    relief -= 0.105 * bump(ax, y, (at.eye_x - 0.02, EYE_Y - 0.01), 0.155, 0.105)
    relief += 0.045 * who.cheek * bump(ax, y, (0.43, 0.22), 0.16, 0.13)
    relief += 0.025 * bump(ax, y, (0.36, 0.42), 0.16, 0.18)
    relief += 0.060 * bump(x, y, (0, MOUTH_Y - 0.02), 0.25, 0.19)
    relief -= (
        0.014 * np.exp(-0.5 * ((ax - 0.20 - 0.32 * (y - 0.42)) / 0.03) ** 2) * bump(x, y, (0, 0.47), 0.5, 0.1)
    )
    # eyeball under the lids
    radius = 0.155 * who.eye_size
    ball = np.maximum(1 - ((ax - at.eye_x) ** 2 + ((y - EYE_Y) * 1.15) ** 2) / radius**2, 0)
    relief += 0.088 * who.eye_size * ball**1.35
    # nose: bridge, tip, wings, and the step at its base
    t = np.clip((y + 0.10) / (at.nose_tip_y + 0.10), 0, 1.15)
    bridge = 0.045 + 0.205 * t**1.35 + 0.04 * who.nose_hook * np.exp(-0.5 * ((t - 0.5) / 0.16) ** 2)
    base = at.nose_base_y + 0.018 - 2.4 * np.minimum(ax, 0.14) ** 2
    end = smoothstep(0, 0.095, base - y) ** 0.8 * smoothstep(-0.22, 0.0, y)
    half = (0.052 + 0.060 * t**2.5) * (0.55 + 0.45 * who.nose_width)
    relief += who.nose_height * bridge * end * np.exp(-0.5 * np.abs(x / half) ** 2.2)
    tip = (0, at.nose_tip_y - 0.005)
    relief += 0.060 * who.nose_height * bump(x, y, tip, 0.062 * who.nose_width, 0.048)
    wing = (0.118 * who.nose_width, at.nose_tip_y + 0.030)
    relief += 0.130 * bump(ax, y, wing, 0.040 * who.nose_width, 0.042)
    relief -= 0.030 * bump(ax, y, (0.072 * who.nose_width, at.nose_tip_y + 0.005), 0.018, 0.035)
    # philtrum, lips, chin
    relief -= 0.012 * bump(x, y, (0, 0.49), 0.022, 0.05)
    across = _lens(x / (at.mouth_half_width * 1.06), 0.8)
    relief += (
        0.075 * who.upper_lip * across * np.exp(-0.5 * ((y - MOUTH_Y + at.upper_lip * 0.45) / 0.036) ** 2)
    )
    relief += (
        0.078 * who.lower_lip * across * np.exp(-0.5 * ((y - MOUTH_Y - at.lower_lip * 0.52) / 0.042) ** 2)
    )
    relief -= 0.030 * bump(x, y, (0, MOUTH_Y + 0.165), 0.13, 0.035)
    relief -= 0.014 * bump(ax, y, (at.mouth_half_width + 0.02, MOUTH_Y + 0.01), 0.035, 0.05)
    chin = 0.93 + who.chin_length
    relief += 0.070 * bump(x, y, (0, chin), 0.13 + 0.03 * (who.jaw_width - 1), 0.085)
    return relief


def _mouth_shapes(
    at: Proportions,
    flat: np.ndarray,
    front: np.ndarray,
    angle: np.ndarray,
    rows: np.ndarray,
    bag: tuple[int, int],
) -> dict[str, np.ndarray]:
    """Linear movements of the mouth; lengths are per unit of the control.

    jaw: 1 lowers the lower lip by JAW_DROP. lower_up, upper_up: move one lip by 1 head unit. wide: corners
    out by 1. forward: lips forward by 1. tuck: lower lip in by 1.
    """
    x, y = flat[..., 0], flat[..., 1]
    below = (np.arange(len(rows)) >= bag[1])[:, None]
    depth = np.clip((np.arange(len(rows)) - (bag[0] - 1)) / (bag[1] - bag[0] + 1), 0, 1)[:, None]
    in_bag = ((np.arange(len(rows)) >= bag[0]) & (np.arange(len(rows)) < bag[1]))[:, None]
    open_here = _lens(x / at.mouth_half_width)
    ramp = smoothstep(MOUTH_Y - 0.28, MOUTH_Y + 0.28, y)
    step = np.where(in_bag, depth, below.astype(float))
    lowered = open_here * step + (1 - open_here) * ramp
    # the jaw fades towards the ears and down the throat
    jaw_area = (
        smoothstep(0.74, 0.42, np.abs(x))
        * smoothstep(-0.05, 0.35, np.cos(angle))[None]
        * smoothstep(1.5, 1.0, y)
    )
    amount = lowered * jaw_area
    jaw = np.zeros((*x.shape, 3))
    jaw[..., 1] = JAW_DROP * amount
    jaw[..., 2] = 0.30 * JAW_DROP * amount * smoothstep(0.3, 1.0, y)
    hollow = in_bag * open_here * np.sin(np.pi * depth)
    jaw[..., 2] += 0.45 * hollow * front

    near_upper = np.exp(-0.5 * (np.minimum(y - MOUTH_Y, 0) / 0.075) ** 2) * (1 - step)
    near_lower = np.exp(-0.5 * (np.maximum(y - MOUTH_Y, 0) / 0.095) ** 2) * step
    upper_up = np.zeros_like(jaw)
    upper_up[..., 1] = -(open_here**0.8) * near_upper * front
    lower_up = np.zeros_like(jaw)
    lower_up[..., 1] = -(open_here**0.8) * near_lower * front
    around = bump(x, y, (0, MOUTH_Y), at.mouth_half_width * 1.15, 0.17) * front
    wide = np.zeros_like(jaw)
    u = np.clip(x / at.mouth_half_width, -2.2, 2.2)
    wide[..., 0] = u * around * 1.4
    wide[..., 2] = 0.35 * np.abs(u) * around
    forward = np.zeros_like(jaw)
    forward[..., 2] = -around
    tuck = np.zeros_like(jaw)
    tuck[..., 2] = near_lower * open_here * front
    return {
        "jaw": jaw,
        "upper_up": upper_up,
        "lower_up": lower_up,
        "wide": wide,
        "forward": forward,
        "tuck": tuck,
    }


def _brow_shape(at: Proportions, flat: np.ndarray, front: np.ndarray) -> dict[str, np.ndarray]:
    """brow: raises the brows by 1 head unit."""
    x, y = flat[..., 0], flat[..., 1]
    brow = np.zeros((*x.shape, 3))
    brow[..., 1] = -bump(np.abs(x), y, (at.eye_x, at.brow_y), 0.2, 0.10) * front * smoothstep(-0.09, -0.16, y)
    return {"brow": brow}
