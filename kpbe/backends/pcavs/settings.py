"""PC-AVS's section of params.yaml (reference: Hangz-nju-cuhk/Talking-Face_PC-AVS)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from kpbe.backends.base import BackendSettings, TrainingSettings
from kpbe.data.landmarks import LandmarkKind
from kpbe.params import PerceptualParams, PerceptualWeights


class SyncTrainingSettings(TrainingSettings):
    """Contrastive training of mouth and audio encoder.

    The batch size is the number of candidates among which a window is identified.

    Attributes:
        temperature: of the softmax over cosine similarities.
    """

    temperature: float = Field(default=0.1, gt=0)


class PCAVSLossWeights(PerceptualWeights):
    """Weights of the generator's loss terms; the defaults are those of the reference's options.

    Attributes:
        reconstruction: mean absolute difference of the pictures, in [0, 1]. Ours: the reference's options
            have none.
        contrastive: audio against mouth features, both directions.
        cross_modal: mean absolute difference of audio's and picture's mouth features.
        mouth: extra weight of the middle of the mouth in `reconstruction`, where the rest weighs 1; ours.
        opening: error of a linear head that reads the lip opening from the sound's mouth features, where it
            is known (data/expression); ours.
    """

    reconstruction: float = Field(default=10.0, ge=0)
    gan: float = Field(default=1.0, ge=0)
    feature_matching: float = Field(default=10.0, ge=0)
    contrastive: float = Field(default=1.0, ge=0)
    cross_modal: float = Field(default=1.0, ge=0)
    mouth: float = Field(default=0.0, ge=0)
    opening: float = Field(default=0.0, ge=0)


class GeneratorTrainingSettings(TrainingSettings):
    """Training or fine-tuning of all four networks.

    Attributes:
        generator_lr_factor: factor of the generator's learning rate, whose weights have unit variance and are
            scaled at run time.
        temperature: of the contrastive term.
    """

    losses: PCAVSLossWeights = PCAVSLossWeights()
    perceptual: PerceptualParams = PerceptualParams()
    generator_lr_factor: float = Field(default=1.0, gt=0)
    temperature: float = Field(default=0.1, gt=0)


class PCAVSSettings(BackendSettings):
    """PC-AVS.

    Attributes:
        checkpoint: folder with the four published latest_net_*.pth; without one the DAG trains the networks.
        image_size: edge of the aligned pictures in pixels; 224 as published.
        width_multiplier: 1.0 as published.
        hidden_mouth: whether networks trained from scratch read head poses from frames with a covered mouth.
            False as published.
        landmarks: finder of eyes and mouth for data that come without them (the sample has them).
        identity_frames: number of frames, from the source image on, whose identities are averaged.
        mouth_gain: factor of the audio's mouth features (reference: 1.2).
        noise: of the generator; new noise in every frame would flicker, `stored` maps do not.
        feather: pixels over which the pasted picture fades into its background at the edges.
    """

    kind: Literal["pcavs"] = "pcavs"
    checkpoint: Path | None = None
    image_size: int = Field(default=224, ge=64, le=1024, multiple_of=32)
    width_multiplier: float = Field(default=1.0, gt=0, le=1)
    hidden_mouth: bool = False
    landmarks: LandmarkKind = "yunet"
    identity_frames: int = Field(default=1, ge=1)
    mouth_gain: float = Field(default=1.2, gt=0)
    noise: Literal["stored", "off"] = "stored"
    feather: float = Field(default=4.0, ge=0)
    batch_size: int = Field(default=8, ge=1)
    sync: SyncTrainingSettings
    train: GeneratorTrainingSettings

    @property
    def given_head_pose(self) -> bool:
        """PC-AVS takes its head pose from the clip's frames."""
        return True
