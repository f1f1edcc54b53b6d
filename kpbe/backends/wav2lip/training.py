"""Training or fine-tuning of Wav2Lip's generator: reconstruction, frozen sync expert, discriminator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F

from kpbe.backends.base import TrainingJob
from kpbe.backends.lip_opening import OpeningJudge, openings_digest
from kpbe.backends.mouth_weights import mouth_weights
from kpbe.backends.wav2lip.augment import augmented_sounds
from kpbe.backends.wav2lip.checkpoints import load_generator, load_sync_expert, save_generator
from kpbe.backends.wav2lip.expert_training import EXPERT_FILE
from kpbe.backends.wav2lip.face_clips import (
    FaceClip,
    FrameBatch,
    crop_settings,
    evenly_spaced_frames,
    load_face_clips,
    random_frames,
)
from kpbe.backends.wav2lip.faces import generator_input
from kpbe.backends.wav2lip.networks import (
    FACE_SIZE,
    SYNC_FRAMES,
    QualityDiscriminator,
    SyncNet,
    Wav2LipGenerator,
    mouth_window,
)
from kpbe.backends.wav2lip.settings import GeneratorTrainingSettings, Wav2LipSettings
from kpbe.core.files import file_sha256
from kpbe.errors import MissingWeights, ParamsError
from kpbe.frontend.images import to_uint8
from kpbe.frontend.preparation import prepare_for
from kpbe.media.sheets import contact_sheet
from kpbe.recipes import recipe
from kpbe.training.fabric import launch, training_identity
from kpbe.training.loop import train
from kpbe.training.optimisers import TrainedModule
from kpbe.training.state import Stateful

GENERATOR_FILE = "generator.safetensors"
MOMENTS_PER_CLIP = 4
"""Validation windows (or frames, without an expert) of each held-out clip."""
FRAMES_AT_ONCE = 40

OPENING_CLIPS = 8
"""Most held-out clips whose lip opening a validation measures."""

MOUTH_PLACE, MOUTH_SPREAD = (0.76, 0.5), (0.12, 0.22)
"""Middle and standard deviation, down and across, of mouths in face crops, as shares of their edge."""


class SyncGate:
    """Keeps the sync term out until the validation's sync loss has once been below a threshold.

    The reference opens it at 0.75 and never closes it again. It is a `Stateful`.

    Args:
        below: the threshold.
        every: steps between the validations that count; so the extra validation at the end of a run, which a
            longer run would not make, changes nothing.
    """

    def __init__(self, below: float, every: int):
        self.below, self.every = below, every
        self.open = False

    def observe(self, steps_done: int, validation_sync_loss: float) -> None:
        """Register a validation after `steps_done` steps, which may open the gate."""
        if steps_done and steps_done % self.every == 0 and validation_sync_loss < self.below:
            self.open = True

    def state_dict(self) -> dict[str, Any]:
        """See `Stateful`."""
        return {"open": self.open}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See `Stateful`."""
        self.open = bool(state_dict["open"])


