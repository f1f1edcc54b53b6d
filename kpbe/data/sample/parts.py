"""Ears, teeth, tongue, glasses and torso."""

from __future__ import annotations

import numpy as np

from kpbe.data.sample.head import EYE_Y, MOUTH_Y, HeadSurface, ring_surface
from kpbe.data.sample.identity import Identity, generator
from kpbe.data.sample.pieces import (
    CLOTH,
    GLASS,
    MOUTH,
    SKIN,
    TEXTURE_CHANNELS,
    Piece,
    linear,
    piece,
    smooth_noise,
    smoothstep,
)


def flat_texture(
    rows: int, columns: int, colour: np.ndarray, gloss: float = 0.4, shade: float = 1.0
) -> np.ndarray:
    """A texture (rows, columns, 5) of one linear colour."""
    texture = np.empty((rows, columns, TEXTURE_CHANNELS))
    texture[..., :3] = colour
    texture[..., 3] = gloss
    texture[..., 4] = shade
    return texture


def build_ears(who: Identity, head: HeadSurface) -> list[Piece]:
    """Both ears: a bowl with a rolled rim, standing off the head."""
    r, phi = np.meshgrid(np.linspace(0, 1, 14), np.linspace(-np.pi, np.pi, 44), indexing="ij")
    # outline, clockwise from the top: wide above, narrow lobe
    up = np.cos(phi)
    half_height = 0.27 * who.ear_size
    half_width = (0.150 + 0.035 * up) * who.ear_size
    along = r * half_width * np.sin(phi)
    height = -r * half_height * up
    rim = 0.045 * np.exp(-0.5 * ((r - 0.86) / 0.10) ** 2) * smoothstep(-1.0, -0.5, up)
    bowl = -0.050 * np.exp(-0.5 * (r / 0.42) ** 2)
    ridge = 0.028 * np.exp(-0.5 * ((r - 0.55) / 0.10) ** 2) * smoothstep(0.3, -0.4, np.sin(phi + 0.5))
    out = rim + bowl + ridge
    texture = flat_texture(*r.shape, linear(who.skin) * (1.02, 0.86, 0.84), gloss=0.45)
    texture[..., 4] = (
        1 - 0.55 * np.exp(-0.5 * (r / 0.38) ** 2) - 0.25 * np.exp(-0.5 * ((r - 0.70) / 0.06) ** 2)
    )
    half_head = np.interp(0.1, head.rest[:, 0, 1], np.abs(head.rest[..., 0]).max(1))
    pieces = []
    for side in (-1.0, 1.0):
        tilt, stand = 0.16, 0.50
        y = height * np.cos(tilt) + along * np.sin(tilt) + 0.10
        back = along * np.cos(tilt) - height * np.sin(tilt) + 0.15 * who.ear_size
        x = half_head - 0.035 + back * np.sin(stand) + out * np.cos(stand)
        z = 0.03 + back * np.cos(stand) - out * np.sin(stand)
        pieces.append(piece(np.stack([side * x, y, z], -1), texture, SKIN))
    return pieces


