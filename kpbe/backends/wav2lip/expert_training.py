"""Training of the sync expert: SyncNet learns which sound belongs to which mouths (reference/05 5.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from PIL import Image, ImageDraw
from torch import Tensor

from kpbe.backends.base import TrainingJob
from kpbe.backends.wav2lip.checkpoints import load_sync_expert, save_sync_expert
from kpbe.backends.wav2lip.face_clips import FaceClip, crop_settings, load_face_clips
from kpbe.backends.wav2lip.networks import FACE_SIZE, SYNC_FRAMES, SyncNet, sync_loss
from kpbe.backends.wav2lip.settings import SyncExpertSettings, Wav2LipSettings
from kpbe.frontend.images import to_uint8
from kpbe.media.sheets import INK, PAPER, contact_sheet
from kpbe.training.files import SUMMARY_FILE
from kpbe.training.launch import launch, training_identity
from kpbe.training.loop import train
from kpbe.training.optimisers import adam, set_learning_rate
from kpbe.training.state import Stateful
from kpbe.training.synchrony import MAX_OFFSET, offset_accuracy, similarity_by_offset
from kpbe.work import file_sha256, write_json

EXPERT_FILE = "sync_expert.safetensors"
WINDOWS_AT_ONCE = 128


@dataclass(frozen=True)
class SyncBatch:
    """Windows with their own sounds, in groups that come from one clip each.

    Attributes:
        mouths: (B, 15, 48, 96), SyncNet's input.
        sounds: (B, 1, 80, 16), of the same moments.
        groups: (B,) number of the group that each belongs to.
    """

    mouths: Tensor
    sounds: Tensor
    groups: Tensor

    def to(self, device: torch.device) -> SyncBatch:
        """The same batch on another device."""
        return SyncBatch(self.mouths.to(device), self.sounds.to(device), self.groups.to(device))


def sync_batch(
    clips: Sequence[FaceClip], batch_size: int, windows_per_clip: int, seed: int, step: int
) -> SyncBatch:
    """About `batch_size` windows: different ones of each of some random clips; a function of (seed, step).

    Clips of fewer than `windows_per_clip` windows give all they have.
    """
    rng = np.random.default_rng((seed, step, 0x5C))
    mouths, sounds, groups = [], [], []
    for group in range(max(1, batch_size // windows_per_clip)):
        clip = clips[int(rng.integers(len(clips)))]
        firsts = rng.permutation(clip.sync_windows)[:windows_per_clip].tolist()
        mouths.append(clip.mouths(firsts))
        sounds.append(clip.sounds(firsts))
        groups += [group] * len(firsts)
    return SyncBatch(torch.cat(mouths), torch.cat(sounds), torch.tensor(groups))


def contrast(audio: Tensor, face: Tensor, groups: Tensor) -> Tensor:
    """Binary cross-entropy of the cosine similarities, half of it over windows in sync, half over those shifted within their clip.

    The reference draws one sound for each window, its own or one of another moment of the video. Here each window meets its own and
    those of all others of its group; the mean is the same and noise is less, for audio embeddings that are computed anyway.

    Args:
        audio: embeddings (B, C) of the sounds.
        face: embeddings (B, C) of the mouths at the same moments.
        groups: (B,), see `SyncBatch`.
    """
    shifted = groups[:, None] == groups[None]
    shifted.fill_diagonal_(False)
    window, other = shifted.nonzero(as_tuple=True)
    return (sync_loss(audio, face, in_sync=1) + sync_loss(audio[other], face[window], in_sync=0)) / 2


class ExpertTrainee:
    """The sync expert under training (a `loop.Trainee`).

    Args:
        expert: network to train.
        training: clips to train on.
        validation: held-out clips; every window of them is judged.
        settings: schedule, optimiser, grouping.
        seed: of the windows.
        fabric: launched Lightning Fabric.
        facts: about this training, for the exported checkpoint.
    """

    def __init__(
        self,
        expert: SyncNet,
        training: Sequence[FaceClip],
        validation: Sequence[FaceClip],
        settings: SyncExpertSettings,
        seed: int,
        fabric: Fabric,
        facts: dict[str, Any],
    ):
        self.settings, self.seed, self.fabric, self.facts = settings, seed, fabric, facts
        self.training, self.validation, self.expert = training, validation, expert
        self.model, self.optimiser = fabric.setup(expert, adam(expert.parameters(), settings.optimiser))

    def parts(self) -> dict[str, Stateful]:
        """See `Trainee`."""
        return {"expert": self.model, "optimiser": self.optimiser}

    def step(self, step: int) -> dict[str, float]:
        """See `Trainee`; the loss is `contrast`, 0.69 for an expert that cannot tell."""
        optimiser = self.settings.optimiser
        set_learning_rate(self.optimiser, optimiser, step)
        self.model.train()
        batch = sync_batch(
            self.training, self.settings.schedule.batch_size, self.settings.windows_per_clip, self.seed, step
        ).to(self.fabric.device)
        audio, face = self.model(batch.sounds, batch.mouths)
        loss = contrast(audio, face, batch.groups)
        self.optimiser.zero_grad()
        self.fabric.backward(loss)
        if optimiser.clip_norm:
            self.fabric.clip_gradients(self.model, self.optimiser, max_norm=optimiser.clip_norm)
        self.optimiser.step()
        return {"loss": loss.item()}

    @torch.no_grad()
    def validate(self) -> tuple[dict[str, float], np.ndarray]:
        """See `Trainee`: over all windows of the held-out clips.

        validation_sync_loss is `contrast` with every other window of the clip, mean over clips, so 0.69 for an expert that cannot tell;
        offset_accuracy and offset_accuracy_1 (within one frame) are `offset_accuracy`, whose chance levels stand there.
        """
        self.model.eval()
        losses, offsets, rows = [], [], []
        for clip in self.validation:
            audio, face = self._embed(clip)
            losses.append(contrast(audio, face, torch.zeros(len(face), dtype=torch.long, device=face.device)))
            offsets.append(similarity_by_offset(audio, face))
            rows.append((clip.name, [*_mouth_pictures(clip), _offset_plot(offsets[-1])]))
        metrics = {
            "validation_sync_loss": torch.stack(losses).mean().item(),
            "offset_accuracy": offset_accuracy(torch.cat(offsets)),
            "offset_accuracy_1": offset_accuracy(torch.cat(offsets), within=1),
        }
        headings = [*(f"frame {i}" for i in range(SYNC_FRAMES)), "similarity by offset"]
        return metrics, contact_sheet(rows, headings, cell=FACE_SIZE)

    def _embed(self, clip: FaceClip) -> tuple[Tensor, Tensor]:
        """Audio and face embeddings (N, C) of all windows of a clip."""
        parts = []
        for begin in range(0, clip.sync_windows, WINDOWS_AT_ONCE):
            firsts = range(begin, min(begin + WINDOWS_AT_ONCE, clip.sync_windows))
            inputs = (x.to(self.fabric.device) for x in (clip.sounds(firsts), clip.mouths(firsts)))
            parts.append(self.model(*inputs))
        audio, face = zip(*parts, strict=True)
        return torch.cat(audio), torch.cat(face)

    def export(self, folder: Path) -> None:
        """See `Trainee`."""
        save_sync_expert(folder / EXPERT_FILE, self.expert.eval(), self.facts)


def _mouth_pictures(clip: FaceClip) -> list[np.ndarray]:
    """The window in the middle of a clip: five RGB lower halves (48, 96, 3)."""
    mouths = clip.mouths([clip.sync_windows // 2])[0].unflatten(0, (SYNC_FRAMES, 3))
    return list(to_uint8(mouths)[..., ::-1])


def _offset_plot(by_offset: Tensor) -> np.ndarray:
    """Mean similarity by offset as a line from -5 to 5, its range written beside it; uint8 (96, 192, 3)."""
    inside = by_offset.isfinite()
    mean = (by_offset.masked_fill(~inside, 0).sum(0) / inside.sum(0).clamp(min=1)).cpu().numpy()
    width, height, left, margin = 2 * FACE_SIZE, FACE_SIZE, 34, 8
    low, high = float(mean.min()), float(mean.max())
    x = np.linspace(left, width - margin, len(mean))
    y = height - margin - (mean - low) / max(high - low, 1e-6) * (height - 2 * margin)
    picture = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(picture)
    draw.line([(x[MAX_OFFSET], margin), (x[MAX_OFFSET], height - margin)], fill=(200, 200, 200))
    draw.line(list(zip(x.tolist(), y.tolist(), strict=True)), fill=INK, width=2)
    draw.text((2, margin), f"{high:.2f}", INK, anchor="lm")
    draw.text((2, height - margin), f"{low:.2f}", INK, anchor="lm")
    return np.asarray(picture)


def train_sync_expert(job: TrainingJob) -> None:
    """Train the sync expert on the training clips, from `sync_expert.checkpoint` when given; leaves sync_expert.safetensors.

    With a checkpoint and zero steps the expert is handed on as it is, judged on the held-out clips. Where the generator's training asks
    no expert (`Wav2LipSettings.needs_sync_expert`), only a note is left.

    Raises:
        KPBEError: no training clip, clips without face boxes, or a checkpoint that is no sync expert.
    """
    settings: Wav2LipSettings = job.settings
    section, seed = settings.sync_expert, job.params.train.seed
    if not settings.needs_sync_expert:
        reason = f"backend.{job.name}.train has the sync weight {settings.train.losses.sync:g} and {settings.train.schedule.steps} steps"
        (job.out / EXPERT_FILE).unlink(missing_ok=True)
        write_json(job.out / SUMMARY_FILE, {"trained": False, "reason": f"{reason}: it needs no sync expert"})
        return
    fabric = launch(job.params.compute, seed)
    clips, faces, validation = load_face_clips(job, section.schedule.validation_pairs)
    start = section.checkpoint
    expert = load_sync_expert(start).requires_grad_(True) if start else SyncNet(section.width_multiplier)
    digest = file_sha256(start) if start else None
    facts = {
        "clips": len(faces),
        "seed": seed,
        "started_from": start.name if start else "scratch",
        "started_from_sha256": digest,
    }
    trainee = ExpertTrainee(expert, faces, validation, section, seed, fabric, facts)
    where_from = section.model_copy(update={"checkpoint": None})
    identity = training_identity(seed, where_from, clips, crop_settings(settings), digest)
    train(f"{job.name} sync expert", trainee, section.schedule, job.out, identity, facts)
