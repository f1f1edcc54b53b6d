"""Scores of whole clips, measured with a face reader that reads numbers written into the pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kpbe.errors import BadClip
from kpbe.evaluation import networks, scoring
from kpbe.evaluation.mouth_boxes import MouthBoxes
from kpbe.evaluation.networks import Networks
from kpbe.evaluation.score_files import score_files, scores_in_words
from kpbe.evaluation.scoring import StillFrames, VideoScores, score_videos
from kpbe.media.video_writer import write_video
from kpbe.metrics.face_landmarks import LOWER_INNER_LIP, POINTS, UPPER_INNER_LIP, FaceLandmarks
from kpbe.metrics.lip_sync import LipSyncError
from kpbe.params import ComputeParams

SIDE, FRAMES = 64, 20
NOTHING = Networks(ComputeParams(device="cpu"), {}, {}, None, None, "")
FACES = replace(NOTHING, used={"faces": "numbers in the pictures"})


class Video:
    """Frames whose first three pixels hold the mouth's opening, the head's turn and its shift."""

    def __init__(self, openings: np.ndarray, turns: np.ndarray, shifts: np.ndarray) -> None:
        self.frames = np.full((FRAMES, SIDE, SIDE, 3), 90, np.uint8)
        self.frames += (np.arange(SIDE) % 7 * 9).astype(np.uint8)[None, None, :, None]
        for place, values in enumerate((openings, turns, shifts)):
            self.frames[:, 0, place] = np.rint(values).astype(np.uint8)[:, None]
        self.looks = 0

    def at(self, indices) -> np.ndarray:
        return self.frames[list(indices)]


class NumberReader:
    """Stands in for the FaceLandmarker; a frame whose opening is 255 shows no face."""

    def __init__(self) -> None:
        self.looks = 0

    def read(self, frame: np.ndarray) -> FaceLandmarks | None:
        self.looks += 1
        opening, turn, shift = (int(frame[0, place, 0]) for place in range(3))
        if opening == 255:
            return None
        points = np.zeros((POINTS, 3), np.float32)
        points[:, :2] = np.random.default_rng(0).uniform(20, 44, (POINTS, 2))
        points[[33, 263], :2] = [(24, 28), (40, 28)]
        points[UPPER_INNER_LIP, :2], points[LOWER_INNER_LIP, :2] = (32, 38), (32, 38 + opening / 50)
        points[:, 0] += shift / 10
        angle = np.deg2rad(turn / 4)
        pose = np.eye(4)
        pose[[0, 0, 2, 2], [0, 2, 0, 2]] = np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle)
        return FaceLandmarks(points, {}, pose)


@pytest.fixture(autouse=True)
def reader(monkeypatch: pytest.MonkeyPatch) -> NumberReader:
    reader = NumberReader()
    monkeypatch.setattr(networks, "face_landmarker", lambda: reader)
    return reader


TIME = np.arange(FRAMES)
SPEECH = 100 + 80 * np.sin(TIME)
OTHER_SPEECH = 100 + 80 * np.cos(TIME)
TURN = 100 + 4 * TIME
SHIFT = 60 + 5 * np.abs(10 - TIME)
TRUTH = Video(SPEECH, TURN, SHIFT)


def scored(methods: dict, **options) -> dict[str, VideoScores]:
    options = {"measured": FACES, "source": TRUTH.frames[0]} | options
    return score_videos(TRUTH, methods, options.pop("indices", list(range(1, FRAMES))), **options)


def test_opening_is_compared_with_the_truth_and_with_the_backends_own_mouth() -> None:
    backend = Video(OTHER_SPEECH, np.full(FRAMES, 100), np.full(FRAMES, 60))
    follows_backend = Video(OTHER_SPEECH, TURN, SHIFT)
    follows_truth = Video(SPEECH, TURN, SHIFT)
    methods = {"b": backend, "b+kpbe": follows_backend, "b+kpbe+real_expression": follows_truth}
    found = scored(methods, followed={"b+kpbe": "b", "b+kpbe+real_expression": "b"})
    assert found["b+kpbe"].clip["opening_r_backend"] == pytest.approx(1)
    assert abs(found["b+kpbe"].clip["opening_r"]) < 0.3
    assert found["b+kpbe+real_expression"].clip["opening_r"] == pytest.approx(1)
    assert abs(found["b+kpbe+real_expression"].clip["opening_r_backend"]) < 0.3
    assert "opening_r_backend" not in found["b"].clip


def test_the_share_of_the_way_counts_from_the_source() -> None:
    half = Video(SPEECH, 100 + 2 * TIME, 110 + (SHIFT - 110) / 2)
    found = scored({"whole": Video(SPEECH, TURN, SHIFT), "half": half, "still": StillFrames(TRUTH.frames[0])})
    assert found["whole"].clip["turn"] == pytest.approx(1) and found["whole"].clip["across"] == pytest.approx(
        1
    )
    assert found["half"].clip["turn"] == pytest.approx(0.5, abs=0.02)
    assert found["half"].clip["across"] == pytest.approx(0.5, abs=0.05)
    assert found["still"].clip["turn"] == found["still"].clip["across"] == 0
    assert "down" not in found["whole"].clip, "the driving head does not move down"
    assert found["still"].clip["opening_r"] == 0, "a mouth that does not move follows nothing"
    assert "turn" not in scored({"whole": TRUTH}, source=None)["whole"].clip


def test_sharpness_and_jitter_are_shares_of_the_truths() -> None:
    soft = Video(SPEECH, TURN, SHIFT)
    soft.frames = np.rint(90 + (soft.frames.astype(float) - 90) / 2).astype(np.uint8)
    soft.frames[:, 0, :3] = TRUTH.frames[:, 0, :3]
    trembling = Video(SPEECH, TURN, SHIFT + 30 * (TIME % 2))
    found = scored({"soft": soft, "trembling": trembling, "same": TRUTH})
    assert found["same"].clip["sharpness"] == found["same"].clip["jitter"] == 1
    assert found["soft"].clip["sharpness"] < 0.6 and found["soft"].clip["jitter"] == pytest.approx(1)
    assert found["trembling"].clip["jitter"] > 3


def test_jitter_does_not_count_the_gap_that_the_source_frame_leaves() -> None:
    """A head that moves evenly has no jitter, whichever frame is left out."""
    even = Video(SPEECH, TURN, 5 * TIME)
    even.frames[:, 0, 0] = 100
    indices = [index for index in range(FRAMES) if index != 10]
    run = score_videos(even, {"same": even}, indices, FACES)["same"]
    assert run.clip.get("jitter", 1.0) == 1.0
    from kpbe.evaluation.scoring import _Run  # pyright: ignore[reportPrivateUsage]

    alone = _Run(even, FACES)
    alone.read(indices, set(indices))
    assert alone.jitter(20.0) == pytest.approx(0, abs=1e-5)


def test_the_face_networks_look_at_every_nth_frame_and_once_at_a_still(reader: NumberReader) -> None:
    scored({"moving": TRUTH, "still": StillFrames(TRUTH.frames[0])}, face_every=3)
    looked = len(range(1, FRAMES, 3))
    assert reader.looks == looked + looked + 1 + 1, "truth, moving, still, source"


def test_frames_without_a_face_are_left_out() -> None:
    lost = Video(np.where(TIME < 4, 255, SPEECH), TURN, SHIFT)
    found = scored({"lost": lost, "same": TRUTH})
    assert found["lost"].clip["opening_r"] == pytest.approx(1)
    assert (
        found["lost"].clip["face_found"] == pytest.approx(16 / 19) and found["same"].clip["face_found"] == 1
    )


def test_mouth_metrics_come_from_the_true_frames_landmarks_alone() -> None:
    """The method's mouth lies elsewhere, but only its picture at the true mouth counts."""
    other = Video(np.full(FRAMES, 20.0), TURN, SHIFT + 90)
    other.frames[:, 46:, :, :] = 0
    found = scored({"other": other, "same": TRUTH})
    assert found["same"].means()["mouth_l1"] == 0 and found["same"].means()["mouth_ssim"] == 1
    assert 0 < found["other"].means()["mouth_l1"] < 0.25


