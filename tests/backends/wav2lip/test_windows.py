"""Which sound belongs to which frame."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpbe.backends.wav2lip.windows import mel_batch, speech_mel, window_starts


def test_windows_begin_with_the_reference_list_and_then_stay_on_the_last(golden):
    fixture = golden("wav2lip_audio")
    position = 0
    for fps, mel_frames, count in zip(
        fixture["chunk_fps"], fixture["chunk_mel_frames"], fixture["chunk_counts"], strict=True
    ):
        reference = fixture["chunk_starts"][position : position + count].tolist()
        position += count
        starts = window_starts(int(mel_frames), float(fps), int(count) + 4)
        assert starts == reference + [int(mel_frames) - 16] * 4


@given(seconds=st.floats(0.2, 30), fps=st.sampled_from([23.976, 25.0, 29.97, 30.0]))
def test_every_frame_of_the_audio_has_a_window_inside_it(seconds, fps):
    frames = round(seconds * fps)
    mel_frames = int(seconds * 16000) // 200 + 1
    starts = window_starts(mel_frames, fps, frames)
    assert len(starts) == frames
    assert starts == sorted(starts)
    assert starts[0] == 0
    assert starts[-1] + 16 <= mel_frames


@pytest.mark.parametrize("samples", [1, 100, 2999, 3000, 3200])
def test_even_a_moment_of_speech_fills_one_window(samples):
    mel = speech_mel(np.full(samples, 0.1, np.float32))
    assert mel.shape[1] >= 16
    assert mel_batch(mel, [0, 0]).shape == (2, 1, 80, 16)


def test_windows_hold_the_mel_frames_they_name():
    mel = np.arange(40, dtype=np.float32)[None].repeat(80, 0)
    windows = mel_batch(mel, [3, 24])
    assert windows[0, 0, 0, 0] == 3
    assert windows[1, 0, 79, 15] == 39
