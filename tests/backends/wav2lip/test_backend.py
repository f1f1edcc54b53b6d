"""Wav2Lip as a user meets it: frames and speech in, frames out."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch

from kpbe.backends.base import SynthesisRequest, speak
from kpbe.backends.wav2lip import Wav2Lip, Wav2LipGenerator
from kpbe.backends.wav2lip import backend as backend_module
from kpbe.backends.wav2lip.checkpoints import save_generator
from kpbe.backends.wav2lip.settings import Wav2LipSettings
from kpbe.errors import BadClip, ParamsError

BOX = np.array([[30, 20, 100, 104]], np.float32)


@pytest.fixture(scope="module")
def generator():
    """A narrow generator whose batch statistics make different mouths look different."""
    torch.manual_seed(3)
    generator = Wav2LipGenerator(0.125)
    with torch.no_grad():
        for _ in range(20):
            generator(4 * torch.randn(8, 1, 80, 16), torch.rand(8, 6, 96, 96))
    return generator.eval()


def wav2lip(generator, **params):
    schedule = {"schedule": {"steps": 1, "batch_size": 1}}
    settings = {"sync_expert": schedule, "train": schedule, **params}
    return Wav2Lip(generator, Wav2LipSettings.model_validate(settings))


def noise_frames(count, seed=0):
    return list(np.random.default_rng(seed).integers(0, 255, (count, 128, 128, 3), dtype=np.uint8))


def synthesise(backend, request):
    """(frames, H, W, 3) as signed integers."""
    return np.array(list(speak(backend, request)), np.int64)


def speech(seconds, seed=1):
    return np.random.default_rng(seed).normal(0, 0.1, (round(seconds * 16000),)).astype(np.float32)


def request(frames, seconds, boxes=None, **fields):
    boxes = BOX.repeat(len(frames), 0) if boxes is None else boxes
    return SynthesisRequest("talk.mp4", frames, speech(seconds), boxes=boxes, **fields)


def test_a_still_image_speaks_as_a_video_of_that_image_does(generator):
    (frame,) = noise_frames(1)
    still = synthesise(wav2lip(generator), request([frame], 1.0))
    video = synthesise(wav2lip(generator), request([frame] * 25, 1.0))
    difference = np.abs(still - video)
    assert (
        difference.max() <= 1
    )  # another batch size rounds the last bit differently, and pixels are cut off to integers
    assert (difference > 0).mean() < 1e-3


@pytest.mark.parametrize("seconds", [0.03, 0.1, 0.2, 0.337, 1.01, 2.02])
@pytest.mark.parametrize("frames", [1, 7])
def test_output_is_as_long_as_the_audio(generator, frames, seconds):
    made = list(speak(wav2lip(generator, batch_size=16), request(noise_frames(frames), seconds)))
    assert len(made) == round(25 * seconds)


def test_a_feathered_paste_is_asked_for_and_leaves_the_mouth(generator):
    (frame,) = noise_frames(1)
    plain, feathered = (
        synthesise(wav2lip(generator, pads=(0, 0, 0, 0), paste=paste), request([frame], 0.2))
        for paste in ("plain", "feathered")
    )
    inside = (slice(None), slice(60, 90), slice(45, 85))
    assert np.array_equal(plain[inside], feathered[inside])
    edge = (slice(None), 20, slice(30, 100))
    assert (
        np.abs(feathered[edge] - frame[20, 30:100]).mean()
        < 0.1 * np.abs(plain[edge] - frame[20, 30:100]).mean()
    )
    settings = wav2lip(generator).settings
    assert Wav2Lip.made_from(settings, "") != Wav2Lip.made_from(
        settings.model_copy(update={"paste": "feathered"}), ""
    )


def test_a_mouth_gain_moves_the_mouth_further_from_where_it_rests(tmp_path):
    torch.manual_seed(5)
    residual = Wav2LipGenerator(0.125, residual=True).eval()
    (frame,) = noise_frames(1)
    asked = request([frame], 1.0)
    quiet, plain, loud = (synthesise(wav2lip(residual, mouth_gain=gain), asked) for gain in (0.01, 1, 8))
    moved = [np.abs(made - quiet).mean() for made in (plain, loud)]
    assert 0 < moved[0] < moved[1]
    settings = wav2lip(residual, mouth_gain=2).settings
    assert Wav2Lip.made_from(settings, "") != Wav2Lip.made_from(wav2lip(residual).settings, "")
    save_generator(tmp_path / "published.safetensors", Wav2LipGenerator(0.125))
    with pytest.raises(
        ParamsError, match=r"published\.safetensors is the published network.*mouth_gain to 1"
    ):
        Wav2Lip.from_checkpoint(tmp_path / "published.safetensors", settings)


def test_only_the_padded_face_box_changes_and_the_mouth_moves(generator):
    (frame,) = noise_frames(1)
    made = np.stack(list(speak(wav2lip(generator, pads=(0, 10, 0, 0)), request([frame], 1.0))))
    assert made.dtype == np.uint8
    outside = np.ones(frame.shape[:2], bool)
    outside[20:114, 30:100] = False
    assert (made[:, outside] == frame[outside]).all()
    assert (made[0] != made[12]).any()


def test_a_video_shorter_than_the_audio_starts_again(generator):
    frames = noise_frames(4)
    made = list(speak(wav2lip(generator, batch_size=3), request(frames, 0.4)))
    for i, frame in enumerate(made):
        np.testing.assert_array_equal(frame[:20], frames[i % 4][:20])


def test_batch_size_does_not_change_the_video(generator):
    frames = noise_frames(10)
    one = synthesise(wav2lip(generator, batch_size=1), request(frames, 0.4))
    many = synthesise(wav2lip(generator, batch_size=10), request(frames, 0.4))
    assert np.abs(one - many).max() <= 1


def test_frames_are_read_as_they_are_needed(generator):
    read = 0

    class Source:
        def __iter__(self):
            nonlocal read
            for frame in noise_frames(50):
                read += 1
                yield frame

    made = speak(wav2lip(generator, batch_size=4), request(Source(), 2.0, boxes=BOX.repeat(50, 0)))
    list(islice(made, 4))
    assert read <= 4 + 2 * 4  # a batch made, a batch read ahead, and a few in hand


def test_faces_are_found_where_no_boxes_are_given(generator, monkeypatch):
    class Detector:
        def detect(self, frame):
            return np.array([[*BOX[0], 0.9], [0, 0, 10, 10, 0.7]])

    monkeypatch.setattr(backend_module, "get_detector", lambda kind, device: Detector())
    frames = noise_frames(5)
    given = list(speak(wav2lip(generator), request(frames, 0.2)))
    blank = SynthesisRequest("talk.mp4", frames, speech(0.2))
    found = list(speak(wav2lip(generator, detector="yunet"), blank))
    np.testing.assert_array_equal(given, found)


@pytest.mark.parametrize(
    ("boxes", "says"),
    [
        (np.array([*BOX, *BOX, [np.nan] * 4]), "no face in frame 2"),
        (np.array([*BOX, [0, 0, 0, 0], *BOX]), "no face in frame 1"),
        (BOX.repeat(3, 0) + 500, "lies outside the picture"),
        (BOX.repeat(5, 0), "5 face boxes"),
    ],
)
def test_frames_without_a_usable_face_reject_the_clip(generator, boxes, says):
    with pytest.raises(BadClip, match=says):
        list(speak(wav2lip(generator, smooth_boxes=False), request(noise_frames(3), 0.4, boxes=boxes)))


def test_a_frame_in_which_the_detector_finds_nothing_is_named(generator, monkeypatch):
    class Detector:
        def detect(self, frame):
            return np.empty((0, 5))

    monkeypatch.setattr(backend_module, "get_detector", lambda kind, device: Detector())
    blank = SynthesisRequest("talk.mp4", noise_frames(2), speech(0.2))
    with pytest.raises(BadClip, match="no face in frame 0"):
        list(speak(wav2lip(generator, detector="sfd"), blank))


class Missing:
    """A detector that finds a face, moving to the right, in some frames."""

    def __init__(self, found: str) -> None:
        self.found, self.frame = found, -1

    def detect(self, frame: np.ndarray) -> np.ndarray:
        self.frame += 1
        box = [*(BOX[0] + [2 * self.frame, 0, 2 * self.frame, 0]), 1.0]
        return np.array([box]) if self.found[self.frame] == "x" else np.empty((0, 5))


def test_what_the_cascade_misses_lies_between_the_neighbouring_frames(generator, monkeypatch):
    blank = SynthesisRequest("talk.mp4", noise_frames(5), speech(0.2))
    spoken = {}
    for found in ("xxxxx", "x.xx."):
        monkeypatch.setattr(backend_module, "get_detector", lambda kind, device, found=found: Missing(found))
        backend = wav2lip(generator, detector="cascade", smooth_boxes=False)
        spoken[found] = backend.prepare(blank).rectangles
    np.testing.assert_array_equal(spoken["xxxxx"][:4], spoken["x.xx."][:4])
    np.testing.assert_array_equal(spoken["x.xx."][4], spoken["x.xx."][3])

    monkeypatch.setattr(backend_module, "get_detector", lambda kind, device: Missing("x...x"))
    with pytest.raises(BadClip, match=r"finds a face in 2 of 5 frames: `kpbe weights get yunet`"):
        wav2lip(generator, detector="cascade").prepare(blank)
    monkeypatch.setattr(backend_module, "get_detector", lambda kind, device: Missing("xx.xx"))
    with pytest.raises(BadClip, match="no face in frame 2"):
        wav2lip(generator, detector="yunet").prepare(blank)


def test_unknown_boxes_say_which_setting_finds_them(generator):
    with pytest.raises(BadClip, match=r"backend\.wav2lip\.detector"):
        list(speak(wav2lip(generator), SynthesisRequest("talk.mp4", noise_frames(2), speech(0.2))))


def test_nothing_to_show_or_to_say_rejects_the_clip(generator):
    with pytest.raises(BadClip, match="no source frame"):
        list(speak(wav2lip(generator), request([], 0.2, boxes=BOX)))
    with pytest.raises(BadClip, match="shorter than one video frame"):
        list(speak(wav2lip(generator), request(noise_frames(1), 0.01)))
