"""Training or fine-tuning of Wav2Lip's generator (reference/05 5.5): reconstruction, and the sync term when an expert is given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn import functional as F

from kpbe.backends.wav2lip.checkpoints import load_generator, load_sync_expert, save_generator
from kpbe.backends.wav2lip.faces import crop_boxes, generator_input, prepare_face_window
from kpbe.backends.wav2lip.networks import Wav2LipGenerator, mouth_window, sync_loss
from kpbe.backends.wav2lip.windows import mel_batch, speech_mel, window_starts
from kpbe.data.clips import Clip, read_manifest
from kpbe.errors import KPBEError
from kpbe.frontend.images import to_uint8
from kpbe.media.audio import read_audio
from kpbe.media.sheets import contact_sheet
from kpbe.media.video import read_frames
from kpbe.params import BackendTrainParams, Params, Wav2LipParams
from kpbe.training.batches import hold_out_validation
from kpbe.training.launch import launch, training_identity
from kpbe.training.loop import adam, scheduled_lr, train
from kpbe.training.state import Stateful
from kpbe.work import fingerprint

GENERATOR_FILE = "generator.safetensors"
SYNC_WINDOW = 5


class FaceClip:
    """Face crops and mel windows of one clip.

    Attributes:
        faces: uint8 (N, 3, 96, 96), BGR.
        mel: (80, T) spectrogram.
        starts: first mel frame of each video frame's window.
    """

    def __init__(self, clip: Clip, params: Wav2LipParams):
        if not clip.boxes.exists():
            raise KPBEError(
                f"{clip.video} has no face boxes beside it: set data.detector to yunet, blazeface or sfd and run preprocess again."
            )
        frames = read_frames(clip.video)
        rectangles = crop_boxes(
            np.load(clip.boxes), params.pads, params.smooth_boxes, clip.height, clip.width
        )
        self.faces = prepare_face_window(frames, rectangles).mul(255).round().byte()
        self.mel = speech_mel(read_audio(clip.wav), params.mel_padding)
        self.starts = window_starts(self.mel.shape[1], clip.fps, len(frames))


def random_windows(
    clips: Sequence[FaceClip], batch_size: int, length: int, seed: int, step: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Consecutive frames with their speech and a reference from another moment of the same clip; a function of (seed, step).

    Returns:
        faces (B, T, 3, 96, 96) in [0, 1], references of the same shape, mel windows (B, T, 1, 80, 16).
    """
    rng = np.random.default_rng((seed, step, 0xAD))
    faces, references, mels = [], [], []
    long_enough = [clip for clip in clips if len(clip.faces) >= length]
    for _ in range(batch_size):
        clip = long_enough[rng.integers(len(long_enough))]
        first, other = rng.integers(len(clip.faces) - length + 1, size=2)
        faces.append(clip.faces[first : first + length])
        references.append(clip.faces[other : other + length])
        mels.append(mel_batch(clip.mel, clip.starts[first : first + length]))
    return torch.stack(faces).float() / 255, torch.stack(references).float() / 255, torch.stack(mels)


