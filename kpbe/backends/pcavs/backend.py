"""PC-AVS as a backend: makes a talking video from one picture, speech, and a head pose video."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from kpbe.backends.base import BackendSettings, SynthesisRequest, TrainingJob
from kpbe.backends.pcavs.alignment import align_frame, alignment_matrices, paste_image
from kpbe.backends.pcavs.checkpoints import load_networks
from kpbe.backends.pcavs.identity import Identity
from kpbe.backends.pcavs.model import PCAVSNetworks, from_network, to_network
from kpbe.backends.pcavs.settings import PCAVSSettings
from kpbe.backends.pcavs.windows import mel_windows, ping_pong, window_starts
from kpbe.data.landmarks import LandmarkFinder, find_landmarks, get_landmark_finder
from kpbe.errors import BadClip, MissingWeights
from kpbe.media.mel import pcavs_mel
from kpbe.media.prefetch import prefetched


@dataclass(frozen=True)
class PreparedSpeech:
    """Speech and alignment of one video.

    Attributes:
        mel: (T, 80) spectrogram.
        identity_images: (K, 3, S, S) aligned source image, and frames after it, in [-1, 1].
        background: uint8 (H, W, 3), the source frame that the talking face is pasted into.
        pose_matrices: (N, 2, 3) alignment of the N pose frames; the output's face is where the pose frame's
            is.
    """

    mel: np.ndarray
    identity_images: Tensor
    background: np.ndarray
    pose_matrices: np.ndarray


class PCAVS:
    """PC-AVS (Zhou et al. 2021): the reference's inference.

    The identity is encoded once, and only the pose-driven video is rendered.

    Args:
        networks: the networks; they are frozen.
        settings: alignment, gain and batch settings.
        device: where the networks run.
    """

    kind: ClassVar[str] = "pcavs"
    Settings: ClassVar[type[BackendSettings]] = PCAVSSettings

    def __init__(self, networks: PCAVSNetworks, settings: PCAVSSettings, device: str = "cpu"):
        self.networks = networks.prepare_for(device, training=False)
        self.settings = settings
        self.device = torch.device(device)

    @classmethod
    def from_checkpoint(cls, path: Path | None, settings: PCAVSSettings, device: str = "cpu") -> Self:
        """Load a folder of the four published files, or a file of ours.

        Sizes come from the checkpoint, not from the settings.
        """
        if path is None:
            raise MissingWeights(
                "PC-AVS needs a checkpoint: name one, or train it (dvc repro train_backend)."
            )
        return cls(load_networks(path, device), settings, device)

    @classmethod
    def made_from(cls, settings: PCAVSSettings, clip_id: str) -> dict[str, Any]:
        """Landmarks, identity, gain, noise and pasting settings."""
        included = {"landmarks", "identity_frames", "mouth_gain", "noise", "feather"}
        return settings.model_dump(mode="json", include=included)

    @classmethod
    def train_sync(cls, job: TrainingJob) -> None:
        """Train mouth and audio encoder contrastively; see `TrainableBackend.train_sync`."""
        from kpbe.backends.pcavs.sync_training import train_sync

        train_sync(job)

    @classmethod
    def train(cls, job: TrainingJob) -> None:
        """Train all networks; see `TrainableBackend.train`."""
        from kpbe.backends.pcavs.training import train_networks

        train_networks(job)

    def prepare(self, request: SynthesisRequest) -> PreparedSpeech:
        """Spectrogram, alignment of source and pose frames; see `Backend.prepare`."""
        sources = request.source_images(self.settings.identity_frames)
        matrices = self._matrices(request.name, sources, request.landmarks)
        if request.landmarks is not None:  # of all source frames
            matrices = matrices[request.source_frame :]
        size = self.networks.image_size
        aligned = [align_frame(frame, m, size) for frame, m in zip(sources, matrices, strict=False)]
        if request.pose_frames is None:
            poses = self._matrices(request.name, request.source_frames, request.landmarks)
        else:
            poses = self._matrices(request.name, request.pose_frames, request.pose_landmarks)
        return PreparedSpeech(pcavs_mel(request.wave), to_network(aligned), sources[0], poses)

    @cached_property
    def _finder(self) -> LandmarkFinder | None:
        return get_landmark_finder(self.settings.landmarks, str(self.device))

    def _matrices(self, name: str, frames: Iterable[np.ndarray], landmarks: np.ndarray | None) -> np.ndarray:
        """Alignment matrices (N, 2, 3) of frames; finds the landmarks if they are None."""
        if landmarks is None:
            if self._finder is None:
                raise BadClip(
                    f"{name} has no eyes and mouth beside it: set landmarks of this PC-AVS backend to yunet "
                    f"or fan to find them."
                )
            landmarks = find_landmarks(prefetched(frames), self._finder)
        try:
            return alignment_matrices(landmarks)
        except ValueError:
            raise BadClip(f"{name}: no face was found to align; PC-AVS needs eyes and mouth.") from None

    def synthesize(self, request: SynthesisRequest, prepared: PreparedSpeech) -> Iterator[np.ndarray]:
        """Yield `request.frames` frames; see `Backend.synthesize`.

        A pose video shorter than the speech is played forward and backward. The face is pasted into the
        source image at the pose frame's place.
        """
        feather = self.settings.feather
        for image, matrix in prefetched(self._images(request, prepared), self.settings.batch_size):
            yield paste_image(image, prepared.background, matrix, feather)

    @torch.inference_mode()
    def _identity(self, prepared: PreparedSpeech) -> Identity:
        return self.networks.encode_identity(prepared.identity_images[None].to(self.device))

    def _images(
        self, request: SynthesisRequest, prepared: PreparedSpeech
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Rendered pictures, uint8 (S, S, 3), with the alignment matrices of their pose frames."""
        identity = self._identity(prepared)
        starts = window_starts(request.frames, request.fps)
        codes = _PoseCodes(self, request, prepared)
        for first in range(0, request.frames, self.settings.batch_size):
            indices = range(first, min(first + self.settings.batch_size, request.frames))
            pose_frames = [ping_pong(i, len(prepared.pose_matrices)) for i in indices]
            windows = mel_windows(prepared.mel, [starts[i] for i in indices])
            images = self._render(identity, windows, codes.of(pose_frames))
            yield from zip(images, prepared.pose_matrices[pose_frames], strict=True)

    @torch.inference_mode()
    def _render(self, identity: Identity, windows: Tensor, pose: Tensor) -> np.ndarray:
        mouth = self.networks.encode_mouth_from_audio(windows.to(self.device))
        gain, noise = self.settings.mouth_gain, self.settings.noise
        return from_network(self.networks.render(identity, mouth, pose, mouth_gain=gain, noise=noise))


class _PoseCodes:
    """Head poses of the pose frames, encoded when first needed and cached: twelve numbers a frame."""

    def __init__(self, backend: PCAVS, request: SynthesisRequest, prepared: PreparedSpeech):
        frames = request.source_frames if request.pose_frames is None else request.pose_frames
        size = backend.networks.image_size
        aligned = (align_frame(f, m, size) for f, m in zip(frames, prepared.pose_matrices, strict=False))
        self._aligned = prefetched(aligned, backend.settings.batch_size)
        self._backend, self._name = backend, request.name
        self._codes: list[Tensor] = []

    @torch.inference_mode()
    def of(self, indices: list[int]) -> Tensor:
        """(B, 12) head poses of some pose frames."""
        missing = max(indices) + 1 - len(self._codes)
        if missing > 0:
            frames = list(islice(self._aligned, missing))
            if len(frames) < missing:
                raise BadClip(f"{self._name} has landmarks for more frames than its pose video has.")
            device = self._backend.device
            self._codes.extend(self._backend.networks.encode_pose(to_network(frames).to(device)))
        return torch.stack([self._codes[i] for i in indices])
