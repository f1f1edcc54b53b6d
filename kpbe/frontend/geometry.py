"""Head pose, keypoint and motion maths of the frontend; no learned weights.

Coordinates are x (right), y (down), z (depth), each in [-1, 1] from the first to the last sample of its axis.
Sources: the KPBE paper's eq. (1) and (2), and the conventions of the public OSFV code that its checkpoints
depend on (`ConventionParams`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn import functional as F

from kpbe.params import ConventionParams

DEGREES_PER_BIN = 3.0
HEATMAP_VARIANCE = 0.01
LEAST_HEAT = 1e-12
"""Heat map values below it become 0: the tails would be denormal numbers, which slow CPUs down many times and
show in no picture.
"""

Function = TypeVar("Function", bound=Callable[..., Any])


def full_precision(function: Function) -> Function:
    """Run in float32 inside autocast regions: a bfloat16 coordinate is off by up to an eighth of a voxel."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        half = (torch.bfloat16, torch.float16)
        args = tuple(a.float() if isinstance(a, Tensor) and a.dtype in half else a for a in args)
        device = next(a.device.type for a in args if isinstance(a, Tensor))
        with torch.autocast(device, enabled=False):
            return function(*args, **kwargs)

    return run  # pyright: ignore[reportReturnType]


# -- head pose ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HeadPose:
    """Rotation and translation of heads.

    Attributes:
        rotation: (B, 3, 3) matrices acting on column vectors.
        translation: (B, 3).
        degrees: (B, 3) yaw, pitch, roll of `rotation`.
    """

    rotation: Tensor
    translation: Tensor
    degrees: Tensor

    @classmethod
    def from_degrees(cls, degrees: Tensor, translation: Tensor, conventions: ConventionParams) -> HeadPose:
        """Pose from (B, 3) yaw, pitch, roll in degrees and (B, 3) translations."""
        return cls(rotation_matrix(degrees, conventions), translation, degrees)


@full_precision
def expected_degrees(logits: Tensor, offset: float) -> Tensor:
    """Angle (B,) in degrees from (B, bins) logits: three times the expected bin, minus `offset`."""
    bins = torch.arange(logits.shape[-1], dtype=logits.dtype, device=logits.device)
    return DEGREES_PER_BIN * (logits.softmax(-1) * bins).sum(-1) - offset


@full_precision
def rotation_matrix(degrees: Tensor, conventions: ConventionParams) -> Tensor:
    """Rotation (B, 3, 3) from (B, 3) yaw, pitch, roll in degrees.

    `pitch_yaw_roll` is R = Rx(pitch) Ry(yaw) Rz(roll). The `beta` checkpoint was trained with the three
    angles on other axes: R = Rx(roll) Ry(pitch) Rz(yaw). Public checkpoints were trained with pi = 3.14,
    hence `conventions.pi`.
    """
    yaw, pitch, roll = (degrees * (conventions.pi / 180.0)).unbind(-1)
    about_x, about_y, about_z = (
        (pitch, yaw, roll) if conventions.rotation == "pitch_yaw_roll" else (roll, pitch, yaw)
    )
    return _rotation_about(0, about_x) @ _rotation_about(1, about_y) @ _rotation_about(2, about_z)


def with_own_pitch_sign(degrees: Tensor, conventions: ConventionParams) -> Tensor:
    """Convert angles of labels or users to the network's pitch sign, or back: (B, 3) degrees.

    The angles are yaw, pitch, roll. For labels and users a positive pitch is a head that looks down in the
    picture; `conventions.pitch_sign` says what it is for the network.
    """
    return degrees * degrees.new_tensor([1.0, conventions.pitch_sign, 1.0])


def rotation_with_own_pitch_sign(rotation: np.ndarray, conventions: ConventionParams) -> np.ndarray:
    """Convert a user's rotation matrix to the network's pitch sign.

    The result has the yaw, pitch and roll of `with_own_pitch_sign`. Neither `conventions.rotation` nor
    `conventions.pi` changes the meaning of the user's matrix.

    Args:
        rotation: (3, 3) R = Rx(pitch) Ry(yaw) Rz(roll), with the yaw within 90 degrees.
        conventions: the network's.

    Returns:
        (3, 3) Rx(pitch_sign pitch) Ry(yaw) Rz(roll); `rotation` itself where the sign is 1.
    """
    pitch = math.atan2(-rotation[1, 2], rotation[2, 2])
    return Rotation.from_euler("x", (conventions.pitch_sign - 1) * pitch).as_matrix() @ rotation


@full_precision
def relative_rotation(source: Tensor, driving: Tensor) -> Tensor:
    """R_s R_d^T (B, 3, 3), which turns the driving head back to the source's.

    The rotations are (1 or B, 3, 3) and (B, 3, 3).
    """
    return source @ driving.mT


