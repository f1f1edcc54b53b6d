"""Stage label_pose: who labels which clip, resuming, rejecting, and the summary."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kpbe.checkpoints import catalogue
from kpbe.core.files import read_csv
from kpbe.data.clips import make_clip_id, read_manifest, write_manifest
from kpbe.data.head_pose import label as stage
from kpbe.data.head_pose.label import distribution, label_head_pose
from kpbe.data.head_pose.labels import label_path
from kpbe.data.preprocess import preprocess
from kpbe.data.raw import RawVideo, write_raw_videos
from kpbe.data.sample import write_sample
from kpbe.errors import KPBEError, MissingWeights
from kpbe.media.video_writer import write_video
from kpbe.params import ComputeParams, DataParams, LabelPoseParams, SampleParams
from tests.clips import describe_clip

CPU = ComputeParams(device="cpu")
FRAMES = 4


class BrightnessTeacher:
    """A teacher whose yaw is the brightness of the frame; it counts the clips that it saw."""

    clips = 0

    def estimate(self, frames: np.ndarray) -> np.ndarray:
        """See `PoseTeacher.estimate`."""
        BrightnessTeacher.clips += 1
        angles = np.zeros((len(frames), 3), np.float32)
        angles[:, 0] = frames.mean((1, 2, 3))
        return angles


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """Two training clips and a test clip without known poses, on a machine without weights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KPBE_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr(stage, "_teacher", lambda *_: BrightnessTeacher())
    BrightnessTeacher.clips = 0
    clips = []
    for number, (split, who) in enumerate([("train", "a"), ("train", "b"), ("test", "c")]):
        clip_id = make_clip_id(who, "1", 0, FRAMES)
        path = f"{split}/{clip_id}.mp4"
        video = tmp_path / "clips" / path
        write_video(video, np.full((FRAMES, 64, 64, 3), 20 * (number + 1), np.uint8), 25.0)
        clip = describe_clip(tmp_path / "clips", who, split=split, frames=FRAMES)
        clips.append(clip)
    write_manifest(tmp_path / "clips", clips)
    write_raw_videos(tmp_path / "raw", [RawVideo(c.video, c.identity, c.split, "1") for c in clips])
    return tmp_path


def label(root: Path, teacher: str = "auto", **kwargs):
    params = LabelPoseParams.model_validate({"teacher": teacher})
    return label_head_pose(params, root / "raw", root / "clips", root / "head_pose", compute=CPU, **kwargs)


def have(root: Path, name: str, content: bytes = b"1") -> None:
    """Put a file with that name in the catalogue into the weights folder."""
    (root / "weights").mkdir(exist_ok=True)
    (root / "weights" / catalogue.CATALOGUE[name].file).write_bytes(content)


def labels(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "head_pose").glob("*.npy"))


def test_the_samples_true_poses_label_its_training_clips_frame_by_frame(tmp_path):
    sample = SampleParams(
        train_identities=1, test_identities=1, clips_per_identity=1, seconds=1.2, frame_size=128
    )
    data = DataParams.model_validate({"crop": {"min_frames": 20, "min_size": 30, "at_border": "shift"}})
    raw, clips, out = tmp_path / "raw", tmp_path / "clips", tmp_path / "head_pose"
    write_raw_videos(raw, write_sample(sample, raw))
    train = next(clip for clip in preprocess(data, 64, raw, clips) if clip.split == "train")
    out.mkdir()
    (out / "gone#01#000000#000030.npy").write_bytes(b"")
    found = label(tmp_path)
    assert found["teacher"] == "known" and found["about"] == (
        "head pose labels: the true poses of 1 of 1 training clips"
    )
    angles = np.load(label_path(out, train))
    assert angles.shape == (train.frames, 3) and angles.dtype == np.float32
    assert np.ptp(angles[:, 0]) > 5, "a sample head turns"
    assert labels(tmp_path) == [f"{train.clip_id}.npy"]
    assert found["angles"]["yaw"]["mean"] == pytest.approx(angles[:, 0].mean(), abs=1e-3)
    assert label(tmp_path, "off")["teacher"] is None
    assert labels(tmp_path) == [], "nobody labels any more"


