"""The frontend as one model: decompose an image, compose keypoints, render a frame (paper Fig. 1 and 2).

Example:
    source = frontend.decompose(source_image)
    pose, _ = frontend.estimate_pose_expression(pose_frame)
    _, expression = frontend.estimate_pose_expression(backend_frame)
    frame = frontend.render(source, source.driven_by(pose, expression), pose).frame
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

from kpbe.frontend.appearance import Appearance
from kpbe.frontend.generator import Generator
from kpbe.frontend.geometry import HeadPose, relative_rotation, transform_keypoints
from kpbe.frontend.keypoints import CanonicalKeypoints
from kpbe.frontend.motion_field import MotionField
from kpbe.frontend.pose_expression import PoseExpression
from kpbe.params import ModelParams


@dataclass(frozen=True)
class Decomposition:
    """What the frontend knows of images.

    Attributes:
        appearance: (B, C, D, h, w) feature volume; may be left out where nothing is rendered from it.
        canonical_keypoints: (B, K, 3).
        pose: rotation and translation of the head.
        expression: (B, K, 3).
    """

    appearance: Tensor | None
    canonical_keypoints: Tensor
    pose: HeadPose
    expression: Tensor

    @property
    def keypoints(self) -> Tensor:
        """The image's own keypoints (B, K, 3): k = R k_c + t + exp (paper eq. 1)."""
        return self.driven_by(self.pose, self.expression)

    def driven_by(self, pose: HeadPose, expression: Tensor) -> Tensor:
        """Keypoints (B, K, 3) of this identity with another pose and expression (B, K, 3) (paper eq. 2)."""
        return transform_keypoints(self.canonical_keypoints, pose.rotation, pose.translation, expression)


@dataclass(frozen=True)
class Rendering:
    """Rendered frames and how they came about.

    Attributes:
        frame: (B, 3, H, W) in [0, 1].
        mask: (B, K + 1, D, h, w), see `Motion`.
        deformation: (B, D, h, w, 3), see `Motion`.
        occlusion: (B, 1, h, w) in [0, 1], see `Motion`.
    """

    frame: Tensor
    mask: Tensor
    deformation: Tensor
    occlusion: Tensor


class Frontend(nn.Module):
    """The five modules; sizes and conventions from `ModelParams`.

    Raises:
        ParamsError: sizes that do not fit each other.
    """

    def __init__(self, model: ModelParams) -> None:
        super().__init__()
        self.params = model
        self.canonical_keypoints = CanonicalKeypoints(model)
        self.pose_expression = PoseExpression(model)
        self.appearance = Appearance(model)
        self.motion_field = MotionField(model)
        self.generator = Generator(model)

    def for_rendering(self) -> Self:
        """This frontend, frozen: spectral norms are divided into their weights once, not for every batch of frames.

        It can be neither trained nor saved afterwards.
        """
        for module in self.eval().requires_grad_(False).modules():
            if is_parametrized(module, "weight"):
                remove_parametrizations(module, "weight")
        return self

    def decompose(self, image: Tensor) -> Decomposition:
        """Appearance, canonical keypoints, pose and expression of images (B, 3, H, W) in [0, 1]."""
        pose, expression = self.estimate_pose_expression(image)
        return Decomposition(self.appearance(image), self.canonical_keypoints(image), pose, expression)

    def estimate_pose_expression(self, image: Tensor) -> tuple[HeadPose, Tensor]:
        """Head poses and expressions (B, K, 3) of images (B, 3, H, W) in [0, 1]."""
        heads = self.pose_expression(image)
        return heads.pose(self.params.conventions), heads.expression.float()

    def render(
        self, source: Decomposition, driving_keypoints: Tensor, driving_pose: HeadPose | None = None
    ) -> Rendering:
        """Frames that show the source with the driving keypoints.

        A source of batch 1 serves the whole driving batch: its volume is neither encoded again nor copied.

        Args:
            source: with its appearance.
            driving_keypoints: (B, K, 3).
            driving_pose: that they were made with, batch B; only `conventions.first_order` = rotation needs it.

        Raises:
            ValueError: the source was decomposed without its appearance, or the driving pose is needed and missing.
        """
        if source.appearance is None:
            raise ValueError("the source has no appearance to render from")
        rotation = None
        if self.params.conventions.first_order == "rotation":
            if driving_pose is None:
                raise ValueError("first-order motion by rotation needs the driving pose")
            rotation = relative_rotation(source.pose.rotation, driving_pose.rotation)
        motion = self.motion_field(source.appearance, source.keypoints, driving_keypoints, rotation)
        frame = self.generator(source.appearance, motion)
        return Rendering(frame, motion.mask, motion.deformation, motion.occlusion)
