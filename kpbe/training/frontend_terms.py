"""The frontend's loss: its terms, and the share of each in the total."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from kpbe.data.expression.labels import GUIDES, LIPS
from kpbe.frontend.appearance import feature_size
from kpbe.frontend.detail import DECODER, put_together
from kpbe.frontend.geometry import picture_scale, with_own_pitch_sign
from kpbe.frontend.images import resized
from kpbe.params import FrontendLossParams, ModelParams
from kpbe.training.adversarial import Adversary
from kpbe.training.batches import TrainingBatch
from kpbe.training.losses import (
    RandomWarp,
    equivariance,
    expression_magnitude,
    extent_difference,
    guide_difference,
    head_pose,
    keypoint_prior,
    lip_extent,
    missing_share,
    motion_error,
    shape_difference,
)
from kpbe.training.perceptual import Attention, ImagePyramid, PerceptualTerms, PixelDifference

MOUTH_SPREAD = 0.45
"""Standard deviation of the mouth's weight over the width between its corners."""

LEAST_SPREAD = 0.08

PICTURE_TERMS = ("vgg19", "vgg_face", "pixel", "parts", "gan", "feature_matching")
"""Terms that compare pictures; they should make up at least half of the weighted loss."""

PART_SCALES = (1.0, 0.5, 0.25, 0.125)


