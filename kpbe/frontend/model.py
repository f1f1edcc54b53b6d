"""The frontend as one model: decompose an image, compose keypoints, render a frame (paper Fig. 1 and 2).

Images of any size go in and frames of the source's size come out; the five modules work at
`ModelParams.image_size`.

Example:
    source = frontend.decompose(source_image)
    pose, _ = frontend.estimate_pose_expression(pose_frame)
    frame = frontend.reenact(source, pose, backend_frame).frame
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from kpbe.errors import ParamsError
from kpbe.frontend.appearance import Appearance, feature_size
from kpbe.frontend.detail import LIP_KEYPOINTS, Compositor, warp_image
from kpbe.frontend.generator import Generator
from kpbe.frontend.geometry import HeadPose, picture_scale, relative_rotation, transform_keypoints
from kpbe.frontend.images import resized
from kpbe.frontend.keypoints import CanonicalKeypoints
from kpbe.frontend.motion_field import Motion, MotionField
from kpbe.frontend.pose_expression import PoseExpression
from kpbe.frontend.preparation import prepare_for
from kpbe.params import Detail, ModelParams

DETAILS: tuple[Detail, ...] = ("none", "warp", "warp_both")
"""In order: each adds to the one before it."""


@dataclass(frozen=True)
class Decomposition:
    """The frontend's decomposition of images.

    Attributes:
        appearance: (B, C, D, h, w) feature volume; None where nothing is rendered from it.
        canonical_keypoints: (B, K, 3).
        pose: rotation and translation of the head.
        expression: (B, K, 3).
        image: (B, 3, H, W) in [0, 1], at its own size; None where nothing is rendered from it.
    """

    appearance: Tensor | None
    canonical_keypoints: Tensor
    pose: HeadPose
    expression: Tensor
    image: Tensor | None = None

    @property
    def keypoints(self) -> Tensor:
        """The image's own keypoints (B, K, 3): k = R k_c + t + exp (paper eq. 1)."""
        return self.driven_by(self.pose, self.expression)

    def driven_by(self, pose: HeadPose, expression: Tensor) -> Tensor:
        """Keypoints (B, K, 3) of this identity with another pose and expression (B, K, 3) (paper eq. 2)."""
        return transform_keypoints(self.canonical_keypoints, pose.rotation, pose.translation, expression)


@dataclass(frozen=True)
class Rendering:
    """Rendered frames and the parts they were made of.

    Attributes:
        frame: (B, 3, H, W) in [0, 1], of the source image's size.
        motion: of the source.
        decoded: (B, 3, S, S) in [0, 1], the decoder's picture at the inner size.
        moved_source: (B, 3, H, W) the source image, moved; None with detail `none`.
        backend_motion: of the backend's frame; this and the next are None where that frame is no source.
        moved_backend: (B, 3, H, W) the backend's frame, moved, in the source's colours.
        shares: (B, 2 or 3, H, W) of these pictures in the frame, see `Composite`; None with detail `none`.
    """

    frame: Tensor
    motion: Motion
    decoded: Tensor
    moved_source: Tensor | None = None
    backend_motion: Motion | None = None
    moved_backend: Tensor | None = None
    shares: Tensor | None = None


