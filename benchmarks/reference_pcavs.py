"""Batch synthesis as PC-AVS's inference script does it, written from a description of the procedure.

The procedure is that of inference.py in Hangz-nju-cuhk/Talking-Face_PC-AVS.

Aligned frames lie on the disk as pictures. For every frame of every batch of 16, the picture of the person is
read and encoded again, the non-identity encoder sees the pose frame and that picture, and two pictures are
rendered: one keeps the picture's head pose, and one follows the pose frame. Modulated convolutions have a
weight of their own for every sample and run as one grouped convolution. Networks, weights, video writer and
mel spectrogram are ours, so that only the procedure differs; the second picture is rendered but not written.
One departure keeps both videos equally long: the reference renders no frame whose 0.2 s of sound would begin
before or end after the speech; here such frames are rendered.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import sqrt
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.speech import FPS, SpokenVideo
from benchmarks.stopwatch import Stopwatch
from kpbe.backends.pcavs.alignment import ALIGNED_SIZE, alignment_matrices, crop_aligned
from kpbe.backends.pcavs.generator import DEMODULATION_EPS, SLOPE, StyleGenerator, blur_kernel
from kpbe.backends.pcavs.model import MOUTH_GAIN, PCAVSNetworks, from_network
from kpbe.backends.pcavs.windows import mel_windows, window_starts
from kpbe.media.mel import pcavs_mel
from kpbe.media.video_writer import VideoWriter

BATCH = 16


class PCAVSReference:
    """The procedure for one talk, whose first frame shows the person and whose frames show the head pose.

    Args:
        networks: in eval mode, on `device`.
        talk: video and speech; its landmarks align it.
        folder: for the aligned pictures, which are written here.
        device: torch device.
        suffix: of the pictures; `.jpg` as in the reference.
    """

    def __init__(
        self,
        networks: PCAVSNetworks,
        talk: SpokenVideo,
        folder: Path,
        device: torch.device,
        suffix: str = ".jpg",
    ) -> None:
        self.networks, self.talk, self.device = networks, talk, device
        self.generator = GroupedGenerator(networks.generator)
        self.poses = _write_aligned(talk.frames, talk.landmarks, folder / f"pose{suffix}")
        self.person = _write_aligned([talk.first], talk.landmarks[:1], folder / f"person{suffix}")[0]

    def run(self, out: Path, watch: Stopwatch) -> None:
        """Write the pictures that follow the pose, as FFV1 with the speech.

        The parts of the watch are `encoders` and `generator`.
        """
        count = len(self.talk.frames)
        mel = pcavs_mel(self.talk.wave)
        starts = window_starts(count, FPS)
        with VideoWriter(out, FPS, codec="ffv1", audio=self.talk.wav, whole_audio=True) as writer:
            for first in range(0, count, BATCH):
                shown = range(first, min(first + BATCH, count))
                person = torch.stack([self._read(self.person) for _ in shown])
                poses = torch.stack([self._read(self.poses[i]) for i in shown])
                windows = torch.cat([mel_windows(mel, [starts[i]]) for i in shown])
                for picture in from_network(self._render(person, poses, windows, watch)):
                    writer.write(picture)

    def _read(self, path: Path) -> Tensor:
        """An aligned picture as the networks take it, (3, S, S)."""
        stored = cv2.imread(str(path))
        assert stored is not None
        picture = cv2.cvtColor(stored, cv2.COLOR_BGR2RGB)
        cropped = crop_aligned(picture, self.networks.image_size).astype(np.float32)
        return torch.from_numpy(cropped / 127.5 - 1).permute(2, 0, 1)

    @torch.no_grad()
    def _render(self, person: Tensor, poses: Tensor, windows: Tensor, watch: Stopwatch) -> Tensor:
        networks = self.networks
        with watch.part("encoders"):
            person, poses, windows = (x.to(self.device) for x in (person, poses, windows))
            vector, start = networks.encode_identity(person)
            mouth = networks.encode_mouth_from_audio(windows)
            own, driven = (networks.encode_pose(frames) for frames in (person, poses))
            styles = [networks.style(vector, mouth, pose, MOUTH_GAIN) for pose in (own, driven)]
            styles[-1].cpu()
        with watch.part("generator"):
            _, followed = (self.generator(style, start).cpu() for style in styles)
        return followed


def _write_aligned(frames: Iterable[np.ndarray], landmarks: np.ndarray, path: Path) -> list[Path]:
    """Write aligned pictures of consecutive frames, numbered after the name of `path`; return their paths."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = []
    for i, (frame, matrix) in enumerate(zip(frames, alignment_matrices(landmarks), strict=True)):
        aligned = cv2.warpAffine(frame, matrix, (ALIGNED_SIZE, ALIGNED_SIZE))
        written.append(path.with_stem(f"{path.stem}_{i:06d}"))
        cv2.imwrite(str(written[-1]), aligned[..., ::-1])
    return written


