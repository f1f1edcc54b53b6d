"""The 16 mel frames (0.2 s) that belong to each video frame.

Frame i gets the window that starts at mel frame int(80 * i / fps), that is, the sound of frames i to i + 4 at
25 fps. Synthesis and our training share this rule. (The reference trains its generator with the window of
frame i - 1, one frame earlier than in its synthesis. SyncNet's window of the five frames i to i + 4 is that
of frame i here.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from kpbe.media.audio import AUDIO_RATE
from kpbe.media.mel import MEL_FRAMES_PER_SECOND, MEL_WINDOW, mel_window_starts, wav2lip_mel


def speech_mel(wave: np.ndarray, padding: Literal["zeros", "reflect"] = "zeros") -> np.ndarray:
    """Wav2Lip's mel spectrogram (80, T) of 16 kHz speech.

    Speech shorter than one window is padded with silence.
    """
    shortest = (MEL_WINDOW - 1) * AUDIO_RATE // MEL_FRAMES_PER_SECOND
    return wav2lip_mel(np.pad(wave, (0, max(0, shortest - len(wave)))), padding=padding)


def window_starts(mel_frames: int, fps: float, frames: int) -> list[int]:
    """First mel frame of every video frame's window.

    The reference stops at the first window that would reach beyond the audio and moves it back to the last 16
    mel frames, so its video ends 0.1 s early. Here the video covers the audio: the frames after that one get
    the same last window.

    Args:
        mel_frames: length T of the spectrogram, at least 16.
        fps: of the video.
        frames: number of video frames.
    """
    starts = mel_window_starts(mel_frames, fps)[:frames]
    return starts + [mel_frames - MEL_WINDOW] * (frames - len(starts))


def mel_batch(mel: np.ndarray, starts: Sequence[int]) -> Tensor:
    """Windows of a spectrogram (80, T) as float32 (N, 1, 80, 16)."""
    return torch.from_numpy(np.stack([mel[None, :, start : start + MEL_WINDOW] for start in starts]))
