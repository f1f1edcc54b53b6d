"""The headphone check: which of three tones is the softest?

Woods, Siegel, Traer and McDermott, "Headphone screening to facilitate web-based auditory experiments",
Attention, Perception & Psychophysics 79 (2017): three tones of 200 Hz, one of them 6 dB softer, another one
with its two channels in opposite phase. Over headphones the softer one is heard; over loudspeakers or a mono
device the opposed channels cancel, and the wrong tone seems softest. Six trials, five must be right: by
guessing 1.8 % pass. Which side a sound comes from is not asked: the clips' sound is mono.

The sounds are uncompressed: audio coders do not keep the phase between channels.
"""

from __future__ import annotations

import base64
import io
import random
import wave
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import permutations
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kpbe.errors import SurveyError
from reports.player import component, keys
from reports.texts import Texts

RATE = 16000
TONE_HZ = 200.0
TONE_SECONDS = 1.0
RAMP_SECONDS = 0.1
PAUSE_SECONDS = 0.5
LEVEL = 0.3
"""Amplitude of the tones, 1 is full scale; the softer tone is 6 dB below it."""
SOFTER = 10 ** (-6 / 20)
TONES = 3
NEEDED = 5
"""Right answers needed to pass, of six."""
TEXTS = ("play", "again", "playing", "play_first", "choose", "failed")


@dataclass(frozen=True)
class Trial:
    """Places, 1 to 3, of the softer tone and of the one with opposed channels."""

    softer: int
    opposed: int


class Heard(BaseModel):
    """An answer from the check's page: the chosen tone (0: the volume is right), number of plays, device.

    `device` holds numbers only: width and height of the screen in CSS pixels, `ratio` of device pixels to
    them, `hz` of the display, whether it is touched.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    trial: int = Field(ge=0, le=6)
    choice: int = Field(ge=0, le=TONES)
    plays: int = Field(ge=1, le=1000)
    device: dict[Annotated[str, Field(max_length=20)], float | bool] = Field(
        default_factory=dict, max_length=10
    )


@dataclass
class Check:
    """One try: its trials, drawn anew for each try, and the choices so far."""

    trials: tuple[Trial, ...]
    choices: tuple[int, ...] = ()

    @property
    def done(self) -> bool:
        """Whether all trials are answered."""
        return len(self.choices) == len(self.trials)

    @property
    def right(self) -> int:
        """How many choices were the softer tone."""
        return sum(choice == trial.softer for choice, trial in zip(self.choices, self.trials, strict=False))

    @property
    def passed(self) -> bool:
        """Whether enough of them were."""
        return self.done and self.right >= NEEDED

    def record(self) -> dict[str, Any]:
        """All about it, for the store."""
        return {
            "passed": self.passed,
            "right": self.right,
            "trials": [asdict(trial) for trial in self.trials],
            "choices": list(self.choices),
        }


def new_check(rng: random.Random | None = None) -> Check:
    """A check of six trials in a random order: all pairs of two different places.

    Each place holds the softer tone twice.
    """
    trials = [Trial(*places) for places in permutations(range(1, TONES + 1), 2)]
    (rng or random.SystemRandom()).shuffle(trials)
    return Check(tuple(trials))


# -- sounds ------------------------------------------------------------------------------------------------


def tone(level: float = LEVEL, seconds: float = TONE_SECONDS) -> np.ndarray:
    """A tone that fades in and out along a raised cosine, (samples,) float."""
    count, ramp = round(RATE * seconds), round(RATE * RAMP_SECONDS)
    rise = 0.5 - 0.5 * np.cos(np.pi * np.arange(ramp) / ramp)
    envelope = np.ones(count)
    envelope[:ramp], envelope[count - ramp :] = rise, rise[::-1]
    return level * envelope * np.sin(2 * np.pi * TONE_HZ * np.arange(count) / RATE)


def trial_sound(trial: Trial) -> np.ndarray:
    """The three tones of a trial with pauses between them, (samples, 2) float in [-1, 1]."""
    pause = np.zeros((round(RATE * PAUSE_SECONDS), 2))
    parts: list[np.ndarray] = []
    for place in range(1, TONES + 1):
        left = tone(LEVEL * SOFTER if place == trial.softer else LEVEL)
        right = -left if place == trial.opposed else left
        parts += [np.stack([left, right], 1), pause]
    return np.concatenate(parts[:-1])


@lru_cache(maxsize=1)
def volume_sound() -> np.ndarray:
    """Soft noise of three seconds for setting the volume, (samples, 2) float.

    Its energy falls with frequency as that of speech does.
    """
    count = 3 * RATE
    spectrum = np.fft.rfft(np.random.default_rng(0).normal(size=count))
    frequency = np.fft.rfftfreq(count, 1 / RATE)
    spectrum *= np.where((frequency > 100) & (frequency < 6000), 1 / np.maximum(frequency, 1.0), 0)
    noise = np.fft.irfft(spectrum, count)
    swell = 0.65 + 0.35 * np.sin(2 * np.pi * 4 * np.arange(count) / RATE)  # the rhythm of syllables
    ramp = np.minimum(1, np.minimum(np.arange(count), np.arange(count)[::-1]) / (RATE * RAMP_SECONDS))
    noise *= swell * ramp / np.sqrt((noise**2).mean())
    return np.repeat((0.1 * noise).clip(-1, 1)[:, None], 2, axis=1)


def wav(sound: np.ndarray) -> bytes:
    """Encode (samples, 2) float in [-1, 1] as a 16-bit WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(2)
        writer.setsampwidth(2)
        writer.setframerate(RATE)
        writer.writeframes((sound * 32767).round().astype("<i2").tobytes())
    return file.getvalue()


def tone_times() -> list[list[float]]:
    """Start and end of each tone, in seconds from the start of the sound."""
    step = TONE_SECONDS + PAUSE_SECONDS
    return [[place * step, place * step + TONE_SECONDS] for place in range(TONES)]


# -- the page's component ----------------------------------------------------------------------------------


def listen(
    key: str, texts: Texts, number: int, sound: np.ndarray, total: int, try_number: int
) -> Heard | None:
    """Play a sound and ask for the softest tone; number 0 only asks whether the volume is right.

    Returns:
        The rater's choice, None while there is none.

    Raises:
        SurveyError: what came is not what the page sends.
    """
    data = {
        "trial": number,
        "try": try_number,
        "sound": f"data:audio/wav;base64,{base64.b64encode(wav(sound)).decode()}",
        "language": texts.language,
        "caption": texts("headphones.count", done=number, total=total) if number else "",
        "progress": (number - 1) / total if number else 0,
        "lead": texts("headphones.lead" if number else "headphones.volume_lead"),
        "tones": tone_times() if number else [],
        "choices": [texts(f"headphones.{name}") for name in ("first", "second", "third")] if number else [],
        "texts": {name: texts(f"headphones.{name}") for name in TEXTS}
        | {"next": texts("headphones.volume_done")},
        "keys": keys(texts, "headphones"),
    }
    result = _tones_component()(key=key, data=data, on_heard_change=_nothing)
    answer = result.get("heard")
    if answer is None:
        return None
    try:
        heard = Heard.model_validate(answer)
    except ValidationError:
        raise SurveyError("The headphone check sent something that it cannot send.") from None
    return heard if heard.trial == number else None


def _nothing() -> None:
    """Callback without effect: Streamlit reports only events that have one."""


@lru_cache(maxsize=1)
def _tones_component() -> Any:
    return component("tones")
