"""Batch synthesis as Wav2Lip's inference script does it, written from a description of the procedure.

The procedure is that of inference.py in Rudrabha/Wav2Lip. All frames are read into a list; faces are detected
in every one of them, 16 at a time; boxes are smoothed; crops are resized and batches of 128 built one frame
after another; the generator, face encoder included, runs on every frame; faces are pasted one after another,
and each frame is written before the next. Network, weights, video reader, video writer and mel spectrogram
are ours, so that only the procedure differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from benchmarks.reference_s3fd import S3FD, Maps
from benchmarks.speech import FPS, SpokenVideo
from benchmarks.stopwatch import Stopwatch
from kpbe.backends.wav2lip.networks import FACE_SIZE, Wav2LipGenerator
from kpbe.backends.wav2lip.windows import speech_mel
from kpbe.media.mel import MEL_FRAMES_PER_SECOND, MEL_WINDOW
from kpbe.media.video_writer import VideoWriter

DETECTION_BATCH = 16
BATCH = 128
PADS = (0, 10, 0, 0)
"""Pixels added at the top, bottom, left, right of a box."""
SMOOTHED = 5


class Face(NamedTuple):
    """A crop and where it comes from: top, bottom, left, right."""

    crop: np.ndarray
    place: tuple[int, int, int, int]


class Wav2LipReference:
    """The procedure for one talk.

    Args:
        generator: in eval mode, on `device`.
        talk: video and speech; its boxes are used, whether or not faces are detected first.
        still: whether the first frame speaks instead of the video (`--static`).
        detector: None uses the boxes of the talk without detection.
        device: torch device.
    """

    def __init__(
        self,
        generator: Wav2LipGenerator,
        talk: SpokenVideo,
        still: bool,
        detector: S3FD | None,
        device: torch.device,
    ) -> None:
        self.generator, self.talk, self.still, self.device = generator, talk, still, device
        self.detector = detector
        self.planted: Maps = []
        if detector is not None:
            self.planted = detector.plant(talk.first, talk.boxes[:1] if still else talk.boxes)

    def run(self, out: Path, watch: Stopwatch) -> None:
        """Write the talking video as FFV1 with the speech.

        The parts of the watch are `generator` and those of `S3FD.detect`.
        """
        frames = list(islice(self.talk.frames, 1)) if self.still else list(self.talk.frames)
        windows = _mel_windows(speech_mel(self.talk.wave))
        frames = frames[: len(windows)]
        if self.detector is not None:
            self._detect(self.detector, frames, watch)
        faces = self._faces(frames)
        with VideoWriter(out, FPS, codec="ffv1", audio=self.talk.wav, whole_audio=True) as writer:
            for images, mels, shown, places in _batches(frames, faces, windows):
                with watch.part("generator"):
                    painted = self._paint(images, mels)
                for face, frame, (top, bottom, left, right) in zip(painted, shown, places, strict=True):
                    resized = cv2.resize(face.astype(np.uint8), (right - left, bottom - top))
                    frame[top:bottom, left:right] = resized[..., ::-1]
                    writer.write(frame)

    def _detect(self, detector: S3FD, frames: Sequence[np.ndarray], watch: Stopwatch) -> None:
        """Detect the face in every frame, for the time it takes.

        The result is dropped: the planted boxes are those of the talk.
        """
        for start in range(0, len(frames), DETECTION_BATCH):
            batch = slice(start, start + DETECTION_BATCH)
            planted = [(scores[batch], boxes[batch]) for scores, boxes in self.planted]
            detector.detect(frames[batch], planted, watch)

    def _faces(self, frames: Sequence[np.ndarray]) -> list[Face]:
        above, below, before, behind = PADS
        padded = []
        for frame, box in zip(frames, self.talk.boxes, strict=False):
            left, top, right, bottom = (int(v) for v in np.clip(box, 0, None))
            padded.append(
                [
                    max(0, left - before),
                    max(0, top - above),
                    min(frame.shape[1], right + behind),
                    min(frame.shape[0], bottom + below),
                ]
            )
        smoothed = _smoothed(np.array(padded))
        return [
            Face(frame[top:bottom, left:right], (top, bottom, left, right))
            for frame, (left, top, right, bottom) in zip(frames, smoothed.tolist(), strict=True)
        ]

    @torch.no_grad()
    def _paint(self, images: np.ndarray, mels: np.ndarray) -> np.ndarray:
        faces = torch.FloatTensor(images.transpose(0, 3, 1, 2)).to(self.device)
        speech = torch.FloatTensor(mels.transpose(0, 3, 1, 2)).to(self.device)
        return self.generator(speech, faces).cpu().numpy().transpose(0, 2, 3, 1) * 255.0


def _mel_windows(mel: np.ndarray) -> list[np.ndarray]:
    """One (80, 16) window per video frame.

    The video ends with the first window that would reach beyond the sound.
    """
    windows = []
    while True:
        start = int(len(windows) * MEL_FRAMES_PER_SECOND / FPS)
        if start + MEL_WINDOW > mel.shape[1]:
            return [*windows, mel[:, -MEL_WINDOW:]]
        windows.append(mel[:, start : start + MEL_WINDOW])


def _smoothed(boxes: np.ndarray) -> np.ndarray:
    for i in range(len(boxes)):
        end = i + SMOOTHED
        window = boxes[len(boxes) - SMOOTHED :] if end > len(boxes) else boxes[i:end]
        boxes[i] = np.mean(window, axis=0)
    return boxes


def _batches(
    frames: Sequence[np.ndarray], faces: Sequence[Face], windows: Sequence[np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray, list[np.ndarray], list[tuple[int, int, int, int]]]]:
    """Network inputs (B, 96, 96, 6) and (B, 80, 16, 1), copies of the B frames, and places of their faces."""
    crops, mels, shown, places = [], [], [], []
    for i, window in enumerate(windows):
        index = i % len(frames)
        crop, place = faces[index]
        shown.append(frames[index].copy())
        crops.append(cv2.resize(crop[..., ::-1], (FACE_SIZE, FACE_SIZE)))
        mels.append(window)
        places.append(place)
        if len(crops) == BATCH or i == len(windows) - 1:
            images = np.asarray(crops)
            masked = images.copy()
            masked[:, FACE_SIZE // 2 :] = 0
            images = np.concatenate((masked, images), axis=3) / 255.0
            yield images, np.asarray(mels)[..., None], shown, places
            crops, mels, shown, places = [], [], [], []
