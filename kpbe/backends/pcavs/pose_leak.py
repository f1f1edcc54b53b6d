"""Whether the mouth comes from the sound or from the pose frame.

In a training's validation, and in Table I, the pose frame shows the very mouth that is to be drawn. So a
mouth that the pose code smuggles in looks right there, and is wrong wherever the pose comes from another
video. The test: draw the same moments again with pose frames of other people, and again with other people's
sound, and see which changes the mouth more.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

ROWS, COLUMNS = (0.5, 0.8), (0.32, 0.68)
"""Where the mouth is in the aligned picture, as shares of its edge (`alignment` lays it onto (0.5,
0.625)).
"""


def mouth_from_pose(
    draw: Callable[[Tensor, Tensor], Tensor], windows: Tensor, pose_frames: Tensor
) -> float | None:
    """The pose frame's share of what moves the mouth: 0 where the sound alone does, 1 where the pose frame
    alone does.

    The head's turn changes the picture of the mouth as well, so the share of a network that smuggles nothing
    is above 0.

    Args:
        draw: pictures (B, 3, S, S) of windows and pose frames.
        windows: sound of B moments, each of another clip than the next.
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
