"""Training data of PC-AVS: aligned frames and speech of clips, drawn as batches of moments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kpbe.backends.held_out import hold_out_people
from kpbe.backends.lip_opening import known_openings
from kpbe.backends.pcavs.alignment import align_frame, alignment_matrices
from kpbe.backends.pcavs.settings import PCAVSSettings
from kpbe.backends.pcavs.windows import mel_windows, window_starts
from kpbe.data.clips import Clip, read_manifest
from kpbe.data.landmarks import find_landmarks, get_landmark_finder
from kpbe.errors import KPBEError
from kpbe.media.audio import read_audio
from kpbe.media.mel import pcavs_mel
from kpbe.media.recording import Recording


class SpeakingClip:
    """Aligned frames and spectrogram of one clip, in memory.

    Attributes:
        frames: uint8 (N, 3, S, S) RGB, aligned.
        mel: (T, 80) spectrogram.
        starts: first mel row of each frame's window.
        name: the clip's id.
        opening: (N,) `known_openings`.

    Raises:
        KPBEError: the clip has no landmarks and none can be found.
    """

    def __init__(self, clip: Clip, expression: Path, settings: PCAVSSettings):
        frames = Recording(clip.video).frames()
        if clip.landmarks.exists():
            landmarks = np.load(clip.landmarks)
        else:
            finder = get_landmark_finder(settings.landmarks)
            if finder is None:
                raise KPBEError(
                    f"{clip.video} has no landmarks beside it: set landmarks of the PC-AVS backend to yunet "
                    f"or fan."
                )
            landmarks = find_landmarks(frames, finder)
        if not np.isfinite(landmarks).all():
            raise KPBEError(f"{clip.video} shows no face to align: take it off the list of training videos.")
        size = settings.image_size
        matrices = alignment_matrices(landmarks)
        aligned = np.stack([align_frame(f, m, size) for f, m in zip(frames, matrices, strict=True)])
        self.frames = torch.from_numpy(aligned).permute(0, 3, 1, 2).contiguous()
        self.mel = pcavs_mel(read_audio(clip.wav))
        self.starts = window_starts(len(frames), clip.fps)
        self.name, self.opening = clip.clip_id, known_openings(clip, expression, len(frames))

    def windows(self, indices: Sequence[int]) -> Tensor:
        """Mel windows (N, 1, 80, 20) of some frames."""
        return mel_windows(self.mel, [self.starts[i] for i in indices])


@dataclass(frozen=True)
class TrainingClips:
    """The clips of a training.

    Attributes:
        clips: the training clips' rows of the manifest.
        training: clips to train on.
        validation: held-out clips.
    """

    clips: list[Clip]
    training: list[SpeakingClip]
    validation: list[SpeakingClip]

    @classmethod
    def load(
        cls, folder: Path, expression: Path, settings: PCAVSSettings, validation_clips: int
    ) -> TrainingClips:
        """Read the training clips of data/clips and their openings of data/expression.

        Raises:
            KPBEError: there is no training clip, or one shows no face.
        """
        manifest = read_manifest(folder, "train")
        if not manifest:
            raise KPBEError(f"{folder} has no training clip: see {folder / 'rejected.csv'} for the reasons.")
        training, validation = hold_out_people(manifest, validation_clips)
        return cls(
            training,
            [SpeakingClip(clip, expression, settings) for clip in training],
            [SpeakingClip(clip, expression, settings) for clip in validation],
        )


@dataclass(frozen=True)
class SpeakingBatch:
    """B moments of speech.

    Attributes:
        identity: (B, 3, S, S) another moment of the same clip, in [-1, 1].
        target: (B, 3, S, S) the moment's frame.
        windows: (B, 1, 80, 20) its sound.
        openings: (B,) its lip opening, see `SpeakingClip.opening`.
    """

    identity: Tensor
    target: Tensor
    windows: Tensor
    openings: Tensor

    def to(self, device: torch.device) -> SpeakingBatch:
        """The same batch on another device."""
        return SpeakingBatch(
            *(x.to(device) for x in (self.identity, self.target, self.windows, self.openings))
        )


def random_batch(
    clips: Sequence[SpeakingClip], batch_size: int, per_clip: int, seed: int, step: int
) -> SpeakingBatch:
    """Moments of random clips, `per_clip` of each; a function of (seed, step).

    Several moments of one clip teach the encoders what is said; moments of several clips teach them to ignore
    the person.
    """
    rng = np.random.default_rng((seed, step, 0xB5))
    picked = []
    while len(picked) < batch_size:
        clip = clips[int(rng.integers(len(clips)))]
        count = min(per_clip, batch_size - len(picked), len(clip.frames))
        for frame in rng.choice(len(clip.frames), count, replace=False).tolist():
            picked.append((clip, frame, _other_frame(clip, frame, rng)))
    return stack_batch(picked)


def fixed_batch(clips: Sequence[SpeakingClip], count: int, seed: int) -> SpeakingBatch:
    """Validation moments that stay the same for a whole training, of each clip in turn."""
    rng = np.random.default_rng((seed, 0xF5))
    picked = []
    for clip in (clips[i % len(clips)] for i in range(count)):
        frame = int(rng.integers(len(clip.frames)))
        picked.append((clip, frame, _other_frame(clip, frame, rng)))
    return stack_batch(picked)


def _other_frame(clip: SpeakingClip, frame: int, rng: np.random.Generator) -> int:
    """A random other frame of a clip, all equally likely; the frame itself if the clip has only one."""
    frames = len(clip.frames)
    return (frame + int(rng.integers(1, frames))) % frames if frames > 1 else frame


def stack_batch(picked: Sequence[tuple[SpeakingClip, int, int]]) -> SpeakingBatch:
    """A batch from (clip, frame, identity frame)."""
    target = torch.stack([clip.frames[frame] for clip, frame, _ in picked])
    identity = torch.stack([clip.frames[other] for clip, _, other in picked])
    windows = torch.cat([clip.windows([frame]) for clip, frame, _ in picked])
    openings = torch.stack([clip.opening[frame] for clip, frame, _ in picked])
    return SpeakingBatch(identity.float() / 127.5 - 1, target.float() / 127.5 - 1, windows, openings)
