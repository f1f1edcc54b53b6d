"""Training data of Wav2Lip: face crops and speech of the training clips, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kpbe.backends.base import TrainingJob
from kpbe.backends.held_out import hold_out_people
from kpbe.backends.lip_opening import known_openings
from kpbe.backends.wav2lip.faces import crop_boxes, prepare_face_window
from kpbe.backends.wav2lip.networks import SYNC_FRAMES
from kpbe.backends.wav2lip.settings import Wav2LipSettings
from kpbe.backends.wav2lip.windows import mel_batch, speech_mel, window_starts
from kpbe.data.clips import Clip, read_manifest
from kpbe.errors import KPBEError
from kpbe.media.audio import read_audio
from kpbe.media.recording import Recording


class FaceClip:
    """Face crops and mel windows of one clip.

    Attributes:
        name: the clip's id.
        faces: uint8 (N, 3, 96, 96), BGR.
        mel: (80, T) spectrogram.
        starts: first mel frame of each video frame's window.
        opening: (N,) lip opening with mean 0 and standard deviation 1 over the clip; NaN where unknown.

    Raises:
        KPBEError: the clip has no face boxes, or its lip openings have another number of frames.
    """

    def __init__(self, clip: Clip, expression: Path, settings: Wav2LipSettings):
        if not clip.boxes.exists():
            raise KPBEError(
                f"{clip.video} has no face boxes beside it: set data.detector to yunet, blazeface or sfd and "
                f"run preprocess again."
            )
        frames = Recording(clip.video).frames()
        rectangles = crop_boxes(
            np.load(clip.boxes), settings.pads, settings.smooth_boxes, clip.height, clip.width
        )
        self.name = clip.clip_id
        self.faces = prepare_face_window(frames, rectangles).mul(255).round().byte()
        self.mel = speech_mel(read_audio(clip.wav), settings.mel_padding)
        self.starts = window_starts(self.mel.shape[1], clip.fps, len(frames))
        self.opening = known_openings(clip, expression, len(frames))

    @property
    def sync_windows(self) -> int:
        """Number of windows of five frames that have their own sound.

        Frames beyond the sound's end share its last window.
        """
        return min(len(self.faces) - SYNC_FRAMES + 1, len(set(self.starts)))

    def mouths(self, firsts: Sequence[int]) -> Tensor:
        """SyncNet's input: lower halves of the five frames from each of `firsts` on.

        float32 (B, 15, 48, 96), BGR in [0, 1].
        """
        lower = self.faces[:, :, self.faces.shape[2] // 2 :]
        return torch.stack([lower[i : i + SYNC_FRAMES].flatten(0, 1) for i in firsts]).float() / 255

    def sounds(self, firsts: Sequence[int]) -> Tensor:
        """Mel windows that belong to the frames `firsts`, float32 (B, 1, 80, 16)."""
        return mel_batch(self.mel, [self.starts[i] for i in firsts])


def load_face_clips(job: TrainingJob, pairs: int) -> tuple[list[Clip], list[FaceClip], list[FaceClip]]:
    """Training clips and held-out validation clips (`hold_out_people`).

    Args:
        job: the training.
        pairs: number of validation clips, at most.

    Returns:
        The manifest's rows of the training clips, their faces, the faces of the validation clips.

    Raises:
        KPBEError: there is no training clip, a clip has no face boxes, or no clip has two windows of five
            frames.
    """
    manifest = read_manifest(job.clips, "train")
    if not manifest:
        raise KPBEError(
            f"{job.clips} has no training clip: see {job.clips / 'rejected.csv'} for the reasons."
        )
    training, validation = hold_out_people(manifest, pairs)
    loaded = []
    for clips in (training, validation):
        faces = [FaceClip(clip, job.expression, job.settings) for clip in clips]
        loaded.append([face for face in faces if face.sync_windows > 1])
        if not loaded[-1]:
            raise KPBEError(f"{job.clips} has no clip of more than {SYNC_FRAMES} frames to train Wav2Lip on.")
    return training, loaded[0], loaded[1]


@dataclass(frozen=True)
class FrameBatch:
    """N frames for the generator; the first 5 * `windows` are windows of five consecutive frames.

    Attributes:
        faces: (N, 3, 96, 96) BGR in [0, 1].
        references: (N, 3, 96, 96) of another moment of the same clip (`reference_starts`).
        mels: (N, 1, 80, 16), each frame's sound.
        openings: (N,) `FaceClip.opening` of each frame.
        windows: number of windows.
    """

    faces: Tensor
    references: Tensor
    mels: Tensor
    openings: Tensor
    windows: int

    @classmethod
    def cut(cls, places: Iterable[tuple[FaceClip, int, int, int]], windows: int) -> FrameBatch:
        """A batch of places (clip, first frame, first frame of the reference, length)."""
        faces, references, mels, openings = [], [], [], []
        for clip, first, other, length in places:
            faces.append(clip.faces[first : first + length])
            references.append(clip.faces[other : other + length])
            mels.append(clip.sounds(range(first, first + length)))
            openings.append(clip.opening[first : first + length])
        return cls(
            torch.cat(faces).float() / 255,
            torch.cat(references).float() / 255,
            torch.cat(mels),
            torch.cat(openings),
            windows,
        )

    def to(self, device: torch.device) -> FrameBatch:
        """The same frames on another device."""
        return FrameBatch(
            self.faces.to(device),
            self.references.to(device),
            self.mels.to(device),
            self.openings.to(device),
            self.windows,
        )

    def split(self, size: int) -> Iterator[FrameBatch]:
        """The same frames, at most `size` (a multiple of five) at a time."""
        for begin in range(0, len(self.faces), size):
            part = slice(begin, begin + size)
            windows = min(max(0, self.windows - begin // SYNC_FRAMES), size // SYNC_FRAMES)
            yield FrameBatch(
                self.faces[part], self.references[part], self.mels[part], self.openings[part], windows
            )


def reference_starts(first: int, length: int, frames: int) -> np.ndarray:
    """Possible first frames of a target's reference, such that the two share no frame.

    If the clip is too short for that, the places farthest away; the target's own only if there is no other.

    Args:
        first: the target's first frame.
        length: number of frames of target and reference.
        frames: number of the clip's frames.

    Returns:
        Whole numbers in ascending order, at least one.
    """
    starts = np.arange(frames - length + 1)
    distance = np.abs(starts - first)
    return starts[distance >= min(length, distance.max())]


def random_frames(
    clips: Sequence[FaceClip], batch_size: int, windows: int, seed: int, step: int
) -> FrameBatch:
    """`batch_size` frames of random clips: `windows` windows, then single ones; depends on (seed, step)."""
    rng = np.random.default_rng((seed, step, 0xAD))

    def place(length: int) -> tuple[FaceClip, int, int, int]:
        clip = clips[int(rng.integers(len(clips)))]
        first = int(rng.integers(len(clip.faces) - length + 1))
        allowed = reference_starts(first, length, len(clip.faces))
        return clip, first, int(allowed[rng.integers(len(allowed))]), length

    singly = batch_size - windows * SYNC_FRAMES
    return FrameBatch.cut(
        [*(place(SYNC_FRAMES) for _ in range(windows)), *(place(1) for _ in range(singly))], windows
    )


def evenly_spaced_frames(clips: Sequence[FaceClip], per_clip: int, in_windows: bool) -> FrameBatch:
    """`per_clip` windows, or single frames, of every clip, evenly spaced.

    References come from half a clip away.
    """
    length = SYNC_FRAMES if in_windows else 1
    places = []
    for clip in clips:
        last = len(clip.faces) - length
        for first in (last * (np.arange(per_clip) + 0.5) / per_clip).astype(int).tolist():
            allowed = reference_starts(first, length, len(clip.faces))
            half_away = (first + (last + 1) // 2) % (last + 1)
            places.append((clip, first, int(allowed[np.abs(allowed - half_away).argmin()]), length))
    return FrameBatch.cut(places, len(places) if in_windows else 0)


def crop_settings(settings: Wav2LipSettings) -> dict[str, Any]:
    """Settings that face crops and mel windows depend on, JSON-able."""
    return settings.model_dump(mode="json", include={"pads", "smooth_boxes", "mel_padding"})