def test_boxes_go_with_the_true_mouth_from_frame_to_frame() -> None:
    """A patch moves with the mouth: the result is right inside the boxes and wrong everywhere else."""
    corners = np.stack([np.arange(FRAMES) % 16, np.arange(FRAMES) // 2], 1)
    boxes = MouthBoxes(corners, 32, 32)
    other = Video(SPEECH, TURN, SHIFT)
    other.frames = np.zeros_like(other.frames)
    for index, (left, top) in enumerate(corners):
        place = (index, slice(top, top + 32), slice(left, left + 32))
        other.frames[place] = TRUTH.frames[place]
    means = scored({"other": other}, mouth=boxes, measured=NOTHING, batch=3)["other"].means()
    assert means["mouth_l1"] == 0 and means["l1"] > 0.05


def test_pose_error_and_identity_compare_the_result_with_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    """A teacher reads the head's turn and a face network the person, both from the pictures."""

    class Teacher:
        def estimate(self, frames: np.ndarray) -> np.ndarray:
            return np.stack([(float(frame[0, 1, 0]) / 4, 0.0, 0.0) for frame in frames])

    class Faces:
        def embed(self, frame: np.ndarray, five_points: np.ndarray) -> np.ndarray:
            angle = np.deg2rad(frame[0, 2, 0])
            return np.array([np.cos(angle), np.sin(angle)])

    monkeypatch.setattr(networks, "pose_teacher", lambda *_: Teacher())
    monkeypatch.setattr(networks, "arcface", Faces)
    both = replace(FACES, used={**FACES.used, "head_pose": "", "identity": ""}, teacher="whenet")
    other = Video(SPEECH, TURN + 24, SHIFT + 60)
    found = scored({"same": TRUTH, "other": other}, measured=both)
    assert found["same"].clip["pose_error"] == 0 and found["same"].clip["csim"] == pytest.approx(1)
    assert found["other"].clip["pose_error"] == pytest.approx(24 / 4 / 3), (
        "6 degrees of yaw, mean of three angles"
    )
    assert found["other"].clip["csim"] == pytest.approx(0.5, abs=0.001), "60 degrees between the two"


def test_lip_sync_is_of_the_results_own_face_and_the_clips_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def crop(frames: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        seen.append((frames, boxes, np.empty(0)))
        return frames

    def error(network: object, track: np.ndarray, wave: np.ndarray) -> LipSyncError:
        seen[-1] = (*seen[-1][:2], wave)
        return LipSyncError(float(track[0, 0, 0, 0]), 2.0, 0)

    monkeypatch.setattr(scoring, "crop_face_track", crop)
    monkeypatch.setattr(scoring, "lip_sync_error", error)
    monkeypatch.setattr(networks, "syncnet", lambda device: None)
    heard = replace(FACES, used={**FACES.used, "lip_sync": ""})
    other = Video(OTHER_SPEECH, TURN, SHIFT + 40)
    wave = np.arange(16000 * FRAMES // 25, dtype=np.float32)
    found = scored({"other": other}, measured=heard, wave=wave, face_every=2)["other"]
    ((frames, boxes, sound),) = seen
    assert np.array_equal(frames, other.frames), "all frames, the source frame too"
    assert np.array_equal(sound, wave) and found.clip["lse_c"] == 2.0
    assert found.clip["lse_d"] == float(other.frames[0, 0, 0, 0])
    known = np.flatnonzero(np.isfinite(boxes).all(1))
    assert known.tolist() == list(range(1, FRAMES, 2))
    for index in known:
        face = NumberReader().read(other.frames[index])
        assert face is not None and np.array_equal(boxes[index], face.box)
    assert "lse_d" not in scored({"other": other}, measured=heard)["other"].clip, "without sound"


def test_without_networks_there_are_pictures_and_sharpness() -> None:
    means = scored({"same": TRUTH}, measured=NOTHING)["same"].means()
    assert set(means) == {"ssim", "psnr", "l1", "ssim_rgb", "sharpness"}


# -- files -------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    truth, test = tmp_path / "truth.mkv", tmp_path / "test.mkv"
    frames = rng.integers(0, 255, (6, 48, 40, 3)).astype(np.uint8)
    write_video(truth, frames, 25.0, codec="ffv1")
    write_video(test, np.clip(frames.astype(int) + 5, 0, 255).astype(np.uint8), 25.0, codec="ffv1")
    return truth, test


def test_files_are_scored_and_what_is_missing_is_named(files, monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("KPBE_WEIGHTS", raising=False)
    monkeypatch.chdir(tmp_path)
    found = score_files(files[0], [files[1]], ComputeParams(device="cpu"), source_frame=2)
    values = found.scores[str(files[1])]
    assert found.frames == 5 and values["l1"] == pytest.approx(5 / 255, rel=0.05)
    assert "alexnet_imagenet_features.safetensors" in found.absent["lpips"]
    assert "face_landmarker.task" in found.absent["opening_r"]
    text = scores_in_words(found)
    assert "test.mkv" in text and "PSNR dB" in text and "Not measured: LPIPS" in text


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda frames: frames[:, :24], "40x24 pixels large"),
        (lambda frames: np.repeat(frames, 3, 0), "has 18 frames"),
    ],
)
def test_files_that_do_not_fit_are_refused(files, change, reason, tmp_path) -> None:
    from kpbe.media.recording import Recording

    other = tmp_path / "other.mkv"
    write_video(other, change(Recording(files[1]).frames()), 25.0, codec="ffv1")
    with pytest.raises(BadClip, match=reason) as error:
        score_files(files[0], [other], ComputeParams(device="cpu"))
    assert "other.mkv" in str(error.value) and "truth.mkv" in str(error.value)


def test_another_frame_rate_or_source_frame_is_refused(files, tmp_path) -> None:
    from kpbe.media.recording import Recording

    other = tmp_path / "other.mkv"
    write_video(other, Recording(files[1]).frames(), 30.0, codec="ffv1")
    with pytest.raises(BadClip, match="30 frames a second"):
        score_files(files[0], [other], ComputeParams(device="cpu"))
    with pytest.raises(BadClip, match="frame 6 cannot be its source"):
        score_files(files[0], [files[1]], ComputeParams(device="cpu"), source_frame=6)
    with pytest.raises(BadClip, match=r"absent\.mkv is missing"):
        score_files(files[0], [tmp_path / "absent.mkv"], ComputeParams(device="cpu"))
