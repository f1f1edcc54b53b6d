"""Face points and blendshapes: coordinates, mirroring, files, and who labels which clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kpbe.checkpoints import catalogue
from kpbe.core.files import read_csv
from kpbe.data.clips import make_clip_id, read_manifest, write_manifest
from kpbe.data.expression import label as stage
from kpbe.data.expression.label import label_expressions
from kpbe.data.expression.labels import (
    FACE,
    GUIDES,
    LIPS,
    MIRRORED_SHAPES,
    POINTS,
    SHAPES,
    ExpressionLabels,
    in_picture,
    in_pixels,
    label_path,
    mirrored_points,
)
from kpbe.data.preprocess import preprocess
from kpbe.data.raw import RawVideo, write_raw_videos
from kpbe.data.sample import write_sample
from kpbe.errors import KPBEError, MissingWeights
from kpbe.media.video_writer import write_video
from kpbe.metrics.face_landmarks import FaceLandmarks
from kpbe.params import ComputeParams, DataParams, LabelExpressionParams, SampleParams
from tests.clips import describe_clip

CPU = ComputeParams(device="cpu")
FRAMES = 4


class FaceInBrightFrames:
    """A reader that finds a face, with all points in the middle, in frames that are not black."""

    def read(self, frame: np.ndarray) -> FaceLandmarks | None:
        if frame.mean() < 10:
            return None
        middle = (np.array(frame.shape[:2][::-1]) - 1) / 2
        points = np.column_stack([np.tile(middle, (478, 1)), np.zeros(478)]).astype(np.float32)
        return FaceLandmarks(points, {name: 0.25 for name in SHAPES}, np.eye(4))


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """Unlabelled clips on a machine without weights: a bright and a half-black training clip, a test clip."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KPBE_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr(stage, "_landmarker", lambda *_: FaceInBrightFrames())
    clips = []
    for split, who, black in [("train", "a", 1), ("train", "b", 3), ("test", "c", 0)]:
        clip_id = make_clip_id(who, "1", 0, FRAMES)
        video = tmp_path / "clips" / split / f"{clip_id}.mp4"
        frames = np.full((FRAMES, 64, 64, 3), 120, np.uint8)
        frames[:black] = 0
        write_video(video, frames, 25.0)
        clips.append(describe_clip(tmp_path / "clips", who, split=split, frames=FRAMES))
    write_manifest(tmp_path / "clips", clips)
    write_raw_videos(tmp_path / "raw", [RawVideo(c.video, c.identity, c.split, "1") for c in clips])
    return tmp_path


def label(root: Path, teacher: str = "auto", **more):
    params = LabelExpressionParams.model_validate({"teacher": teacher})
    return label_expressions(params, root / "raw", root / "clips", root / "expression", compute=CPU, **more)


def have_landmarker(root: Path) -> None:
    (root / "weights").mkdir(exist_ok=True)
    (root / "weights" / catalogue.CATALOGUE["face_landmarker"].file).write_bytes(b"1")


def test_a_pictures_edges_are_at_one_whatever_its_size():
    corners = np.array([[-0.5, -0.5], [63.5, 31.5], [31.5, 15.5]])
    expected = np.array([[-1, -1], [1, 1], [0, 0]])
    assert np.allclose(in_picture(corners, (32, 64)), expected)
    assert np.allclose(in_pixels(expected, (32, 64)), corners)


def test_a_mirrored_face_has_its_left_where_its_right_was():
    points = np.random.default_rng(0).uniform(-1, 1, (POINTS, 2)).astype(np.float32)
    mirrored = mirrored_points(points)
    left, right = points[0], points[2]
    assert np.allclose(mirrored[0], (-right[0], right[1])) and np.allclose(mirrored[2], (-left[0], left[1]))
    assert np.allclose(mirrored[4], (-points[5, 0], points[5, 1])), "eyes"
    assert np.allclose(mirrored[GUIDES:], points[GUIDES:] * (-1, 1))
    assert np.allclose(mirrored_points(mirrored), points)
    names = np.array(SHAPES)[list(MIRRORED_SHAPES)].tolist()
    assert names[SHAPES.index("mouthSmileLeft")] == "mouthSmileRight"
    assert names[SHAPES.index("jawOpen")] == "jawOpen"