def build_mouth_inside(who: Identity, head: HeadSurface) -> list[Piece]:
    """Two rows of teeth and a tongue, behind the lips."""
    at = head.places
    middle = head.rest.shape[1] // 2
    lip_z = head.rest[head.bag[0], middle, 2]
    s, t = np.meshgrid(np.linspace(0, 1, 8), np.linspace(-1, 1, 49), indexing="ij")
    x = 0.90 * at.mouth_half_width * t
    arch = lip_z + 0.050 + 0.30 * at.mouth_half_width * 2.2 * t**2
    gaps = np.abs(np.sin(np.pi * 4.5 * t + np.pi / 2)) ** 0.35
    bulge = -0.012 * gaps
    upper_y = MOUTH_Y - 0.075 + 0.100 * s * (0.86 + 0.14 * gaps) - 0.012 * t**2
    lower_y = MOUTH_Y + 0.095 - 0.090 * s * (0.90 + 0.10 * gaps) + 0.010 * t**2
    enamel = flat_texture(32, 49 * 4, linear((0.93, 0.90, 0.84)), gloss=0.6, shade=0.85)
    span = np.linspace(-1, 1, 49 * 4)[None]
    line = np.abs(np.sin(np.pi * 4.5 * span + np.pi / 2))
    enamel[..., 4] *= (0.72 + 0.28 * smoothstep(0.0, 0.22, line)) * (1 - 0.55 * np.abs(span) ** 1.6)
    gum = smoothstep(0.24, 0.10, np.linspace(0, 1, 32))[:, None]
    enamel[..., :3] += (linear((0.66, 0.33, 0.33)) - enamel[..., :3]) * gum[..., None]
    lower = enamel.copy()
    lower[..., 4] *= 0.8
    jaw = np.zeros((*s.shape, 3))
    jaw[..., 1] = 0.20 * 0.93
    jaw[..., 2] = 0.02
    upper_teeth = piece(np.stack([x, upper_y, arch + bulge], -1), enamel, MOUTH)
    lower_teeth = piece(
        np.stack([x * 0.94, lower_y, arch + bulge + 0.022], -1), lower, MOUTH, shapes={"jaw": jaw}
    )
    v, u = np.meshgrid(np.linspace(0.05, np.pi - 0.05, 16), np.linspace(-np.pi, np.pi, 32), indexing="ij")
    tongue = np.stack([0.155 * np.sin(v) * np.sin(u), 0.055 * np.sin(v) * np.cos(u), -0.19 * np.cos(v)], -1)
    tongue = tongue + np.array((0, MOUTH_Y + 0.075, lip_z + 0.275))
    moves = np.zeros_like(tongue)
    moves[..., 1] = 0.16
    rise = np.zeros_like(tongue)
    rise[..., 1] = -1.0
    rise[..., 2] = -0.4
    flesh = flat_texture(20, 32, linear((0.74, 0.36, 0.37)), gloss=0.6, shade=0.62)
    return [
        upper_teeth,
        lower_teeth,
        piece(tongue, flesh, MOUTH, shapes={"jaw": moves, "tongue": rise}),
    ]