class FrontendTerms(nn.Module):
    """The unweighted loss terms of one part of a batch.

    Args:
        params: weights; terms of weight 0 are not computed.
        model: of the frontend.
        perceptual: the terms vgg19, vgg_face and pixel.
        adversary: gives the terms gan and feature_matching; None leaves them out.
        labelled: whether there is any head pose label.
    """

    def __init__(
        self,
        params: FrontendLossParams,
        model: ModelParams,
        perceptual: PerceptualTerms,
        adversary: Adversary | None,
        labelled: bool,
    ):
        super().__init__()
        self.params, self.model, self.labelled = params, model, labelled
        self.perceptual = perceptual
        self.pixel, self.pyramid = PixelDifference(), ImagePyramid(PART_SCALES)
        self._adversary = (adversary,)  # in a tuple, so that it is no submodule: it is trained separately
        # factor from the picture's coordinates to the keypoints'
        self.unit = 1 / picture_scale(feature_size(model), model.conventions.align_corners)

    def forward(
        self, batch: TrainingBatch, result: Mapping[str, Tensor], warp: RandomWarp | None
    ) -> dict[str, Tensor]:
        """The unweighted terms by name.

        Args:
            batch: part of a batch.
            result: output of `Reconstruction`.
            warp: of the pose frames, for the equivariance term; None leaves it out.
        """
        weights = self.params
        terms = self._pictures(batch, result) if "generated" in result else {}
        if warp is not None:
            terms["equivariance"] = equivariance(
                result["unwarped_keypoints"], result["warped_keypoints"], warp
            )
        if weights.keypoint_prior:
            guided = GUIDES if weights.guides else 0
            terms["keypoint_prior"] = keypoint_prior(result["driving_keypoints"], guided=guided)
        if self.labelled and (weights.head_pose or weights.turn):
            terms |= self._poses(batch, result)
        if weights.expression:
            terms["expression"] = expression_magnitude(result["expression"])
        if weights.expression_depth:
            terms["expression_depth"] = expression_magnitude(result["expression"][..., 2:])
        if weights.guides:
            terms["guides"] = self._guides(batch, result, warp)
        if weights.lips:
            terms["lips"] = self._lips(batch, result)
        if weights.motion and "source_displacement" in result:
            terms["motion"] = self._motion(batch, result)
        if weights.shapes:
            terms["shapes"] = shape_difference(result["shapes"].float(), batch.shapes)
        if weights.mouth_share and "backend_share" in result:
            share = result["backend_share"]
            terms["mouth_share"] = missing_share(share, self.attention(batch.target_points).nearness(share))
        if weights.decoder_share and "shares" in result:
            terms["decoder_share"] = result["shares"][:, DECODER].float().mean()
        return terms

    def attention(self, points: Tensor) -> Attention:
        """Attention to the mouths of faces with these points (B, POINTS, 2)."""
        lips = points[:, LIPS]
        width = (lips[:, 2] - lips[:, 0]).norm(dim=-1)
        return Attention(lips.mean(1), (MOUTH_SPREAD * width).clamp(min=LEAST_SPREAD), self.params.mouth)

    def _pictures(self, batch: TrainingBatch, result: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Terms that compare pictures."""
        generated = result["generated"].float()
        attention = None if self.params.mouth == 1 else self.attention(batch.target_points)
        # with free shares, pixel terms would choose the blurred decoder wherever the motion is uncertain
        fixed = by_fixed_shares(result) if "shares" in result else None
        terms: dict[str, Tensor] = dict(self.perceptual(generated, batch.target, attention, fixed))
        if self.params.parts:
            terms["parts"] = self._parts(batch, result, attention)
        if (adversary := self._adversary[0]) is not None:
            terms |= adversary.terms(generated, batch.target)
        return terms

    def _parts(
        self, batch: TrainingBatch, result: Mapping[str, Tensor], attention: Attention | None
    ) -> Tensor:
        """Difference of each picture that frames are blended from to the target."""
        target = batch.target
        real = self.pyramid(target)
        decoded = result["decoded"].float()
        size = (decoded.shape[-2], decoded.shape[-1])
        level = next((i for i, image in enumerate(real) if image.shape[-2:] == size), None)
        real_levels = [resized(target, size)] if level is None else real[level:]
        parts = [self.pixel(self.pyramid(decoded)[: len(real_levels)], real_levels, attention)]
        for name in ("moved_source", "moved_backend"):
            if name in result:
                parts.append(self.pixel(self.pyramid(result[name].float()), real, attention))
        return torch.stack(parts).mean()

    def _poses(self, batch: TrainingBatch, result: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Errors of the head pose, and of its turn from the source's pose.

        The turn is a few degrees, less than the difference between people.
        """
        labels, source_labels = (
            with_own_pitch_sign(degrees, self.model.conventions)
            for degrees in (batch.degrees, batch.source_degrees)
        )
        terms = {}
        if self.params.head_pose:
            terms["head_pose"] = head_pose(result["degrees"], labels)
        if self.params.turn:
            turned = result["degrees"] - result["source_degrees"]
            terms["turn"] = head_pose(turned, labels - source_labels)
        return terms

    def _guides(self, batch: TrainingBatch, result: Mapping[str, Tensor], warp: RandomWarp | None) -> Tensor:
        pairs = [
            (result["source_keypoints"], batch.source_points),
            (result["driving_keypoints"], batch.target_points),
        ]
        if "expression_keypoints" in result:
            pairs.append((result["expression_keypoints"], batch.expression_points))
        if warp is not None:
            pairs.append((warp.warp_coordinates(result["warped_keypoints"][..., :2]), batch.pose_points))
        differences = [
            guide_difference(keypoints, points[:, :GUIDES] * self.unit) for keypoints, points in pairs
        ]
        return torch.stack(differences).mean()

    def _lips(self, batch: TrainingBatch, result: Mapping[str, Tensor]) -> Tensor:
        """Errors of width and height of the mouths, and of their change from the source's.

        The change is smaller than the difference between people. Only the expression gets gradients: turning
        the head would be an easier way to lower the error than opening the mouth.
        """

        def extents(keypoints: str, expression: str, points: Tensor) -> tuple[Tensor, Tensor]:
            rigid = (result[keypoints] - result[expression]).detach()
            return lip_extent(rigid + result[expression]), lip_extent(points[:, LIPS] * self.unit)

        source = extents("source_keypoints", "source_expression", batch.source_points)
        driving = extents("driving_keypoints", "expression", batch.target_points)
        pairs = [source, driving, (driving[0] - source[0], driving[1] - source[1])]
        if "expression_keypoints" in result:
            pairs.append(extents("expression_keypoints", "expression", batch.expression_points))
        return torch.stack([extent_difference(*pair) for pair in pairs]).mean()

    def _motion(self, batch: TrainingBatch, result: Mapping[str, Tensor]) -> Tensor:
        pairs = [
            ("source_displacement", batch.source_points),
            ("backend_displacement", batch.expression_points),
        ]
        errors = [
            motion_error(result[name], batch.target_points, points)
            for name, points in pairs
            if name in result
        ]
        return torch.stack(errors).mean() if errors else batch.degrees.new_zeros(())


def by_fixed_shares(result: Mapping[str, Tensor]) -> Tensor:
    """The generated frames (B, 3, H, W) of `Reconstruction`, without gradients to the shares.

    They teach the pictures only.
    """
    moved_backend = result.get("moved_backend")
    return put_together(result["shares"].detach(), result["decoded"], result["moved_source"], moved_backend)


def shares(terms: Mapping[str, Tensor], weights: FrontendLossParams) -> dict[str, Tensor]:
    """The share of each term in the weighted loss (its magnitude over the sum of magnitudes).

    `share_pictures` is the sum over the terms that compare pictures.
    """
    magnitudes = {name: (getattr(weights, name) * value.detach()).abs() for name, value in terms.items()}
    total = torch.stack(list(magnitudes.values())).sum().clamp(min=1e-12)
    result = {f"share_{name}": value / total for name, value in magnitudes.items()}
    pictures = [value for name, value in magnitudes.items() if name in PICTURE_TERMS]
    result["share_pictures"] = torch.stack(pictures).sum() / total if pictures else total * 0
    return result