class Speaker(nn.Module):
    """The generator in training: it can also return the heard lip openings and use the true ones."""

    def __init__(self, generator: Wav2LipGenerator):
        super().__init__()
        self.generator = generator

    def forward(
        self, mels: Tensor, faces: Tensor, openings: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Paint faces and read the lip openings from the sound.

        The openings that are heard are uncertain, above all in real speech, and L1 then favours a mouth that
        hardly moves. From embeddings with the true openings the decoder learns how far a mouth opens.

        Args:
            mels: (B, 1, 80, 16) sounds.
            faces: (B, 6, 96, 96) of `generator_input`.
            openings: (B,) true lip openings, NaN where unknown: the embedding is changed to give them; None
                leaves it as heard.

        Returns:
            Painted (B, 3, 96, 96) in [0, 1]; heard lip openings (B,), None without true ones.
        """
        sound, heard = self.generator.encode_audio(mels), None
        if openings is not None:
            heard = self.generator.heard_openings(sound)
            sound = self.generator.with_openings(sound, openings)
        painted = self.generator.decode(sound, self.generator.encode_face(faces))
        return painted.float(), heard


class GeneratorTrainee:
    """Wav2Lip's generator, and its quality discriminator, under training (a `loop.Trainee`).

    Args:
        generator: network to train.
        expert: frozen, in eval mode; None leaves the sync term out.
        training: clips to train on.
        validation: clips of the fixed windows.
        settings: schedule, losses, optimiser; a discriminator of the generator's width is built when
            `losses.gan` is not 0.
        seed: of the windows.
        fabric: launched Lightning Fabric.
        facts: about this training, for the exported checkpoint.
        judge: measures lip opening in validations; None leaves that metric out.
    """

    def __init__(
        self,
        generator: Wav2LipGenerator,
        expert: SyncNet | None,
        training: Sequence[FaceClip],
        validation: Sequence[FaceClip],
        settings: GeneratorTrainingSettings,
        seed: int,
        fabric: Fabric,
        facts: dict[str, Any],
        judge: OpeningJudge | None = None,
    ):
        self.settings, self.seed, self.fabric, self.facts = settings, seed, fabric, facts
        self.training, self.generator = training, generator
        prepare_for(generator, fabric.device, training=True)
        self.discriminator = None
        if settings.losses.gan:
            discriminator = QualityDiscriminator(generator.width_multiplier)
            self.discriminator = TrainedModule(fabric, discriminator, settings.optimiser)
        self.speaker = TrainedModule(fabric, Speaker(generator), settings.optimiser)
        self.expert = expert and expert.to(fabric.device)
        self.gate = SyncGate(settings.losses.sync_below, settings.schedule.sheet_every)
        self.weights = mouth_weights(FACE_SIZE, settings.losses.mouth, MOUTH_PLACE, MOUTH_SPREAD)
        self.validation = validation[:OPENING_CLIPS]
        self.judge = judge
        self.fixed = evenly_spaced_frames(validation, MOMENTS_PER_CLIP, in_windows=expert is not None)
        self.steps_done = 0

    def parts(self) -> dict[str, Stateful]:
        """See `Trainee`."""
        parts: dict[str, Stateful] = {
            "speaker": self.speaker.module,
            "optimiser": self.speaker.optimiser,
            "gate": self.gate,
        }
        if self.discriminator is not None:
            parts |= {
                "discriminator": self.discriminator.module,
                "discriminator_optimiser": self.discriminator.optimiser,
            }
        return parts

    def step(self, step: int) -> dict[str, float]:
        """See `Trainee`; the loss is s * sync + d * gan + (1 - s - d) * L1.

        s and d are the weights of `losses`; s is 0 until the gate opens.
        """
        weights = self.settings.losses
        self.speaker.begin(step)
        batch_size = self.settings.schedule.batch_size
        windows = windows_of(batch_size) if self.gate.open else 0
        frames = random_frames(self.training, batch_size, windows, self.seed, step).to(self.fabric.device)
        mels = frames.mels
        if self.settings.augment:
            mels = augmented_sounds(mels, np.random.default_rng((self.seed, step, 0xA6)))
        painted, heard = self.speaker.module(
            mels,
            generator_input(frames.faces, frames.references),
            frames.openings if weights.opening else None,
        )
        terms = {"reconstruction": self._reconstruction(painted, frames.faces)}
        share = {"reconstruction": 1 - weights.gan}
        if self.gate.open:
            terms["sync"] = self._sync_loss(frames, painted)
            share |= {"sync": weights.sync, "reconstruction": 1 - weights.gan - weights.sync}
        known = frames.openings.isfinite()
        if heard is not None and known.any():
            terms["opening"] = F.mse_loss(heard[known], frames.openings[known])
            share["opening"] = weights.opening
        if self.discriminator is not None:
            # the discriminator's gradients would not be used
            self.discriminator.module.requires_grad_(False)
            terms["gan"] = _cross_entropy(self.discriminator.module(painted), 1)
            self.discriminator.module.requires_grad_(True)
            share["gan"] = weights.gan
        loss = torch.stack([share[name] * term for name, term in terms.items()]).sum()
        self.speaker.backward(loss)
        loss = self.speaker.finish(loss)
        losses = {"loss": loss.item(), **{name: term.item() for name, term in terms.items()}}
        if self.discriminator is not None:
            losses["discriminator"] = self._discriminator_step(frames.faces, painted.detach(), step)
        self.steps_done = step + 1
        return losses

    def _paint(self, frames: FrameBatch) -> Tensor:
        """Paint the frames, (N, 3, 96, 96) in [0, 1]."""
        return self.speaker.module(frames.mels, generator_input(frames.faces, frames.references))[0]

    def _reconstruction(self, painted: Tensor, faces: Tensor) -> Tensor:
        """L1 of the whole face, weighted by `mouth_weights`."""
        return ((painted.float() - faces).abs() * self.weights.to(painted.device)).mean()

    def _sync_loss(self, frames: FrameBatch, painted: Tensor) -> Tensor:
        """Sync loss of the windows; the expert gets the sound of the first of five frames."""
        assert self.expert is not None
        inside = frames.windows * SYNC_FRAMES
        coloured = in_true_colours(painted[:inside], frames.faces[:inside])
        windows = coloured.unflatten(0, (frames.windows, SYNC_FRAMES)).transpose(1, 2)
        audio, face = self.expert(frames.mels[:inside:SYNC_FRAMES], mouth_window(windows))
        return self.expert.loss((audio * face).sum(1), in_sync=1)

    def _discriminator_step(self, real: Tensor, painted: Tensor, step: int) -> float:
        assert self.discriminator is not None
        self.discriminator.begin(step)
        real_score, painted_score = (self.discriminator.module(x) for x in (real, painted))
        loss = _cross_entropy(real_score, 1) + _cross_entropy(painted_score, 0)
        self.discriminator.backward(loss)
        return self.discriminator.finish(loss).item()

    @torch.no_grad()
    def validate(self) -> tuple[dict[str, float], np.ndarray]:
        """See `Trainee`: L1 of the painted lower half and, with an expert, its loss, on the fixed windows.

        As in the reference the cross-entropy of a similarity of 0 is 100, so one such window weighs heavily
        in the mean. The sheet shows the first of each clip.
        """
        self.speaker.module.eval()
        painted, sync = [], []
        for part in self.fixed.split(FRAMES_AT_ONCE):
            frames = part.to(self.fabric.device)
            painted.append(self._paint(frames))
            if self.expert is not None:
                sync += [self._sync_loss(frames, painted[-1]).item()] * frames.windows
        output, target = torch.cat(painted).cpu(), self.fixed.faces
        half = target.shape[-2] // 2
        metrics = {"validation_l1": F.l1_loss(output[..., half:, :], target[..., half:, :]).item()}
        if sync:
            metrics["validation_sync_loss"] = float(np.mean(sync))
            self.gate.observe(self.steps_done, metrics["validation_sync_loss"])
        if (follows := self._opening_r()) is not None:
            metrics["validation_opening_r"] = follows
        rows = {"reference": self.fixed.references, "target": target, "output": output}
        each = MOMENTS_PER_CLIP * (SYNC_FRAMES if self.fixed.windows else 1)
        sheet = [(name, list(to_uint8(images[::each])[..., ::-1])) for name, images in rows.items()]
        return metrics, contact_sheet(sheet)

    def _opening_r(self) -> float | None:
        """Mean opening correlation over held-out clips whose middle frame speaks the clip's sound.

        See `OpeningJudge.follows`.
        """
        if self.judge is None:
            return None
        correlations = []
        for clip in self.validation:
            true = _rgb(clip.faces.float() / 255)
            still = clip.faces[len(clip.faces) // 2].float().div(255)[None].to(self.fabric.device)
            mels = clip.sounds(range(len(clip.faces))).to(self.fabric.device)
            with self.fabric.autocast():
                features = self.generator.encode_face(generator_input(still, still))
                painted = _rgb(self.generator.decode(self.generator.encode_audio(mels), features).float())
            correlations.append(
                self.judge.follows(clip.name, len(true), true.__getitem__, painted.__getitem__)
            )
        moving = [r for r in correlations if r is not None]
        return float(np.mean(moving)) if moving else None

    def export(self, folder: Path) -> None:
        """See `Trainee`."""
        save_generator(folder / GENERATOR_FILE, self.generator.eval(), self.facts)


def _rgb(faces: Tensor) -> np.ndarray:
    """Faces (N, 3, 96, 96), BGR in [0, 1] -> uint8 RGB (N, 96, 96, 3)."""
    return to_uint8(faces)[..., ::-1]


def windows_of(batch_size: int) -> int:
    """Number of windows of five in a batch of frames: half of the frames, but at least one window.

    The sync term needs windows. The reference trains on windows only; but five frames in a row are nearly the
    same picture, so single frames give a small batch more variety.
    """
    return max(1, batch_size // (2 * SYNC_FRAMES))


def in_true_colours(painted: Tensor, true: Tensor) -> Tensor:
    """Painted faces (N, 3, H, W) in [0, 1] with their own brightness and the true faces' colours.

    They are the sync expert's input. Speech shows in the lips' brightness. If the expert saw the painted
    colours, the generator would learn the tints that it scores high, and the colours would drift.
    """
    return (true + (painted - true).mean(1, keepdim=True)).clamp(0, 1)


def _cross_entropy(probability: Tensor, real: float) -> Tensor:
    return F.binary_cross_entropy(probability, torch.full_like(probability, real))


def _new_generator(settings: Wav2LipSettings) -> Wav2LipGenerator:
    return Wav2LipGenerator(settings.width_multiplier, settings.residual)


def train_generator(job: TrainingJob) -> None:
    """Train the generator on the training clips, from `checkpoint` or from scratch.

    It writes generator.safetensors. Zero steps leave the checkpoint unchanged.

    Raises:
        KPBEError: there is no training clip, clips have no face boxes, there is a sync weight but no expert
            in `job.sync`, or an opening weight for the published network.
    """
    settings: Wav2LipSettings = job.settings
    training, seed = settings.train, job.params.train.seed
    expert_file = job.sync / EXPERT_FILE if settings.needs_sync_expert else None
    if expert_file and not expert_file.exists():
        raise MissingWeights(
            f"{expert_file} does not exist, but backend.{job.name}.train.losses.sync is "
            f"{training.losses.sync:g}: run dvc repro train_sync@{job.name}, or set the weight to 0."
        )
    fabric = launch(job.params.compute, seed)
    clips, faces, validation = load_face_clips(job, training.schedule.validation_pairs)
    start = settings.checkpoint
    generator = load_generator(start) if start else _new_generator(settings)
    if training.losses.opening and generator.opening is None:
        raise ParamsError(
            f"backend.{job.name}.train.losses.opening is {training.losses.opening:g}, but the published "
            "network reads no lip openings: set it to 0, or residual to true without a checkpoint."
        )
    expert = load_sync_expert(expert_file) if expert_file else None
    digests = [file_sha256(path) if path else None for path in (start, expert_file)]
    facts = {
        "clips": len(faces),
        "seed": seed,
        "started_from": start.name if start else "scratch",
        "started_from_sha256": digests[0],
        "sync_expert_sha256": digests[1],
    }
    trainee = GeneratorTrainee(
        generator, expert, faces, validation, training, seed, fabric, facts, OpeningJudge.load()
    )
    # Validations change the training only with an expert, when they open the gate.
    validations = [training.schedule.sheet_every, training.schedule.validation_pairs] if expert else None
    identity = training_identity(
        recipe("train_backend", "wav2lip"),
        seed,
        training,
        clips,
        crop_settings(settings),
        settings.width_multiplier,
        digests,
        validations,
        openings_digest(face.opening for face in faces) if training.losses.opening else None,
    )
    train(job.name, trainee, training.schedule, job.out, identity, facts)
