"""The talks of the benchmarks: a talking-head video, looped to any length, with its faces."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from kpbe.backends.synthesize import fit_wave
from kpbe.data.faces import FaceDetector, get_detector
from kpbe.data.landmarks import find_landmarks, get_landmark_finder
from kpbe.data.sample.clip import render_clip
from kpbe.errors import BadClip, MissingWeights
from kpbe.media.audio import AUDIO_RATE, read_audio, write_wav
from kpbe.media.recording import Recording
from kpbe.media.video_writer import write_video
from kpbe.params import SampleParams

FPS = 25.0
Finder = Literal["known", "yunet"]
REAL_CLIPS = Path(__file__).resolve().parents[2] / "shared" / "clips" / "vox2_pcavs"


@dataclass(frozen=True)
class LoopedFrames:
    """`count` frames of a video that starts again at its end.

    Each iteration decodes the video anew, so nothing is kept in memory.
    """

    path: Path
    count: int

    def __iter__(self) -> Iterator[np.ndarray]:
        videos = (Recording(self.path).at_fps(FPS) for _ in itertools.count())
        return itertools.islice(itertools.chain.from_iterable(videos), self.count)

    def __len__(self) -> int:
        return self.count


@dataclass(frozen=True)
class SpokenVideo:
    """A talking-head video of N frames at 25 fps.

    Attributes:
        frames: uint8 RGB (H, W, 3).
        wave: (samples,) speech at 16 kHz, as long as the frames; the content of `wav`.
        wav: the file of the speech.
        boxes: (N, 4) face boxes left, top, right, bottom.
        landmarks: (N, 3, 2) eyes and mouth.
    """

    frames: LoopedFrames
    wave: np.ndarray
    wav: Path
    boxes: np.ndarray
    landmarks: np.ndarray

    @property
    def first(self) -> np.ndarray:
        """The first frame."""
        return next(iter(self.frames))


@dataclass(frozen=True)
class Source:
    """The video that talks are looped from.

    Attributes:
        name: for the report.
        path: the video.
        wave: its sound, 16 kHz.
        boxes: (N, 4), landmarks: (N, 3, 2), of its frames at 25 fps.
        detector: finds faces in it; `known` where no detector's weights are on this machine.
        size: width and height of its frames.
    """

    name: str
    path: Path
    wave: np.ndarray
    boxes: np.ndarray
    landmarks: np.ndarray
    detector: Finder
    size: tuple[int, int]

    def talk(self, frames: int, folder: Path) -> SpokenVideo:
        """The first `frames` frames of the looped video; its sound is written into `folder`."""
        wave = np.resize(fit_wave(self.wave, len(self.boxes), FPS), round(frames * AUDIO_RATE / FPS))
        wav = folder / f"{frames}.wav"
        write_wav(wav, wave)
        boxes, landmarks = (np.resize(x, (frames, *x.shape[1:])) for x in (self.boxes, self.landmarks))
        return SpokenVideo(LoopedFrames(self.path, frames), read_audio(wav), wav, boxes, landmarks)


def load_source(video: Path | None, folder: Path, sample: SampleParams | None = None) -> Source:
    """A talking-head video and its faces.

    Args:
        video: any video with one face in every frame; None takes the first clip of ../shared/clips/vox2_pcavs
            where that folder and YuNet's weights are on this machine, else a clip that the built-in sample's
            renderer makes.
        folder: for the rendered clip.
        sample: of the rendered clip; None renders 4 s at 256x256.

    Raises:
        MissingWeights: `video` is given and YuNet's weights are not on this machine.
        BadClip: the video cannot be read, is mute, or has a frame without a face.
    """
    try:
        detector = get_detector("yunet")
    except MissingWeights:
        if video is not None:
            raise
        detector = None
    if video is None and sample is None and detector is not None:
        video = next(iter(sorted(REAL_CLIPS.glob("*.mp4"))), None)
    if video is None:
        return _rendered(folder, sample or SampleParams(seconds=4.0), "yunet" if detector else "known")
    assert detector is not None
    return _detected(video, detector)


def _rendered(folder: Path, params: SampleParams, detector: Finder) -> Source:
    clip = render_clip(0, 0, params)
    path = folder / "sample.mp4"
    write_video(path, clip.frames, FPS)
    size = (clip.frames.shape[2], clip.frames.shape[1])
    name = "a rendered clip of the built-in sample"
    return Source(name, path, clip.wave, clip.truth.boxes, clip.truth.landmarks, detector, size)


def _detected(video: Path, detector: FaceDetector) -> Source:
    frames = list(Recording(video).at_fps(FPS))
    faces_of_frames = [detector.detect(frame) for frame in frames]
    if missing := [index for index, faces in enumerate(faces_of_frames) if not len(faces)]:
        raise BadClip(f"{video}: no face in frame {missing[0]}; the benchmark needs one in every frame.")
    boxes = np.stack([faces[0, :4] for faces in faces_of_frames])
    finder = get_landmark_finder("yunet")
    assert finder is not None
    landmarks = find_landmarks(frames, finder)
    height, width = frames[0].shape[:2]
    return Source(video.name, video, read_audio(video), boxes, landmarks, "yunet", (width, height))