class GroupedGenerator:
    """A generator's weights, run with one weight per sample in grouped convolutions.

    The published code does it this way. This class is written from the description of StyleGAN2's synthesis
    network; blur, noise, bias and activation are separate operations.

    Args:
        generator: whose weights are used.
    """

    def __init__(self, generator: StyleGenerator) -> None:
        self.generator = generator
        self.blur = blur_kernel(gain=4).to(next(generator.parameters()).device)

    def __call__(self, style: Tensor, start: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Draw pictures (B, 3, S, S); `noise` as in `StyleGenerator`, drawn anew when None."""
        layers: Any = self.generator
        maps = iter([None] * (2 * len(layers.to_rgbs) + 1) if noise is None else noise)
        x = self._styled(layers.conv1, start, style, next(maps))
        skip = self._to_rgb(layers.to_rgb1, x, style, None)
        for up, same, to_rgb in zip(layers.convs[::2], layers.convs[1::2], layers.to_rgbs, strict=True):
            x = self._styled(up, x, style, next(maps), up=True)
            x = self._styled(same, x, style, next(maps))
            skip = self._to_rgb(to_rgb, x, style, skip)
        return torch.tanh(skip)

    def _styled(self, layer: Any, x: Tensor, style: Tensor, noise: Tensor | None, up: bool = False) -> Tensor:
        x = self._modulated(layer.conv, x, style, demodulate=True, up=up)
        if noise is None:
            noise = torch.randn(len(x), 1, *x.shape[2:], device=x.device)
        x = x + layer.noise.weight * noise
        return F.leaky_relu(x + layer.activate.bias, SLOPE) * sqrt(2)

    def _to_rgb(self, layer: Any, x: Tensor, style: Tensor, skip: Tensor | None) -> Tensor:
        rgb = self._modulated(layer.conv, x, style, demodulate=False) + layer.bias
        if skip is None:
            return rgb
        batch, channels, height, width = skip.shape
        spread = F.pad(skip.view(batch, channels, height, 1, width, 1), (0, 1, 0, 0, 0, 1))
        return rgb + self._low_pass(spread.view(batch, channels, 2 * height, 2 * width), (2, 1, 2, 1))

    def _modulated(self, conv: Any, x: Tensor, style: Tensor, demodulate: bool, up: bool = False) -> Tensor:
        factors = F.linear(style, conv.modulation.weight * style.shape[1] ** -0.5, conv.modulation.bias)
        weight = conv.scale * conv.weight * factors[:, None, :, None, None]
        if demodulate:
            norm = torch.rsqrt(weight.pow(2).sum((2, 3, 4)) + DEMODULATION_EPS)
            weight = weight * norm[:, :, None, None, None]
        batch, out, into, kernel, _ = weight.shape
        x = x.reshape(1, batch * into, *x.shape[2:])
        if up:
            weight = weight.transpose(1, 2).reshape(batch * into, out, kernel, kernel)
            x = F.conv_transpose2d(x, weight, stride=2, groups=batch)
            return self._low_pass(x.view(batch, out, *x.shape[2:]), (1, 1, 1, 1))
        weight = weight.reshape(batch * out, into, kernel, kernel)
        x = F.conv2d(x, weight, padding=kernel // 2, groups=batch)
        return x.view(batch, out, *x.shape[2:])

    def _low_pass(self, x: Tensor, padding: tuple[int, int, int, int]) -> Tensor:
        """Filter each channel as a picture of its own, as published code does without compiled kernels."""
        batch, channels = x.shape[:2]
        x = F.pad(x, padding).reshape(batch * channels, 1, x.shape[2] + sum(padding[2:]), -1)
        x = F.conv2d(x, self.blur[None, None])
        return x.view(batch, channels, *x.shape[2:])