def test_labels_are_read_as_they_were_written_and_must_fit_their_clip(tmp_path):
    labels = ExpressionLabels.unknown(3)
    labels.points[1], labels.shapes[2] = 0.5, 0.1
    labels.save(tmp_path / "a.npz")
    again = ExpressionLabels.load(tmp_path / "a.npz", 3)
    assert np.array_equal(again.points, labels.points, equal_nan=True)
    assert np.array_equal(again.shapes, labels.shapes, equal_nan=True)
    with pytest.raises(KPBEError, match=r"a\.npz does not hold labels of the 4 frames"):
        ExpressionLabels.load(tmp_path / "a.npz", 4)
    (tmp_path / "a.npz").write_bytes(b"no zip")
    with pytest.raises(KPBEError, match="run the stage label_expression again"):
        ExpressionLabels.load(tmp_path / "a.npz", 3)


def test_the_samples_true_points_label_its_training_clips_in_their_crops(tmp_path):
    sample = SampleParams(
        train_identities=1, test_identities=1, clips_per_identity=1, seconds=1.2, frame_size=128
    )
    data = DataParams.model_validate({"crop": {"min_frames": 20, "min_size": 30, "at_border": "shift"}})
    raw, clips = tmp_path / "raw", tmp_path / "clips"
    write_raw_videos(raw, write_sample(sample, raw))
    train = next(clip for clip in preprocess(data, 64, raw, clips) if clip.split == "train")
    found = label(tmp_path)
    assert found["about"] == "expression labels: the true points of 1 of 1 training clips"
    assert found["frames"] == found["frames_with_a_face"] == train.frames
    labels = ExpressionLabels.load(label_path(tmp_path / "expression", train), train.frames)
    in_clip = np.load(train.landmarks)  # eyes and the middle of the mouth, as preprocess moved them
    points = in_pixels(labels.points, (64, 64))
    assert np.allclose(points[:, LIPS].mean(1), in_clip[:, 2], atol=0.05)
    assert np.allclose(points[:, 4:6], in_clip[:, :2], atol=0.05)
    assert np.isfinite(labels.points[:, FACE]).mean() > 0.7, "a turned head hides some"
    assert np.isfinite(labels.points[:, FACE.stop :]).mean() > 0.2, "hair and background"
    assert np.isnan(labels.shapes).all()
    assert label(tmp_path, "off")["labelled_clips"] == 0
    assert not list((tmp_path / "expression").glob("*.npz")), "nobody labels any more"


def test_face_landmarker_labels_other_clips_and_says_where_it_saw_no_face(project):
    have_landmarker(project)
    found = label(project, max_rejected_fraction=0.5)
    assert found["about"] == (
        "expression labels: FaceLandmarker's points of 1 of 2 training clips; 1 have no labels"
    )
    clip = read_manifest(project / "clips", "train")[0]
    labels = ExpressionLabels.load(label_path(project / "expression", clip), FRAMES)
    assert np.isnan(labels.points[0]).all() and np.allclose(labels.points[1:, FACE], 0, atol=1e-6)
    assert np.isnan(labels.points[:, FACE.stop :]).all(), "of hair and background it knows nothing"
    assert np.allclose(labels.shapes[1:], 0.25)
    (rejected,) = read_csv(project / "expression" / "rejected.csv")
    assert "finds a face in 1 of 4 frames" in rejected["reason"]


def test_without_the_file_nothing_is_labelled_and_that_is_said(project):
    found = label(project)
    assert found["labelled_clips"] == 0 and "face_landmarker.task" in found["about"]
    with pytest.raises(MissingWeights, match=r"face_landmarker\.task"):
        label(project, "mediapipe")
