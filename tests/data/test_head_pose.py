"""Head pose labels."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from kpbe.data.head_pose import euler_degrees, label_head_pose, label_path
from kpbe.data.preprocess import preprocess
from kpbe.data.raw import write_raw_videos
from kpbe.data.sample import write_sample
from kpbe.frontend.geometry import rotation_matrix
from kpbe.params import ConventionParams, DataParams, SampleParams

EXACT_PI = ConventionParams(pi=3.14159265)


@given(st.tuples(*[st.floats(-80, 80)] * 3))
def test_angles_give_back_the_rotation_in_the_frontends_convention(angles):
    rotation = rotation_matrix(torch.tensor([angles], dtype=torch.float64), EXACT_PI).numpy()
    assert np.allclose(euler_degrees(rotation), [angles], atol=1e-3)


def test_sample_clips_are_labelled_frame_by_frame_and_stale_labels_go(tmp_path):
    sample = SampleParams(
        train_identities=1, test_identities=1, clips_per_identity=1, seconds=1.2, frame_size=128
    )
    data = DataParams.model_validate({"crop": {"min_frames": 20, "min_size": 30, "at_border": "shift"}})
    raw, clips, out = tmp_path / "raw", tmp_path / "clips", tmp_path / "head_pose"
    write_raw_videos(raw, write_sample(sample, raw))
    train = next(clip for clip in preprocess(data, 64, raw, clips) if clip.split == "train")
    out.mkdir()
    (out / "gone#01#000000#000030.npy").write_bytes(b"")
    assert label_head_pose(raw, clips, out) == 1
    labels = np.load(label_path(out, train))
    assert labels.shape == (train.frames, 3)
    assert np.ptp(labels[:, 0]) > 5, "a sample head turns"
    assert [path.name for path in out.iterdir()] == [f"{train.clip_id}.npy"]
