"""Wav2Lip's section of params.yaml (reference: Rudrabha/Wav2Lip)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from kpbe.backends.base import BackendSettings, TrainingSettings
from kpbe.data.faces import DetectorKind
from kpbe.params import Section


class Wav2LipLossWeights(Section):
    """Weights of the generator's loss terms (Prajwal et al. 2020, 3.3 to 3.5).

    Attributes:
        sync: of the frozen expert's loss; used once the validation's sync loss has been below `sync_below`.
        gan: of the quality discriminator's loss. The L1 term has the weight 1 - sync - gan.
        mouth: extra weight of the middle of the mouth in the L1 term, where the rest weighs 1; 0 is the
            reference.
        opening: error of a linear head that reads the lip opening from the sound's embedding, so that the
            embedding soon holds it; the decoder then gets the true opening. Only for frames whose opening is
            known (`FaceClip.opening`); 0 is the reference.
    """

    sync: float = Field(default=0.03, ge=0, lt=1)
    sync_below: float = Field(default=0.75, gt=0)
    gan: float = Field(default=0.07, ge=0, lt=1)
    mouth: float = Field(default=0.0, ge=0)
    opening: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _leave_some_reconstruction(self) -> Wav2LipLossWeights:
        if self.sync + self.gan >= 1:
            raise ValueError(
                f"losses.sync + losses.gan is {self.sync + self.gan:g}: the reconstruction needs a rest of 1"
            )
        return self


class SyncExpertSettings(TrainingSettings):
    """The sync expert: trained from scratch, or from the public file `checkpoint`.

    A checkpoint is fine-tuned if there are steps, else used unchanged.

    Attributes:
        width_multiplier: of an expert trained from scratch.
        calibrated: of an expert trained from scratch: embeddings of both signs, learned temperature and bias
            (`SyncNet`). False is the published network.
        windows_per_clip: number of windows of one clip in a batch; each face is in sync with its own sound
            and shifted against those of the others.
        warm_up_steps: steps in which each window must find its own sound among those of its clip, before the
            cross-entropy is used; 0 is the reference.
        augment: whether training windows are moved, scaled, relit and mirrored.
        opening: weight of heads that read the window's lip openings from its sound and from its mouths, where
            they are known (data/expression); 0 is the reference.
    """

    checkpoint: Path | None = None
    width_multiplier: float = Field(default=1.0, gt=0, le=1)
    calibrated: bool = False
    windows_per_clip: int = Field(default=4, ge=2)
    warm_up_steps: int = Field(default=0, ge=0)
    augment: bool = False
    opening: float = Field(default=0.0, ge=0)


class GeneratorTrainingSettings(TrainingSettings):
    """Training or fine-tuning of the generator; `schedule.batch_size` counts frames.

    In the reference it counts windows of five frames.

    Attributes:
        augment: whether sounds are augmented (`augmented_sounds`), for trainings on few voices; the reference
            does not.
    """

    augment: bool = False
    losses: Wav2LipLossWeights = Wav2LipLossWeights()


class Wav2LipSettings(BackendSettings):
    """Wav2Lip; `checkpoint` is a public generator, without one the DAG trains it.

    Attributes:
        residual: whether a generator trained from scratch paints only the change of its input face
            (`Wav2LipGenerator`). False is the published network.
        mouth_gain: factor of the lip opening that a residual generator reads from the sound; from real speech
            it reads about a third of it.
        paste: how painted faces are pasted into their frames: `plain`, with the hard edges of the reference,
            or `feathered`.
    """

    kind: Literal["wav2lip"] = "wav2lip"
    width_multiplier: float = Field(default=1.0, gt=0, le=1)
    residual: bool = False
    pads: tuple[int, int, int, int] = (0, 10, 0, 0)
    smooth_boxes: bool = True
    detector: DetectorKind = "known"
    batch_size: int = Field(default=8, ge=1)
    mel_padding: Literal["zeros", "reflect"] = "zeros"
    mouth_gain: float = Field(default=1.0, gt=0)
    paste: Literal["plain", "feathered"] = "plain"
    sync_expert: SyncExpertSettings
    train: GeneratorTrainingSettings

    @property
    def needs_sync_expert(self) -> bool:
        """Whether the generator's training uses an expert: it needs a sync weight and steps above 0."""
        return self.train.losses.sync > 0 and self.train.schedule.steps > 0
