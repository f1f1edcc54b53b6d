"""Training of PC-AVS: all four networks learn to draw a moment from another picture of the person, its sound and its head pose.

The reference never released its training code. From its options (reference/06 6.4) we take perceptual loss, hinge GAN with feature
matching, the contrastive loss and the cross-modal term; the plain L1 term, one discriminator of one scale and the schedule are ours, and
the identity classifier and the pose disentanglement term are left out: the pose code has twelve numbers, and sees its frame disguised. How
much of a mouth gets through all the same is measured in validation (`pose_leak`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F

from kpbe.backends.base import TrainingJob
from kpbe.backends.pcavs.checkpoints import load_networks, save_networks
from kpbe.backends.pcavs.disguise import disguised
from kpbe.backends.pcavs.model import PCAVSNetworks
from kpbe.backends.pcavs.moments import Moments, SpeakingClip, TrainingClips, fixed_moments, random_moments
from kpbe.backends.pcavs.pose_leak import mouth_from_pose
from kpbe.backends.pcavs.settings import GeneratorTrainingSettings, PCAVSSettings
from kpbe.backends.pcavs.sync_training import SYNC_FILE, determining, starting_networks
from kpbe.frontend.images import to_uint8
from kpbe.media.sheets import contact_sheet
from kpbe.metrics.image import psnr, ssim
from kpbe.training.adversarial import Adversary
from kpbe.training.launch import launch, training_identity
from kpbe.training.loop import train
from kpbe.training.optimisers import adam, set_learning_rate
from kpbe.training.perceptual import PerceptualTerms
from kpbe.training.state import Stateful
from kpbe.training.synchrony import contrastive
from kpbe.work import file_sha256

NETWORKS_FILE = "networks.safetensors"
MOMENTS_PER_CLIP = 1
"""Every picture of a batch shows another clip: batch norm and gradients then see many people at once."""


class SpeechReconstruction(nn.Module):
    """All networks as one module with one forward (so that it can be wrapped)."""

    def __init__(self, networks: PCAVSNetworks):
        super().__init__()
        self.networks = networks

    def forward(self, moments: Moments, pose_frames: Tensor) -> dict[str, Tensor]:
        """Draw moments from their sound.

        Args:
            moments: B moments.
            pose_frames: (B, 3, S, S) in [-1, 1], what head pose and seen mouth are taken from; in training the disguised targets.

        Returns:
            generated (B, 3, S, S) in [0, 1]; heard and seen, (B, D) mouth features.
        """
        identity = self.networks.encode_identity(moments.identity)
        pose, seen = self.networks.encode_pose_and_mouth(pose_frames)
        heard = self.networks.encode_mouth_from_audio(moments.windows)
        generated = self.networks.render(identity, heard, pose)
        return {"generated": generated.add(1).div(2), "heard": heard, "seen": seen}


class PCAVSTrainee:
    """PC-AVS and its discriminator under training (a `loop.Trainee`)."""

    def __init__(
        self,
        networks: PCAVSNetworks,
        training: Sequence[SpeakingClip],
        validation: Sequence[SpeakingClip],
        settings: GeneratorTrainingSettings,
        seed: int,
        fabric: Fabric,
        facts: dict[str, Any],
    ):
        self.networks = networks.prepare_for(fabric.device, training=True)
        self.training, self.settings = training, settings
        self.seed, self.fabric = seed, fabric
        self.model, self.optimiser = fabric.setup(
            SpeechReconstruction(networks), self._adam(networks, settings)
        )
        wanted = settings.losses.gan or settings.losses.feature_matching
        self.adversary = Adversary(fabric, settings.optimiser) if wanted else None
        self.perceptual = PerceptualTerms(settings.perceptual, settings.losses).to(fabric.device)
        self.facts = {**facts, "perceptual": self.perceptual.description}
        self.fixed = fixed_moments(validation, settings.schedule.validation_pairs, seed).to(fabric.device)

    @staticmethod
    def _adam(networks: PCAVSNetworks, settings: GeneratorTrainingSettings) -> torch.optim.Adam:
        """Adam with two groups; the generator's weights are scaled at run time and need longer steps."""
        generator = list(networks.generator.parameters())
        ids = {id(p) for p in generator}
        others = [p for p in networks.parameters() if id(p) not in ids]
        groups = [
            {"params": others, "factor": 1.0},
            {"params": generator, "factor": settings.generator_lr_factor},
        ]
        return adam(groups, settings.optimiser)

    def parts(self) -> dict[str, Stateful]:
        """See `Trainee`."""
        parts: dict[str, Stateful] = {"networks": self.model, "optimiser": self.optimiser}
        if self.adversary is not None:
            parts |= self.adversary.parts()
        return parts

    def step(self, step: int) -> dict[str, float]:
        """See `Trainee`."""
        set_learning_rate(self.optimiser, self.settings.optimiser, step)
        self.model.train()
        batch_size = self.settings.schedule.batch_size
        moments = random_moments(self.training, batch_size, MOMENTS_PER_CLIP, self.seed, step)
        moments = moments.to(self.fabric.device)
        rng = np.random.default_rng((self.seed, step, 0xC0))
        result = self.model(moments, disguised(moments.target, rng))
        target = moments.target.add(1).div(2)
        terms = self._terms(result, target)
        loss = torch.stack([getattr(self.settings.losses, name) * term for name, term in terms.items()]).sum()
        self.optimiser.zero_grad()
        self.fabric.backward(loss)
        if self.settings.optimiser.clip_norm:
            self.fabric.clip_gradients(self.model, self.optimiser, max_norm=self.settings.optimiser.clip_norm)
        self.optimiser.step()
        losses = {"loss": loss.item(), **{name: term.item() for name, term in terms.items()}}
        if self.adversary is not None:
            losses["discriminator"] = self.adversary.step(step, [(target, result["generated"])]).item()
        return losses

    def _terms(self, result: dict[str, Tensor], target: Tensor) -> dict[str, Tensor]:
        weights, generated = self.settings.losses, result["generated"]
        terms: dict[str, Tensor] = {}
        if weights.reconstruction:
            terms["reconstruction"] = F.l1_loss(generated, target)
        with self.fabric.autocast():
            terms |= self.perceptual(generated, target)
        if weights.contrastive:
            terms["contrastive"] = contrastive(result["heard"], result["seen"], self.settings.temperature)
        if weights.cross_modal:
            terms["cross_modal"] = F.l1_loss(result["heard"], result["seen"])
        if self.adversary is not None:
            terms |= self.adversary.terms(generated, target)
        return terms

    @torch.no_grad()
    def validate(self) -> tuple[dict[str, float], np.ndarray]:
        """See `Trainee`; SSIM and PSNR of the aligned pictures, drawn from sound, on the fixed moments, and `mouth_from_pose`."""
        self.model.eval()
        generated = to_uint8(self._draw(self.fixed.windows, self.fixed.target))
        identity, real = (to_uint8(x.add(1).div(2)) for x in (self.fixed.identity, self.fixed.target))
        metrics = {
            "validation_ssim": float(ssim(generated, real).mean()),
            "validation_psnr": float(psnr(generated, real).mean()),
        }
        share = mouth_from_pose(self._draw, self.fixed.windows, self.fixed.target)
        if share is not None:
            metrics["validation_mouth_from_pose"] = share
        rows = {"identity": identity, "target": real, "output": generated}
        return metrics, contact_sheet([(label, list(images)) for label, images in rows.items()])

    def _draw(self, windows: Tensor, pose_frames: Tensor) -> Tensor:
        """The fixed moments' people with other sound or head poses, in [0, 1]."""
        return self.model(replace(self.fixed, windows=windows), pose_frames)["generated"]

    def export(self, folder: Any) -> None:
        """See `Trainee`."""
        save_networks(folder / NETWORKS_FILE, self.networks.eval(), self.facts)


def train_networks(job: TrainingJob) -> None:
    """Train all networks on the training clips, going on from what `train_sync` left.

    With `settings.checkpoint` and zero steps of both trainings, the published networks are taken as they are.

    Raises:
        KPBEError: no training clip, clips without landmarks, or nothing from `train_sync`.
    """
    settings: PCAVSSettings = job.settings
    seed = job.params.train.seed
    fabric = launch(job.params.compute, seed)
    clips = TrainingClips.load(job.clips, settings, settings.train.schedule.validation_pairs)
    sync = job.sync / SYNC_FILE
    networks = load_networks(sync)
    facts = {
        "clips": len(clips.training),
        "seed": seed,
        "started_from": starting_networks(settings)[1],
        "sync_sha256": file_sha256(sync),
    }
    trainee = PCAVSTrainee(networks, clips.training, clips.validation, settings.train, seed, fabric, facts)
    identity = training_identity(
        seed,
        settings.train,
        clips.clips,
        trainee.facts["perceptual"],
        facts["sync_sha256"],
        *determining(settings),
    )
    train(job.name, trainee, settings.train.schedule, job.out, identity, trainee.facts)
