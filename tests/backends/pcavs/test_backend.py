"""PC-AVS as a backend: identity, pose, place in the frame, and inputs that it refuses."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import numpy as np
import pytest
import torch

from kpbe.backends.base import SynthesisRequest, speak
from kpbe.backends.pcavs import (
    PCAVS,
    PCAVSNetworks,
    align_frame,
    alignment_matrices,
    mel_windows,
    to_network,
    window_starts,
)
from kpbe.backends.pcavs.settings import PCAVSSettings
from kpbe.errors import BadClip, MissingWeights
from kpbe.media.mel import pcavs_mel

SIDE = 96
POINTS = np.array([[36, 38], [60, 38], [48, 66]], np.float32)


@pytest.fixture(scope="module")
def networks() -> PCAVSNetworks:
    torch.manual_seed(0)
    return PCAVSNetworks(0.0625, 64).eval()


def pcavs(networks: PCAVSNetworks, **changes) -> PCAVS:
    schedule = {"schedule": {"steps": 1, "batch_size": 1}}
    return PCAVS(
        networks,
        PCAVSSettings.model_validate(
            {"sync": schedule, "train": schedule, "batch_size": 4, "landmarks": "known", **changes}
        ),
    )


def noise_frames(count: int, seed: int = 0) -> list[np.ndarray]:
    coarse = np.random.default_rng(seed).integers(0, 255, (count, 12, 12, 3), dtype=np.uint8)
    return list(coarse.repeat(8, 1).repeat(8, 2))


def speech(seconds: float, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * 16000)).astype(np.float32)


def moving(count: int) -> np.ndarray:
    return POINTS + np.arange(count)[:, None, None] * np.array([0.5, -0.25], np.float32)


def request(seconds: float, poses: int, **changes) -> SynthesisRequest:
    values = {
        "landmarks": POINTS[None],
        "pose_frames": noise_frames(poses, seed=2),
        "pose_landmarks": moving(poses),
    } | changes
    return SynthesisRequest("talk.mp4", noise_frames(1), speech(seconds), **values)


def made(backend: PCAVS, asked: SynthesisRequest) -> np.ndarray:
    return np.stack(list(speak(backend, asked))).astype(int)


def test_the_picture_is_that_of_the_networks_at_the_pose_frames_place(networks):
    asked = request(0.4, poses=10)
    frames = made(pcavs(networks, feather=0, mouth_gain=1.2), asked)
    matrices = alignment_matrices(moving(10))
    source = align_frame(noise_frames(1)[0], alignment_matrices(POINTS[None])[0], 64)
    windows = mel_windows(pcavs_mel(asked.wave), window_starts(10))
    with torch.inference_mode():
        identity = networks.encode_identity(to_network([source]))
        for i in (0, 5, 9):
            pose_image = align_frame(noise_frames(10, seed=2)[i], matrices[i], 64)
            pose = networks.encode_pose(to_network([pose_image]))
            mouth = networks.encode_mouth_from_audio(windows[i : i + 1])
            image = networks.render(identity, mouth, pose, mouth_gain=1.2)[0].add(1).mul(127.5)
            expected = image.round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
            back = align_frame(frames[i].astype(np.uint8), matrices[i], 64)
            middle = (slice(16, 48), slice(16, 48))
            # warping into the frame and back blurs
            assert np.abs(back[middle].astype(int) - expected[middle]).mean() < 12


def test_around_the_face_there_is_the_source_frame(networks):
    small = (POINTS - 48) / 2.5 + 48
    asked = request(0.2, poses=5, landmarks=small[None], pose_landmarks=np.repeat(small[None], 5, 0))
    frames = made(pcavs(networks), asked)
    source = noise_frames(1)[0]
    assert (frames[:, :8] == source[:8]).all() and (frames[:, :, -8:] == source[:, -8:]).all()
    assert (frames[:, 40:56, 40:56] != source[40:56, 40:56]).any()


def test_a_short_pose_video_goes_forward_and_backward(networks):
    silent = np.zeros(16000 * 12 // 25, np.float32)
    asked = SynthesisRequest(
        "talk.mp4", noise_frames(1), silent, landmarks=POINTS[None], pose_frames=noise_frames(3, seed=2),
        pose_landmarks=moving(3),
    )  # fmt: skip
    frames = made(pcavs(networks), asked)
    for i, j in zip(range(12), (0, 1, 2, 2, 1, 0, 0, 1, 2, 2, 1, 0), strict=True):
        assert np.abs(frames[i] - frames[j]).max() <= 1
    assert np.abs(frames[0] - frames[2]).max() > 1


def test_without_a_pose_video_the_source_keeps_its_pose(networks):
    asked = request(0.4, poses=1, pose_frames=None, pose_landmarks=None)
    own = request(0.4, poses=1, pose_frames=noise_frames(1), pose_landmarks=POINTS[None])
    np.testing.assert_array_equal(made(pcavs(networks), asked), made(pcavs(networks), own))


def test_the_mouth_follows_the_sound_and_its_gain(networks):
    still = {"pose_frames": noise_frames(1, seed=2), "pose_landmarks": POINTS[None]}
    frames = made(pcavs(networks), request(1.0, poses=1, **still))
    assert (frames[3] != frames[15]).any()
    louder = made(pcavs(networks, mouth_gain=3.0), request(1.0, poses=1, **still))
    assert (frames != louder).any()


def test_batches_do_not_change_the_video(networks):
    one, many = (made(pcavs(networks, batch_size=size), request(0.5, poses=12)) for size in (1, 12))
    assert np.abs(one - many).max() <= 1


def test_identities_of_several_source_frames_are_averaged(networks):
    asked = request(0.2, poses=5)
    several = SynthesisRequest(
        "talk.mp4", noise_frames(3), asked.wave, landmarks=np.repeat(POINTS[None], 3, 0),
        pose_frames=asked.pose_frames, pose_landmarks=asked.pose_landmarks,
    )  # fmt: skip
    assert (made(pcavs(networks, identity_frames=3), several) != made(pcavs(networks), asked)).any()


@pytest.mark.parametrize("known", [True, False], ids=["with landmarks", "found landmarks"])
def test_the_source_image_among_several_frames_gives_identity_and_background(networks, known, monkeypatch):
    frames, places = noise_frames(4, seed=3), moving(4) + np.arange(4)[:, None, None] ** 2
    backend = pcavs(networks)
    if not known:
        by_picture = {frame.tobytes(): place for frame, place in zip(frames, places, strict=True)}
        backend._finder = lambda frame: by_picture[frame.tobytes()]  # type: ignore[assignment]
        monkeypatch.setattr(
            "kpbe.backends.pcavs.backend.find_landmarks",
            lambda shown, find: np.stack([find(frame) for frame in shown]),
        )
    poses = {"pose_frames": noise_frames(5, seed=2), "pose_landmarks": moving(5)}
    several = SynthesisRequest(
        "talk.mp4", frames, speech(0.2), landmarks=places if known else None, source_frame=2, **poses
    )
    prepared = backend.prepare(several)
    np.testing.assert_array_equal(prepared.background, frames[2])
    matrices = alignment_matrices(places if known else places[2:3])
    own = align_frame(frames[2], matrices[2 if known else 0], 64)
    assert torch.equal(prepared.identity_images, to_network([own]))
    first = backend.prepare(replace(several, source_frame=0))
    np.testing.assert_array_equal(first.background, frames[0])


def test_pose_frames_are_read_as_they_are_needed(networks):
    read = 0

    class Poses:
        def __iter__(self):
            nonlocal read
            for frame in noise_frames(100, seed=2):
                read += 1
                yield frame

    frames = speak(pcavs(networks), request(4.0, poses=100, pose_frames=Poses()))
    assert isinstance(frames, Generator)
    next(frames)
    frames.close()
    assert read < 30


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"landmarks": np.full((1, 3, 2), np.nan)}, "no face was found"),
        ({"pose_landmarks": np.full((5, 3, 2), np.nan)}, "no face was found"),
        ({"landmarks": None}, "set landmarks of this PC-AVS backend"),
        ({"pose_landmarks": moving(9)}, "more frames than its pose video"),
    ],
)
def test_clips_without_a_face_are_rejected(networks, changes, says):
    with pytest.raises(BadClip, match=f"talk.mp4.*{says}"):
        made(pcavs(networks), request(0.4, poses=5, **changes))


def test_no_checkpoint_is_one_sentence():
    schedule = {"schedule": {"steps": 1, "batch_size": 1}}
    settings = PCAVSSettings.model_validate({"sync": schedule, "train": schedule})
    with pytest.raises(MissingWeights, match="needs a checkpoint"):
        PCAVS.from_checkpoint(None, settings)
