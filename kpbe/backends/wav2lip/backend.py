"""Wav2Lip as a backend: makes a talking video from a video or a still image, and speech."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from kpbe.backends.base import BackendSettings, SynthesisRequest, TrainingJob
from kpbe.backends.wav2lip.checkpoints import load_generator
from kpbe.backends.wav2lip.faces import (
    SEAM,
    crop_boxes,
    generator_input,
    painted_faces,
    paste_face,
    prepare_face_window,
)
from kpbe.backends.wav2lip.networks import Wav2LipGenerator
from kpbe.backends.wav2lip.settings import Wav2LipSettings
from kpbe.backends.wav2lip.windows import mel_batch, speech_mel, window_starts
from kpbe.data.faces import FaceDetector, get_detector
from kpbe.data.tracking import fill_missing
from kpbe.errors import BadClip, MissingWeights, ParamsError
from kpbe.media.prefetch import prefetched


@dataclass(frozen=True)
class PreparedSpeech:
    """Speech and crops of one video.

    Attributes:
        mel: (80, T) spectrogram. starts: first mel frame of each output frame's window.
        rectangles: (N, 4) int64 crops of the source frames, left, top, right, bottom.
    """

    mel: np.ndarray
    starts: list[int]
    rectangles: np.ndarray


class Wav2Lip:
    """Wav2Lip (Prajwal et al. 2020) by the procedure of the reference's inference script.

    Args:
        generator: in eval mode, on `device`.
        settings: crop, mel and batch settings.
        device: where the generator is.
    """

    kind: ClassVar[str] = "wav2lip"
    Settings: ClassVar[type[BackendSettings]] = Wav2LipSettings

    def __init__(self, generator: Wav2LipGenerator, settings: Wav2LipSettings, device: str = "cpu"):
        self.generator = generator
        self.settings = settings
        self.device = torch.device(device)

    @classmethod
    def from_checkpoint(cls, path: Path | None, settings: Wav2LipSettings, device: str = "cpu") -> Self:
        """Load any layout of `load_generator`.

        The width is the checkpoint's, not `settings.width_multiplier`.
        """
        if path is None:
            raise MissingWeights(
                "Wav2Lip needs a checkpoint: name one, or train it (dvc repro train_backend)."
            )
        generator = load_generator(path, device)
        if settings.mouth_gain != 1 and generator.opening is None:
            raise ParamsError(
                f"{path} is the published network, which reads no lip openings: set mouth_gain to 1."
            )
        return cls(generator, settings, device)

    @classmethod
    def made_from(cls, settings: Wav2LipSettings, clip_id: str) -> dict[str, Any]:
        """Crop, detector, mel, mouth and paste settings."""
        return settings.model_dump(
            mode="json", include={"pads", "smooth_boxes", "detector", "mel_padding", "paste", "mouth_gain"}
        )

    @classmethod
    def train_sync(cls, job: TrainingJob) -> None:
        """Train the sync expert; see `TrainableBackend.train_sync`."""
        from kpbe.backends.wav2lip.expert_training import train_sync_expert

        train_sync_expert(job)

    @classmethod
    def train(cls, job: TrainingJob) -> None:
        """Train the generator; see `TrainableBackend.train`."""
        from kpbe.backends.wav2lip.training import train_generator

        train_generator(job)

    def prepare(self, request: SynthesisRequest) -> PreparedSpeech:
        """Mel spectrogram, windows and face crops; see `Backend.prepare`."""
        first = request.first_frames(1)[0]
        mel = speech_mel(request.wave, self.settings.mel_padding)
        starts = window_starts(mel.shape[1], request.fps, request.frames)
        return PreparedSpeech(mel, starts, self._rectangles(request, *first.shape[:2]))

    def synthesize(self, request: SynthesisRequest, prepared: PreparedSpeech) -> Iterator[np.ndarray]:
        """Yield `request.frames` frames with the mouth painted to the speech; see `Backend.synthesize`."""
        first = request.first_frames(2)
        starts, size = prepared.starts, self.settings.batch_size
        batches = (mel_batch(prepared.mel, starts[i : i + size]) for i in range(0, len(starts), size))
        if len(first) == 1:
            yield from self._speak_still(first[0], prepared.rectangles[0], batches)
        else:
            yield from self._speak_video(prefetched(_looped(request, prepared.rectangles), size), batches)

    @property
    def _seam(self) -> float:
        return SEAM if self.settings.paste == "feathered" else 0.0

    @torch.inference_mode()
    def _paint(self, mel: Tensor, face_features: Sequence[Tensor]) -> np.ndarray:
        embedding = self.generator.encode_audio(mel.to(self.device))
        if self.settings.mouth_gain != 1:
            heard = self.generator.heard_openings(embedding)
            embedding = self.generator.with_openings(embedding, self.settings.mouth_gain * heard)
        return painted_faces(self.generator.decode(embedding, face_features))

    @torch.inference_mode()
    def _face_features(self, frames: Sequence[np.ndarray], boxes: np.ndarray) -> list[Tensor]:
        faces = prepare_face_window(frames, boxes).to(self.device)
        return self.generator.encode_face(generator_input(faces, faces))

    def _speak_still(
        self, frame: np.ndarray, box: np.ndarray, batches: Iterable[Tensor]
    ) -> Iterator[np.ndarray]:
        """Paint a still face, which is encoded only once, since its features do not depend on the audio."""
        features = self._face_features([frame], box[None])
        for mel in batches:
            for face in self._paint(mel, features):
                yield paste_face(frame, face, box, self._seam)

    def _speak_video(
        self, source: Iterator[tuple[np.ndarray, np.ndarray]], batches: Iterable[Tensor]
    ) -> Iterator[np.ndarray]:
        for mel in batches:
            frames, boxes = zip(*islice(source, len(mel)), strict=True)
            faces = self._paint(mel, self._face_features(frames, np.stack(boxes)))
            for frame, face, box in zip(frames, faces, boxes, strict=True):
                yield paste_face(frame, face, box, self._seam)

    def _rectangles(self, request: SynthesisRequest, height: int, width: int) -> np.ndarray:
        boxes = self._detect(request) if request.boxes is None else request.boxes
        missing = ~(np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1))
        if missing.any():
            first = int(missing.argmax())
            raise BadClip(
                f"{request.name}: no face in frame {first} (at {first / request.fps:.2f} s); Wav2Lip needs "
                f"one in every frame."
            )
        rectangles = crop_boxes(boxes, self.settings.pads, self.settings.smooth_boxes, height, width)
        empty = (rectangles[:, 2:] <= rectangles[:, :2]).any(axis=1)
        if empty.any():
            raise BadClip(
                f"{request.name}: the face box of frame {int(empty.argmax())} lies outside the picture."
            )
        return rectangles

    def _detect(self, request: SynthesisRequest) -> np.ndarray:
        """The best face box of every source frame, (N, 4); zeros where there is none.

        A cascade misses faces that other detectors find. Its missing boxes are interpolated between those of
        neighbouring frames, as long as it finds half of them.
        """
        if self._detector is None:
            raise BadClip(
                f"{request.name} has no face boxes: set backend.wav2lip.detector to yunet, blazeface, sfd, "
                f"mediapipe or cascade."
            )
        detections = (self._detector.detect(frame) for frame in prefetched(request.source_frames))
        boxes = np.stack([faces[0, :4] if len(faces) else np.zeros(4) for faces in detections])
        if self.settings.detector != "cascade" or boxes.any(axis=1).all():
            return boxes
        count = int(boxes.any(axis=1).sum())
        if 2 * count < len(boxes):
            raise BadClip(
                f"{request.name}: OpenCV's frontal cascade finds a face in {count} of {len(boxes)} frames: "
                "`kpbe weights get yunet` fetches a better detector."
            )
        return fill_missing(boxes)

    @cached_property
    def _detector(self) -> FaceDetector | None:
        return get_detector(self.settings.detector, str(self.device))


def _looped(request: SynthesisRequest, rectangles: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Frames with their rectangles, repeated without end.

    The reference, too, restarts a video that is shorter than the audio.
    """
    while True:
        try:
            yield from zip(request.source_frames, rectangles, strict=True)
        except ValueError:
            raise BadClip(
                f"{request.name} has {len(rectangles)} face boxes for another number of frames."
            ) from None
