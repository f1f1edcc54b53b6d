"""Head pose teachers: Hopenet gives the reference's numbers; all use the frontend's definition of angles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from kpbe.checkpoints import catalogue
from kpbe.data.crops import increase_to_square, shift_inside, union
from kpbe.data.faces import YuNet
from kpbe.data.head_pose.labels import euler_degrees
from kpbe.data.head_pose.teachers.base import PoseTeacher
from kpbe.data.head_pose.teachers.hopenet import Hopenet, HopenetTeacher, load_hopenet, to_input_size
from kpbe.data.head_pose.teachers.onnx_networks import central
from kpbe.data.head_pose.teachers.registry import first_available, get_teacher
from kpbe.data.sample import write_sample
from kpbe.errors import BadCheckpoint, MissingWeights
from kpbe.media.recording import Recording
from kpbe.params import ComputeParams, SampleParams

CPU = ComputeParams(device="cpu")
DEGREES = 2e-3
REAL = (
    "styletalk/source_video_video_andrew_clip_1.mp4",
    "styletalk/source_video_video_reagan_clip1.mp4",
    "lrwar/12389.mp4",
    "lrwar/05897.mp4",
    "lrwar/13954.mp4",
    "lrwar/15782.mp4",
)


# -- Hopenet -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hopenet_file(golden, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fixtures' weights in the published layout: a pickle, not torch's zip format, with `fc_finetune`."""
    filled = golden.load_filled("hopenet", golden.shapes("hopenet"))
    state = {name: torch.from_numpy(np.array(array)) for name, array in filled.items()}
    path = tmp_path_factory.mktemp("weights") / catalogue.CATALOGUE["hopenet"].file
    torch.save(state, path, _use_new_zipfile_serialization=False)
    return path


@pytest.fixture(scope="module")
def hopenet(hopenet_file) -> Hopenet:
    return load_hopenet(hopenet_file)


@pytest.mark.slow
@torch.inference_mode()
def test_hopenet_gives_the_references_numbers(golden, hopenet):
    fixture = golden("osfv_discriminator_hopenet")
    label = str(fixture["input_label"])
    chw = golden.fill.image_chw
    faces = torch.from_numpy(np.stack([chw(f"osfv/hopenet{i}/{label}", 224, 224) for i in range(2)]))
    names = ("yaw", "pitch", "roll")
    degrees = hopenet.degrees(faces)
    for i, (name, logits) in enumerate(zip(names, hopenet(faces), strict=True)):
        golden.compare(fixture, f"hopenet_{name}", logits, DEGREES)
        golden.compare(fixture, f"hopenet_deg_{name}", degrees[:, i], DEGREES)

    frames = torch.from_numpy(
        np.stack([chw(f"osfv/{name}/{label}", 256, 256) for name in ("source", "driving")])
    )
    for antialias in (False, True):
        golden.compare(fixture, f"resize224_antialias_{antialias:d}", to_input_size(frames, antialias), 1e-5)
        degrees = hopenet.degrees(frames, antialias)
        for i, name in enumerate(names):
            key = f"hopenet_from256_antialias_{antialias:d}_deg_{name}"
            golden.compare(fixture, key, degrees[:, i], DEGREES)


@pytest.mark.slow
def test_hopenet_as_a_teacher_turns_the_pitch_round_and_does_not_depend_on_the_batch(hopenet_file, hopenet):
    frames = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    device = torch.device("cpu")
    angles = HopenetTeacher(hopenet_file, device, batch=2).estimate(frames)
    assert angles.shape == (3, 3) and angles.dtype == np.float32
    images = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        published = hopenet.degrees(images).numpy()
    assert np.allclose(angles, published * [1, -1, 1], atol=1e-3)
    assert np.allclose(HopenetTeacher(hopenet_file, device, batch=3).estimate(frames), angles, atol=1e-3)


def test_hopenet_refuses_other_networks(tmp_path):
    path = tmp_path / "hopenet_robust_alpha1.pkl"
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, path)
    with pytest.raises(
        BadCheckpoint, match=r"hopenet_robust_alpha1\.pkl is not a Hopenet network: it lacks bn1\.weight"
    ):
        load_hopenet(path)


# -- which one, and their files ----------------------------------------------------------------------------


def test_the_first_teacher_with_all_its_files_is_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KPBE_WEIGHTS", str(tmp_path))
    assert first_available() is None
    (tmp_path / catalogue.CATALOGUE["fsanet_1x1"].file).touch()
    assert first_available() is None, "FSA-Net is two files"
    for name, expected in (("whenet", "whenet"), ("fsanet_var", "fsanet"), ("hopenet", "hopenet")):
        (tmp_path / catalogue.CATALOGUE[name].file).touch()
        assert first_available() == expected


