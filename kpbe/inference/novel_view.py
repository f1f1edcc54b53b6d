"""A talking head from viewpoints that a user defines (paper IV.F): the pose is the user's, the expression
that of a talking video.

Eq. (2) with a rotation and a translation that no video gave: k = R k_c + t + exp, where exp is estimated from
every frame of the talking video and appearance and k_c from one picture of the person.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from kpbe.core.files import whole
from kpbe.errors import KPBEError
from kpbe.frontend.geometry import HeadPose, rotation_with_own_pitch_sign
from kpbe.frontend.images import to_tensor, to_uint8
from kpbe.frontend.model import Decomposition, Frontend
from kpbe.inference.free_view import (
    View,
    complete_poses,
    decompose_image,
    images_at_once,
    own_view,
)
from kpbe.inference.viewpoints import Viewpoint, Viewpoints
from kpbe.media.video_writer import write_video


@torch.inference_mode()
def talking_view(
    frontend: Frontend,
    source: Decomposition,
    viewpoints: Iterable[Viewpoint],
    talking_frames: Iterable[np.ndarray],
    batch_size: int = 16,
    same_person: bool = True,
) -> Iterator[np.ndarray]:
    """Render a source that talks as a video does, seen from other views.

    Args:
        frontend: trained networks in eval mode.
        source: of one picture (`kpbe.inference.free_view.decompose_image`).
        viewpoints: one for each frame; angles and translations that are None stay the source's own.
        talking_frames: (H, W, 3) uint8 RGB frames whose expressions are taken one by one.
        batch_size: frames rendered at once; fewer where they are large.
        same_person: whether they show the source's person; then they are the second source where the frontend
            has one.

    Yields:
        One uint8 RGB frame of the source's size for each pair, until the shorter of `viewpoints` and
        `talking_frames` ends.
    """
    own = own_view(frontend, source)
    device = source.canonical_keypoints.device
    pairs = zip(viewpoints, talking_frames, strict=False)
    size = images_at_once(batch_size, source)
    while batch := list(islice(pairs, size)):
        pose = head_poses(frontend, [viewpoint for viewpoint, _ in batch], own)
        frames = to_tensor(np.stack([frame for _, frame in batch])).to(device)
        yield from to_uint8(frontend.reenact(source, pose, frames, same_person).frame)


@torch.inference_mode()
def one_view(
    frontend: Frontend, source: Decomposition, viewpoint: Viewpoint, expression: Tensor | None = None
) -> np.ndarray:
    """Render a source (batch 1) from one viewpoint.

    Args:
        frontend: trained networks in eval mode.
        source: of one picture (`kpbe.inference.free_view.decompose_image`).
        viewpoint: angles and translations that are None stay the source's own.
        expression: (1, K, 3) of another picture (`kpbe.inference.free_view.expression_of`); the source's own
            when None.

    Returns:
        (H, W, 3) uint8 RGB of the source's size.
    """
    pose = head_poses(frontend, [viewpoint], own_view(frontend, source))
    keypoints = source.driven_by(pose, source.expression if expression is None else expression)
    return to_uint8(frontend.render(source, keypoints, pose).frame)[0]


def head_poses(frontend: Frontend, viewpoints: Sequence[Viewpoint], own: View) -> HeadPose:
    """Poses of a batch of viewpoints; `own` completes them. The degrees of those that give a rotation are
    NaN.
    """
    pose = complete_poses(frontend, [viewpoint.view for viewpoint in viewpoints], own)
    rotation, degrees = pose.rotation.clone(), pose.degrees.clone()
    for index, viewpoint in enumerate(viewpoints):
        if viewpoint.rotation is not None:
            own_rotation = rotation_with_own_pitch_sign(viewpoint.rotation, frontend.params.conventions)
            rotation[index] = torch.from_numpy(own_rotation).to(rotation)
            degrees[index] = torch.nan
    return HeadPose(rotation, pose.translation, degrees)


def write_viewpoints(
    path: Path,
    frontend: Frontend,
    source_image: np.ndarray,
    viewpoints: Viewpoints,
    expression_image: np.ndarray | None = None,
    fps: float = 25.0,
) -> View:
    """Write a silent head from one viewpoint as .png, or from one after the other as a video (.mp4, .mkv);
    whole or not at all.

    Args:
        path: the file.
        frontend: trained networks in eval mode.
        source_image: (H, W, 3) uint8 RGB.
        viewpoints: one for all frames for a picture, one for each frame for a video.
        expression_image: picture of another expression, as `source_image`.
        fps: of the video.

    Returns:
        The source's own view.

    Raises:
        KPBEError: another kind of file is asked for than the viewpoints make.
    """
    suffix = path.suffix.lower()
    kinds = (".png",) if viewpoints.constant else (".mp4", ".mkv")
    if suffix not in kinds:
        made = "one view makes a picture" if viewpoints.constant else "a view for each frame makes a video"
        raise KPBEError(f"{path}: {made}: name a file that ends in {' or '.join(kinds)}.")
    source = decompose_image(frontend, source_image)
    said = source_image if expression_image is None else expression_image
    frames = talking_view(
        frontend, source, viewpoints.rows, (said for _ in viewpoints.rows), same_person=False
    )
    if viewpoints.constant:
        with whole(path) as temporary:
            Image.fromarray(next(frames)).save(temporary)
    else:
        write_video(path, frames, fps, codec="ffv1" if suffix == ".mkv" else "h264")
    return own_view(frontend, source)
