"""Training batches: frames of clips in memory, identity sampling, augmentation.

A batch is a pure function of (seed, step), so that a resumed training sees exactly the batches it would have seen.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kpbe.data.clips import Clip, backend_video
from kpbe.data.head_pose import label_path
from kpbe.errors import KPBEError
from kpbe.frontend.images import to_tensor
from kpbe.media.video import read_frames

MIRRORED_ANGLES = np.array([-1, 1, -1], np.float32)
"""A mirrored face has the opposite yaw and roll."""


@dataclass(frozen=True)
class FramePair:
    """Images of one training batch, float32 (B, 3, H, W) in [0, 1].

    `pose` is the real frame that the head pose is taken from and that the output is compared with; `expression` is the frame that the
    expression is taken from: the same tensor in stage 1, the backend's frame in stage 2. `degrees` are the pose frame's labels, (B, 3)
    yaw, pitch and roll, NaN where there is none.
    """

    source: Tensor
    pose: Tensor
    expression: Tensor
    degrees: Tensor

    def to(self, device: torch.device) -> FramePair:
        """The same batch on another device; `expression is pose` is kept."""
        pose = self.pose.to(device)
        same = self.expression is self.pose
        expression = pose if same else self.expression.to(device)
        return FramePair(self.source.to(device), pose, expression, self.degrees.to(device))


class ClipFrames:
    """All frames of some clips, held as uint8 (a 64x64 clip of 65 frames takes 0.8 MB).

    Args:
        clips: what to hold.
        head_poses: folder of head pose labels (data/head_pose).
        backend_videos: folder with the backend's videos of the same clips, `<split>/<clip_id>.mkv`; None in stage 1.

    Raises:
        KPBEError: there is no clip.
    """

    def __init__(self, clips: Sequence[Clip], head_poses: Path, backend_videos: Path | None = None):
        if not clips:
            raise KPBEError("there is no training clip: see rejected.csv beside clips.csv for the reasons.")
        self.clips = list(clips)
        self.real = [read_frames(clip.video) for clip in clips]
        self.degrees = [_labels(clip, head_poses) for clip in clips]
        self.backend = None
        if backend_videos is not None:
            self.backend = [read_frames(backend_video(backend_videos, clip)) for clip in clips]

    @property
    def labelled(self) -> int:
        """Number of clips with head pose labels."""
        return sum(not np.isnan(degrees).any() for degrees in self.degrees)

    @property
    def labels_digest(self) -> str:
        """Digest of the head pose labels."""
        return hashlib.sha256(b"".join(degrees.tobytes() for degrees in self.degrees)).hexdigest()

    @cached_property
    def clips_by_identity(self) -> list[list[int]]:
        """Indices of the clips of each identity, identities sorted by name."""
        found = defaultdict(list)
        for index, clip in enumerate(self.clips):
            found[clip.identity].append(index)
        return [found[identity] for identity in sorted(found)]


def _labels(clip: Clip, head_poses: Path) -> np.ndarray:
    path = label_path(head_poses, clip)
    return np.load(path) if path.exists() else np.full((clip.frames, 3), np.nan, np.float32)


def hold_out_validation(clips: Sequence[Clip], pairs: int) -> tuple[list[Clip], list[Clip]]:
    """Split training clips into (training, validation).

    Validation takes the last clip of up to `pairs` identities that have more than one; where no identity has two clips,
    validation repeats training clips and the sheets show seen material.
    """
    by_identity: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        by_identity[clip.identity].append(clip)
    spare = [own[-1] for _, own in sorted(by_identity.items()) if len(own) > 1][:pairs]
    held_out = {clip.clip_id for clip in spare}
    training = [clip for clip in clips if clip.clip_id not in held_out]
    return training, spare or list(clips[:pairs])


def random_pairs(
    frames: ClipFrames, batch_size: int, seed: int, step: int, augment: bool, reach: float = 1.0
) -> FramePair:
    """One batch by FOMM's sampling: a random identity, a random clip of it, two of its frames (with replacement).

    With `augment`, each pair is, as in FOMM, reversed in time or mirrored, and its brightness, contrast, saturation
    are jittered by up to 10 %, the same way for all its images. The two frames are at most `reach` of the clip's length apart.
    """
    rng = np.random.default_rng((seed, step))
    picked: list[_Pick] = []
    for _ in range(batch_size):
        own = frames.clips_by_identity[rng.integers(len(frames.clips_by_identity))]
        clip = own[rng.integers(len(own))]
        count = len(frames.real[clip])
        source = int(rng.integers(count))
        apart = round(reach * (count - 1))
        driving = int(rng.integers(max(0, source - apart), min(count, source + apart + 1)))
        source, driving = sorted((source, driving))
        mirrored = False
        if augment:
            if rng.random() < 0.5:
                source, driving = driving, source
            else:
                mirrored = rng.random() < 0.5
        picked.append(_pick(frames, clip, source, driving, mirrored))
    pair = _stack(frames, picked)
    if not augment:
        return pair
    jitter = torch.from_numpy(rng.uniform(0.9, 1.1, size=(3, batch_size, 1, 1, 1)).astype(np.float32))
    pose = jitter_colours(pair.pose, *jitter)
    expression = pose if pair.expression is pair.pose else jitter_colours(pair.expression, *jitter)
    return FramePair(jitter_colours(pair.source, *jitter), pose, expression, pair.degrees)


def fixed_pairs(frames: ClipFrames, pairs: int, seed: int) -> FramePair:
    """Validation pairs that stay the same for a whole training: two random frames of each clip in turn."""
    rng = np.random.default_rng((seed, 0xF1))
    picked: list[_Pick] = []
    for index in range(pairs):
        clip = index % len(frames.clips)
        count = len(frames.real[clip])
        source, driving = rng.permutation(count)[:2] if count > 1 else (0, 0)
        picked.append(_pick(frames, clip, source, driving, mirrored=False))
    return _stack(frames, picked)


_Pick = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _pick(frames: ClipFrames, clip: int, source: int, driving: int, mirrored: bool) -> _Pick:
    """Source, pose and expression image of one sample, and its head pose labels."""
    real, degrees = frames.real[clip], frames.degrees[clip][driving]
    expression = real if frames.backend is None else frames.backend[clip]
    source_image, pose, expression_image = real[source], real[driving], expression[driving]
    if not mirrored:
        return source_image, pose, expression_image, degrees
    return source_image[:, ::-1], pose[:, ::-1], expression_image[:, ::-1], degrees * MIRRORED_ANGLES


def _stack(frames: ClipFrames, picked: Sequence[_Pick]) -> FramePair:
    sources, poses, expressions, degrees = (np.stack(column) for column in zip(*picked, strict=True))
    pose = to_tensor(poses)
    expression = pose if frames.backend is None else to_tensor(expressions)
    return FramePair(to_tensor(sources), pose, expression, torch.from_numpy(degrees))


def jitter_colours(images: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor) -> Tensor:
    """Scale brightness, then contrast about the image mean, then saturation about the luminance; (B, 1, 1, 1) factors."""
    images = images * brightness
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = mean + (images - mean) * contrast
    luminance = (images * images.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    return (luminance + (images - luminance) * saturation).clamp(0, 1)
