"""Training of the sync expert: SyncNet learns which sound belongs to which mouths.

The reference draws one sound for each window, its own or one of another moment, and uses the cross-entropy
from the first step on, which stays at ln 2 for many thousand steps. Here a warm-up must identify each
window's own sound among the sounds of its clip (InfoNCE, arXiv 1807.03748), and the other way round; then the
cross-entropy follows. Sounds of other clips do not help: with few people, the voice reveals the person, and
an encoder that had learned that much (loss 3.4 of log 64 after 400 steps) found no offset on other people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.nn import functional as F

from kpbe.backends.base import TrainingJob
from kpbe.backends.lip_opening import openings_digest
from kpbe.backends.wav2lip.augment import augmented_mouths, augmented_sounds
from kpbe.backends.wav2lip.checkpoints import load_sync_expert, save_sync_expert
from kpbe.backends.wav2lip.face_clips import FaceClip, crop_settings, load_face_clips
from kpbe.backends.wav2lip.networks import FACE_SIZE, SYNC_FRAMES, SyncNet
from kpbe.backends.wav2lip.settings import SyncExpertSettings, Wav2LipSettings
from kpbe.core.files import file_sha256, write_json
from kpbe.frontend.images import to_uint8
from kpbe.frontend.preparation import prepare_for
from kpbe.media.sheets import INK, PAPER, contact_sheet
from kpbe.metrics.lip_sync import MAX_OFFSET, offset_accuracy, offset_chance, similarity_by_offset
from kpbe.paths import SUMMARY_FILE
from kpbe.recipes import recipe
from kpbe.training.fabric import launch, training_identity
from kpbe.training.loop import train
from kpbe.training.optimisers import TrainedModule
from kpbe.training.state import Stateful

EXPERT_FILE = "sync_expert.safetensors"
WINDOWS_AT_ONCE = 128

APART = SYNC_FRAMES
"""Least distance, in frames, of windows that share no frame."""


@dataclass(frozen=True)
class SyncBatch:
    """Windows with their own sounds, several of each clip.

    Attributes:
        mouths: (B, 15, 48, 96), SyncNet's input.
        sounds: (B, 1, 80, 16), of the same moments.
        groups: (B,) number of the clip that each belongs to.
        moments: (B,) first frame of each in its clip.
        openings: (B, 5) lip openings of the mouths (`FaceClip.opening`).
    """

    mouths: Tensor
    sounds: Tensor
    groups: Tensor
    moments: Tensor
    openings: Tensor

    def to(self, device: torch.device) -> SyncBatch:
        """The same batch on another device."""
        return SyncBatch(
            self.mouths.to(device),
            self.sounds.to(device),
            self.groups.to(device),
            self.moments.to(device),
            self.openings.to(device),
        )


def sync_batch(
    clips: Sequence[FaceClip], batch_size: int, windows_per_clip: int, seed: int, step: int
) -> SyncBatch:
    """About `batch_size` windows, several different ones of each random clip; a function of (seed, step).

    The windows of a clip are `APART` frames apart if it is long enough. Clips with fewer than
    `windows_per_clip` windows give all of them.
    """
    rng = np.random.default_rng((seed, step, 0x5C))
    mouths, sounds, groups, moments, openings = [], [], [], [], []
    for group in range(max(1, batch_size // windows_per_clip)):
        clip = clips[int(rng.integers(len(clips)))]
        firsts = _spread(rng.permutation(clip.sync_windows).tolist(), windows_per_clip)
        mouths.append(clip.mouths(firsts))
        sounds.append(clip.sounds(firsts))
        groups += [group] * len(firsts)
        moments += firsts
        openings += [clip.opening[first : first + SYNC_FRAMES] for first in firsts]
    return SyncBatch(
        torch.cat(mouths),
        torch.cat(sounds),
        torch.tensor(groups),
        torch.tensor(moments),
        torch.stack(openings),
    )


def _spread(candidates: list[int], count: int) -> list[int]:
    """The first `count` candidates that are `APART` from one another, filled up with the first others."""
    chosen: list[int] = []
    for candidate in candidates:
        if len(chosen) < count and all(abs(candidate - other) >= APART for other in chosen):
            chosen.append(candidate)
    rest = [candidate for candidate in candidates if candidate not in chosen]
    return chosen + rest[: count - len(chosen)]


def negatives(groups: Tensor, moments: Tensor) -> Tensor:
    """Mask (B, B) of the sounds (columns) that certainly do not belong to the mouths (rows).

    They are of the same clip, so that neither voice nor appearance reveals them, and start at least `APART`
    frames away, since nearer ones share pictures and sound. A window without such sounds in its clip gets
    those of all other clips.
    """
    same = groups[:, None] == groups[None]
    of_clip = same & ((moments[:, None] - moments[None]).abs() >= APART)
    return torch.where(of_clip.any(1, keepdim=True), of_clip, ~same)


def infonce(expert: SyncNet, audio: Tensor, face: Tensor, groups: Tensor, moments: Tensor) -> Tensor:
    """Mean cross-entropy of finding each window's own sound among its `negatives`, and the other way round.

    At chance it is the log of the number of candidates.

    Args:
        expert: its temperature divides the similarities.
        audio: embeddings (B, C) of the sounds.
        face: embeddings (B, C) of the mouths at the same moments.
        groups: (B,), see `SyncBatch`.
        moments: (B,), see `SyncBatch`.
    """
    usable = negatives(groups, moments) | torch.eye(len(face), dtype=torch.bool, device=face.device)
    similarity = face @ audio.T / expert.temperature
    own = torch.arange(len(face), device=face.device)
    both = (similarity.masked_fill(~usable, -torch.inf), similarity.T.masked_fill(~usable, -torch.inf))
    return (F.cross_entropy(both[0], own) + F.cross_entropy(both[1], own)) / 2


def contrast(expert: SyncNet, audio: Tensor, face: Tensor, groups: Tensor, moments: Tensor) -> Tensor:
    """Binary cross-entropy of similarities, half over windows in sync, half over `negatives`; 0.69 at chance.

    It uses all negatives in the batch: the expected value is that of one random negative, with less noise.
    Arguments are those of `infonce`.
    """
    shifted = negatives(groups, moments)
    similarity = face @ audio.T
    in_sync = expert.loss(similarity.diagonal(), in_sync=1)
    if not shifted.any():
        return in_sync / 2
    return (in_sync + expert.loss(similarity[shifted], in_sync=0)) / 2


class Listener(nn.Module):
    """The expert, and heads that read a window's lip openings from its sound and mouths, as one module."""

    def __init__(self, expert: SyncNet):
        super().__init__()
        self.expert = expert
        self.heard, self.seen = (nn.Linear(expert.embedding_size, SYNC_FRAMES) for _ in range(2))

    def forward(self, sounds: Tensor, mouths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Embeddings (B, C) of sounds and of mouths, unit vectors, and their openings (2, B, 5)."""
        audio, face = self.expert(sounds, mouths)
        size = self.expert.embedding_size**0.5
        openings = torch.stack((self.heard(audio * size), self.seen(face * size)))
        return audio.float(), face.float(), openings.float()


class ExpertTrainee:
    """The sync expert under training (a `loop.Trainee`).

    Args:
        expert: network to train.
        training: clips to train on.
        validation: held-out clips; all of their windows are used.
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
        prepare_for(expert, fabric.device, training=True)
        self.listener = TrainedModule(fabric, Listener(expert), settings.optimiser)

    def parts(self) -> dict[str, Stateful]:
        """See `Trainee`."""
        return {"listener": self.listener.module, "optimiser": self.listener.optimiser}

    def step(self, step: int) -> dict[str, float]:
        """See `Trainee`; the loss is `infonce` for `warm_up_steps` steps, then `contrast`.

        The squared error of the lip openings is added where they are known.
        """
        self.listener.begin(step)
        batch = sync_batch(
            self.training, self.settings.schedule.batch_size, self.settings.windows_per_clip, self.seed, step
        ).to(self.fabric.device)
        sounds, mouths = batch.sounds, batch.mouths
        if self.settings.augment:
            rng = np.random.default_rng((self.seed, step, 0xA6))
            sounds, mouths = augmented_sounds(sounds, rng), augmented_mouths(mouths, rng)
        audio, face, openings = self.listener.module(sounds, mouths)
        name, criterion = (
            ("infonce", infonce) if step < self.settings.warm_up_steps else ("contrast", contrast)
        )
        terms = {name: criterion(self.expert, audio, face, batch.groups, batch.moments)}
        loss = terms[name]
        known = batch.openings.isfinite()
        if self.settings.opening and known.any():
            terms["opening"] = F.mse_loss(openings[:, known], batch.openings[known].expand(2, -1))
            loss = loss + self.settings.opening * terms["opening"]
        self.listener.backward(loss)
        loss = self.listener.finish(loss)
        values = {name: term.item() for name, term in terms.items()}
        return {"loss": loss.item(), **values, "temperature": self.expert.temperature.item()}

    @torch.no_grad()
    def validate(self) -> tuple[dict[str, float], np.ndarray]:
        """See `Trainee`: over all windows of the held-out clips.

        validation_sync_loss is `contrast` over the windows of a clip, mean over clips; it is 0.69 at chance.
        offset_accuracy and offset_accuracy_1 (within one frame) are `offset_accuracy`; offset_chance and
        offset_chance_1 are their values at chance.
        """
        self.listener.module.eval()
        losses, offsets, rows = [], [], []
        for clip in self.validation:
            audio, face = self._embed(clip)
            moments = torch.arange(len(face), device=face.device)
            if len(moments) > APART:
                losses.append(contrast(self.expert, audio, face, torch.zeros_like(moments), moments))
            offsets.append(similarity_by_offset(audio, face))
            rows.append((clip.name, [*_mouth_pictures(clip), _offset_plot(offsets[-1])]))
        metrics = {
            "offset_accuracy": offset_accuracy(torch.cat(offsets)),
            "offset_accuracy_1": offset_accuracy(torch.cat(offsets), within=1),
            "offset_chance": offset_chance(torch.cat(offsets)),
            "offset_chance_1": offset_chance(torch.cat(offsets), within=1),
        }
        if losses:
            metrics["validation_sync_loss"] = torch.stack(losses).mean().item()
        headings = [*(f"frame {i}" for i in range(SYNC_FRAMES)), "similarity by offset"]
        return metrics, contact_sheet(rows, headings, cell=FACE_SIZE)

    def _embed(self, clip: FaceClip) -> tuple[Tensor, Tensor]:
        """Audio and face embeddings (N, C) of all windows of a clip."""
        parts = []
        for begin in range(0, clip.sync_windows, WINDOWS_AT_ONCE):
            firsts = range(begin, min(begin + WINDOWS_AT_ONCE, clip.sync_windows))
            inputs = (x.to(self.fabric.device) for x in (clip.sounds(firsts), clip.mouths(firsts)))
            parts.append(self.listener.module(*inputs)[:2])
        audio, face = zip(*parts, strict=True)
        return torch.cat(audio), torch.cat(face)

    def export(self, folder: Path) -> None:
        """See `Trainee`."""
        save_sync_expert(folder / EXPERT_FILE, self.expert.eval(), self.facts)


def _mouth_pictures(clip: FaceClip) -> list[np.ndarray]:
    """The window in the middle of a clip: five lower face halves (48, 96, 3), RGB."""
    mouths = clip.mouths([clip.sync_windows // 2])[0].unflatten(0, (SYNC_FRAMES, 3))
    return list(to_uint8(mouths)[..., ::-1])


def _offset_plot(by_offset: Tensor) -> np.ndarray:
    """Line plot of the mean similarity by offset from -5 to 5, with its range; uint8 (96, 192, 3)."""
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


def _new_expert(section: SyncExpertSettings) -> SyncNet:
    return SyncNet(section.width_multiplier, section.calibrated)


def train_sync_expert(job: TrainingJob) -> None:
    """Train the sync expert on the training clips, from `sync_expert.checkpoint` or from scratch.

    It writes sync_expert.safetensors. With a checkpoint and zero steps the expert is exported unchanged, with
    its validation. If the generator's training needs no expert (`Wav2LipSettings.needs_sync_expert`), only a
    note is written.

    Raises:
        KPBEError: there is no training clip, clips have no face boxes, or the checkpoint is no sync expert.
    """
    settings: Wav2LipSettings = job.settings
    section, seed = settings.sync_expert, job.params.train.seed
    if not settings.needs_sync_expert:
        reason = (
            f"backend.{job.name}.train has the sync weight {settings.train.losses.sync:g} and "
            f"{settings.train.schedule.steps} steps"
        )
        (job.out / EXPERT_FILE).unlink(missing_ok=True)
        write_json(job.out / SUMMARY_FILE, {"trained": False, "reason": f"{reason}: it needs no sync expert"})
        return
    fabric = launch(job.params.compute, seed)
    clips, faces, validation = load_face_clips(job, section.schedule.validation_pairs)
    start = section.checkpoint
    expert = load_sync_expert(start).requires_grad_(True) if start else _new_expert(section)
    digest = file_sha256(start) if start else None
    facts = {
        "clips": len(faces),
        "seed": seed,
        "started_from": start.name if start else "scratch",
        "started_from_sha256": digest,
    }
    trainee = ExpertTrainee(expert, faces, validation, section, seed, fabric, facts)
    where_from = section.model_copy(update={"checkpoint": None})
    openings = openings_digest(face.opening for face in faces) if section.opening else None
    identity = training_identity(
        recipe("train_sync", "wav2lip"), seed, where_from, clips, crop_settings(settings), digest, openings
    )
    train(f"{job.name} sync expert", trainee, section.schedule, job.out, identity, facts)