def test_the_found_teacher_labels_clips_without_known_poses(project):
    have(project, "whenet")
    found = label(project)
    assert found["teacher"] == "whenet"
    assert found["about"] == "head pose labels: WHENet's angles of 2 of 2 training clips"
    assert labels(project) == ["a#1#000000#000004.npy", "b#1#000000#000004.npy"]
    first, second = (np.load(project / "head_pose" / name) for name in labels(project))
    assert first.shape == (FRAMES, 3)
    assert np.allclose(first[:, 0], 20, atol=2) and np.allclose(second[:, 0], 40, atol=2)
    assert json.loads((project / "head_pose" / "summary.json").read_text()) == found


def test_labels_are_made_once_and_anew_for_another_clip_teacher_or_weight_file(project):
    have(project, "whenet")
    label(project)
    label(project)
    assert BrightnessTeacher.clips == 2
    have(project, "whenet", b"2")
    label(project)
    assert BrightnessTeacher.clips == 4
    have(project, "hopenet")
    assert label(project)["teacher"] == "hopenet"
    assert BrightnessTeacher.clips == 6
    first, *others = read_manifest(project / "clips")
    (project / "head_pose" / f"{first.clip_id}.npy").unlink()
    label(project)
    assert BrightnessTeacher.clips == 7
    write_manifest(project / "clips", others)
    label(project)
    assert BrightnessTeacher.clips == 7
    assert labels(project) == ["b#1#000000#000004.npy"], "labels of a clip that is gone are removed"


def test_without_any_teacher_a_sentence_says_what_is_missing_and_from_where(project):
    found = label(project)
    assert found["labelled_clips"] == 0 and found["frames"] == 0 and labels(project) == []
    about = found["about"]
    assert "hopenet_robust_alpha1.pkl (natanielruiz/deep-head-pose" in about and "WHENet.onnx" in about
    assert "\n" not in about
    assert label(project, "known")["about"] == "no head pose labels: the clips' poses are not known"


def test_a_teacher_asked_for_by_name_must_be_there(project):
    with pytest.raises(MissingWeights, match=r"fsanet-1x1-iter-688590\.onnx"):
        label(project, "fsanet")


def test_a_broken_clip_is_rejected_and_the_others_are_labelled(project):
    have(project, "whenet")
    broken, other = read_manifest(project / "clips", "train")
    broken.video.write_bytes(b"no video")
    found = label(project, max_rejected_fraction=0.5)
    assert found["rejected_clips"] == 1 and found["labelled_clips"] == 1
    assert labels(project) == [label_path(Path(), other).name]
    rejected = read_csv(project / "head_pose" / "rejected.csv")
    assert [(row["clip_id"], row["stage"]) for row in rejected] == [(broken.clip_id, "label_pose")]
    assert "1 have no labels" in found["about"]
    with pytest.raises(KPBEError, match="1 of 2 clips were rejected"):
        label(project, max_rejected_fraction=0.1)


def test_angles_that_are_not_finite_reject_the_clip(project, monkeypatch):
    have(project, "whenet")

    class Broken(BrightnessTeacher):
        def estimate(self, frames):
            return super().estimate(frames) * np.nan

    monkeypatch.setattr(stage, "_teacher", lambda *_: Broken())
    with pytest.raises(KPBEError, match="angles that are not finite"):
        label(project)


def test_distribution_of_angles():
    angles = np.zeros((100, 3))
    angles[:, 0] = np.arange(100)
    angles[:10, 2] = -170
    found = distribution([angles[:60], angles[60:]])
    assert found["frames"] == 100
    yaw, roll = found["angles"]["yaw"], found["angles"]["roll"]
    assert yaw["mean"] == pytest.approx(49.5) and yaw["percentiles"]["50"] == pytest.approx(49.5)
    assert yaw["beyond_45"] == pytest.approx(0.54) and found["angles"]["pitch"]["sd"] == 0
    assert roll["beyond_45"] == pytest.approx(0.1)
    histogram = found["histogram"]
    assert all(sum(histogram[name]) == 100 for name in ("yaw", "pitch", "roll"))
    assert histogram["roll"][0] == 10, "what is beyond the last edge counts as the last bin"
    assert distribution([]) == {"frames": 0}
