"""Training batches: what is drawn, and that it depends on seed and step only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kpbe.data.clips import Clip
from kpbe.data.head_pose import label_path
from kpbe.errors import KPBEError
from kpbe.media.video import write_video
from kpbe.params import WarmUpParams
from kpbe.training.batches import ClipFrames, fixed_pairs, hold_out_validation, random_pairs
from kpbe.training.losses import head_pose

FRAMES = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory, new_clip) -> Path:
    """Two identities, three clips; frame k of clip c has red 40 k and green 60 c, its left half is brighter."""
    folder = tmp_path_factory.mktemp("clips")
    for number, (identity, video) in enumerate([("a", "1"), ("a", "2"), ("b", "1")]):
        frames = np.zeros((FRAMES, 32, 32, 3), np.uint8)
        frames[..., 0] = 40 * np.arange(FRAMES)[:, None, None]
        frames[..., 1] = 60 * number
        frames[:, :, :16, 2] = 200
        name = new_clip(folder, "train", identity, FRAMES, video=video, size=32)
        write_video(folder / name.path, frames, 25.0, codec="h264-lossless")
        (folder / "backend" / "train").mkdir(parents=True, exist_ok=True)
        backend = frames.copy()
        backend[..., 2] = 0
        write_video(folder / "backend" / "train" / f"{name.clip_id}.mkv", backend, 25.0, codec="ffv1")
    return folder


@pytest.fixture
def clips(folder, new_clip) -> list[Clip]:
    names = [("a", "1"), ("a", "2"), ("b", "1")]
    return [new_clip(folder, "train", who, FRAMES, video=video, size=32) for who, video in names]


def same(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in [(a.source, b.source), (a.pose, b.pose)])


def test_a_batch_depends_on_seed_and_step_only(folder, clips):
    frames = ClipFrames(clips, folder / "none")
    first = random_pairs(frames, 4, seed=1, step=7, augment=True)
    random_pairs(frames, 4, seed=1, step=8, augment=True)
    assert same(first, random_pairs(ClipFrames(clips, folder / "none"), 4, seed=1, step=7, augment=True))
    assert not same(first, random_pairs(frames, 4, seed=1, step=9, augment=True))


def test_source_and_driving_frame_come_from_one_clip_and_identities_are_drawn_evenly(folder, clips):
    frames = ClipFrames(clips, folder / "none")
    of_b = 0
    for step in range(40):
        pair = random_pairs(frames, 8, seed=0, step=step, augment=False)
        green = (pair.source[:, 1].mean((1, 2)), pair.pose[:, 1].mean((1, 2)))
        assert torch.allclose(*green, atol=0.03)
        of_b += int((green[0] > 0.35).sum())
    assert 0.4 < of_b / 320 < 0.6, "b has one clip of three, but is half of the identities"


def test_stage_2_takes_the_expression_from_the_backends_frame_of_the_same_moment(folder, clips):
    pair = random_pairs(
        ClipFrames(clips, folder / "none", folder / "backend"), 8, seed=0, step=0, augment=False
    )
    assert torch.allclose(pair.expression[:, 0], pair.pose[:, 0], atol=0.03)
    assert pair.expression[:, 2].max() < 0.05 < pair.pose[:, 2].max()


def test_mirrored_pairs_have_mirrored_labels(folder, clips, tmp_path):
    for own in clips:
        np.save(label_path(tmp_path, own), np.full((FRAMES, 3), [10.0, 5.0, 3.0], np.float32))
    pair = random_pairs(ClipFrames(clips, tmp_path), 32, seed=0, step=0, augment=True)
    left_is_brighter = pair.pose[:, 2, :, :16].mean((1, 2)) > pair.pose[:, 2, :, 16:].mean((1, 2))
    assert 0 < left_is_brighter.sum() < 32
    assert torch.equal(pair.degrees[:, 0] > 0, left_is_brighter)
    assert (pair.degrees[:, 1] == 5).all()


def test_frames_without_labels_leave_the_head_pose_term_alone():
    labels = torch.tensor([[1.0, 2.0, 3.0], [float("nan")] * 3])
    degrees = torch.zeros(2, 3, requires_grad=True)
    loss = head_pose(degrees, labels)
    loss.backward()
    assert loss.item() == pytest.approx(6.0)
    assert degrees.grad is not None and (degrees.grad[1] == 0).all()


def test_validation_holds_out_a_clip_only_of_identities_that_can_spare_one(clips):
    training, validation = hold_out_validation(clips, 8)
    assert [c.clip_id for c in validation] == [clips[1].clip_id]
    assert clips[1] not in training and len(training) == 2
    alone = [replace(clips[0]), replace(clips[2])]
    assert hold_out_validation(alone, 8) == (alone, alone)


def test_fixed_pairs_never_change(folder, clips):
    frames = ClipFrames(clips, folder / "none")
    assert same(fixed_pairs(frames, 5, 0), fixed_pairs(frames, 5, 0))


def test_no_clip_is_said_in_one_sentence(tmp_path):
    with pytest.raises(KPBEError, match=r"rejected\.csv"):
        ClipFrames([], tmp_path)


def test_warm_up_pairs_grow_apart(folder, clips):
    frames = ClipFrames(clips, folder / "none")
    warm_up = WarmUpParams(same_frame_until=2, any_frame_from=6)
    gaps = []
    for step in range(8):
        pair = random_pairs(frames, 64, seed=0, step=step, augment=False, reach=warm_up.reach(step))
        red = pair.pose[:, 0].mean((1, 2)) - pair.source[:, 0].mean((1, 2))
        gaps.append(round(red.abs().max().item() * 255 / 40))
    assert gaps[:3] == [0, 0, 0] and gaps == sorted(gaps) and gaps[6:] == [FRAMES - 1, FRAMES - 1]