class Wav2LipTrainee:
    """Wav2Lip's generator under training (a `loop.Trainee`)."""

    def __init__(
        self,
        generator: Wav2LipGenerator,
        training: Sequence[FaceClip],
        validation: Sequence[FaceClip],
        params: BackendTrainParams,
        seed: int,
        fabric: Fabric,
        facts: dict[str, Any],
    ):
        self.params, self.seed, self.fabric, self.facts, self.training = params, seed, fabric, facts, training
        self.generator = generator
        self.model, self.optimiser = fabric.setup(generator, adam(generator.parameters(), params.optimiser))
        self.expert = None
        if params.losses.sync:
            if params.sync_expert is None:
                raise KPBEError(
                    "train.wav2lip.losses.sync is not 0 but train.wav2lip.sync_expert names no checkpoint."
                )
            self.expert = load_sync_expert(params.sync_expert, fabric.device)
        self.length = SYNC_WINDOW if self.expert else 1
        self.fixed = random_windows(validation, params.schedule.validation_pairs, 1, seed, 0)

    def parts(self) -> dict[str, Stateful]:
        """See `Trainee`."""
        return {"generator": self.model, "optimiser": self.optimiser}

    def step(self, step: int) -> dict[str, float]:
        """See `Trainee`; the loss is the weighted sum of the L1 of the whole face and the sync term."""
        for group in self.optimiser.param_groups:
            group["lr"] = scheduled_lr(self.params.optimiser, step)
        self.model.train()
        batch = random_windows(self.training, self.params.schedule.batch_size, self.length, self.seed, step)
        faces, references, mels = (x.to(self.fabric.device) for x in batch)
        painted = self._paint(faces, references, mels)
        weights = self.params.losses
        reconstruction = F.l1_loss(painted, faces)
        loss = weights.reconstruction * reconstruction
        losses = {"reconstruction": reconstruction.item()}
        if self.expert is not None:
            sync = sync_loss(*self.expert(mels[:, 0], mouth_window(painted.transpose(1, 2))), in_sync=1)
            loss = loss + weights.sync * sync
            losses["sync"] = sync.item()
        self.optimiser.zero_grad()
        self.fabric.backward(loss)
        self.optimiser.step()
        return {"loss": loss.item(), **losses}

    def _paint(self, faces: Tensor, references: Tensor, mels: Tensor) -> Tensor:
        inputs = generator_input(faces.flatten(0, 1), references.flatten(0, 1))
        return self.model(mels.flatten(0, 1), inputs).unflatten(0, faces.shape[:2])

    @torch.no_grad()
    def validate(self) -> tuple[dict[str, float], np.ndarray]:
        """See `Trainee`: L1 of the painted lower half on the fixed windows."""
        self.model.eval()
        faces, references, mels = (x.to(self.fabric.device) for x in self.fixed)
        painted = self._paint(faces, references, mels)
        half = faces.shape[-2] // 2
        metrics = {"validation_l1": F.l1_loss(painted[..., half:, :], faces[..., half:, :]).item()}
        rows = {"reference": references, "target": faces, "output": painted}
        sheet = [(name, list(to_uint8(x.flatten(0, 1))[..., ::-1])) for name, x in rows.items()]
        return metrics, contact_sheet(sheet)

    def export(self, folder: Path) -> None:
        """See `Trainee`."""
        save_generator(folder / GENERATOR_FILE, self.generator.eval(), self.facts)


def train_wav2lip(params: Params, clips: Path, out: Path) -> None:
    """Train the generator on the training clips, from `backend.wav2lip.checkpoint` when given, else from scratch.

    Raises:
        KPBEError: no training clip, clips without face boxes, or a sync weight without an expert.
    """
    stage, settings = params.train.wav2lip, params.backend.wav2lip
    fabric = launch(params.compute, params.train.seed)
    manifest = read_manifest(clips, "train")
    if not manifest:
        raise KPBEError(f"{clips} has no training clip: see {clips / 'rejected.csv'} for the reasons.")
    training, validation = hold_out_validation(manifest, stage.schedule.validation_pairs)
    start = settings.checkpoint
    generator = load_generator(start) if start else Wav2LipGenerator(settings.width_multiplier)
    facts = {
        "clips": len(training),
        "seed": params.train.seed,
        "started_from": start.name if start else "scratch",
    }
    trainee = Wav2LipTrainee(
        generator,
        [FaceClip(clip, settings) for clip in training],
        [FaceClip(clip, settings) for clip in validation],
        stage,
        params.train.seed,
        fabric,
        facts,
    )
    identity = training_identity(
        params, stage, training, settings, fingerprint(start) if start else "", stage.sync_expert or ""
    )
    train("wav2lip", trainee, stage.schedule, out, identity, facts)