class Frontend(nn.Module):
    """The five modules, and the compositor of sharp pictures (`ModelParams.generator.detail`).

    Attributes:
        detail: the pictures that frames are blended from; `use_detail` can choose less than was trained.

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
        self.detail: Detail = model.generator.detail
        self.compositor = None if self.detail == "none" else Compositor(model)

    def use_detail(self, detail: Detail) -> Self:
        """Render with this detail, which may be less than the weights were trained with.

        Raises:
            ParamsError: the weights were trained with less detail.
        """
        trained = self.params.generator.detail
        if DETAILS.index(detail) > DETAILS.index(trained):
            raise ParamsError(
                f"these weights were trained with model.generator.detail = {trained} and cannot give "
                f"{detail}."
            )
        self.detail = detail
        return self

    def for_rendering(self) -> Self:
        """This frontend, frozen (`prepare_for`): it can be neither trained nor saved afterwards."""
        return prepare_for(self, next(self.parameters()).device, training=False)

    def inner(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) at the size (B, 3, S, S) that the five modules take."""
        return resized(images, (self.params.image_size, self.params.image_size))

    def decompose(self, image: Tensor) -> Decomposition:
        """Appearance, canonical keypoints, pose and expression of images (B, 3, H, W) in [0, 1]."""
        inner = self.inner(image)
        return replace(self.keypoints_of(inner), appearance=self.appearance(inner), image=image)

    def keypoints_of(self, image: Tensor) -> Decomposition:
        """As `decompose`, without appearance and image: nothing can be rendered from it."""
        inner = self.inner(image)
        pose, expression = self._pose_expression(inner)
        return Decomposition(None, self.canonical_keypoints(inner), pose, expression)

    def estimate_pose_expression(self, image: Tensor) -> tuple[HeadPose, Tensor]:
        """Head poses and expressions (B, K, 3) of images (B, 3, H, W) in [0, 1]."""
        return self._pose_expression(self.inner(image))

    def _pose_expression(self, inner: Tensor) -> tuple[HeadPose, Tensor]:
        heads = self.pose_expression(inner)
        return heads.pose(self.params.conventions), heads.expression.float()

    def reenact(
        self,
        source: Decomposition,
        pose: HeadPose | None,
        expression_images: Tensor,
        same_person: bool = True,
    ) -> Rendering:
        """Frames of the source with a head pose and the expression of other images (eq. 2).

        With detail `warp_both` these images are the second source: their mouths are warped to the pose.

        Args:
            source: with its appearance and image.
            pose: batch B; None takes that of `expression_images`.
            expression_images: (B, 3, H, W) in [0, 1]: the backend's frames.
            same_person: whether they show the source's person; if not, only their expression is used.
        """
        second = self.second_source(source, expression_images, same_person)
        pose = second.pose if pose is None else pose
        return self.render(source, source.driven_by(pose, second.expression), pose, second)

    def second_source(self, source: Decomposition, images: Tensor, same_person: bool = True) -> Decomposition:
        """The backend's frames (B, 3, H, W) as pictures of the source's person: k_b = R_b k_c + t_b + exp_b.

        They get the source's canonical keypoints. They get an appearance only with detail warp_both and
        `same_person`.
        """
        inner = self.inner(images)
        pose, expression = self._pose_expression(inner)
        second = Decomposition(None, source.canonical_keypoints, pose, expression)
        if self.detail != "warp_both" or not same_person:
            return second
        return replace(second, appearance=self.appearance(inner), image=images)

    def render(
        self,
        source: Decomposition,
        driving_keypoints: Tensor,
        driving_pose: HeadPose | None = None,
        second: Decomposition | None = None,
        second_counts: Tensor | None = None,
    ) -> Rendering:
        """Frames that show the source with the driving keypoints.

        A source of batch 1 serves the whole driving batch: its volume is not encoded again.

        Args:
            source: with its appearance and image.
            driving_keypoints: (B, K, 3).
            driving_pose: the pose of these keypoints, batch B; only needed with `conventions.first_order` =
                rotation.
            second: the backend's frames, batch B (`second_source`); used only with detail warp_both.
            second_counts: (B,) bool, the samples whose second source is used; None uses all.

        Raises:
            ValueError: the source was decomposed without its appearance, or the driving pose is needed and
                missing.
        """
        motion, second_motion = self.motions(source, driving_keypoints, driving_pose, second)
        assert source.appearance is not None
        decoded = self.generator(source.appearance, motion)
        if source.image is None or self.compositor is None or self.detail == "none":
            size = decoded.shape[-2:] if source.image is None else source.image.shape[-2:]
            return Rendering(resized(decoded, (size[0], size[1])), motion, decoded)
        size = (source.image.shape[-2], source.image.shape[-1])
        assert motion.displacement is not None
        moved = warp_image(source.image, motion.displacement, size)
        moved_second = None
        if second is not None and second_motion is not None:
            assert second.image is not None and second_motion.displacement is not None
            moved_second = warp_image(second.image, second_motion.displacement, size)
        scale = picture_scale(feature_size(self.params), self.params.conventions.align_corners)
        lips = driving_keypoints[:, LIP_KEYPOINTS] * scale
        composite = self.compositor(decoded, motion.occlusion, moved, moved_second, second_counts, lips)
        return Rendering(
            composite.frame,
            motion,
            decoded,
            moved,
            second_motion,
            composite.matched_backend,
            composite.shares,
        )

    def motions(
        self,
        source: Decomposition,
        driving_keypoints: Tensor,
        driving_pose: HeadPose | None = None,
        second: Decomposition | None = None,
    ) -> tuple[Motion, Motion | None]:
        """Motions to the driving keypoints: from the source, and from the backend's frame if it is a source.

        See `render` for the arguments. Both come from one pass, so that batch norms see them together.
        """
        if source.appearance is None:
            raise ValueError("the source has no appearance to render from")
        if self.detail != "warp_both" or (second is not None and second.appearance is None):
            second = None
        turns = self.params.conventions.first_order == "rotation"
        if turns and driving_pose is None:
            raise ValueError("first-order motion by rotation needs the driving pose")

        def rotation(of: Decomposition) -> Tensor | None:
            return (
                relative_rotation(of.pose.rotation, driving_pose.rotation) if turns and driving_pose else None
            )

        if second is None:
            motion = self.motion_field(
                source.appearance, source.keypoints, driving_keypoints, rotation(source)
            )
            return motion, None
        assert second.appearance is not None
        batch = len(driving_keypoints)
        rotations = (rotation(source), rotation(second))
        both = self.motion_field(
            torch.cat([source.appearance.expand(batch, -1, -1, -1, -1), second.appearance]),
            torch.cat([source.keypoints.expand(batch, -1, -1), second.keypoints]),
            torch.cat([driving_keypoints, driving_keypoints]),
            torch.cat([r for r in rotations if r is not None]) if turns else None,
        )
        return both.rows(slice(0, batch)), both.rows(slice(batch, None))
