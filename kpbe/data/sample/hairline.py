"""Hair styles and where hair begins on the skin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kpbe.data.sample.identity import Identity
from kpbe.data.sample.pieces import smoothstep

# Hairline: height y over the angle from the front, in degrees.
HAIRLINE = (
    (0, -0.75),
    (14, -0.755),
    (26, -0.78),
    (38, -0.75),
    (50, -0.61),
    (58, -0.42),
    (68, -0.14),
    (75, 0.14),
    (84, 0.20),
    (92, -0.05),
    (105, 0.10),
    (118, 0.42),
    (180, 0.62),
)


@dataclass(frozen=True)
class Style:
    """How a hair style grows; thicknesses in head units."""

    top: float
    side: float
    back: float
    fringe: float = 0.0  # how far hair hangs over the forehead
    length: float = 0.0  # y of the ends of hanging hair, 0: none
    curl: float = 0.0
    lump: float = 0.05
    lift: float = 0.0  # volume above the forehead
    part: float = 0.0
    rise: float = 0.0  # how far the front hairline moves back
    edge: float = 0.75  # how softly the hair rises from the skin: 0.5 steep, 1 flat


STYLES = {
    "side part": Style(0.13, 0.055, 0.07, part=0.8, lift=0.04),
    "short": Style(0.10, 0.05, 0.06, lump=0.12, lift=0.02),
    "buzz": Style(0.040, 0.022, 0.025, lump=0.0, rise=0.02, edge=1.0),
    "quiff": Style(0.13, 0.035, 0.05, lift=0.16, part=0.3),
    "bald": Style(0.0, 0.0, 0.0),
    "long": Style(0.12, 0.10, 0.12, length=1.75, part=0.6, lump=0.07),
    "bob": Style(0.13, 0.13, 0.14, length=0.98, fringe=0.30, part=0.3, edge=0.5),
    "curls": Style(0.19, 0.15, 0.18, length=0.80, curl=0.8, lump=0.22),
    "bun": Style(0.085, 0.05, 0.06, lump=0.02, edge=1.0),
    "fringe": Style(0.13, 0.11, 0.13, length=1.45, fringe=0.46, edge=0.5),
    "afro": Style(0.34, 0.30, 0.30, curl=1.0, lump=0.16),
    "shoulder": Style(0.12, 0.09, 0.10, length=1.35, part=0.3, lump=0.15),
}


def hairline(who: Identity, angle: np.ndarray) -> np.ndarray:
    """Height y of the natural hairline at angles around the head (0 = front, radians).

    Hanging hair does not count.
    """
    degrees = np.abs(np.rad2deg(angle))
    points = np.array(HAIRLINE, dtype=float)
    line = np.interp(degrees, points[:, 0], points[:, 1])
    recess = 0.07 * (1 - who.femininity) * np.exp(-0.5 * ((degrees - 32) / 9) ** 2)
    return line - recess - STYLES[who.hair_style].rise * smoothstep(75, 40, degrees)
