"""Skin and hair textures: linear colour, gloss and ambient occlusion per texel."""

from __future__ import annotations

import numpy as np

from kpbe.data.sample.hairline import hairline
from kpbe.data.sample.head import EYE_Y, MOUTH_Y, HeadSurface
from kpbe.data.sample.identity import Identity, generator
from kpbe.data.sample.pieces import bump, linear, smooth_noise, smoothstep

DETAIL = 4  # texels per grid cell


def upsampled(grid: np.ndarray, factor: int = DETAIL) -> np.ndarray:
    """Interpolate (R, C) linearly to (factor (R-1) + 1, factor (C-1) + 1)."""
    for axis in (0, 1):
        size = grid.shape[axis]
        place = np.linspace(0, size - 1, factor * (size - 1) + 1)
        low = np.minimum(place.astype(int), size - 2)
        t = place - low
        t = t[:, None] if axis == 0 else t[None]
        grid = np.take(grid, low, axis) * (1 - t) + np.take(grid, low + 1, axis) * t
    return grid


def mix(colour: np.ndarray, other: np.ndarray, amount: np.ndarray) -> np.ndarray:
    """Blend colours (..., 3) by an amount (...)."""
    return colour + (other - colour) * np.clip(amount, 0, 1)[..., None]


def lip_mask(head: HeadSurface, x: np.ndarray, y: np.ndarray, softness: float = 0.008) -> np.ndarray:
    """Mask of the lips at x, y: 1 on them, 0 elsewhere."""
    at = head.places
    u = x / at.mouth_half_width
    lens = np.maximum(1 - u * u, 0)
    bow = 1 - 0.22 * np.exp(-0.5 * (x / 0.024) ** 2) + 0.10 * np.exp(-0.5 * ((np.abs(x) - 0.065) / 0.03) ** 2)
    top = MOUTH_Y - at.upper_lip * lens**0.75 * bow
    bottom = MOUTH_Y + at.lower_lip * lens**0.6
    inside = smoothstep(-softness, softness, y - top) * smoothstep(-softness, softness, bottom - y)
    return inside * smoothstep(1.0, 0.93, np.abs(u))