def _rotation_about(axis: int, radians: Tensor) -> Tensor:
    """Right-handed rotations (B, 3, 3) about one axis."""
    i, j = (axis + 1) % 3, (axis + 2) % 3
    rotation = torch.eye(3, dtype=radians.dtype, device=radians.device).repeat(len(radians), 1, 1)
    rotation[:, i, i] = rotation[:, j, j] = radians.cos()
    rotation[:, j, i] = radians.sin()
    rotation[:, i, j] = -radians.sin()
    return rotation


# -- keypoints ---------------------------------------------------------------------------------------------


@full_precision
def transform_keypoints(
    canonical: Tensor, rotation: Tensor, translation: Tensor, expression: Tensor
) -> Tensor:
    """Keypoints k = R k_c + t + exp (paper eq. 1 and 2).

    Args:
        canonical: (B or 1, K, 3).
        rotation: (B, 3, 3).
        translation: (B, 3).
        expression: (B, K, 3).

    Returns:
        (B, K, 3).
    """
    return canonical @ rotation.mT + translation[:, None] + expression


def relative_keypoints(
    source: Tensor, driving: Tensor, initial: Tensor, scale: float | Tensor = 1.0
) -> Tensor:
    """The source's keypoints (1 or B, K, 3) moved as the driving ones moved since its `initial` frame."""
    return source + scale * (driving - initial)


def adapted_scale(source: Tensor, initial: Tensor) -> float:
    """How much larger the source head is: square root of the ratio of the keypoints' hull volumes.

    Args:
        source: (1, K, 3) keypoints, K >= 4 and not in one plane.
        initial: (1, K, 3) keypoints of the driving video's first frame.
    """
    volumes = [
        ConvexHull(np.asarray(points[0].detach().cpu(), np.float64)).volume for points in (source, initial)
    ]
    return float(np.sqrt(volumes[0] / volumes[1]))


@full_precision
def expected_coordinates(probabilities: Tensor) -> Tensor:
    """Expectation (B, K, 3) of the coordinates under (B, K, D, H, W) probabilities."""
    depth, height, width = (
        coordinate_axis(size, probabilities).mul(probabilities.sum(other)).sum(-1)
        for size, other in zip(probabilities.shape[2:], ((3, 4), (2, 4), (2, 3)), strict=True)
    )
    return torch.stack([width, height, depth], dim=-1)


@full_precision
def keypoint_heatmaps(keypoints: Tensor, size: tuple[int, int, int]) -> Tensor:
    """Gaussians exp(-|p - k|^2 / (2 * 0.01)) around (B, K, 3) keypoints: (B, K, D, H, W) for size (D, H, W).

    Values below 1e-12 are 0.
    """

    def along(axis: int, length: int) -> Tensor:
        distance = coordinate_axis(length, keypoints) - keypoints[..., axis, None]
        exponent = distance.square() * (-0.5 / HEATMAP_VARIANCE)
        return torch.exp(F.threshold(exponent, math.log(LEAST_HEAT), -math.inf))

    depth, height, width = size
    plane = along(1, height)[..., :, None] * along(0, width)[..., None, :]
    return F.threshold(along(2, depth)[..., :, None, None] * plane[..., None, :, :], LEAST_HEAT, 0.0)


# -- motion ------------------------------------------------------------------------------------------------


def coordinate_axis(length: int, like: Tensor | None = None) -> Tensor:
    """Coordinates (length,) from -1 to 1, both included.

    They have the device and type of `like`; without it they are float32 on the CPU.
    """
    if like is None:
        return torch.linspace(-1.0, 1.0, length)
    return torch.linspace(-1.0, 1.0, length, dtype=like.dtype, device=like.device)


def pixel_centres(length: int, like: Tensor) -> Tensor:
    """Coordinates (length,) of pixel centres, where -1 and 1 are the picture's edges.

    They have the device and type of `like`.
    """
    return (torch.arange(length, device=like.device, dtype=like.dtype) * 2 + 1) / length - 1


def picture_scale(cells: int, align_corners: bool) -> float:
    """Factor from coordinates of a volume of `cells` cells to those whose -1 and 1 are the picture's edges.

    Where corners are aligned, -1 and 1 are the centres of the volume's outer cells, half a cell inside.
    """
    return (cells - 1) / cells if align_corners else 1.0


def coordinate_grid_2d(height: int, width: int, like: Tensor | None = None) -> Tensor:
    """Image coordinates (H, W, 2) of x, y."""
    y, x = torch.meshgrid(coordinate_axis(height, like), coordinate_axis(width, like), indexing="ij")
    return torch.stack([x, y], dim=-1)


def coordinate_grid(size: tuple[int, int, int], like: Tensor | None = None) -> Tensor:
    """The identity motion field (D, H, W, 3) of x, y, z for size (D, H, W)."""
    z, y, x = torch.meshgrid(*(coordinate_axis(length, like) for length in size), indexing="ij")
    return torch.stack([x, y, z], dim=-1)


