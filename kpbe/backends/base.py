"""The protocol of audio-driven methods.

A backend is a class that follows `Backend`, or `TrainableBackend` if the DAG trains it, is listed in
registry.py, and has its settings in a file conf/backend/<name>.yaml. The stages loop over `backends` of
params.yaml. Two backends may be of the same kind (two checkpoints of one method, two external programs).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

import numpy as np

from kpbe.data.crops import PixelBox
from kpbe.errors import BadClip
from kpbe.media.audio import AUDIO_RATE
from kpbe.params import OptimiserParams, Params, SampleParams, ScheduleParams, Section

Feed = Literal["source_image", "video"]


class BackendSettings(Section):
    """The keys that every backend's section of params.yaml has.

    Attributes:
        kind: selects the class of `kpbe.backends`.
        feed: the backend's input from a clip: one frame, or all of them.
        checkpoint: published weights; None where the DAG trains them or the backend needs none.
        weights_of: another backend of params.yaml whose trained weights this one uses. This one is then not
            trained, and its section holds only the settings that differ from the other's (`backend_of`).
    """

    kind: str
    feed: Feed = "source_image"
    checkpoint: Path | None = None
    weights_of: str | None = None

    @property
    def given_head_pose(self) -> bool | None:
        """Whether the backend gets the real video's head pose (by frames or pose video); None if unknown."""
        return self.feed == "video"

    def refuse_unfit(self, params: Params, name: str) -> None:
        """Check the section backend.<name> against the rest of params.yaml.

        Raises:
            ParamsError: this backend cannot be used with these params.
        """


class TrainingSettings(Section):
    """Schedule and optimiser of a backend's training. Backends add their loss weights."""

    schedule: ScheduleParams
    optimiser: OptimiserParams = OptimiserParams(lr=1e-4)


@dataclass(frozen=True)
class DrawnClip:
    """The origin of a clip of the built-in sample.

    Attributes:
        params: with which the sample was drawn.
        start: first frame of the clip in the drawn video.
        crop: part of the drawn frames that the clip shows.
        source_frame: index of the source frame in the clip.
    """

    params: SampleParams
    start: int
    crop: PixelBox
    source_frame: int


@dataclass(frozen=True)
class SynthesisRequest:
    """One video to synthesise.

    Attributes:
        name: file named in messages.
        source_frames: uint8 RGB (H, W, 3) frames of the speaker, all of one size. Exactly one frame means a
            still image. Must be iterable more than once; it is read again from the start when the audio lasts
            longer.
        wave: float32 mono speech in [-1, 1] at 16 kHz; sample 0 belongs to the first frame.
        fps: frames per second of the source and of the output.
        boxes: (N, 4) face boxes of the source frames as left, top, right, bottom in pixels; None lets the
            backend detect faces.
        landmarks: (N, 3, 2) eyes and mouth of the source frames (`kpbe.data.landmarks`); None lets the
            backend find them.
        pose_frames: uint8 RGB frames whose head pose the output follows, at `fps`; only for backends that
            take pose from a video.
        pose_landmarks: as `landmarks`, of the pose frames.
        source_frame: index of the source image in the source frames, for backends that take a person's
            appearance from one picture.
        clip_id: for backends that look clips up by it.
        drawn: how the clip was drawn; None unless it is a clip of the built-in sample with a source frame.
        log: file for the output of a program that the backend runs, overwritten; None discards it.
    """

    name: str
    source_frames: Iterable[np.ndarray]
    wave: np.ndarray
    fps: float = 25.0
    boxes: np.ndarray | None = None
    landmarks: np.ndarray | None = None
    pose_frames: Iterable[np.ndarray] | None = None
    pose_landmarks: np.ndarray | None = None
    source_frame: int = 0
    clip_id: str = ""
    drawn: DrawnClip | None = None
    log: Path | None = None

    @property
    def frames(self) -> int:
        """Number of output frames, which cover the audio: round(fps * seconds)."""
        return round(self.fps * len(self.wave) / AUDIO_RATE)

    def first_frames(self, count: int) -> list[np.ndarray]:
        """The first source frames, at most `count`.

        Raises:
            BadClip: there is no source frame, or the audio is shorter than one video frame.
        """
        return self._frames_from(0, count)

    def source_images(self, count: int) -> list[np.ndarray]:
        """The source image and up to `count` - 1 source frames after it.

        Raises:
            BadClip: there is no such source frame, or the audio is shorter than one video frame.
        """
        return self._frames_from(self.source_frame, count)

    def _frames_from(self, begin: int, count: int) -> list[np.ndarray]:
        first = list(islice(iter(self.source_frames), begin, begin + count))
        if not first:
            raise BadClip(f"{self.name} has no source frame to speak with.")
        if not self.frames:
            raise BadClip(f"{self.name}: the audio is shorter than one video frame.")
        return first


@dataclass(frozen=True)
class TrainingJob:
    """The input of a backend's training.

    Attributes:
        name: the backend's name in params.yaml.
        settings: its section, an instance of the class's `Settings`.
        params: the whole params.
        clips: data/clips.
        expression: data/expression; a clip may have no labels there.
        sync: folder of `train_sync`'s result (checkpoints/sync/<name>).
        out: folder for the result.
    """

    name: str
    settings: Any
    params: Params
    clips: Path
    expression: Path
    sync: Path
    out: Path


class Backend(Protocol):
    """An audio-driven method, loaded and ready.

    Attributes:
        kind: its name in params.yaml.
        Settings: class of its section of params.yaml.
    """

    kind: ClassVar[str]
    Settings: ClassVar[type[BackendSettings]]

    @classmethod
    def from_checkpoint(cls, path: Path | None, settings: Any, device: str) -> Self:
        """Load the networks.

        Args:
            path: weights in any layout that the backend documents; None only where it needs none.
            settings: the backend's section of params.yaml.
            device: a torch device name.

        Raises:
            MissingWeights: there is no such file.
            BadCheckpoint: the file is something else.
        """
        ...

    @classmethod
    def made_from(cls, settings: Any, clip_id: str) -> Any:
        """What a clip's pixels depend on beyond checkpoint and clip.

        JSON-able, with digests for files, without batch sizes and paths.
        """
        ...

    def prepare(self, request: SynthesisRequest) -> Any:
        """Compute what `synthesize` needs of the whole clip, such as faces, alignment and speech features.

        Raises:
            BadClip: this video cannot be made (no face, no source frame).
        """
        ...

    def synthesize(self, request: SynthesisRequest, prepared: Any) -> Iterator[np.ndarray]:
        """Yield exactly `request.frames` uint8 RGB frames of the source's size, in constant memory.

        The first frame is at time zero.

        Args:
            request: source, speech and pose.
            prepared: the result of `prepare` for the same request.

        Raises:
            BadClip: this video cannot be made.
        """
        ...


class TrainableBackend(Backend, Protocol):
    """A backend that the DAG trains, from scratch or from a published checkpoint."""

    @classmethod
    def train_sync(cls, job: TrainingJob) -> None:
        """Train the audio-visual synchrony networks that `train` uses, if there are any."""
        ...

    @classmethod
    def train(cls, job: TrainingJob) -> None:
        """Train the backend and write its weights into `job.out` as one .safetensors file."""
        ...


def speak(backend: Backend, request: SynthesisRequest) -> Iterator[np.ndarray]:
    """Prepare and synthesise one video; returns its frames.

    Raises:
        BadClip: this video cannot be made; raised before the first frame where possible.
    """
    return backend.synthesize(request, backend.prepare(request))
