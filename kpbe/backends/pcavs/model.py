"""The four networks of PC-AVS as one model: identity, head pose and mouth encoders, and the generator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from kpbe.backends.pcavs.audio_encoder import AudioEncoder
from kpbe.backends.pcavs.generator import Noise, StyleGenerator
from kpbe.backends.pcavs.identity import Identity, IdentityEncoder
from kpbe.backends.pcavs.non_identity import NonIdentityEncoder
from kpbe.frontend.preparation import prepare_for

OFFICIAL_IMAGE_SIZE = 224
COVERED_ROWS, COVERED_COLUMNS = (0.5, 0.9), (0.22, 0.78)
"""The part that `mouth_covered` covers, as shares of the edge; `alignment` puts mouths at (0.5, 0.625)."""

MOUTH_GAIN = 1.2
"""The reference's factor of the audio's mouth features at inference; in training it is 1."""


class PCAVSNetworks(nn.Module):
    """Identity, non-identity and audio encoder, and the generator (76.5 M parameters at full width).

    All pictures are RGB in [-1, 1], aligned and cropped by `alignment`; S is `image_size`, w is
    `width_multiplier`.

    Args:
        width_multiplier: scales every channel count but the pose's 12; 1.0 is the official model.
        image_size: a multiple of 32, at least 64; 224 is the official one.
        hidden_mouth: whether head poses are read from frames whose mouth is covered, so that the mouth can
            come from the sound alone; False is the official model.

    Raises:
        ValueError: an image size that the networks cannot have.
    """

    def __init__(
        self,
        width_multiplier: float = 1.0,
        image_size: int = OFFICIAL_IMAGE_SIZE,
        hidden_mouth: bool = False,
    ):
        super().__init__()
        if image_size % 32 or image_size < 64:
            raise ValueError(f"image_size must be a multiple of 32 and at least 64, not {image_size}")
        self.width_multiplier = width_multiplier
        self.image_size = image_size
        self.hidden_mouth = hidden_mouth
        self.identity = IdentityEncoder(width_multiplier, image_size)
        self.non_identity = NonIdentityEncoder(width_multiplier, image_size)
        self.audio = AudioEncoder(width_multiplier)
        self.generator = StyleGenerator(width_multiplier, image_size)

    def prepare_for(self, device: torch.device | str, training: bool) -> Self:
        """Move the networks to a device and prepare the two encoders that run for every frame.

        See `kpbe.frontend.preparation`.
        """
        for encoder in (self.non_identity, self.audio):
            prepare_for(encoder, device, training)
        return self.to(device)

    def encode_identity(self, images: Tensor) -> Identity:
        """(B, 3, S, S), or (B, K, 3, S, S) with K pictures of each person -> `Identity` of B people."""
        return self.identity(images)

    def encode_pose(self, frames: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 12) head poses."""
        if self.hidden_mouth:
            frames = mouth_covered(frames)
        return self.non_identity.pose(self.non_identity(frames))

    def encode_mouth_from_frames(self, frames: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 512 w) mouth features."""
        return self.non_identity.mouth(self.non_identity(frames))

    def encode_pose_and_mouth(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, S, S) -> (B, 12) head poses and (B, 512 w) mouth features.

        The trunk runs only once where the mouth is not hidden.
        """
        if self.hidden_mouth:
            return self.encode_pose(frames), self.encode_mouth_from_frames(frames)
        features = self.non_identity(frames)
        return self.non_identity.pose(features), self.non_identity.mouth(features)

    def encode_mouth_from_audio(self, windows: Tensor) -> Tensor:
        """(B, 1, 80, 20) windows of `mel_windows` -> (B, 512 w) mouth features, comparable to frames'."""
        return self.audio(windows)

    def style(self, vector: Tensor, mouth: Tensor, pose: Tensor, mouth_gain: float = 1.0) -> Tensor:
        """The generator's style (B, 2048 w + 500 w + 12); one identity vector (1, 2048 w) serves all."""
        mouth = self.non_identity.embed_mouth(mouth * mouth_gain)
        return torch.cat((vector.expand(len(mouth), -1), mouth, pose), dim=1)

    def render(
        self,
        identity: Identity | tuple[Tensor, Tensor],
        mouth: Tensor,
        pose: Tensor,
        *,
        mouth_gain: float = 1.0,
        noise: Noise = "stored",
    ) -> Tensor:
        """Draw pictures.

        Args:
            identity: vector and map of B people, or of one for all.
            mouth: (B, 512 w) mouth features of audio or frames.
            pose: (B, 12) head poses.
            mouth_gain: factor of the mouth features; the reference's inference uses `MOUTH_GAIN`.
            noise: see `StyleGenerator`; the default gives the same picture every time.

        Returns:
            (B, 3, S, S) in [-1, 1].
        """
        vector, start = identity
        return self.generator(self.style(vector, mouth, pose, mouth_gain), start, noise)


def mouth_covered(frames: Tensor) -> Tensor:
    """Aligned frames (B, 3, S, S) in [-1, 1] with the mouth, and the chin's range below it, in grey."""
    (top, bottom), (left, right) = (
        [round(share * frames.shape[-1]) for share in place] for place in (COVERED_ROWS, COVERED_COLUMNS)
    )
    covered = frames.clone()
    covered[..., top:bottom, left:right] = 0
    return covered


def to_network(images: Sequence[np.ndarray]) -> Tensor:
    """Uint8 RGB pictures, B of (S, S, 3) -> float32 (B, 3, S, S) in [-1, 1]."""
    stacked = torch.from_numpy(np.ascontiguousarray(np.stack(images)))
    return stacked.permute(0, 3, 1, 2).float().div(127.5).sub(1)


def from_network(images: Tensor) -> np.ndarray:
    """(B, 3, S, S) in [-1, 1] -> uint8 RGB (B, S, S, 3), rounded."""
    return images.add(1).mul(127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
