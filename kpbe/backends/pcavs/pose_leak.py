"""Measure whether the mouth comes from the sound or from the pose frame.

In a training's validation, and in Table I, the pose frame shows the very mouth that is to be drawn. So a
mouth that leaks through the pose code looks right there, but is wrong with a pose from another video. The
test draws the same moments again with other people's pose frames, and again with other people's sound, and
compares how much each changes the mouth.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

ROWS, COLUMNS = (0.5, 0.8), (0.32, 0.68)
"""Place of the mouth in the aligned picture, as shares of its edge; `alignment` puts it at (0.5, 0.625)."""


def mouth_from_pose(
    draw: Callable[[Tensor, Tensor], Tensor], windows: Tensor, pose_frames: Tensor
) -> float | None:
    """The pose frame's share of the mouth's changes: 0 if only the sound moves it, 1 if only the pose frame.

    The head's turn changes the picture of the mouth as well, so the share is above 0 even without a leak.

    Args:
        draw: draws pictures (B, 3, S, S) from windows and pose frames.
        windows: sounds of B moments; neighbouring moments are of different clips.
        pose_frames: (B, 3, S, S) of the same moments.

    Returns:
        The share, or None for fewer than two moments and where nothing moves the mouth.
    """
    if len(windows) < 2:
        return None
    own = _mouth(draw(windows, pose_frames))
    by_pose = (_mouth(draw(windows, pose_frames.roll(1, 0))) - own).abs().mean().item()
    by_sound = (_mouth(draw(windows.roll(1, 0), pose_frames)) - own).abs().mean().item()
    moved = by_pose + by_sound
    return by_pose / moved if moved else None


def _mouth(images: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    rows, columns = (
        slice(round(a * size), round(b * size)) for (a, b), size in ((ROWS, height), (COLUMNS, width))
    )
    return images[..., rows, columns]
