"""Training of PC-AVS: all four networks learn to draw a moment from its sound and head pose.

The identity comes from another picture of the person. The reference never released its training code. From
its options we take perceptual loss, hinge GAN with feature matching, the contrastive loss and the cross-modal
term. The plain L1 term, one discriminator of one scale and the schedule are ours. The identity classifier and
the pose disentanglement term are left out, since the pose code has twelve numbers only and comes from a
disguised frame. Validation measures how much of the mouth still leaks through it (`pose_leak`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F

from kpbe.backends.base import TrainingJob
from kpbe.backends.lip_opening import OpeningJudge, openings_digest
from kpbe.backends.mouth_weights import mouth_weights
from kpbe.backends.pcavs.batches import SpeakingClip, TrainingClips, fixed_batch, random_batch
from kpbe.backends.pcavs.checkpoints import load_networks, save_networks
from kpbe.backends.pcavs.disguise import disguised
from kpbe.backends.pcavs.model import PCAVSNetworks, from_network
from kpbe.backends.pcavs.pose_leak import mouth_from_pose
from kpbe.backends.pcavs.settings import GeneratorTrainingSettings, PCAVSSettings
from kpbe.backends.pcavs.sync_training import SYNC_FILE, determining, starting_networks
from kpbe.core.files import file_sha256
from kpbe.frontend.images import to_uint8
from kpbe.media.sheets import contact_sheet
from kpbe.metrics.image import psnr, ssim
from kpbe.recipes import recipe
from kpbe.training.adversarial import Adversary
from kpbe.training.fabric import launch, training_identity
from kpbe.training.loop import train
from kpbe.training.losses import contrastive
from kpbe.training.optimisers import TrainedModule
from kpbe.training.perceptual import PerceptualTerms
from kpbe.training.state import Stateful

NETWORKS_FILE = "networks.safetensors"

OPENING_CLIPS = 8
"""Most held-out clips whose lip opening a validation measures."""

MOUTH_PLACE, MOUTH_SPREAD = (0.64, 0.5), (0.1, 0.14)
"""Middle and standard deviation, down and across, of mouths in aligned pictures, as shares of their edge."""

MOMENTS_PER_CLIP = 1
"""Every picture of a batch is of another clip, so that batch norm and gradients cover many people."""


class SpeechReconstruction(nn.Module):
    """All networks, and a head that reads lip openings from the sound, as one module with one forward.

    So it can be wrapped.

    Args:
        networks: networks to train.
        seen: whether the output includes mouth features of frames.
    """

    def __init__(self, networks: PCAVSNetworks, seen: bool = True):
        super().__init__()
        self.networks, self.seen = networks, seen
        self.opening = nn.Linear(networks.non_identity.feature_dim, 1)

    def forward(self, identity: Tensor, windows: Tensor, pose_frames: Tensor) -> dict[str, Tensor]:
        """Draw moments from their sound.

        Args:
            identity: (B, 3, S, S) in [-1, 1], other moments of the same clips.
            windows: (B, 1, 80, 20), the sound.
            pose_frames: (B, 3, S, S) in [-1, 1], source of the head pose and of `seen`; in training the
                disguised targets.

        Returns:
            generated (B, 3, S, S) in [0, 1]; mouth features (B, D) `heard` from the sound and, if requested,
            `seen` in the frames; opening (B,), read from `heard`.
        """
        who = self.networks.encode_identity(identity)
        seen = {}
        if self.seen:
            pose, seen["seen"] = self.networks.encode_pose_and_mouth(pose_frames)
        else:
            pose = self.networks.encode_pose(pose_frames)
        heard = self.networks.encode_mouth_from_audio(windows)
        generated = self.networks.render(who, heard, pose).float().add(1).div(2)
        return {"generated": generated, "heard": heard, "opening": self.opening(heard)[:, 0].float(), **seen}


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
        judge: OpeningJudge | None = None,
    ):
        self.networks = networks.prepare_for(fabric.device, training=True)
        self.training, self.settings = training, settings
        self.seed, self.fabric = seed, fabric
        adversarial = settings.losses.gan or settings.losses.feature_matching
        self.adversary = Adversary(fabric, settings.optimiser) if adversarial else None
        speaker = SpeechReconstruction(
            networks, seen=bool(settings.losses.contrastive or settings.losses.cross_modal)
        )
        self.speaker = TrainedModule(fabric, speaker, settings.optimiser, _groups(speaker, settings))
        self.weights = mouth_weights(
            networks.image_size, settings.losses.mouth, MOUTH_PLACE, MOUTH_SPREAD
        ).to(fabric.device)
        self.validation, self.judge = validation[:OPENING_CLIPS], judge
        self.perceptual = PerceptualTerms(settings.perceptual, settings.losses).to(fabric.device)
        self.facts = {**facts, "perceptual": self.perceptual.description}
        self.fixed = fixed_batch(validation, settings.schedule.validation_pairs, seed).to(fabric.device)

    def parts(self) -> dict[str, Stateful]:
        """See `Trainee`."""
        parts: dict[str, Stateful] = {"networks": self.speaker.module, "optimiser": self.speaker.optimiser}
        if self.adversary is not None:
            parts |= self.adversary.parts()
        return parts

    def step(self, step: int) -> dict[str, float]:
        """See `Trainee`."""
        self.speaker.begin(step)
        batch_size = self.settings.schedule.batch_size
        moments = random_batch(self.training, batch_size, MOMENTS_PER_CLIP, self.seed, step)
        moments = moments.to(self.fabric.device)
        rng = np.random.default_rng((self.seed, step, 0xC0))
        result = self.speaker.module(moments.identity, moments.windows, disguised(moments.target, rng))
        target = moments.target.add(1).div(2)
        terms = self._terms(result, target, moments.openings)
        loss = torch.stack([getattr(self.settings.losses, name) * term for name, term in terms.items()]).sum()
        self.speaker.backward(loss)
        loss = self.speaker.finish(loss)
        losses = {"loss": loss.item(), **{name: term.item() for name, term in terms.items()}}
        if self.adversary is not None:
            losses["discriminator"] = self.adversary.step(step, [(target, result["generated"])]).item()
        return losses

    def _terms(self, result: dict[str, Tensor], target: Tensor, openings: Tensor) -> dict[str, Tensor]:
        weights, generated = self.settings.losses, result["generated"]
        terms: dict[str, Tensor] = {}
        if weights.reconstruction:
            terms["reconstruction"] = ((generated - target).abs() * self.weights).mean()
        known = openings.isfinite()
        if weights.opening and known.any():
            terms["opening"] = F.mse_loss(result["opening"][known], openings[known])
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
        """See `Trainee`; SSIM and PSNR of aligned pictures drawn from sound, on the fixed moments.

        It also measures `mouth_from_pose` and, with a judge, the opening correlation.
        """
        self.speaker.module.eval()
        generated = to_uint8(self._draw(self.fixed.windows, self.fixed.target))
        identity, real = (to_uint8(x.add(1).div(2)) for x in (self.fixed.identity, self.fixed.target))
        metrics = {
            "validation_ssim": float(ssim(generated, real).mean()),
            "validation_psnr": float(psnr(generated, real).mean()),
        }
        share = mouth_from_pose(self._draw, self.fixed.windows, self.fixed.target)
        if share is not None:
            metrics["validation_mouth_from_pose"] = share
        if (follows := self._opening_r()) is not None:
            metrics["validation_opening_r"] = follows
        rows = {"identity": identity, "target": real, "output": generated}
        return metrics, contact_sheet([(label, list(images)) for label, images in rows.items()])

    def _draw(self, windows: Tensor, pose_frames: Tensor) -> Tensor:
        """Draw the fixed moments' people with this sound and these pose frames, in [0, 1]."""
        return self.speaker.module(self.fixed.identity, windows, pose_frames)["generated"]

    def _opening_r(self) -> float | None:
        """Mean opening correlation over held-out clips whose middle frame speaks the clip's sound.

        The middle frame also gives the head pose.
        """
        if self.judge is None:
            return None
        correlations = []
        for clip in self.validation:
            still = clip.frames[len(clip.frames) // 2][None].float().to(self.fabric.device) / 127.5 - 1
            windows = clip.windows(range(len(clip.frames))).to(self.fabric.device)
            with self.fabric.autocast():
                networks = self.networks
                heard = networks.encode_mouth_from_audio(windows)
                pose = networks.encode_pose(still).expand(len(windows), -1)
                drawn = networks.render(networks.encode_identity(still), heard, pose).float()
            true, painted = clip.frames.permute(0, 2, 3, 1).numpy(), from_network(drawn)
            correlations.append(
                self.judge.follows(clip.name, len(true), true.__getitem__, painted.__getitem__)
            )
        moving = [r for r in correlations if r is not None]
        return float(np.mean(moving)) if moving else None

    def export(self, folder: Any) -> None:
        """See `Trainee`."""
        save_networks(folder / NETWORKS_FILE, self.networks.eval(), self.facts)


def _groups(speaker: SpeechReconstruction, settings: GeneratorTrainingSettings) -> list[dict[str, Any]]:
    """Parameter groups for Adam: the generator's weights are scaled at run time and need larger steps."""
    generator = list(speaker.networks.generator.parameters())
    ids = {id(p) for p in generator}
    others = [p for p in speaker.parameters() if id(p) not in ids]
    return [
        {"params": others, "factor": 1.0},
        {"params": generator, "factor": settings.generator_lr_factor},
    ]


def train_networks(job: TrainingJob) -> None:
    """Train all networks on the training clips, starting from the result of `train_sync`.

    With `settings.checkpoint` and zero steps of both trainings, the published networks stay unchanged.

    Raises:
        KPBEError: there is no training clip, clips have no landmarks, or `train_sync` left no weights.
    """
    settings: PCAVSSettings = job.settings
    seed = job.params.train.seed
    fabric = launch(job.params.compute, seed)
    clips = TrainingClips.load(job.clips, job.expression, settings, settings.train.schedule.validation_pairs)
    sync = job.sync / SYNC_FILE
    networks = load_networks(sync)
    facts = {
        "clips": len(clips.training),
        "seed": seed,
        "started_from": starting_networks(settings)[1],
        "sync_sha256": file_sha256(sync),
    }
    trainee = PCAVSTrainee(
        networks, clips.training, clips.validation, settings.train, seed, fabric, facts, OpeningJudge.load()
    )
    identity = training_identity(
        recipe("train_backend", "pcavs"),
        seed,
        settings.train,
        clips.clips,
        trainee.facts["perceptual"],
        facts["sync_sha256"],
        *determining(settings),
        openings_digest(clip.opening for clip in clips.training) if settings.train.losses.opening else None,
    )
    train(job.name, trainee, settings.train.schedule, job.out, identity, trainee.facts)
