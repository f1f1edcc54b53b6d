"""The networks of Wav2Lip: generator, SyncNet expert, quality discriminator.

Layers, sizes and state-dict names are the official ones (reference: Rudrabha/Wav2Lip, `Wav2Lip`,
`SyncNet_color`, `Wav2Lip_disc_qual`), so that public checkpoints load unchanged. Faces are BGR in [0, 1], as
those checkpoints expect.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kpbe.backends.layers import scaled_channels

FACE_SIZE = 96
SYNC_FRAMES = 5
FADE = 8
"""Rows below the middle of a face over which a residual generator's paint fades in."""

START_OF_RESIDUAL = 0.1
"""Initial scale of a residual generator's last weights."""

START_TEMPERATURE, LEAST_TEMPERATURE = 0.1, 0.02
"""Temperatures of a calibrated sync expert."""


class ConvBlock(nn.Module):
    """Convolution, batch norm, optional residual sum, ReLU unless `activated` is False."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 3,
        stride: int | tuple[int, int] = 1,
        padding: int = 1,
        residual: bool = False,
        activated: bool = True,
    ):
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, kernel, stride, padding), nn.BatchNorm2d(out_channels)
        )
        self.residual, self.activated = residual, activated

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv_block(x)
        y = y + x if self.residual else y
        return F.relu(y) if self.activated else y


class UpsamplingBlock(nn.Module):
    """Transposed 3x3 convolution, batch norm, ReLU; doubles the size.

    With `stride` 1 it turns 1x1 into 3x3.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 2):
        super().__init__()
        trim = stride - 1
        self.conv_block = nn.Sequential(
            nn.ConvTranspose2d(in_channels, out_channels, 3, stride, padding=trim, output_padding=trim),
            nn.BatchNorm2d(out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv_block(x))


class LeakyConvBlock(nn.Module):
    """Convolution and LeakyReLU(0.01), without normalisation."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int | tuple[int, int] = 1,
        padding: int = 0,
    ):
        super().__init__()
        self.conv_block = nn.Sequential(nn.Conv2d(in_channels, out_channels, kernel, stride, padding))

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.conv_block(x), 0.01)


def _residuals(channels: int, count: int) -> list[nn.Module]:
    return [ConvBlock(channels, channels, residual=True) for _ in range(count)]


def _audio_encoder(widths: Sequence[int], last_residuals: int, activated: bool = True) -> nn.Sequential:
    """Maps (B, 1, 80, 16) mel windows to (B, C, 1, 1); the strides (3, 1), 3, (3, 2) reduce 80x16 to 3x3.

    Without `activated` the last block has no ReLU.
    """
    w32, w64, w128, w256, w512 = widths
    return nn.Sequential(
        ConvBlock(1, w32),
        *_residuals(w32, 2),
        ConvBlock(w32, w64, stride=(3, 1)),
        *_residuals(w64, 2),
        ConvBlock(w64, w128, stride=3),
        *_residuals(w128, 2),
        ConvBlock(w128, w256, stride=(3, 2)),
        *_residuals(w256, last_residuals),
        ConvBlock(w256, w512, padding=0),
        ConvBlock(w512, w512, kernel=1, padding=0, activated=activated),
    )


class Wav2LipGenerator(nn.Module):
    """Paints the lower half of a face to match a mel window: a U-Net with the audio embedding as bottleneck.

    A residual generator starts from a face (the upper half of the face to paint, above the lower half of the
    reference) and paints the change of its lower half. In synthesis both halves are of one picture, so
    everything except the mouth is right before training and stays sharp; only the mouth remains to be
    learned. A linear layer also reads the mouth's opening from the sound (`heard_openings`).

    Args:
        width_multiplier: scales every hidden channel count; 1.0 is the official network (36.3 M parameters).
        residual: False is the official network.
    """

    def __init__(self, width_multiplier: float = 1.0, residual: bool = False):
        super().__init__()
        self.width_multiplier, self.residual = width_multiplier, residual
        # Feature channels of the face encoder (96, 48, 24, 12, 6, 3, 1 pixels) and of the decoder (1, 3, ...,
        # 96 pixels).
        encoder = [scaled_channels(c, width_multiplier) for c in (16, 32, 64, 128, 256, 512, 512)]
        decoder = [scaled_channels(c, width_multiplier) for c in (512, 512, 512, 384, 256, 128, 64)]
        audio = [scaled_channels(c, width_multiplier) for c in (32, 64, 128, 256, 512)]
        hidden = scaled_channels(32, width_multiplier)

        self.face_encoder_blocks = nn.ModuleList(
            [nn.Sequential(ConvBlock(6, encoder[0], kernel=7, padding=3))]
        )
        for level, residuals in enumerate((2, 3, 2, 2, 1), start=1):
            down = ConvBlock(encoder[level - 1], encoder[level], stride=2)
            self.face_encoder_blocks.append(nn.Sequential(down, *_residuals(encoder[level], residuals)))
        self.face_encoder_blocks.append(
            nn.Sequential(
                ConvBlock(encoder[5], encoder[6], padding=0),
                ConvBlock(encoder[6], encoder[6], kernel=1, padding=0),
            )
        )

        self.audio_channels = audio[-1]
        self.audio_encoder = _audio_encoder(audio, last_residuals=1)

        self.face_decoder_blocks = nn.ModuleList(
            [nn.Sequential(ConvBlock(audio[-1], decoder[0], kernel=1, padding=0))]
        )
        for level, residuals in enumerate((1, 2, 2, 2, 2, 2), start=1):
            up = UpsamplingBlock(
                decoder[level - 1] + encoder[7 - level], decoder[level], stride=1 if level == 1 else 2
            )
            self.face_decoder_blocks.append(nn.Sequential(up, *_residuals(decoder[level], residuals)))

        self.modulations = nn.ModuleList(
            nn.Linear(audio[-1], 2 * channels) for channels in (decoder[1:] if residual else ())
        )
        self.opening = nn.Linear(audio[-1], 1) if residual else None
        widest, last = ConvBlock(decoder[6] + encoder[0], hidden), nn.Conv2d(hidden, 3, 1)
        self.output_block = nn.Sequential(widest, last, nn.Identity() if residual else nn.Sigmoid())
        if residual:
            with torch.no_grad():
                for weights in last.parameters():
                    weights.mul_(START_OF_RESIDUAL)

    def encode_audio(self, mel: Tensor) -> Tensor:
        """(B, 1, 80, 16) mel windows -> (B, C, 1, 1), C = 512 at full width."""
        return self.audio_encoder(mel)

    def heard_openings(self, audio_embedding: Tensor) -> Tensor:
        """Lip openings (B,) read from audio embeddings (B, C, 1, 1), in standard deviations of a clip.

        Residual networks only.
        """
        assert self.opening is not None, "the official network does not read openings"
        return self.opening(audio_embedding.flatten(1))[:, 0].float()

    def with_openings(self, audio_embedding: Tensor, openings: Tensor) -> Tensor:
        """Audio embeddings (B, C, 1, 1), changed as little as possible so that they give these openings (B,).

        NaN openings change nothing. Residual networks only.
        """
        assert self.opening is not None, "the official network does not read openings"
        weights = self.opening.weight[0].detach()
        missing = openings - self.heard_openings(audio_embedding).detach()
        step = torch.where(openings.isfinite(), missing, 0)[:, None] * (weights / weights.square().sum())
        return audio_embedding + step.to(audio_embedding.dtype)[..., None, None]

    def encode_face(self, faces: Tensor) -> list[Tensor]:
        """(B, 6, 96, 96) of `generator_input` -> seven features, 96 to 1 pixels wide.

        In a residual network, the face that it changes comes first (`shown_face`).
        """
        features = []
        x = faces
        for block in self.face_encoder_blocks:
            x = block(x)
            features.append(x)
        return [shown_face(faces), *features] if self.residual else features

    def decode(self, audio_embedding: Tensor, face_features: Sequence[Tensor]) -> Tensor:
        """Paint (B, 3, 96, 96) faces in [0, 1] from B audio embeddings.

        Features of batch 1 serve the whole batch.
        """
        batch = len(audio_embedding)
        x = audio_embedding
        shown, features = (face_features[0], face_features[1:]) if self.residual else (None, face_features)
        for level, (block, feature) in enumerate(
            zip(self.face_decoder_blocks, reversed(features), strict=True)
        ):
            x = block(x)
            if level and self.residual:
                x = _modulated(x, self.modulations[level - 1](audio_embedding.flatten(1)))
            x = torch.cat((x, feature.expand(batch, -1, -1, -1)), dim=1)
        painted = self.output_block(x)
        if shown is None:
            return painted
        return (shown + painted.float() * _below_the_middle(painted)).clamp(0, 1)

    def forward(self, mel: Tensor, faces: Tensor) -> Tensor:
        """Paint faces.

        Args:
            mel: (B, 1, 80, 16), or (B, T, 1, 80, 16) for windows of T frames.
            faces: (B, 6, 96, 96), or (B, 6, T, 96, 96).

        Returns:
            (B, 3, 96, 96), or (B, 3, T, 96, 96), in [0, 1].
        """
        if faces.dim() == 4:
            return self.decode(self.encode_audio(mel), self.encode_face(faces))
        batch, _, frames = faces.shape[:3]
        painted = self(mel.flatten(0, 1), faces.transpose(1, 2).flatten(0, 1))
        return painted.unflatten(0, (batch, frames)).transpose(1, 2)


def _modulated(x: Tensor, scale_and_shift: Tensor) -> Tensor:
    """Channels of (B, C, H, W) scaled by 1 + the first half of (B, 2 C) and shifted by its second half."""
    scale, shift = scale_and_shift[..., None, None].chunk(2, dim=1)
    return x * (1 + scale) + shift


def _below_the_middle(painted: Tensor) -> Tensor:
    """(H, 1) weights of rows: 0 in the upper half, rising to 1 over `FADE` rows."""
    rows = torch.arange(painted.shape[-2], device=painted.device)
    return ((rows - len(rows) // 2) / FADE).clamp(0, 1)[:, None]


def shown_face(faces: Tensor) -> Tensor:
    """The upper half of the face above the lower half of the reference, (B, 3, 96, 96).

    Takes (B, 6, 96, 96) of `generator_input`.
    """
    half = faces.shape[-2] // 2
    return torch.cat((faces[:, :3, :half], faces[:, 3:, half:]), dim=2)


class SyncNet(nn.Module):
    """The sync expert: embeds five lower face halves and 0.2 s of audio into the same space.

    The official network ends in ReLUs: its similarities lie in [0, 1] and are used as probabilities. A
    calibrated one has embeddings of both signs and learns a temperature T and a bias b; its probability is
    sigmoid(similarity / T + b) (as in SigLIP, arXiv 2303.15343). It has no dead units at the start, and small
    differences of similarities can have large effects.

    Args:
        width_multiplier: scales every channel count, the embeddings' too; 1.0 is the official network (16.4 M
            parameters).
        calibrated: False is the official network.
    """

    def __init__(self, width_multiplier: float = 1.0, calibrated: bool = False) -> None:
        super().__init__()
        self.width_multiplier, self.calibrated = width_multiplier, calibrated
        w32, w64, w128, w256, w512 = (scaled_channels(c, width_multiplier) for c in (32, 64, 128, 256, 512))
        self.embedding_size = w512
        self.face_encoder = nn.Sequential(
            ConvBlock(3 * SYNC_FRAMES, w32, kernel=7, padding=3),
            ConvBlock(w32, w64, kernel=5, stride=(1, 2)),
            *_residuals(w64, 2),
            ConvBlock(w64, w128, stride=2),
            *_residuals(w128, 3),
            ConvBlock(w128, w256, stride=2),
            *_residuals(w256, 2),
            ConvBlock(w256, w512, stride=2),
            *_residuals(w512, 2),
            ConvBlock(w512, w512, stride=2),
            ConvBlock(w512, w512, padding=0),
            ConvBlock(w512, w512, kernel=1, padding=0, activated=not calibrated),
        )
        self.audio_encoder = _audio_encoder(
            (w32, w64, w128, w256, w512), last_residuals=2, activated=not calibrated
        )
        if calibrated:
            self.log_temperature = nn.Parameter(torch.tensor(START_TEMPERATURE).log())
            self.bias = nn.Parameter(torch.tensor(0.0))

    @property
    def temperature(self) -> Tensor:
        """T, clamped to at least 0.02; fixed for the official network, which uses it in a warm-up only."""
        if not self.calibrated:
            return torch.tensor(START_TEMPERATURE)
        return self.log_temperature.exp().clamp(min=LEAST_TEMPERATURE)

    def forward(self, mel: Tensor, mouths: Tensor) -> tuple[Tensor, Tensor]:
        """Embed (A, 1, 80, 16) mel windows and (B, 15, 48, 96) mouths of `mouth_window`.

        Returns unit vectors (A, C) and (B, C), C = 512 at full width.
        """
        audio = F.normalize(self.audio_encoder(mel).flatten(1).float())
        face = F.normalize(self.face_encoder(mouths).flatten(1).float())
        return audio, face

    def loss(self, similarity: Tensor, in_sync: float) -> Tensor:
        """Binary cross-entropy of cosine similarities (any shape) against `in_sync`.

        `in_sync` is 1 for matching windows, 0 for shifted ones.
        """
        if not self.calibrated:
            similarity = similarity.clamp(0, 1)  # after a ReLU it is in [0, 1] up to rounding
            return F.binary_cross_entropy(similarity, torch.full_like(similarity, in_sync))
        logits = similarity / self.temperature + self.bias
        return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, in_sync))


def mouth_window(faces: Tensor) -> Tensor:
    """Lower halves of (B, 3, 5, 96, 96) consecutive faces, (B, 15, 48, 96).

    They are stacked on channels in time order.
    """
    return faces[..., faces.shape[-2] // 2 :, :].transpose(1, 2).flatten(1, 2)


class QualityDiscriminator(nn.Module):
    """Tells real from painted mouths by the lower half of single faces.

    Args:
        width_multiplier: scales every channel count; 1.0 is the official network (14.1 M parameters).
    """

    def __init__(self, width_multiplier: float = 1.0) -> None:
        super().__init__()
        widths = [scaled_channels(c, width_multiplier) for c in (32, 64, 128, 256, 512, 512)]
        last = widths[-1]
        self.face_encoder_blocks = nn.ModuleList([nn.Sequential(LeakyConvBlock(3, widths[0], 7, padding=3))])
        for level, (kernel, stride) in enumerate(((5, (1, 2)), (5, 2), (5, 2), (3, 2), (3, 2))):
            down = LeakyConvBlock(widths[level], widths[level + 1], kernel, stride, kernel // 2)
            same = LeakyConvBlock(widths[level + 1], widths[level + 1], kernel, padding=kernel // 2)
            self.face_encoder_blocks.append(nn.Sequential(down, same))
        self.face_encoder_blocks.append(
            nn.Sequential(LeakyConvBlock(last, last, 3), LeakyConvBlock(last, last, 1))
        )
        self.binary_pred = nn.Sequential(nn.Conv2d(last, 1, 1), nn.Sigmoid())

    def forward(self, faces: Tensor) -> Tensor:
        """(B, 3, 96, 96) faces -> (B, 1) probability of being real."""
        x = faces[:, :, faces.shape[2] // 2 :]
        for block in self.face_encoder_blocks:
            x = block(x)
        return self.binary_pred(x).flatten(1)
