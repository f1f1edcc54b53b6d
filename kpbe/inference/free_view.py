"""Free view: a source image with its head turned and moved at will, as in OSFV's demo.

Angles and shifts are absolute: what is given replaces what the frontend estimated of the source, what is not
given stays. OSFV's authors recommend yaw within 45 degrees, pitch and roll within 20.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from kpbe.core.files import whole
from kpbe.errors import KPBEError
from kpbe.frontend.geometry import HeadPose, with_own_pitch_sign
from kpbe.frontend.images import frames_at_once, to_tensor, to_uint8
from kpbe.frontend.model import Decomposition, Frontend
from kpbe.media.video_writer import write_video

LARGEST_DEGREES = {"yaw": 45.0, "pitch": 20.0, "roll": 20.0}
"""What OSFV's authors recommend; the frontend has not learned more."""

PLACE_OF_ANGLES = {"pitch_yaw_roll": (0, 1, 2), "beta": (1, 2, 0)}
"""Where a convention keeps the angles about the vertical, the horizontal and the viewing axis: the `beta`
checkpoint calls them pitch, roll and yaw."""

TURN_BY = 30.0
"""Degrees of yaw that a video turns to each side when no other view is asked for."""


@dataclass(frozen=True)
class View:
    """Where a head looks and is; None leaves the source's own.

    Attributes:
        yaw, pitch, roll: degrees about the vertical, the horizontal and the viewing axis; as in labels,
            positive for a head that, as seen in the picture, turns to the left, looks down and tilts
            clockwise.
        x, y, z: translation of the keypoints; x to the right and y down, where the picture goes from -1 to 1.
    """

    yaw: float | None = None
    pitch: float | None = None
    roll: float | None = None
    x: float | None = None
    y: float | None = None
    z: float | None = None

    def completed(self, own: View) -> View:
        """This view with `own` where it says nothing."""
        return View(*(theirs if mine is None else mine for mine, theirs in _pairs(self, own)))


@torch.inference_mode()
def decompose_image(frontend: Frontend, image: np.ndarray) -> Decomposition:
    """What the frontend knows of a picture (H, W, 3) uint8 RGB; done once for all views."""
    return frontend.decompose(_tensor(frontend, image))


@torch.inference_mode()
def expression_of(frontend: Frontend, image: np.ndarray) -> Tensor:
    """The expression (1, K, 3) of a picture (H, W, 3) uint8 RGB."""
    return frontend.estimate_pose_expression(_tensor(frontend, image))[1]


def own_view(frontend: Frontend, source: Decomposition) -> View:
    """The view that the frontend estimated of a source (batch 1)."""
    conventions = frontend.params.conventions
    place = list(PLACE_OF_ANGLES[conventions.rotation])
    angles = with_own_pitch_sign(source.pose.degrees[:1, place], conventions)
    return View(*angles[0].tolist(), *source.pose.translation[0].tolist())


@torch.inference_mode()
def free_view(
    frontend: Frontend,
    source: Decomposition,
    views: Sequence[View],
    expression: Tensor | None = None,
    batch_size: int = 16,
) -> Iterator[np.ndarray]:
    """Render a source from other views (paper eq. 2 with a pose that a user chose).

    Args:
        frontend: trained networks in eval mode.
        source: of one picture (`decompose_image`).
        views: one for each frame.
        expression: (1, K, 3) of another picture (`expression_of`); the source's own when None.
        batch_size: frames rendered at once; fewer where they are large.

    Yields:
        (H, W, 3) uint8 RGB frames of the source's size.
    """
    own = own_view(frontend, source)
    expression = source.expression if expression is None else expression
    size = images_at_once(batch_size, source)
    for start in range(0, len(views), size):
        batch = [view.completed(own) for view in views[start : start + size]]
        pose = _head_pose(frontend, batch)
        keypoints = source.driven_by(pose, expression.expand(len(batch), -1, -1))
        yield from to_uint8(frontend.render(source, keypoints, pose).frame)


def images_at_once(batch_size: int, source: Decomposition) -> int:
    """`batch_size`, or fewer where the source's image is large."""
    if source.image is None:
        return batch_size
    return frames_at_once(batch_size, source.image.shape[-2], source.image.shape[-1])


def look_around(own: View, asked: View, frames: int) -> list[View]:
    """Views that swing from the head's own to the one asked for, as far to the other side, and back; they
    repeat without a jump.

    A view that is the same as `own` swings by `TURN_BY` degrees of yaw.
    """
    asked = asked.completed(own)
    if asked == own:
        asked = View(yaw=(own.yaw or 0.0) + TURN_BY).completed(own)
    shares = (math.sin(2 * math.pi * frame / frames) for frame in range(frames))
    return [View(*(at + share * (to - at) for at, to in _numbers(own, asked))) for share in shares]


def complete_poses(frontend: Frontend, views: Sequence[View], own: View) -> HeadPose:
    """Head poses (batch of `len(views)`) of views that `own` completes."""
    return _head_pose(frontend, [view.completed(own) for view in views])


def write_free_view(
    path: Path,
    frontend: Frontend,
    source_image: np.ndarray,
    view: View,
    expression_image: np.ndarray | None = None,
    seconds: float = 3.0,
    fps: float = 25.0,
) -> View:
    """Write one view as .png, or a video (.mp4, .mkv) that looks around to it (`look_around`); whole or not
    at all.

    Args:
        path: the file.
        frontend: trained networks in eval mode.
        source_image: (H, W, 3) uint8 RGB.
        view: what is asked for.
        expression_image: picture of another expression, as `source_image`.
        seconds: of the video.
        fps: of the video.

    Returns:
        The source's own view.

    Raises:
        KPBEError: another kind of file is asked for.
    """
    suffix = path.suffix.lower()
    if suffix not in (".png", ".mp4", ".mkv"):
        raise KPBEError(f"{path} is neither a picture (.png) nor a video (.mp4, .mkv): name another file.")
    source = decompose_image(frontend, source_image)
    own = own_view(frontend, source)
    expression = None if expression_image is None else expression_of(frontend, expression_image)
    if suffix == ".png":
        (frame,) = free_view(frontend, source, [view], expression)
        with whole(path) as temporary:
            Image.fromarray(frame).save(temporary)
        return own
    views = look_around(own, view, max(1, round(seconds * fps)))
    codec = "ffv1" if suffix == ".mkv" else "h264"
    write_video(path, free_view(frontend, source, views, expression), fps, codec=codec)
    return own


def _head_pose(frontend: Frontend, views: Sequence[View]) -> HeadPose:
    """Poses of complete views, with the angles where the frontend's convention has them."""
    conventions = frontend.params.conventions
    values = torch.tensor([astuple(view) for view in views], dtype=torch.float32, device=_device(frontend))
    degrees = torch.empty_like(values[:, :3])
    place = list(PLACE_OF_ANGLES[conventions.rotation])
    degrees[:, place] = with_own_pitch_sign(values[:, :3], conventions)
    return HeadPose.from_degrees(degrees, values[:, 3:], conventions)


def _tensor(frontend: Frontend, image: np.ndarray) -> Tensor:
    return to_tensor(image[None]).to(_device(frontend))


def _device(frontend: Frontend) -> torch.device:
    return next(frontend.parameters()).device


def _pairs(first: View, second: View) -> Iterator[tuple[float | None, float | None]]:
    return zip(astuple(first), astuple(second), strict=True)


def _numbers(first: View, second: View) -> Iterator[tuple[float, float]]:
    return ((a or 0.0, b or 0.0) for a, b in _pairs(first, second))
