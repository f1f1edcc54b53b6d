"""Phonemes of the sample speech: their sound, their mouth shape, and how they form syllables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PAUSE = "SIL"


@dataclass(frozen=True)
class Phoneme:
    """One speech sound.

    Attributes:
        symbol: ARPAbet name. kind: vowel, nasal, fricative, plosive, glide or pause.
        formants: F1, F2, F3 in Hz. voice: loudness of the voiced source, 0 to 1.
        noise: centre and bandwidth in Hz and loudness of the noise source.
        gap: height of the mouth opening, 1 = widest vowel. jaw: jaw opening, 0 to 1.
        wide: corners out (1) or in (-1). forward: lips pushed forward, 0 to 1. closed: lips pressed together,
            0 to 1.
        tuck: lower lip under the upper teeth, 0 to 1. tongue: tongue raised, 0 to 1.
        milliseconds: usual length.
    """

    symbol: str
    kind: str
    formants: tuple[float, float, float]
    voice: float
    noise: tuple[float, float, float] = (0.0, 1.0, 0.0)
    gap: float = 0.25
    jaw: float = 0.2
    wide: float = 0.0
    forward: float = 0.0
    closed: float = 0.0
    tuck: float = 0.0
    tongue: float = 0.0
    milliseconds: float = 85.0


def _vowel(symbol, f1, f2, f3, voice, gap, jaw, wide=0.0, forward=0.0, length=125.0) -> Phoneme:
    return Phoneme(
        symbol,
        "vowel",
        (f1, f2, f3),
        voice,
        gap=gap,
        jaw=jaw,
        wide=wide,
        forward=forward,
        milliseconds=length,
    )


_ALL = (
    _vowel("IY", 280, 2250, 2950, 0.62, 0.30, 0.20, wide=1.0),
    _vowel("IH", 400, 1950, 2600, 0.66, 0.38, 0.28, wide=0.6, length=100),
    _vowel("EH", 550, 1800, 2500, 0.80, 0.60, 0.50, wide=0.6),
    _vowel("AE", 680, 1700, 2450, 0.95, 0.85, 0.80, wide=0.7, length=140),
    _vowel("AA", 750, 1150, 2500, 1.00, 1.00, 1.00, length=145),
    _vowel("AH", 620, 1250, 2450, 0.82, 0.62, 0.55, length=100),
    _vowel("AO", 560, 880, 2450, 0.90, 0.75, 0.75, wide=-0.6, forward=0.6, length=140),
    _vowel("OW", 460, 900, 2400, 0.78, 0.50, 0.50, wide=-0.9, forward=0.9, length=135),
    _vowel("UW", 310, 880, 2300, 0.58, 0.22, 0.22, wide=-1.2, forward=1.2),
    _vowel("ER", 470, 1350, 1700, 0.70, 0.36, 0.30, wide=-0.3, forward=0.4),
    Phoneme("M", "nasal", (260, 1050, 2200), 0.36, gap=0.0, jaw=0.08, closed=1.0, milliseconds=85),
    Phoneme("N", "nasal", (270, 1500, 2500), 0.36, gap=0.18, jaw=0.14, tongue=0.8, milliseconds=70),
    Phoneme("NG", "nasal", (270, 1900, 2400), 0.36, gap=0.24, jaw=0.22, milliseconds=80),
    Phoneme(
        "S",
        "fricative",
        (320, 1700, 2600),
        0,
        (5600, 1800, 0.34),
        0.12,
        0.05,
        0.5,
        tongue=0.4,
        milliseconds=100,
    ),
    Phoneme("Z", "fricative", (300, 1700, 2600), 0.20, (5400, 1900, 0.20), 0.12, 0.05, 0.5, tongue=0.4),
    Phoneme(
        "SH", "fricative", (320, 1800, 2500), 0, (3100, 1300, 0.38), 0.22, 0.08, -0.8, 1.0, milliseconds=105
    ),
    Phoneme(
        "F", "fricative", (320, 1200, 2400), 0, (6200, 3600, 0.13), 0.10, 0.06, tuck=1.0, milliseconds=95
    ),
    Phoneme(
        "V", "fricative", (300, 1200, 2400), 0.24, (6000, 3600, 0.07), 0.10, 0.06, tuck=1.0, milliseconds=70
    ),
    Phoneme(
        "TH", "fricative", (320, 1400, 2600), 0, (6800, 3800, 0.10), 0.24, 0.12, tongue=1.0, milliseconds=90
    ),
    Phoneme("HH", "fricative", (520, 1500, 2500), 0, (1700, 1500, 0.16), 0.38, 0.32, milliseconds=65),
    Phoneme("P", "plosive", (350, 1000, 2200), 0, (900, 1400, 0.50), 0.0, 0.08, closed=1.0, milliseconds=85),
    Phoneme(
        "B", "plosive", (300, 1000, 2200), 0.16, (800, 1200, 0.32), 0.0, 0.08, closed=1.0, milliseconds=80
    ),
    Phoneme(
        "T", "plosive", (350, 1700, 2600), 0, (4300, 2200, 0.50), 0.16, 0.10, tongue=0.9, milliseconds=75
    ),
    Phoneme(
        "D", "plosive", (300, 1700, 2600), 0.15, (3800, 2200, 0.30), 0.17, 0.12, tongue=0.9, milliseconds=65
    ),
    Phoneme("K", "plosive", (350, 1900, 2300), 0, (2000, 900, 0.50), 0.22, 0.20, milliseconds=85),
    Phoneme("G", "plosive", (300, 1900, 2300), 0.15, (1800, 900, 0.30), 0.22, 0.20, milliseconds=75),
    Phoneme("L", "glide", (360, 1300, 2700), 0.42, gap=0.32, jaw=0.25, tongue=0.9, milliseconds=70),
    Phoneme(
        "R", "glide", (340, 1100, 1550), 0.42, gap=0.24, jaw=0.20, wide=-0.6, forward=0.7, milliseconds=75
    ),
    Phoneme(
        "W", "glide", (300, 700, 2250), 0.40, gap=0.12, jaw=0.16, wide=-1.2, forward=1.2, milliseconds=75
    ),
    Phoneme("Y", "glide", (280, 2200, 2950), 0.40, gap=0.20, jaw=0.14, wide=0.7, milliseconds=65),
    Phoneme(PAUSE, "pause", (500, 1500, 2500), 0, gap=0.0, jaw=0.0, closed=0.8, milliseconds=190),
)
PHONEMES = {phoneme.symbol: phoneme for phoneme in _ALL}
_VOWELS = tuple(p.symbol for p in _ALL if p.kind == "vowel")
_ONSETS = tuple(p.symbol for p in _ALL if p.kind not in ("vowel", "pause") and p.symbol != "NG")
_CODAS = ("M", "N", "NG", "S", "F", "P", "T", "K", "L", "Z")
# Lip sounds are frequent, so that every clip shows closures.
_ONSET_WEIGHTS = np.array([2.6 if s in ("M", "B", "P") else 1.0 for s in _ONSETS])


@dataclass(frozen=True)
class Segment:
    """A phoneme in time (seconds); stress 1 on stressed vowels."""

    phoneme: Phoneme
    start: float
    end: float
    stress: float


def babble(rng: np.random.Generator, seconds: float) -> list[Segment]:
    """A phoneme sequence that fills `seconds`: phrases of syllables with pauses before, between and after."""
    tempo = rng.uniform(0.9, 1.12)
    segments: list[Segment] = []
    time = 0.0

    def add(symbol: str, stress: float = 0.0, scale: float = 1.0) -> None:
        nonlocal time
        phoneme = PHONEMES[symbol]
        length = phoneme.milliseconds / 1000 * scale * rng.uniform(0.85, 1.15)
        length = length if phoneme.kind == "pause" else float(np.clip(length * tempo, 0.06, 0.16))
        end = min(time + length, seconds)
        if end > time:
            segments.append(Segment(phoneme, time, end, stress))
        time = end

    add(PAUSE, scale=float(rng.uniform(0.3, 0.7)))
    last_pause = 0.14
    until_pause = int(rng.integers(4, 7))
    vowels: list[str] = []
    while time < seconds - last_pause:
        stress = float(rng.uniform() < 0.4)
        if rng.uniform() < 0.9:
            add(str(rng.choice(_ONSETS, p=_ONSET_WEIGHTS / _ONSET_WEIGHTS.sum())))
        if not vowels:
            vowels = [
                str(symbol) for symbol in rng.permutation(_VOWELS)
            ]  # each is used once before one repeats
        add(vowels.pop(), stress, 1.15 if stress else 0.95)
        if rng.uniform() < 0.3:
            add(str(rng.choice(_CODAS)))
        until_pause -= 1
        if until_pause == 0 and time < seconds - 0.6:
            add(PAUSE)
            until_pause = int(rng.integers(4, 7))
    start = seconds - last_pause
    kept = [s for s in segments if s.start < start]
    kept[-1] = Segment(kept[-1].phoneme, kept[-1].start, min(kept[-1].end, start), kept[-1].stress)
    kept.append(Segment(PHONEMES[PAUSE], kept[-1].end, seconds, 0.0))
    return kept
