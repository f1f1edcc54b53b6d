"""Loss terms of the frontend (OSFV, Wang et al. 2021, 3.3, and the paper's eq. 4), as pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from kpbe.frontend.geometry import coordinate_grid_2d

LIP_HEIGHT = 0.05
"""Lip height of a speaking mouth, with the picture from -1 to 1: mean and also deviation of real frames."""


def hinge_generator(fake_score: Tensor) -> Tensor:
    """Generator's hinge loss: minus the mean score of generated images."""
    return -fake_score.mean()


def hinge_discriminator(real_score: Tensor, fake_score: Tensor) -> Tensor:
    """Discriminator's hinge loss: mean max(0, 1 - real) + mean max(0, 1 + fake)."""
    return F.relu(1 - real_score).mean() + F.relu(1 + fake_score).mean()


def feature_matching(real_features: Sequence[Tensor], fake_features: Sequence[Tensor]) -> Tensor:
    """Sum over the discriminator's feature maps of the mean absolute difference."""
    pairs = zip(real_features, fake_features, strict=True)
    return torch.stack([(real.detach() - fake).abs().mean() for real, fake in pairs]).sum()


def expression_magnitude(expression: Tensor) -> Tensor:
    """Eq. (4): L1 norm of the expression (B, K, 3), or of some of its coordinates, mean over the batch."""
    return expression.abs().flatten(1).sum(1).mean()


def head_pose(degrees: Tensor, labels: Tensor) -> Tensor:
    """Mean absolute difference of yaw, pitch and roll in degrees, summed over the three.

    NaN labels are left out.

    Args:
        degrees: estimated angles (B, 3).
        labels: the teacher's (B, 3).
    """
    known = ~labels.isnan()
    error = (degrees - labels.nan_to_num()).abs() * known
    return (error.sum(0) / known.sum(0).clamp(min=1)).sum()


def guide_difference(keypoints: Tensor, points: Tensor) -> Tensor:
    """Mean distance in x and y of the first keypoints from the points that guide them.

    NaN points are left out.

    After LivePortrait's landmark-guided keypoints (arXiv 2407.03168).

    Args:
        keypoints: (B, K, 3).
        points: (B, G, 2), in the keypoints' unit.
    """
    return _known_mean((keypoints[:, : points.shape[1], :2] - points).abs(), _known_points(points))


def lip_extent(lips: Tensor) -> Tensor:
    """Width and height of mouths as vectors (B, 2, 2): corner to corner, and upper to lower lip.

    Args:
        lips: (B, P, 2 or 3) keypoints or points, of which the first four are the lips', see
            `ExpressionLabels`.
    """
    return lips[:, 2:4, :2] - lips[:, 0:2, :2]


def extent_difference(extent: Tensor, true_extent: Tensor) -> Tensor:
    """Error of the lips' width and height (B, 2, 2), or of their change; NaN labels are left out.

    Half the squared error in units of `LIP_HEIGHT` below one unit, linear above (`smooth_l1_loss`). Squared,
    since most mouths are nearly closed: as long as an opening is uncertain, the absolute error would be least
    for mouths that are always closed.
    """
    error = F.smooth_l1_loss(extent, true_extent.nan_to_num(), reduction="none", beta=LIP_HEIGHT) / LIP_HEIGHT
    return _known_mean(error, _known_points(true_extent))


def motion_error(displacement: Tensor, target_points: Tensor, source_points: Tensor) -> Tensor:
    """Mean distance in x and y between where the motion field samples points and their place in the source.

    Args:
        displacement: (B, 2, h, w), see `kpbe.frontend.detail.image_displacement`.
        target_points: (B, P, 2) points in the target; those that are NaN or outside the picture are left out.
        source_points: (B, P, 2) the same points in the source.
    """
    places = target_points.nan_to_num()
    sampled = F.grid_sample(displacement, places[:, :, None], align_corners=False, padding_mode="border")
    inside = (places.abs() <= 1).all(-1, keepdim=True)
    known = _known_points(target_points + source_points) & inside
    return _known_mean((places + sampled.squeeze(-1).mT - source_points).abs(), known)


def shape_difference(shapes: Tensor, labels: Tensor) -> Tensor:
    """Mean absolute difference of blendshapes (B, S); NaN labels are left out."""
    return _known_mean((shapes - labels).abs(), labels.isfinite())


