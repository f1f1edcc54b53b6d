"""Identity of a sample person: proportions, colours, hair, clothes, light and background from a seed."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]

SKIN_TONES = np.array(
    [
        (247, 213, 193),
        (240, 198, 170),
        (228, 178, 145),
        (206, 150, 114),
        (176, 120, 86),
        (141, 92, 64),
        (110, 70, 49),
        (86, 55, 41),
    ],
    dtype=np.float64,
)
HAIR_COLOURS: dict[str, Colour] = {
    "black": (34, 29, 29),
    "dark brown": (58, 40, 30),
    "brown": (92, 62, 42),
    "chestnut": (116, 66, 40),
    "copper": (158, 82, 42),
    "blond": (196, 156, 98),
    "ash blond": (164, 138, 104),
    "grey": (150, 148, 146),
}
EYE_COLOURS: tuple[Colour, ...] = (
    (74, 46, 28),
    (96, 64, 34),
    (92, 104, 62),
    (92, 116, 130),
    (84, 108, 138),
    (110, 122, 126),
)
CLOTH_COLOURS: tuple[Colour, ...] = (
    (38, 54, 92),
    (128, 40, 46),
    (52, 92, 78),
    (216, 208, 192),
    (56, 58, 64),
    (196, 148, 60),
    (92, 66, 110),
    (70, 120, 150),
    (204, 112, 92),
    (120, 128, 84),
)
# (hair style, femininity of the face)
STYLES: tuple[tuple[str, float], ...] = (
    ("side part", 0.1),
    ("long", 0.95),
    ("short", 0.2),
    ("bob", 0.9),
    ("buzz", 0.05),
    ("curls", 0.8),
    ("quiff", 0.25),
    ("bun", 1.0),
    ("bald", 0.0),
    ("fringe", 0.85),
    ("afro", 0.5),
    ("shoulder", 0.3),
)
BACKGROUNDS = ("gradient", "lights", "wall", "window", "shelf")
CLOTHES = ("crew", "v-neck", "stripes", "shirt", "turtleneck", "jacket")
BEARDS = ("none", "stubble", "full", "moustache", "goatee")


@dataclass(frozen=True)
class Identity:
    """One sample person; lengths are in head units, colours are sRGB in [0, 1].

    In head units the chin is at y = 1, the eyes at y = 0. Factors named `*_width`, `*_length`, ... multiply
    the average head's measure; `*_shift` are added in head units.
    """

    name: str
    seed: int
    femininity: float
    face_width: float
    jaw_width: float
    chin_length: float
    cheek: float
    forehead: float
    brow_ridge: float
    eye_distance: float
    eye_size: float
    eye_tilt: float
    brow_height: float
    brow_thickness: float
    brow_arch: float
    nose_length: float
    nose_width: float
    nose_height: float
    nose_hook: float
    mouth_width: float
    smile: float
    upper_lip: float
    lower_lip: float
    ear_size: float
    neck_width: float
    skin: Colour
    tone: float
    freckles: float
    lip_colour: Colour
    eye_colour: Colour
    hair_style: str
    hair_colour: Colour
    part_side: float
    beard: str
    glasses: str
    clothes: str
    cloth_colour: Colour
    second_colour: Colour
    background: str
    background_colours: tuple[Colour, Colour]
    light_direction: tuple[float, float, float]
    light_colour: Colour
    fill: float
    pitch_hz: float
    vocal_tract: float


def generator(*key: int | str) -> np.random.Generator:
    """A random generator for a key, the same on every machine and independent between keys."""
    words = [part if isinstance(part, int) else zlib.crc32(part.encode()) for part in key]
    return np.random.default_rng(np.random.SeedSequence(words))


def identity_name(index: int) -> str:
    """Name of the index-th sample person (from 0)."""
    return f"sample{index + 1:02d}"


def draw_identity(index: int, seed: int) -> Identity:
    """The index-th person of a seed; does not depend on how many others there are.

    The most visible features (skin, hair, clothes, background) step through their range with the index, so
    that a handful of people differ as much as possible; everything else is random.
    """
    name = identity_name(index)
    common = generator(seed, "sample people")
    order = common.permutation(len(STYLES))
    phases = common.uniform(size=8)
    rng = generator(seed, "person", name)

    def spread(axis: int, step: float = 0.6180339887) -> float:
        return float((phases[axis] + index * step) % 1.0)

    def pick(options: tuple, axis: int, step: float = 0.6180339887):
        return options[int(spread(axis, step) * len(options))]

    def around(middle: float, deviation: float) -> float:
        return float(middle + deviation * np.clip(rng.normal(), -1.8, 1.8))

    style, femininity = STYLES[order[index % len(STYLES)]]
    femininity = float(np.clip(femininity + rng.uniform(-0.1, 0.1), 0, 1))
    if style == "afro":
        femininity = float(rng.uniform(0, 1))
    tone = spread(0)
    tone = max(tone, 0.72) if style == "afro" else tone
    skin = _mix_table(SKIN_TONES, tone) / 255
    dark = tone > 0.55
    hair_names = ("black", "black", "dark brown") if dark else tuple(HAIR_COLOURS)
    hair = np.array(HAIR_COLOURS[pick(hair_names, 1)]) / 255 * rng.uniform(0.85, 1.15)
    eyes = EYE_COLOURS[: 2 if dark else None]
    lips = skin * (0.90, 0.66, 0.66) + np.array((0.03, -0.04, -0.01)) * femininity
    cloth = np.array(pick(CLOTH_COLOURS, 2, 0.3819660113)) / 255
    second = np.array(CLOTH_COLOURS[int(rng.integers(len(CLOTH_COLOURS)))]) / 255
    hue = spread(3, 0.7320508076)
    beard = "none"
    if femininity < 0.35 and rng.uniform() < 0.7:
        beard = BEARDS[1 + int(rng.integers(len(BEARDS) - 1))]
    side = 1.0 if rng.uniform() < 0.5 else -1.0
    elevation, azimuth = np.deg2rad(rng.uniform(22, 48)), np.deg2rad(side * rng.uniform(15, 55))
    warmth = rng.uniform(-0.08, 0.10)
    man = 1 - femininity
    return Identity(
        name=name,
        seed=seed,
        femininity=femininity,
        face_width=around(1.0 - 0.02 * femininity, 0.03),
        jaw_width=around(1.04 - 0.13 * femininity, 0.05),
        chin_length=around(0.0 - 0.04 * femininity, 0.03),
        cheek=around(1.0, 0.45),
        forehead=around(0.0, 0.03),
        brow_ridge=around(0.45 + 0.75 * man, 0.2),
        eye_distance=around(1.0, 0.04),
        eye_size=around(1.0 + 0.08 * femininity, 0.05),
        eye_tilt=around(0.05 + 0.05 * femininity, 0.05),
        brow_height=around(0.015 * femininity, 0.018),
        brow_thickness=around(0.72 + 0.40 * man, 0.12),
        brow_arch=around(0.6 + 0.5 * femininity, 0.25),
        nose_length=around(1.0, 0.05),
        nose_width=around(1.0 + 0.25 * (tone - 0.4) + 0.08 * man, 0.08),
        nose_height=around(0.95 + 0.12 * man - 0.1 * (tone - 0.4), 0.08),
        nose_hook=around(0.0, 0.5),
        mouth_width=around(1.0, 0.05),
        smile=float(rng.uniform(0.012, 0.034)),
        upper_lip=around(0.85 + 0.25 * femininity + 0.3 * (tone > 0.6), 0.12),
        lower_lip=around(0.9 + 0.25 * femininity + 0.2 * (tone > 0.6), 0.12),
        ear_size=around(1.0, 0.07),
        neck_width=around(1.04 - 0.20 * femininity, 0.03),
        skin=_colour(skin),
        tone=tone,
        freckles=float(rng.uniform(0.3, 1.0)) if tone < 0.3 and rng.uniform() < 0.45 else 0.0,
        lip_colour=_colour(np.clip(lips, 0, 1)),
        eye_colour=_colour(np.array(eyes[int(rng.integers(len(eyes)))]) / 255),
        hair_style=style,
        hair_colour=_colour(hair),
        part_side=1.0 if rng.uniform() < 0.5 else -1.0,
        beard=beard,
        glasses=("round", "square")[int(rng.integers(2))] if rng.uniform() < 0.22 else "none",
        clothes=pick(CLOTHES, 4),
        cloth_colour=_colour(cloth),
        second_colour=_colour(second),
        background=pick(BACKGROUNDS, 5),
        background_colours=(
            _hue_colour(hue, rng.uniform(0.12, 0.4), rng.uniform(0.45, 0.8)),
            _hue_colour(hue + rng.uniform(-0.12, 0.12), rng.uniform(0.2, 0.5), rng.uniform(0.2, 0.42)),
        ),
        light_direction=(
            float(np.sin(azimuth) * np.cos(elevation)),
            float(-np.sin(elevation)),
            float(-np.cos(azimuth) * np.cos(elevation)),
        ),
        light_colour=(1.0 + float(warmth), 1.0, 1.0 - float(warmth)),
        fill=float(rng.uniform(0.25, 0.5)),
        pitch_hz=float(np.exp(np.log(112) + np.log(205 / 112) * femininity) * rng.uniform(0.9, 1.1)),
        vocal_tract=float(1.0 + 0.15 * femininity + rng.uniform(-0.03, 0.03)),
    )


def _mix_table(table: np.ndarray, position: float) -> np.ndarray:
    place = position * (len(table) - 1)
    low = min(int(place), len(table) - 2)
    return table[low] + (place - low) * (table[low + 1] - table[low])


def _colour(values: np.ndarray) -> Colour:
    red, green, blue = (float(v) for v in np.clip(values, 0, 1))
    return red, green, blue


def _hue_colour(hue: float, saturation: float, value: float) -> Colour:
    wheel = np.clip(np.abs((hue + np.array((0.0, 2 / 3, 1 / 3))) % 1.0 * 6 - 3) - 1, 0, 1)
    return _colour(value * (1 - saturation + saturation * wheel))