def build_glasses(who: Identity, head: HeadSurface) -> list[Piece]:
    """Two rims, a bridge and the temples, or nothing."""
    if who.glasses == "none":
        return []
    at = head.places
    colour = linear(np.array((0.10, 0.08, 0.08)) if who.tone < 0.7 else np.array((0.55, 0.44, 0.24)))
    phi = np.linspace(0, 2 * np.pi, 49)
    power = 1.0 if who.glasses == "round" else 0.55
    round_x = np.sign(np.cos(phi)) * np.abs(np.cos(phi)) ** power
    round_y = np.sign(np.sin(phi)) * np.abs(np.sin(phi)) ** power
    bridge_z = head.rest[
        np.argmin(np.abs(head.flat[:, head.flat.shape[1] // 2, 1] + 0.02)), head.flat.shape[1] // 2, 2
    ]
    plane = bridge_z - 0.055
    lines = []
    for side in (-1.0, 1.0):
        x = side * (at.eye_x + 0.01) + 0.215 * round_x
        y = EYE_Y + 0.025 + 0.175 * round_y
        lines.append(np.stack([x, y, plane + 0.10 * (np.abs(x) - 0.1) ** 2 * 4], -1))
        corner = at.eye_x + 0.225
        t = np.linspace(0, 1, 12)
        z = plane + 0.10 * (corner - 0.1) ** 2 * 4 + t * 0.80
        lines.append(
            np.stack(
                [side * (corner + 0.02 + 0.20 * np.minimum(t * 2.2, 1) ** 0.8), 0 * t - 0.03 + 0.02 * t, z],
                -1,
            )
        )
    t = np.linspace(-1, 1, 12)
    lines.append(np.stack([t * (at.eye_x - 0.205), -0.02 - 0.03 * (1 - t**2), plane - 0.02 * (1 - t**2)], -1))
    return [_tube(line, 0.014, colour) for line in lines]


def _tube(line: np.ndarray, radius: float, colour: np.ndarray) -> Piece:
    along = np.gradient(line, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    reference = np.where(np.abs(along[:, 2:]) > 0.8, np.array((0.0, 1.0, 0.0)), np.array((0.0, 0.0, 1.0)))
    side = np.cross(along, reference)
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    other = np.cross(along, side)
    phi = np.linspace(0, 2 * np.pi, 9)
    rest = line[:, None] + radius * (
        np.cos(phi)[None, :, None] * side[:, None] + np.sin(phi)[None, :, None] * other[:, None]
    )
    return piece(rest, flat_texture(2, 2, colour), GLASS)


# Rings of the torso, columns as in head.RINGS.
TORSO = np.array(
    [
        (1.66, -0.12, 1.30, 0.52, 0.50, 1.44, 0.20),
        (1.72, -0.17, 1.34, 0.57, 0.60, 1.48, 0.20),
        (1.84, -0.22, 1.44, 0.62, 0.86, 1.585, 0.20),
        (1.98, -0.27, 1.58, 0.66, 1.14, 1.74, 0.20),
        (2.14, -0.33, 1.80, 0.70, 1.34, 1.98, 0.18),
        (2.40, -0.40, 2.20, 0.74, 1.45, 2.36, 0.16),
        (3.00, -0.52, 2.90, 0.80, 1.44, 3.00, 0.14),
        (3.90, -0.55, 3.90, 0.80, 1.36, 3.90, 0.14),
    ]
)


def build_torso(who: Identity) -> list[Piece]:
    """Shoulders and chest in clothes."""
    rng = generator(who.seed, who.name, "clothes")
    u = np.linspace(-1, 1, 85)
    angle = np.pi * (0.7 * u + 0.3 * u**3)
    rows = np.concatenate([np.linspace(0, 4, 37)[:-1], np.linspace(4, 7, 14)])
    rings = TORSO.copy()
    build = 1.03 - 0.10 * who.femininity
    rings[:, 4] = 0.5 * who.neck_width + (rings[:, 4] - 0.5) * build
    rest = ring_surface(rings, rows, angle)
    folds = smooth_noise(rng, rest.shape[:2], (9, 14)) * smoothstep(1.8, 2.3, rest[..., 1])
    rest[..., 2] -= 0.016 * folds
    height, width = 6 * len(rows), 6 * len(u)
    texture = np.empty((height, width, TEXTURE_CHANNELS))
    x, y = _stretch(rest[..., 0], height, width), _stretch(rest[..., 1], height, width)
    z = _stretch(rest[..., 2], height, width)
    texture[..., :3], texture[..., 3] = _cloth(who, x, y, z, rng)
    texture[..., 4] = 1 - 0.30 * smoothstep(1.85, 1.6, y) - 0.06 * _stretch(folds, height, width)
    pieces = [piece(rest, texture, CLOTH, 0.0)]
    collar = {
        "crew": (0.07, 0.045),
        "stripes": (0.07, 0.045),
        "turtleneck": (0.42, 0.06),
        "jacket": (0.10, 0.05),
    }
    if who.clothes in collar:
        pieces.append(_collar(who, rings, angle, *collar[who.clothes]))
    return pieces


def _collar(who: Identity, rings: np.ndarray, angle: np.ndarray, height: float, thick: float) -> Piece:
    """A rolled band around the neck."""
    t = np.linspace(0, 1, 14)
    base = ring_surface(rings, np.array([0.25]), angle)[0]
    centre = np.array((0.0, 0.0, 0.2))
    out = base - centre
    out[:, 1] = 0
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    up = (
        height * np.sin(np.pi * t * 0.75) / np.sin(np.pi * 0.75)
        if height > 0.2
        else height * np.sin(np.pi * t)
    )
    push = thick * np.sin(np.pi * np.clip(t * 1.05, 0, 1)) - (0.05 * t)
    rest = base[None] + push[:, None, None] * out[None]
    rest[..., 1] -= up[:, None]
    colour = linear(who.cloth_colour) * (0.86 if who.clothes != "jacket" else 1.0)
    if who.clothes == "jacket":
        colour = linear(who.second_colour)
    texture = flat_texture(20, 4 * len(angle), colour)
    ribs = 0.5 + 0.5 * np.sin(np.arange(4 * len(angle)) * 1.6)
    texture[..., 4] = (0.80 + 0.20 * ribs)[None] * np.linspace(0.8, 1, 20)[:, None]
    return piece(rest, texture, CLOTH, 0.12 * np.broadcast_to(t[:, None], rest.shape[:2]))


def _cloth(who: Identity, x: np.ndarray, y: np.ndarray, z: np.ndarray, rng: np.random.Generator) -> tuple:
    weave = 1 + 0.04 * smooth_noise(rng, x.shape, (x.shape[0] // 3, x.shape[1] // 3))
    colour = np.broadcast_to(linear(who.cloth_colour), (*x.shape, 3)).copy()
    second = linear(who.second_colour)
    gloss = np.zeros_like(x)
    front = z < 0.25
    drop = y - 1.66

    def cover(mask: np.ndarray, other: np.ndarray) -> None:
        colour[...] += (other - colour) * mask[..., None]

    if who.clothes == "stripes":
        cover(smoothstep(-0.15, 0.15, np.sin(2 * np.pi * (y - 0.10 * np.abs(x)) / 0.20)), second)
    if who.clothes in ("v-neck", "shirt"):
        depth = 0.42 if who.clothes == "v-neck" else 0.30
        slope = np.abs(x) - 0.42 * (1 - np.clip(drop / depth, -2, 1))
        cover(front * smoothstep(0.012, -0.012, slope), linear(who.skin) * 0.92)
        trim = (
            0.5 * linear(who.cloth_colour)
            if who.clothes == "v-neck"
            else 0.6 * linear(who.cloth_colour) + 0.4
        )
        band = 0.05 if who.clothes == "v-neck" else 0.17
        cover(front * smoothstep(-0.012, 0.008, slope) * smoothstep(band + 0.01, band, slope), trim)
        if who.clothes == "shirt":
            seam = smoothstep(0.016, 0.008, np.abs(slope - band)) * (drop > -0.2)
            cover(front * 0.6 * seam, 0.25 * linear(who.cloth_colour))
            placket = smoothstep(0.012, 0.006, np.abs(np.abs(x) - 0.075)) * (drop > depth)
            cover(front * 0.45 * placket, 0.3 * linear(who.cloth_colour))
            buttons = smoothstep(0.026, 0.018, np.hypot(x, (drop % 0.30) - 0.15)) * (drop > depth)
            cover(front * buttons, np.array((0.75, 0.73, 0.70)))
    if who.clothes == "jacket":
        lapel = np.abs(x) - 0.55 * (1 - np.clip(drop / 0.95, -1, 1))
        cover(front * smoothstep(0.012, -0.012, lapel), second)
        edge = smoothstep(0.02, 0.008, np.abs(lapel - 0.17 * (1 - np.clip(drop / 0.95, 0, 1))))
        cover(
            front * 0.6 * np.maximum(edge, smoothstep(0.02, 0.008, np.abs(lapel))),
            0.25 * linear(who.cloth_colour),
        )
    return colour * weave[..., None], gloss


def _stretch(grid: np.ndarray, height: int, width: int) -> np.ndarray:
    for axis, size in ((0, height), (1, width)):
        place = np.linspace(0, grid.shape[axis] - 1, size)
        low = np.minimum(place.astype(int), grid.shape[axis] - 2)
        t = place - low
        t = t[:, None] if axis == 0 else t[None]
        grid = np.take(grid, low, axis) * (1 - t) + np.take(grid, low + 1, axis) * t
    return grid
