"""Where nobody speaks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kpbe.inference.silence import speaking_frames
from kpbe.media.audio import write_wav
from kpbe.media.sound_track import find_sound


def test_pauses_are_found_and_stops_are_speech(tmp_path: Path) -> None:
    rate = 16000
    wave = 0.3 * np.sin(np.arange(3 * rate) / 9).astype(np.float32)
    wave += np.random.default_rng(0).normal(0, 1e-4, len(wave)).astype(np.float32)
    wave[rate : 2 * rate] *= 1e-3
    wave[round(2.4 * rate) : round(2.48 * rate)] *= 1e-3
    write_wav(tmp_path / "speech.wav", wave)
    speaks = speaking_frames(find_sound(tmp_path / "speech.wav"), 80, 25.0)
    assert speaks[:24].all() and not speaks[26:49].any() and speaks[51:74].all()
    assert not speaks[76:].any(), "after the sound's end"
    write_wav(tmp_path / "silence.wav", np.zeros(rate, np.float32))
    assert not speaking_frames(find_sound(tmp_path / "silence.wav"), 25, 25.0).any()