def missing_share(share: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean of 1 - share.

    Args:
        share: (B, 1, H, W) in [0, 1]; samples of NaN are left out.
        weights: (B, 1, H, W) >= 0.
    """
    weights = weights * share.isfinite()
    return ((1 - share.nan_to_num()) * weights).sum() / weights.sum().clamp(min=1e-6)


def _known_points(points: Tensor) -> Tensor:
    """Mask (B, P, 2) of the points both of whose coordinates are known."""
    return points.isfinite().all(-1, keepdim=True).expand_as(points)


def _known_mean(errors: Tensor, known: Tensor) -> Tensor:
    """Mean of the known errors; 0 if none is known."""
    return errors.where(known, 0.0).sum() / known.sum().clamp(min=1)


def keypoint_prior(
    keypoints: Tensor, min_squared_distance: float = 0.1, mean_depth: float = 0.33, guided: int = 0
) -> Tensor:
    """Keeps keypoints apart and their mean depth at `mean_depth`.

    The first `guided` ones are not kept apart from each other: lip keypoints that may not be close would move
    apart in depth, and heads would then turn wrongly.

    Sum over all ordered pairs, i = j included as in the reference, of max(0, 0.1 - |k_i - k_j|^2), plus |mean
    z - 0.33|; mean over the batch. Keypoints (B, K, 3) in [-1, 1].
    """
    # the reference's pairwise_distance adds 1e-6 to every difference; the golden fixtures need it
    difference = keypoints[:, :, None] - keypoints[:, None] + 1e-6
    too_close = F.relu(min_squared_distance - difference.square().sum(-1))
    too_close = too_close.sum((1, 2)) - too_close[:, :guided, :guided].sum((1, 2))
    depth = (keypoints[..., 2].mean(1) - mean_depth).abs()
    return (too_close + depth).mean()


@dataclass(frozen=True)
class RandomWarp:
    """A random affine map followed by a thin-plate spline, of image coordinates in [-1, 1].

    FOMM's `Transform`.

    Attributes:
        theta: affine maps, (B, 2, 3).
        control_points: (1, P, 2).
        control_weights: (B, 1, P).
    """

    theta: Tensor
    control_points: Tensor
    control_weights: Tensor

    @classmethod
    def sample(
        cls,
        batch: int,
        generator: torch.Generator,
        affine_sigma: float = 0.05,
        spline_sigma: float = 0.005,
        points: int = 5,
    ) -> RandomWarp:
        """Draw one warp per image; noise of the affine part and of the spline weights is Gaussian."""
        theta = torch.eye(2, 3) + torch.randn(batch, 2, 3, generator=generator) * affine_sigma
        weights = torch.randn(batch, 1, points * points, generator=generator) * spline_sigma
        return cls(theta, coordinate_grid_2d(points, points, theta).view(1, -1, 2), weights)

    def rows(self, chosen: slice) -> RandomWarp:
        """The warps of some images of the batch."""
        return RandomWarp(self.theta[chosen], self.control_points, self.control_weights[chosen])

    def to(self, device: torch.device) -> RandomWarp:
        """The same warps on another device."""
        return RandomWarp(*(x.to(device) for x in (self.theta, self.control_points, self.control_weights)))

    def warp_coordinates(self, coordinates: Tensor) -> Tensor:
        """Map points (B, N, 2), x then y."""
        affine = coordinates @ self.theta[:, :, :2].transpose(1, 2) + self.theta[:, None, :, 2]
        distances = (coordinates[:, :, None] - self.control_points[:, None]).abs().sum(-1)
        spline = (distances.square() * torch.log(distances + 1e-6) * self.control_weights).sum(
            -1, keepdim=True
        )
        return affine + spline

    def warp_image(self, images: Tensor) -> Tensor:
        """Warp images (B, 3, H, W); borders are reflected, sampling is bilinear.

        `align_corners` is off as in the reference.
        """
        batch, _, height, width = images.shape
        grid = coordinate_grid_2d(height, width, images).view(1, -1, 2).expand(batch, -1, -1)
        grid = self.warp_coordinates(grid).view(batch, height, width, 2)
        return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def equivariance(driving_keypoints: Tensor, warped_keypoints: Tensor, warp: RandomWarp) -> Tensor:
    """Keypoints of a warped frame, mapped back by the warp, must be the frame's: mean |x, y difference|.

    Args:
        driving_keypoints: (B, K, 3) of the driving frame.
        warped_keypoints: (B, K, 3) of `warp.warp_image(driving frame)`.
        warp: the warp.
    """
    return (driving_keypoints[..., :2] - warp.warp_coordinates(warped_keypoints[..., :2])).abs().mean()


def contrastive(audio: Tensor, visual: Tensor, temperature: float) -> Tensor:
    """Symmetric InfoNCE: tell each window's partner from the rest of the batch, in both directions.

    Args:
        audio: (B, D) features.
        visual: (B, D) features; row i belongs to row i of `audio`.
        temperature: of the softmax over cosine similarities.

    Returns:
        Mean cross-entropy of both directions; log(B) at chance.
    """
    logits = F.normalize(audio) @ F.normalize(visual).T / temperature
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
