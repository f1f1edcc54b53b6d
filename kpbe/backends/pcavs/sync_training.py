"""Contrastive training of PC-AVS's mouth and audio encoder, before the generator is trained.

The reference never released its training code; its options name an audio-visual contrastive loss in both
directions. Training these two encoders alone first is ours: with untrained encoders, the generator learns to
ignore the mouth.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from kpbe.backends.base import TrainingJob
from kpbe.backends.pcavs.batches import SpeakingClip, TrainingClips, random_batch
from kpbe.backends.pcavs.checkpoints import load_networks, save_networks
from kpbe.backends.pcavs.model import PCAVSNetworks
from kpbe.backends.pcavs.settings import PCAVSSettings, SyncTrainingSettings
from kpbe.core.files import fingerprint
from kpbe.media.sheets import contact_sheet
from kpbe.metrics.lip_sync import MAX_OFFSET, offset_accuracy, similarity_by_offset
from kpbe.recipes import recipe
from kpbe.training.fabric import launch, training_identity
from kpbe.training.loop import train
from kpbe.training.losses import contrastive
from kpbe.training.optimisers import TrainedModule
from kpbe.training.state import Stateful

SYNC_FILE = "sync.safetensors"
CLIPS_PER_BATCH = 2
"""Few, so that voices and faces reveal little about which sound belongs to which mouth."""


class SyncEncoders(nn.Module):
    """Mouth encoder of frames and of audio as one module with one forward (so that it can be wrapped)."""

    def __init__(self, networks: PCAVSNetworks):
        super().__init__()
        self.non_identity, self.audio = networks.non_identity, networks.audio

    def forward(self, frames: Tensor, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, 3, S, S) in [-1, 1] and mel windows (B, 1, 80, 20) -> mouth features (B, D) of both."""
        return self.non_identity.mouth(self.non_identity(frames)), self.audio(windows)


class SyncTrainee:
    """The two encoders under training (a `loop.Trainee`)."""

    def __init__(
        self,
        networks: PCAVSNetworks,
        training: Sequence[SpeakingClip],
        validation: Sequence[SpeakingClip],
        settings: SyncTrainingSettings,
        seed: int,
        fabric: Fabric,
        facts: dict[str, Any],
    ):
        self.networks = networks.prepare_for(fabric.device, training=True)
        self.training, self.validation = training, validation
        self.settings, self.seed, self.fabric, self.facts = settings, seed, fabric, facts
        self.encoders = TrainedModule(fabric, SyncEncoders(networks), settings.optimiser)

    def parts(self) -> dict[str, Stateful]:
        """See `Trainee`."""
        return {"encoders": self.encoders.module, "optimiser": self.encoders.optimiser}

    def step(self, step: int) -> dict[str, float]:
        """See `Trainee`."""
        self.encoders.begin(step)
        batch_size = self.settings.schedule.batch_size
        per_clip = max(1, batch_size // CLIPS_PER_BATCH)
        moments = random_batch(self.training, batch_size, per_clip, self.seed, step)
        moments = moments.to(self.fabric.device)
        visual, audio = self.encoders.module(moments.target, moments.windows)
        loss = contrastive(audio, visual, self.settings.temperature)
        self.encoders.backward(loss)
        return {"loss": self.encoders.finish(loss).item()}

    @torch.no_grad()
    def validate(self) -> tuple[dict[str, float], np.ndarray]:
        """See `Trainee`: accuracy at offset, exactly and within one frame, over all validation frames."""
        self.encoders.module.eval()
        of_clips = [self._similarity_by_offset(clip) for clip in self.validation]
        similarity = torch.cat(of_clips)
        metrics = {
            "offset_accuracy": offset_accuracy(similarity),
            "offset_accuracy_1": offset_accuracy(similarity, within=1),
        }
        middle = [clip.frames[len(clip.frames) // 2].permute(1, 2, 0).numpy() for clip in self.validation]
        heard = [_similarity_picture(similarity) for similarity in of_clips]
        return metrics, contact_sheet([("frame", middle), (f"-{MAX_OFFSET} .. {MAX_OFFSET}", heard)])

    def _similarity_by_offset(self, clip: SpeakingClip) -> Tensor:
        """`similarity_by_offset` of all frames of a clip, (N, 11)."""
        frames = clip.frames.float().to(self.fabric.device) / 127.5 - 1
        windows = clip.windows(range(len(frames))).to(self.fabric.device)
        pieces = [
            self.encoders.module(*piece) for piece in zip(frames.split(64), windows.split(64), strict=True)
        ]
        visual, audio = (torch.cat(side) for side in zip(*pieces, strict=True))
        return similarity_by_offset(audio, visual)

    def export(self, folder: Path) -> None:
        """See `Trainee`."""
        save_networks(folder / SYNC_FILE, self.networks.eval(), self.facts)


def _similarity_picture(similarity: Tensor) -> np.ndarray:
    """Similarity by frame (down) and offset (across) as grey levels, uint8 (N, N, 3)."""
    finite = similarity.cpu().clamp(-1, 1)
    grey = ((finite + 1) * 127.5).byte().numpy()
    wide = grey.repeat(-(-len(grey) // grey.shape[1]), axis=1)[:, : len(grey)]
    return np.repeat(wide[..., None], 3, axis=2)


def train_sync(job: TrainingJob) -> None:
    """Train mouth and audio encoder on the training clips, from `settings.checkpoint` or from scratch.

    Raises:
        KPBEError: there is no training clip, or clips have no landmarks.
    """
    settings: PCAVSSettings = job.settings
    seed = job.params.train.seed
    fabric = launch(job.params.compute, seed)
    clips = TrainingClips.load(job.clips, job.expression, settings, settings.sync.schedule.validation_pairs)
    networks, started_from = starting_networks(settings)
    facts = {"clips": len(clips.training), "seed": seed, "started_from": started_from}
    trainee = SyncTrainee(networks, clips.training, clips.validation, settings.sync, seed, fabric, facts)
    identity = training_identity(
        recipe("train_sync", "pcavs"), seed, settings.sync, clips.clips, *determining(settings)
    )
    train(f"{job.name} sync", trainee, settings.sync.schedule, job.out, identity, facts)


def starting_networks(settings: PCAVSSettings) -> tuple[PCAVSNetworks, str]:
    """Start networks and their origin in a word: the published ones if settings name them, else new ones."""
    if settings.checkpoint is not None:
        return load_networks(settings.checkpoint), settings.checkpoint.name
    networks = PCAVSNetworks(
        settings.width_multiplier, settings.image_size, hidden_mouth=settings.hidden_mouth
    )
    return networks, "scratch"


def determining(settings: PCAVSSettings) -> tuple[Any, ...]:
    """What a training's result depends on beside its own section: sizes, alignment and start weights."""
    start = settings.checkpoint
    files = [] if start is None else sorted(start.glob("*.pth")) if start.is_dir() else [start]
    sizes = settings.model_dump(
        mode="json", include={"image_size", "width_multiplier", "hidden_mouth", "landmarks"}
    )
    return sizes, fingerprint(*files)
