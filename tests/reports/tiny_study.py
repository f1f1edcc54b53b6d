"""A study of a few one-second clips that takes a rater a minute."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np

from kpbe.media.audio import write_wav
from kpbe.media.video_writer import write_video
from kpbe.survey.study.design import GROUND_TRUTH, QUESTIONS, Item, Study

METHODS = ("wav2lip", "wav2lip+kpbe")
SECONDS = 1.0
RATE = 16000
FPS = 25


def opaque(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]


def make_study(name: str = "pilot", break_after: int = 2, seconds: float = SECONDS) -> Study:
    """Three clips to rate, the last one is in the second order only; two to practise."""
    identity = "p0"
    clip = f"{identity}#v0#0#25"

    def item(kind, method, **what):
        return Item(
            opaque(f"{kind} {method} {what}"), kind, clip, identity, method, seconds, "0" * 64, **what
        )

    shown = [item("main", method) for method in METHODS] + [item("reference", GROUND_TRUTH)]
    other = item("repeat", METHODS[0], repeats=shown[0].item)
    training = [
        item("training", GROUND_TRUTH, expected={"lip_sync": (4, 5), "realness": (4, 5)}),
        item(
            "training",
            GROUND_TRUTH,
            expected={"lip_sync": (1, 3), "realness": (1, 2)},
            shift_ms=400,
            degraded=True,
        ),
    ]
    names = tuple(one.item for one in shown)
    orders = ((*names[1:], other.item), names)
    return Study(
        name,
        1,
        QUESTIONS,
        (*shown, other, *training),
        orders,
        tuple(one.item for one in training),
        break_after,
    )


def write_stimuli(study: Study, folder: Path) -> None:
    """A moving picture with a tone for each item."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, item in enumerate(study.items):
        sound = folder / "tone.wav"
        time = np.arange(round(RATE * item.seconds)) / RATE
        write_wav(sound, (0.2 * np.sin(2 * np.pi * (220 + 40 * number) * time)).astype(np.float32))
        write_video(folder / item.file, pictures(number, round(FPS * item.seconds)), FPS, audio=sound)
        sound.unlink()


def pictures(number: int, count: int, side: int = 256) -> np.ndarray:
    """(count, side, side, 3) uint8: a face, very roughly, whose mouth opens and closes."""
    y, x = np.mgrid[:side, :side] / side
    background = np.stack([0.20 + 0.10 * y, 0.24 + 0.08 * x, 0.30 + 0.04 * (number % 5) + 0 * x], -1)
    face = ((x - 0.5) / 0.24) ** 2 + ((y - 0.5) / 0.33) ** 2 < 1
    eyes = np.zeros_like(face)
    for centre in (0.41, 0.59):
        eyes |= ((x - centre) / 0.035) ** 2 + ((y - 0.43) / 0.02) ** 2 < 1
    frames = np.empty((count, side, side, 3), np.uint8)
    for frame in range(count):
        picture = background.copy()
        picture[face] = (0.80, 0.62 + 0.03 * (number % 3), 0.52)
        picture[eyes] = 0.15
        opening = 0.012 + 0.03 * abs(np.sin(0.9 * frame))
        picture[((x - 0.5) / 0.08) ** 2 + ((y - 0.66) / opening) ** 2 < 1] = (0.45, 0.18, 0.18)
        frames[frame] = (255 * picture).astype(np.uint8)
    return frames
