"""Every backend: enough frames to cover the sound, the first at time zero, and the exact sound."""

from __future__ import annotations

import wave as wave_files
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kpbe.backends.base import SynthesisRequest, speak
from kpbe.backends.pcavs import PCAVS, PCAVSNetworks
from kpbe.backends.pcavs.settings import PCAVSSettings
from kpbe.backends.speech_video import request_of_files, write_speech_video
from kpbe.backends.wav2lip import Wav2Lip, Wav2LipGenerator
from kpbe.backends.wav2lip.settings import Wav2LipSettings
from kpbe.media.audio import AUDIO_RATE
from kpbe.media.recording import Recording
from kpbe.media.video_writer import write_video

SIDE = 64
SCHEDULE = {"schedule": {"steps": 1, "batch_size": 1}}
EYES_AND_MOUTH = np.array([[24, 26], [40, 26], [32, 44]], np.float32)
KINDS = ("wav2lip", "pcavs")


class Box:
    """A detector that finds the face at its place in all frames of these tests."""

    def detect(self, frame):
        return np.array([[12, 12, 52, 56, 0.9]])

    def find(self, frame):
        return EYES_AND_MOUTH


@pytest.fixture(scope="module")
def backends():
    torch.manual_seed(0)
    wav2lip = Wav2Lip(
        Wav2LipGenerator(0.125).eval(),
        Wav2LipSettings.model_validate({"sync_expert": SCHEDULE, "train": SCHEDULE, "feed": "video"}),
    )
    wav2lip.__dict__["_detector"] = Box()
    pcavs = PCAVS(
        PCAVSNetworks(0.0625, 64).eval(),
        PCAVSSettings.model_validate({"sync": SCHEDULE, "train": SCHEDULE, "batch_size": 16}),
    )
    pcavs.__dict__["_finder"] = Box()
    return {"wav2lip": wav2lip, "pcavs": pcavs}


@pytest.fixture(scope="module")
def face_video(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("face") / "face.mp4"
    rng = np.random.default_rng(0)
    write_video(path, list(rng.integers(0, 255, (9, SIDE, SIDE, 3), dtype=np.uint8)), 25.0)
    return path


def write_pcm(path: Path, samples: np.ndarray, rate: int) -> None:
    """16-bit PCM, (n, channels)."""
    with wave_files.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())


def sound_of(path: Path) -> tuple[np.ndarray, int, float | None]:
    """Samples (n, channels) as they are stored, their rate, and the time of the first one."""
    with av.open(str(path)) as container:
        track = container.streams.audio[0]
        frames = list(container.decode(track))
        samples = np.concatenate(
            [frame.to_ndarray().reshape(-1, track.layout.nb_channels) for frame in frames]
        )
        return samples, track.rate, frames[0].time


def first_picture_time(path: Path) -> float | None:
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        return frame.time


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    samples=st.integers(AUDIO_RATE // 5, 4 * AUDIO_RATE),
    fps=st.sampled_from([25.0, 30.0, 23.976]),
    sources=st.integers(1, 12),
)
def test_frames_cover_the_sound_whatever_its_length(backends, kind, samples, fps, sources):
    rng = np.random.default_rng(samples)
    frames = list(rng.integers(0, 255, (sources, SIDE, SIDE, 3), dtype=np.uint8))
    wave = rng.normal(0, 0.1, samples).astype(np.float32)
    made = list(speak(backends[kind], SynthesisRequest("talk.mp4", frames, wave, fps)))
    assert len(made) == round(fps * samples / AUDIO_RATE)
    assert {frame.shape for frame in made} == {(SIDE, SIDE, 3)} and made[0].dtype == np.uint8


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seconds", [0.2, 30.0])
def test_the_shortest_and_a_long_sound(backends, kind, seconds):
    frames = [np.full((SIDE, SIDE, 3), 120, np.uint8)]
    wave = np.random.default_rng(1).normal(0, 0.1, (round(seconds * AUDIO_RATE),)).astype(np.float32)
    made = sum(1 for _ in speak(backends[kind], SynthesisRequest("talk.mp4", frames, wave)))
    assert made == round(25 * seconds)


@pytest.mark.parametrize("kind", KINDS)
def test_silence_gives_finite_still_pictures(backends, kind):
    frame = np.random.default_rng(2).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
    asked = SynthesisRequest("talk.mp4", [frame], np.zeros(AUDIO_RATE, np.float32))
    made = np.array(list(speak(backends[kind], asked)), int)
    assert len(made) == 25
    # 1: the last bit of a sum depends on the batch
    assert np.abs(made - made[:1]).max() <= 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("rate", "channels", "seconds"), [(44100, 2, 1.234), (48000, 2, 0.7), (16000, 1, 2.01), (22050, 1, 0.333)]
)
def test_the_sound_is_copied_bit_for_bit_and_begins_with_the_pictures(
    backends, face_video, tmp_path, kind, rate, channels, seconds
):
    rng = np.random.default_rng(3)
    pcm = rng.integers(-20000, 20000, (round(seconds * rate), channels))
    write_pcm(tmp_path / "speech.wav", pcm, rate)
    request = request_of_files(face_video, tmp_path / "speech.wav")
    write_speech_video(tmp_path / "out.mkv", backends[kind], request, tmp_path / "speech.wav")
    info = Recording(tmp_path / "out.mkv").info
    assert info.frames == round(25 * len(pcm) / rate) and info.fps == 25
    samples, out_rate, begins = sound_of(tmp_path / "out.mkv")
    assert (out_rate, begins) == (rate, 0) and first_picture_time(tmp_path / "out.mkv") == 0
    np.testing.assert_array_equal(samples, pcm)
