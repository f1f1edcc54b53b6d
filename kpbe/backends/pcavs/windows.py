"""The 20 mel rows (0.2 s) and the pose frame that belong to each video frame.

Frame i gets the sound of the five frames around it: at 25 fps mel rows 4 (i - 2) to 4 (i - 2) + 19. The
reference renders only frames whose window lies inside the spectrogram (2 to T // 4 - 3). Here every frame is
rendered, and rows outside are zeros, exactly as for silence before and after the speech.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from kpbe.media.mel import PCAVS_MEL_FRAMES_PER_SECOND

MEL_WINDOW = 20
LEAD = 8
"""Mel rows from a window's start to its frame's time."""


def window_starts(frames: int, fps: float = 25.0) -> list[int]:
    """First mel rows of the windows of frames 0 to `frames` - 1: int(100 i / fps) - 8.

    The first ones are negative.
    """
    return [int(i * PCAVS_MEL_FRAMES_PER_SECOND / fps) - LEAD for i in range(frames)]


def mel_windows(mel: np.ndarray, starts: Sequence[int]) -> Tensor:
    """Windows of a spectrogram as the audio encoder takes them.

    Args:
        mel: (T, 80) of `pcavs_mel`.
        starts: N first rows; windows may reach beyond the spectrogram.

    Returns:
        float32 (N, 1, 80, 20).
    """
    rows = np.asarray(starts, np.int64)[:, None] + np.arange(MEL_WINDOW)
    inside = (rows >= 0) & (rows < len(mel))
    windows = np.zeros((*rows.shape, mel.shape[1]), np.float32)
    windows[inside] = mel[rows[inside]]
    return torch.from_numpy(windows.transpose(0, 2, 1)[:, None].copy())


def ping_pong(index: int, count: int) -> int:
    """Pose frame of video frame `index` out of `count` frames played forward, then backward.

    The frames at the turns are shown twice.
    """
    position = index % (2 * count)
    return position if position < count else 2 * count - 1 - position