@full_precision
def motion_shifts(source: Tensor, driving: Tensor, rotation: Tensor | None = None) -> Tensor:
    """The shift that each sparse motion adds to the identity: zero for the background, then source - driving.

    With a rotation R the motion of a keypoint is z -> R (z - driving) + source, and its shift is what remains
    after subtracting R z.

    Args:
        source: (1 or B, K, 3) keypoints.
        driving: (B, K, 3) keypoints.
        rotation: (B, 3, 3) of `relative_rotation`.

    Returns:
        (B, K + 1, 3).
    """
    if rotation is not None:
        driving = driving @ rotation.mT
    return F.pad(source - driving, (0, 0, 1, 0))


@full_precision
def combine_motions(mask: Tensor, shifts: Tensor, rotation: Tensor | None = None) -> Tensor:
    """Deformation (B, D, H, W, 3): the sparse motions, weighted by a mask (B, K + 1, D, H, W).

    The mask sums to one over the motions.

    All motions are translations by (B, K + 1, 3) shifts, so their weighted sum is the identity plus the
    weighted sum of the shifts. With a rotation (B, 3, 3), which all keypoints share, the identity is rotated
    by it where the mask gives a keypoint's motion.
    """
    size = (mask.shape[2], mask.shape[3], mask.shape[4])
    moved = torch.bmm(mask.flatten(2).mT, shifts).unflatten(1, size)
    if rotation is None:
        return coordinate_grid(size, mask) + moved
    still, turning = mask[:, 0, ..., None], mask[:, 1:].sum(1)[..., None]
    return still * coordinate_grid(size, mask) + turning * rotated_grid(size, rotation) + moved


@full_precision
def rotated_grid(size: tuple[int, int, int], rotation: Tensor) -> Tensor:
    """R z for every point z of the identity motion field: (B, D, H, W, 3).

    Takes a size (D, H, W) and rotations (B, 3, 3).
    """
    return torch.einsum("bij,dhwj->bdhwi", rotation, coordinate_grid(size, rotation))


@full_precision
def moved_volumes(volume: Tensor, shifts: Tensor, rotation: Tensor, align_corners: bool) -> Tensor:
    """The volume moved by each sparse motion, with keypoints that rotate; motion 0 is the still background.

    Args:
        volume: (1 or B, C, D, H, W).
        shifts: (B, K + 1, 3) of `motion_shifts` with the same rotation.
        rotation: (B, 3, 3).
        align_corners: as in `grid_sample`.

    Returns:
        (B, K + 1, C, D, H, W).
    """
    size = (volume.shape[2], volume.shape[3], volume.shape[4])
    background = translated_volumes(volume, shifts[:, :1], align_corners)
    grids = rotated_grid(size, rotation)[:, None] + shifts[:, 1:, None, None, None]
    # one sampling with the planes of all motions, so that the volume is not copied for each
    turned = warp_volume(volume, grids.flatten(1, 2), align_corners).unflatten(2, (-1, size[0]))
    return torch.cat([background, turned.transpose(1, 2)], dim=1)


@full_precision
def translated_volumes(volume: Tensor, shifts: Tensor, align_corners: bool) -> Tensor:
    """The volume sampled on the identity grid plus each shift, as by `grid_sample` (trilinear, zero padding).

    Trilinear weights of a translation are a product of one weight per axis, so three small matrix products
    replace point-by-point sampling.

    Args:
        volume: (1 or B, C, D, H, W).
        shifts: (B, M, 3) in x, y, z.
        align_corners: as in `grid_sample`.

    Returns:
        (B, M, C, D, H, W).
    """
    depth, height, width = volume.shape[2:]
    along_x, along_y, along_z = (
        _interpolation_weights(length, shifts[..., axis], align_corners)
        for axis, length in enumerate((width, height, depth))
    )
    x = torch.einsum("bmwi,bcdhi->bmdchw", along_x, volume.expand(len(shifts), -1, -1, -1, -1))
    x = torch.einsum("bmhi,bmdciw->bmdchw", along_y, x)
    return torch.einsum("bmdi,bmichw->bmcdhw", along_z, x)


def _interpolation_weights(length: int, shift: Tensor, align_corners: bool) -> Tensor:
    """Linear interpolation weights (B, M, length, length) that sample an axis at (B, M) shifts."""
    from_first_edge = 0.5 * (coordinate_axis(length, shift) + shift[..., None] + 1.0)
    positions = from_first_edge * (length - 1) if align_corners else from_first_edge * length - 0.5
    samples = torch.arange(length, dtype=shift.dtype, device=shift.device)
    return F.relu(1.0 - (positions[..., None] - samples).abs())


@full_precision
def warp_volume(volume: Tensor, deformation: Tensor, align_corners: bool) -> Tensor:
    """Sample a (1 or B, C, D, H, W) volume at a deformation (B, D, H, W, 3); outside is zero."""
    volume = volume.expand(len(deformation), -1, -1, -1, -1)
    return F.grid_sample(
        volume, deformation, mode="bilinear", padding_mode="zeros", align_corners=align_corners
    )