def test_a_missing_and_a_damaged_file_are_one_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KPBE_WEIGHTS", str(tmp_path))
    with pytest.raises(MissingWeights, match=r"WHENet\.onnx .* is missing: get it from"):
        get_teacher("whenet", CPU)
    (tmp_path / "WHENet.onnx").write_bytes(b"cut off")
    with pytest.raises(BadCheckpoint, match=r"WHENet\.onnx cannot be loaded as an ONNX network") as error:
        get_teacher("whenet", CPU)
    assert "\n" not in str(error.value)


def test_the_middle_of_a_picture():
    picture = np.arange(10 * 10 * 3).reshape(10, 10, 3)
    assert np.array_equal(central(picture, 0.8), picture[1:9, 1:9])
    assert central(picture, 1.0).shape == picture.shape


# -- what their angles mean --------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["whenet", "fsanet"])
def teacher(request, shared_weights, tmp_path_factory) -> PoseTeacher:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KPBE_WEIGHTS", str(shared_weights))
        return get_teacher(request.param, CPU)


@pytest.fixture(scope="module")
def drawn_heads(tmp_path_factory) -> tuple[np.ndarray, np.ndarray]:
    """Head crops of the built-in sample (frames, 128, 128, 3) and their true angles (frames, 3)."""
    folder = tmp_path_factory.mktemp("sample")
    sample = SampleParams(
        train_identities=3, test_identities=1, clips_per_identity=1, seconds=1.2, frame_size=128
    )
    pictures, angles = [], []
    for video in write_sample(sample, folder):
        frames = Recording(video.path).frames()
        assert video.boxes is not None
        box = increase_to_square(union(np.load(video.boxes)), 0.1)
        left, top, right, bottom = shift_inside(box, 128, 128)
        chosen = slice(0, len(frames), 4)
        pictures.append(to_side(frames[chosen, top:bottom, left:right]))
        with np.load(video.path.with_suffix(".truth.npz")) as truth:
            angles.append(euler_degrees(truth["rotation"][chosen]))
    return np.concatenate(pictures), np.concatenate(angles)


def to_side(frames: np.ndarray, side: int = 128) -> np.ndarray:
    import cv2

    return np.stack([cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA) for frame in frames])


@pytest.mark.slow
def test_all_three_angles_follow_the_true_ones_of_drawn_heads(teacher, drawn_heads):
    """A swapped axis or a wrong sign would give a slope far from 1."""
    pictures, true = drawn_heads
    angles = teacher.estimate(pictures)
    for i, name in enumerate(("yaw", "pitch", "roll")):
        slope = np.polyfit(true[:, i], angles[:, i], 1)[0]
        assert 0.6 < slope < 1.5, name
        assert np.corrcoef(true[:, i], angles[:, i])[0, 1] > 0.7, name


@pytest.fixture(scope="module")
def real_faces(shared_clips) -> np.ndarray:
    """A few frames of real talking heads, (frames, 256, 256, 3)."""
    frames = []
    for path in REAL:
        video = Recording(shared_clips / path)
        frames += [to_side(video.at([0, len(video) // 2]), 256)]
    return np.concatenate(frames)


def test_mirrored_faces_have_the_opposite_yaw_and_roll_and_the_same_pitch(teacher, real_faces):
    angles, mirrored = teacher.estimate(real_faces), teacher.estimate(real_faces[:, :, ::-1])
    assert np.abs(angles).max() > 10, "one of the heads is turned"
    difference = np.abs(angles - mirrored * [-1, 1, -1])
    assert (difference.mean(0) < 4).all()


def test_roll_follows_the_line_through_the_eyes_and_yaw_the_nose(teacher, real_faces, shared_weights):
    finder = YuNet(shared_weights / catalogue.CATALOGUE["yunet"].file)
    points = np.stack([finder.detect_with_landmarks(face)[1][0] for face in real_faces])
    angles = teacher.estimate(real_faces)
    eyes = points[:, 1] - points[:, 0]
    frontal = np.abs(angles[:, 0]) < 15
    line = np.degrees(np.arctan2(eyes[:, 1], eyes[:, 0]))
    assert np.abs(angles[frontal, 2] - line[frontal]).mean() < 5
    nose = points[:, 2, 0] - points[:, [0, 1, 3, 4], 0].mean(1)
    assert np.corrcoef(angles[:, 0], nose / eyes[:, 0])[0, 1] < -0.7, "a head with positive yaw looks left"
