"""Hair: a shell around the skull that dips under the skin at the hairline and may hang down."""

from __future__ import annotations

import numpy as np

from kpbe.data.sample.hairline import STYLES, Style, hairline
from kpbe.data.sample.head import HeadSurface, identity_rings, ring_surface
from kpbe.data.sample.identity import Identity, generator
from kpbe.data.sample.paint import strands
from kpbe.data.sample.pieces import HAIR, Piece, linear, piece, smooth_noise, smoothstep

COLUMNS = 141
TEXELS = 5  # per grid vertex


def build_hair(who: Identity, head: HeadSurface) -> list[Piece]:
    """Hair of an identity; empty for the bald."""
    style = STYLES[who.hair_style]
    if style.top == 0:
        return []
    rng = generator(who.seed, who.name, "hair")
    pieces = [_shell(who, head, style, rng)]
    if who.hair_style == "bun":
        pieces.append(_bun(who, rng))
    return pieces


def _edge(who: Identity, style: Style, angle: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Height y of the lower edge of the hair, jagged like locks."""
    degrees = np.abs(np.rad2deg(angle))
    line = hairline(who, angle) + style.fringe * smoothstep(62, 46, degrees)
    if style.length:
        line = np.where(degrees > 62, np.maximum(line, 3.0 * smoothstep(58, 68, degrees)), line)
    jag = smooth_noise(rng, (2, angle.size), (2, 60))[0]
    jag += 0.6 * smooth_noise(rng, (2, angle.size), (2, 25))[0]
    return line + jag * (0.014 + 0.05 * style.fringe)


def _shell(who: Identity, head: HeadSurface, style: Style, rng: np.random.Generator) -> Piece:
    u = np.linspace(-1, 1, COLUMNS)
    angle = np.pi * (0.75 * u + 0.25 * u**3)
    rings = identity_rings(who)
    if style.length:
        rings = _hanging_rings(rings, style)
        rows = np.concatenate([np.linspace(0, 3, 22)[:-1], np.linspace(3, len(rings) - 1.0, 64)])
    else:
        rows = np.concatenate([np.linspace(0, 3, 24)[:-1], np.linspace(3, 10, 56)])
    surface = ring_surface(rings, rows, angle)
    y = surface[..., 1]
    across = np.abs(angle)[None]
    above = smoothstep(0.1, -0.9, y)
    behind = smoothstep(1.2, 2.6, across)
    thick = style.side + (style.top - style.side) * above + (style.back - style.side) * behind * (1 - above)
    lumps = smooth_noise(rng, y.shape, (9 + int(10 * style.curl), 12 + int(20 * style.curl)))
    if style.curl:
        lumps = 1.5 * np.abs(lumps) - 1  # round locks with creases between them
    thick = thick * (1 + style.lump * np.clip(lumps, -1.6, 1.6))
    forelock = np.exp(-0.5 * ((y + 0.80) / 0.16) ** 2) * np.exp(-0.5 * (angle[None] / 0.75) ** 2)
    thick = thick + style.lift * forelock
    parting = 0.42 * who.part_side
    groove = np.exp(-0.5 * ((surface[..., 0] - parting) / 0.035) ** 2) * smoothstep(-0.62, -0.8, y)
    groove *= smoothstep(0.6, 0.2, surface[..., 2])
    thick = thick * (1 - 0.55 * style.part * groove)
    line = _edge(who, style, angle, rng)[None]
    grown = (line - y) / (0.10 + 0.5 * style.top)
    grown = np.where(y < -0.85, np.maximum(grown, smoothstep(-0.80, -1.0, y)), grown)
    cover = np.clip(grown, -0.6, 1)
    offset = np.where(cover > 0, thick * np.maximum(cover, 0) ** style.edge, 0.05 * cover) - 0.004
    edge = smoothstep(np.deg2rad(88), np.deg2rad(66), across) * smoothstep(-0.1, 0.3, y)
    if style.length:
        offset = offset - 0.10 * edge
    normal = (
        surface - np.array((0, 0, 0.12)) - np.where(y > 0, y, 0.2 * y)[..., None] * np.array((0.0, 1.0, 0.0))
    )
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-9
    rest = surface + offset[..., None] * normal
    if style.length:
        open_face = (np.abs(angle) < np.deg2rad(64))[None] & (y > line + 0.02)
        ends = style.length + 0.03 * smooth_noise(rng, (2, COLUMNS), (2, 40))[0][None]
        gone = open_face | (y > ends)
    else:
        gone = cover < -0.4
    keep = ~(gone[:-1, :-1] & gone[1:, 1:])
    texture = strands(rng, (TEXELS * len(rows), TEXELS * COLUMNS), linear(who.hair_colour), style.curl)
    texture[..., 4] *= _rooted(y, line, style)
    weight = np.ones_like(y) if not style.length else 1 - 0.75 * smoothstep(0.7, 1.7, y)
    return piece(rest, texture, HAIR, weight, keep=keep)


def _rooted(y: np.ndarray, line: np.ndarray, style: Style) -> np.ndarray:
    """Shade factor of the texture: hair is darker low in the neck and close to the hairline."""
    shade = 1 - 0.35 * smoothstep(0.0, 0.8, y) - 0.25 * smoothstep(0.12, 0.0, line - y)
    rows = np.linspace(0, y.shape[0] - 1, TEXELS * y.shape[0]).round().astype(int)
    columns = np.linspace(0, y.shape[1] - 1, TEXELS * y.shape[1]).round().astype(int)
    return np.clip(shade, 0.3, 1)[rows][:, columns]


def _hanging_rings(rings: np.ndarray, style: Style) -> np.ndarray:
    """Rings whose lower part falls straight from the widest part of the skull."""
    skull = rings[:6].copy()
    widest, deepest = skull[:, 4].max(), skull[:, 3].max()
    falls = []
    for y in np.linspace(0.12, style.length + 0.06, 6):
        flare = 1.0 + 0.10 * np.sin(np.pi * min(y / max(style.length, 1e-6), 1)) * (1 + style.curl)
        inward = 0.06 * smoothstep(style.length - 0.5, style.length, np.array(y))
        width = widest * flare - inward
        back = deepest * (1 - 0.16 * smoothstep(0.3, 1.3, np.array(y)))
        falls.append((y, -0.45, y, back, width, y, 0.10))
    return np.concatenate([skull, np.array(falls, dtype=float)])


def _bun(who: Identity, rng: np.random.Generator) -> Piece:
    v, u = np.meshgrid(np.linspace(0.01, np.pi - 0.01, 26), np.linspace(-np.pi, np.pi, 40), indexing="ij")
    wobble = 1 + 0.06 * np.sin(5 * u + 3 * v)
    radius = 0.31 * wobble
    rest = np.stack([radius * np.sin(v) * np.sin(u), -radius * np.cos(v), radius * np.sin(v) * np.cos(u)], -1)
    rest = rest * (1.0, 0.85, 1.0) + np.array((0, -1.18, 0.45))
    texture = strands(rng, (80, 160), linear(who.hair_colour))
    return piece(rest, texture, HAIR)