def brow_mask(
    who: Identity, head: HeadSurface, x: np.ndarray, y: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Mask of the brows at x, y: 1 where they are densest."""
    at = head.places
    t = (np.abs(x) - 0.115) / 0.36
    inside = smoothstep(-0.04, 0.12, t) * smoothstep(1.0, 0.82, t)
    t = np.clip(t, 0, 1)
    middle = at.brow_y + 0.03 - 0.075 * who.brow_arch * np.sin(np.pi * t**1.3 * 0.85) + 0.02 * t
    thick = 0.040 * who.brow_thickness * (1 - 0.62 * t**1.6)
    strokes = smooth_noise(rng, x.shape, (x.shape[0] // 5, x.shape[1] // 3))
    edge = (y - middle) / thick + 0.18 * strokes
    return inside * np.exp(-0.5 * np.abs(edge) ** 4) * (0.88 + 0.12 * strokes)


def beard_mask(
    who: Identity, head: HeadSurface, x: np.ndarray, y: np.ndarray, front: np.ndarray
) -> np.ndarray:
    """Mask of the beard at x, y: 1 where it is densest."""
    ax = np.abs(x)
    moustache = bump(x, y, (0, 0.505), 0.17, 0.045) + 0.8 * bump(ax, y, (0.22, 0.57), 0.055, 0.07)
    moustache = smoothstep(0.35, 0.75, moustache) * smoothstep(0.435, 0.465, y + 0.25 * ax)
    chin = smoothstep(0.25, 0.75, bump(x, y, (0, 0.92), 0.24, 0.16))
    sides = smoothstep(0.44, 0.56, y + 0.9 * (ax - 0.43) + 0.12 * smoothstep(0.3, 0.0, ax))
    full = sides * smoothstep(0.62, 0.72, y + 0.55 * ax) * smoothstep(1.10, 1.02, y)
    around_mouth = smoothstep(0.25, 0.6, bump(x, y, (0, 0.70), 0.36, 0.20)) * (y > MOUTH_Y)
    masks = {
        "none": np.zeros_like(x),
        "stubble": np.maximum(full, moustache) * 0.6,
        "full": np.maximum(np.maximum(full, around_mouth * smoothstep(0.70, 0.76, y + 0.3 * ax)), moustache),
        "moustache": moustache,
        "goatee": np.maximum(chin * smoothstep(0.72, 0.78, y + 0.4 * ax), moustache),
    }
    hole = 1 - smoothstep(0.1, 0.6, lip_mask(head, x, y, 0.02))
    return masks[who.beard] * hole * front


def hair_roots(who: Identity, head: HeadSurface, rng: np.random.Generator) -> np.ndarray:
    """Mask of the hair roots: 1 on the hairy scalp, fading in single strokes below the hairline.

    Without the fading the hair would sit like a cap.
    """
    shape = upsampled(head.flat[..., 0]).shape
    if who.hair_style == "bald":
        return np.zeros(shape)
    line = upsampled(np.broadcast_to(hairline(who, head.angle), head.flat.shape[:2]))
    strokes = smooth_noise(rng, shape, (shape[0] // 14, shape[1] // 2))
    return 0.9 * smoothstep(0.075, -0.02, upsampled(head.flat[..., 1]) - line + 0.035 * strokes)


def paint_head(who: Identity, head: HeadSurface) -> np.ndarray:
    """Texture (h, w, 5) of head and neck."""
    rng = generator(who.seed, who.name, "skin")
    x, y = upsampled(head.flat[..., 0]), upsampled(head.flat[..., 1])
    z, front = upsampled(head.rest[..., 2]), upsampled(np.broadcast_to(head.front, head.flat.shape[:2]))
    at, ax, shape = head.places, np.abs(x), x.shape
    base = linear(who.skin)
    pale = 1 - who.tone
    skin = np.broadcast_to(base, (*shape, 3)).copy()

    patches = smooth_noise(rng, shape, (22, 18))
    grain = smooth_noise(rng, shape, (190, 150))
    skin *= (1 + 0.030 * patches + 0.018 * grain)[..., None]
    ruddy = base * (1.02, 0.66, 0.62)
    blush = 0.50 * bump(ax, y, (0.40, 0.26), 0.15, 0.11) + 0.40 * bump(x, y, (0, at.nose_tip_y), 0.10, 0.07)
    blush += 0.18 * bump(x, y, (0, 0.92), 0.16, 0.09) + 0.06 * patches
    skin = mix(skin, ruddy, front * blush * (0.35 + 0.5 * pale))
    hollow = bump(ax, y, (at.eye_x - 0.03, EYE_Y + 0.03), 0.17, 0.10)
    skin = mix(skin, base * (0.78, 0.66, 0.66), front * hollow * 0.55)
    if who.freckles:
        spots = smoothstep(1.5, 2.3, smooth_noise(rng, shape, (190, 150)))
        area = bump(ax, y, (0.28, 0.20), 0.25, 0.13) + 0.5 * bump(x, y, (0, 0.12), 0.12, 0.14)
        skin = mix(skin, base * (0.62, 0.45, 0.36), front * spots * area * who.freckles)

    gloss = np.full(shape, 0.55) + 0.08 * grain
    gloss += front * (
        0.35 * bump(x, y, (0, at.nose_tip_y - 0.1), 0.07, 0.2) + 0.25 * bump(x, y, (0, -0.42), 0.3, 0.14)
    )
    gloss += front * 0.25 * bump(ax, y, (0.42, 0.16), 0.12, 0.07)

    hairs = linear(who.hair_colour) if who.hair_style != "bald" else linear((0.16, 0.11, 0.09))
    beard = beard_mask(who, head, x, y, front)
    streaks = smooth_noise(rng, shape, (shape[0] // 7, shape[1] // 2))
    cover = beard * (0.94 if who.beard != "stubble" else 0.75) + 0.14 * streaks * (beard > 0.05)
    skin = mix(skin, hairs * (1 + 0.25 * np.clip(streaks, -1, 2))[..., None] * 0.9, cover)
    gloss *= 1 - 0.85 * beard

    roots = hair_roots(who, head, rng)
    skin = mix(skin, hairs, roots)
    gloss *= 1 - 0.7 * roots

    brows = front * brow_mask(who, head, x, y, rng)
    brow_colour = hairs * 0.5 + 0.02 * base
    skin = mix(skin, np.minimum(brow_colour, base * 0.42), brows * 0.9)
    gloss *= 1 - 0.7 * brows

    lips = lip_mask(head, x, y) * front
    lip = linear(who.lip_colour) * (1 + 0.05 * smooth_noise(rng, shape, (12, shape[1] // 3)))[..., None]
    skin = mix(skin, lip, lips * (0.80 + 0.18 * who.femininity))
    gloss = gloss * (1 - lips) + lips * (0.85 + 0.5 * who.femininity)

    shade = np.ones(shape)
    shade *= 1 - 0.45 * front * bump(ax, y, (at.eye_x - 0.06, EYE_Y - 0.06), 0.16, 0.07)
    shade *= 1 - 0.25 * front * bump(ax, y, (0.165, at.nose_tip_y - 0.07), 0.05, 0.10)
    shade *= 1 - 0.25 * front * bump(x, y, (0, at.nose_base_y + 0.01), 0.12, 0.025)
    shade *= 1 - 0.40 * front * bump(x, y, (0, MOUTH_Y + at.lower_lip + 0.045), 0.15, 0.028)
    slit = np.exp(-0.5 * ((y - MOUTH_Y) / 0.012) ** 2) * smoothstep(1.12, 0.95, ax / at.mouth_half_width)
    shade *= 1 - 0.62 * front * slit
    nostril = bump(ax, y, (0.060 * who.nose_width, at.nose_base_y - 0.024), 0.026 * who.nose_width, 0.015)
    shade *= 1 - 0.80 * front * smoothstep(0.3, 0.9, nostril)
    under_chin = smoothstep(11.6, 13.2, upsampled(np.broadcast_to(head.ring[:, None], head.flat.shape[:2])))
    shade *= 1 - 0.55 * under_chin * smoothstep(15.8, 13.4, upsampled(_rows(head)))
    shade *= 1 - 0.4 * smoothstep(0.4, 0.9, z)

    texture = np.concatenate([np.clip(skin, 0.001, 1), np.clip(gloss, 0, 2)[..., None], shade[..., None]], -1)
    first, last = DETAIL * head.bag[0], DETAIL * (head.bag[1] - 1)
    texture[first : last + 1] = (0.085, 0.016, 0.016, 0.0, 0.40)
    return texture


def _rows(head: HeadSurface) -> np.ndarray:
    return np.broadcast_to(head.ring[:, None], head.flat.shape[:2])


def strands(
    rng: np.random.Generator, shape: tuple[int, int], colour: np.ndarray, curl: float = 0.0
) -> np.ndarray:
    """Hair texture (h, w, 5): streaks along the columns; curl > 0 breaks them up."""
    columns = shape[1]
    fine = smooth_noise(rng, shape, (max(3, int(6 + 60 * curl)), columns // 2))
    wide = smooth_noise(rng, shape, (max(3, int(4 + 30 * curl)), columns // 7))
    light = 1 + 0.14 * fine + 0.12 * wide
    gloss = np.clip(1.0 + 0.45 * fine + 0.25 * wide, 0.1, 2) * (1 - 0.6 * curl)
    rgb = np.clip(colour * light[..., None], 0.002, 1)
    occlusion = np.clip(0.9 + 0.12 * wide, 0.5, 1)
    return np.concatenate([rgb, gloss[..., None], occlusion[..., None]], -1)
