"""One training step of the frontend, the same for both stages; the stages differ in batches, start and weights.

Stage 1 takes pose and expression from one driving frame. Stage 2 takes the head pose from the real frame and the expression from
the backend's frame that stands for it (paper III.D); the output is compared with the real frame in both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from kpbe.evaluation.metrics import psnr, ssim
from kpbe.frontend.checkpoints import save_frontend
from kpbe.frontend.images import to_uint8
from kpbe.frontend.model import Frontend
from kpbe.media.sheets import contact_sheet
from kpbe.params import FrontendTrainParams
from kpbe.training.batches import ClipFrames, FramePair, fixed_pairs, random_pairs
from kpbe.training.discriminators import PatchDiscriminator
from kpbe.training.loop import adam, set_learning_rate
from kpbe.training.losses import (
    RandomWarp,
    equivariance,
    expression_magnitude,
    feature_matching,
    head_pose,
    hinge_discriminator,
    hinge_generator,
    keypoint_prior,
)
from kpbe.training.perceptual import PixelPyramid, perceptual_loss
from kpbe.training.state import Stateful

FRONTEND_FILE = "frontend.safetensors"


class Reconstruction(nn.Module):
    """Frontend and the terms that need its inner quantities, as one module with one forward (so that it can be wrapped)."""

    def __init__(self, frontend: Frontend):
        super().__init__()
        self.frontend = frontend

    def forward(self, pair: FramePair, warp: RandomWarp | None) -> dict[str, Tensor]:
        """Render the pair.

        Returns:
            generated (B, 3, H, W), driving_keypoints (B, K, 3), expression (B, K, 3), degrees (B, 3) and, with a warp,
            unwarped_keypoints and warped_keypoints (B, K, 3): of the pose frame itself and of the warped one.
        """
        source = self.frontend.decompose(pair.source)
        pose, own_expression = self.frontend.estimate_pose_expression(pair.pose)
        expression = own_expression
        if pair.expression is not pair.pose:
            _, expression = self.frontend.estimate_pose_expression(pair.expression)
        driving_keypoints = source.driven_by(pose, expression)
        result = {
            "generated": self.frontend.render(source, driving_keypoints).frame,
            "driving_keypoints": driving_keypoints,
            "expression": expression,
            "degrees": pose.degrees,
        }
        if warp is not None:
            warped = self.frontend.estimate_pose_expression(warp.warp_image(pair.pose))
            result["unwarped_keypoints"] = source.driven_by(pose, own_expression)
            result["warped_keypoints"] = source.driven_by(*warped)
        return result


class FrontendTrainee:
    """The frontend and its discriminator under training (a `loop.Trainee`).

    Args:
        frontend: network to train.
        training: frames to train on.
        validation: frames of the fixed pairs.
        params: schedule, losses, optimiser.
        seed: of batches and warps.
        fabric: launched Lightning Fabric.
        facts: about this training; `self.facts` adds which perceptual term and how many labels it has, for the exported
            checkpoint and the summary.
    """

    def __init__(
        self,
        frontend: Frontend,
        training: ClipFrames,
        validation: ClipFrames,
        params: FrontendTrainParams,
        seed: int,
        fabric: Fabric,
        facts: dict[str, Any],
    ):
        self.params, self.seed, self.fabric, self.training = params, seed, fabric, training
        self.frontend = frontend
        self.reconstruction, self.optimiser = fabric.setup(
            Reconstruction(frontend), adam(frontend.parameters(), params.optimiser)
        )
        discriminator = PatchDiscriminator()
        self.discriminator, self.discriminator_optimiser = fabric.setup(
            discriminator, adam(discriminator.parameters(), params.optimiser)
        )
        perceptual, self.perceptual_name = perceptual_loss(params.perceptual)
        self.perceptual = perceptual.to(fabric.device)
        self.facts = {**facts, "perceptual": self.perceptual_name, "head_pose_labels": training.labelled}
        self.pixels = PixelPyramid(params.perceptual.scales).to(fabric.device)
        self.fixed = fixed_pairs(validation, params.schedule.validation_pairs, seed).to(fabric.device)

    def parts(self) -> dict[str, Stateful]:
        """See `Trainee`."""
        return {
            "frontend": self.reconstruction,
            "optimiser": self.optimiser,
            "discriminator": self.discriminator,
            "discriminator_optimiser": self.discriminator_optimiser,
        }

    def step(self, step: int) -> dict[str, float]:
        """See `Trainee`."""
        weights, schedule = self.params.losses, self.params.schedule
        for optimiser in (self.optimiser, self.discriminator_optimiser):
            set_learning_rate(optimiser, self.params.optimiser, step)
        self.reconstruction.train()
        reach = self.params.warm_up.reach(step)
        pair = random_pairs(
            self.training, schedule.batch_size, self.seed, step, self.params.augment, reach
        ).to(self.fabric.device)
        warp = None
        if weights.equivariance:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
            warp = RandomWarp.sample(schedule.batch_size, generator).to(self.fabric.device)
        result = self.reconstruction(pair, warp)
        terms = self._generator_terms(pair, result, warp)
        loss = torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum()
        self.optimiser.zero_grad()
        self.fabric.backward(loss)
        if self.params.optimiser.clip_norm:
            self.fabric.clip_gradients(
                self.reconstruction, self.optimiser, max_norm=self.params.optimiser.clip_norm
            )
        self.optimiser.step()
        losses = {"loss": loss.item(), **{name: term.item() for name, term in terms.items()}}
        if weights.gan:
            losses["discriminator"] = self._discriminator_step(pair.pose, result["generated"].detach())
        return losses

    def _generator_terms(
        self, pair: FramePair, result: dict[str, Tensor], warp: RandomWarp | None
    ) -> dict[str, Tensor]:
        weights = self.params.losses
        generated, keypoints = result["generated"], result["driving_keypoints"]
        terms: dict[str, Tensor] = {}
        if weights.perceptual:
            terms["perceptual"] = self.perceptual(generated, pair.pose)
        if weights.pixel:
            terms["pixel"] = self.pixels(generated, pair.pose)
        if weights.gan or weights.feature_matching:
            # the discriminator's own gradients would be thrown away
            self.discriminator.requires_grad_(False)
            fake_features, fake_score = self.discriminator(generated)
            with torch.no_grad():
                real_features, _ = self.discriminator(pair.pose)
            self.discriminator.requires_grad_(True)
            terms["gan"] = hinge_generator(fake_score)
            terms["feature_matching"] = feature_matching(real_features, fake_features)
        if warp is not None:
            terms["equivariance"] = equivariance(
                result["unwarped_keypoints"], result["warped_keypoints"], warp
            )
        if weights.keypoint_prior:
            terms["keypoint_prior"] = keypoint_prior(keypoints)
        if weights.head_pose and self.training.labelled:
            terms["head_pose"] = head_pose(result["degrees"], pair.degrees)
        if weights.expression:
            terms["expression"] = expression_magnitude(result["expression"])
        return terms

    def _discriminator_step(self, real: Tensor, generated: Tensor) -> float:
        loss = hinge_discriminator(self.discriminator(real)[1], self.discriminator(generated)[1])
        self.discriminator_optimiser.zero_grad()
        self.fabric.backward(loss)
        self.discriminator_optimiser.step()
        return loss.item()

    @torch.no_grad()
    def validate(self) -> tuple[dict[str, float], np.ndarray]:
        """See `Trainee`; SSIM and PSNR are Table I's, on the fixed pairs."""
        self.reconstruction.eval()
        generated = to_uint8(self.reconstruction(self.fixed, None)["generated"])
        real = to_uint8(self.fixed.pose)
        rows = [("source", to_uint8(self.fixed.source)), ("driving", real)]
        if self.fixed.expression is not self.fixed.pose:
            rows.append(("backend", to_uint8(self.fixed.expression)))
        rows.append(("output", generated))
        metrics = {
            "validation_ssim": float(ssim(generated, real).mean()),
            "validation_psnr": float(psnr(generated, real).mean()),
        }
        return metrics, contact_sheet([(label, list(images)) for label, images in rows])

    def export(self, folder: Path) -> None:
        """See `Trainee`."""
        save_frontend(folder / FRONTEND_FILE, self.frontend.eval(), self.facts)
