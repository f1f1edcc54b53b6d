"""Training batches depend on seed and step only, whoever loads which part, from memory or from files."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from kpbe.data.expression.labels import SHAPES, ExpressionLabels
from kpbe.data.expression.labels import label_path as expression_path
from kpbe.data.head_pose.labels import label_path
from kpbe.data.sample.grids import draw_grids
from kpbe.errors import KPBEError, ParamsError
from kpbe.media.recording import FrameAccess
from kpbe.params import (
    AugmentParams,
    ComputeParams,
    FrontendTrainParams,
    GridParams,
    SamplingParams,
    ScheduleParams,
    WarmUpParams,
)
from kpbe.training.batches import AHEAD, BatchLoader, TrainingBatch, fixed_batch, hold_out_validation
from kpbe.training.frames import ClipFrames, LabelFolders
from kpbe.training.losses import head_pose
from kpbe.training.placement import placed_points, placing

PLAIN = AugmentParams(time_flip=False, mirror=False, brightness=0, contrast=0, saturation=0, hue=0)
FLIPS = PLAIN.model_copy(update={"time_flip": True, "mirror": True})


def training(batch_size: int, augment: AugmentParams | None = None, **sections: Any) -> FrontendTrainParams:
    schedule = ScheduleParams(steps=1, batch_size=batch_size)
    return FrontendTrainParams(schedule=schedule, augment=augment or AugmentParams(), **sections)


def loader(
    frames: ClipFrames, batch_size: int = 4, seed: int = 0, augment: AugmentParams | None = None, **more: Any
) -> BatchLoader:
    return BatchLoader(frames, training(batch_size, augment), seed, **more)


def process(rank: int, world_size: int) -> Any:
    """A stand-in for what the loader uses of Fabric."""
    return SimpleNamespace(global_rank=rank, world_size=world_size, device=torch.device("cpu"))


def frames_of(
    coloured, backends: Sequence[Path] = (), labels: LabelFolders | None = None, **where: Any
) -> ClipFrames:
    compute = ComputeParams.model_validate({"device": "cpu", **where})
    return ClipFrames(coloured.clips, labels or coloured.no_labels, backends, compute)


def same(a: TrainingBatch, b: TrainingBatch) -> bool:
    pairs = zip(vars(a).values(), vars(b).values(), strict=True)
    return all(torch.equal(x.nan_to_num(999), y.nan_to_num(999)) for x, y in pairs)


class CountingSource(FrameAccess):
    """Counts the reads; `broken` videos raise."""

    def __init__(self, broken: str | None = None) -> None:
        super().__init__()
        self.broken, self.reads, self.news = broken, 0, threading.Condition()

    def read(self, path: Path | str, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        if self.broken is not None and self.broken in str(path):
            raise KPBEError(f"{path} is broken.")
        with self.news:
            self.reads += 1
            self.news.notify_all()
        return super().read(path, indices)


def threads_of_loaders() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("batches")]


def test_a_batch_depends_on_seed_and_step_only(coloured):
    with loader(frames_of(coloured), seed=1) as one, loader(frames_of(coloured), seed=1, threads=1) as other:
        batches = [one.batch(step) for step in range(6)]
        assert same(batches[4], other.batch(4)), "a resumed training sees what it would have seen"
        assert same(batches[5], other.batch(5))
        assert same(batches[0], other.batch(0)), "and steps may come in any order"
        assert not same(batches[0], batches[1])
    with loader(frames_of(coloured), seed=2) as another:
        assert not same(batches[0], another.batch(0))


def test_memory_and_files_make_the_same_batches(coloured):
    backends = [coloured.one, coloured.two]
    memory, video = (frames_of(coloured, backends, frames=where) for where in ("memory", "video"))
    with loader(memory, 8) as from_memory, loader(video, 8) as from_files:
        assert all(same(from_memory.batch(step), from_files.batch(step)) for step in range(3))


def test_a_batch_is_float_images_on_the_device(coloured):
    with loader(frames_of(coloured), 3) as batches:
        pair = batches.batch(0)
        assert batches.samples_per_epoch == 2 * 75
    assert pair.source.shape == pair.pose.shape == (3, 3, 32, 32)
    assert pair.source.dtype == torch.float32 and pair.source.min() >= 0 and pair.source.max() <= 1
    assert pair.expression is pair.pose
    assert pair.degrees.shape == (3, 3) and pair.degrees.isnan().all()


def test_both_frames_come_from_one_clip_and_keep_their_values(coloured):
    with loader(frames_of(coloured), 32, augment=PLAIN) as batches:
        pair, raw = batches.batch(0), batches.raw_batch(0)
    red, green = (255 * pair.pose[:, k, 0, 0] for k in (0, 1))
    assert torch.allclose(red, torch.from_numpy(8.0 * raw.samples.frames[:, 3]).float(), atol=1e-3)
    assert torch.allclose(green, torch.from_numpy(60.0 * raw.samples.clips).float(), atol=1e-3)
    assert torch.allclose(255 * pair.source[:, 1, 0, 0], green, atol=1e-3)


def test_colours_change_alike_in_all_images_of_a_sample(coloured):
    same_frame = WarmUpParams(same_frame_until=9, any_frame_from=9)
    with BatchLoader(frames_of(coloured), training(16, warm_up=same_frame), 0) as batches:
        pair, raw = batches.batch(0), batches.raw_batch(0)
    plain = raw.frames[1].permute(0, 3, 1, 2).float() / 255
    assert torch.equal(pair.source, pair.pose)
    assert (pair.pose - plain).abs().amax((1, 2, 3)).min() > 0.005


def test_stage_2_takes_the_expression_from_the_backends_frame_of_the_same_moment(coloured):
    with loader(frames_of(coloured, [coloured.one]), 8, augment=FLIPS) as batches:
        pair = batches.batch(0)
    assert torch.equal(pair.expression[:, :2], pair.pose[:, :2])
    assert pair.expression[:, 2].max() == 0 < pair.pose[:, 2].max()


def test_several_backends_take_turns_and_only_those_that_have_the_clip(coloured):
    with loader(frames_of(coloured, [coloured.one, coloured.two]), 64, augment=PLAIN) as batches:
        pair = batches.batch(0)
    by_two = pair.expression[:, 2, 0, 0] == 1
    of_clip_1 = (255 * pair.pose[:, 1, 0, 0]).round() == 60
    assert of_clip_1.any() and not by_two[of_clip_1].any()
    assert 0.25 < by_two[~of_clip_1].float().mean() < 0.75


def test_mirrored_pairs_have_mirrored_labels(coloured, tmp_path):
    for clip in coloured.clips:
        np.save(label_path(tmp_path, clip), np.full((30, 3), [10.0, 5.0, 3.0], np.float32))
    with loader(frames_of(coloured, labels=LabelFolders(tmp_path, tmp_path)), 32) as batches:
        pair = batches.batch(0)
    left_is_brighter = pair.pose[:, 2, :, :16].mean((1, 2)) > pair.pose[:, 2, :, 16:].mean((1, 2))
    assert 0 < left_is_brighter.sum() < 32
    assert torch.equal(pair.degrees[:, 0] > 0, left_is_brighter)
    assert torch.equal(pair.degrees[:, 2] > 0, left_is_brighter)
    assert (pair.degrees[:, 1] == 5).all()


def test_the_source_has_its_own_head_pose(coloured, tmp_path):
    for clip in coloured.clips:
        frames = np.arange(30, dtype=np.float32)
        np.save(label_path(tmp_path, clip), np.stack([frames + 1, frames, frames], 1))
    with loader(frames_of(coloured, labels=LabelFolders(tmp_path, tmp_path)), 16, augment=PLAIN) as batches:
        pair, mirrored = batches.batch(0), batches.raw_batch(0).samples.mirrored
    assert not mirrored.any()
    for degrees, image in ((pair.source_degrees, pair.source), (pair.degrees, pair.pose)):
        frame = (255 * image[:, 0, 0, 0] / 8).round()
        assert torch.equal(degrees[:, 1], frame) and torch.equal(degrees[:, 0], frame + 1)


def test_points_and_blendshapes_of_mirrored_samples_are_mirrored(coloured, tmp_path):
    labels = ExpressionLabels.unknown(30)
    labels.points[:], labels.shapes[:] = 0.25, 0.0
    labels.points[:, 0, 0], labels.points[:, 2, 0] = -0.5, 0.4
    labels.shapes[:, SHAPES.index("mouthSmileLeft")] = 1
    for clip in coloured.clips:
        labels.save(expression_path(tmp_path, clip))
    frames = ClipFrames(coloured.clips, LabelFolders(tmp_path, tmp_path), simulate=True)
    with loader(frames, 32, augment=FLIPS) as batches:
        batch, raw = batches.batch(0), batches.raw_batch(0)
    mirrored = torch.from_numpy(raw.samples.mirrored)
    assert 0 < mirrored.sum() < 32
    corners = batch.target_points[:, (0, 2), 0]
    assert (corners[~mirrored] == torch.tensor([-0.5, 0.4])).all()
    assert (corners[mirrored] == torch.tensor([-0.4, 0.5])).all()
    assert torch.equal(batch.source_points, batch.target_points)
    smiles = [SHAPES.index(name) for name in ("mouthSmileLeft", "mouthSmileRight")]
    assert (batch.shapes[:, smiles[0]] == (~mirrored).float()).all()
    assert (batch.shapes[:, smiles[1]] == mirrored.float()).all()
    left_is_brighter = batch.pose[:, 2, :, :16].mean((1, 2)) > batch.pose[:, 2, :, 16:].mean((1, 2))
    assert torch.equal(left_is_brighter, ~mirrored)


def test_a_placed_sample_moves_pictures_points_and_poses_together(coloured, tmp_path):
    labels = ExpressionLabels.unknown(30)
    labels.points[:] = 0.25
    for clip in coloured.clips:
        labels.save(expression_path(tmp_path, clip))
        np.save(label_path(tmp_path, clip), np.zeros((30, 3), np.float32))
    frames = ClipFrames(coloured.clips, LabelFolders(tmp_path, tmp_path), simulate=True)
    moved = PLAIN.model_copy(update={"roll": 20, "scale": 0.3, "shift": 0.2})
    with loader(frames, 8, augment=moved) as batches, loader(frames, 8, augment=PLAIN) as still:
        batch, raw, plain = batches.batch(0), batches.raw_batch(0), still.batch(0)
    placements = raw.samples.placements
    assert (np.abs(placements[:, 0]) <= 20).all() and np.ptp(placements[:, 1]) > 0.05
    for row, placement in enumerate(placements):
        at = placed_points(np.full(2, 0.25, np.float32), placing(placement))
        for points in (batch.source_points, batch.pose_points, batch.target_points):
            assert points[row].numpy() == pytest.approx(np.tile(at, (len(points[row]), 1)), abs=1e-5)
    assert batch.degrees[:, 2].numpy() == pytest.approx(placements[:, 0], abs=1e-3)
    assert not torch.equal(batch.pose, plain.pose) and batch.pose.shape == plain.pose.shape


def test_with_drawn_people_the_target_is_a_picture_of_its_own(coloured, tmp_path):
    drawn = draw_grids(GridParams(identities=1, poses=2, mouths=3, frame_size=64), 32, tmp_path)
    frames = ClipFrames(coloured.clips, coloured.no_labels, grids=drawn, simulate=True)
    sampling = SamplingParams(drawn_share=0.5)
    with BatchLoader(frames, training(16, PLAIN, sampling=sampling), 0) as batches:
        batch, raw = batches.batch(0), batches.raw_batch(0)
    of_grid = torch.from_numpy(raw.samples.clips == 3)
    assert 0 < of_grid.sum() < 16 and batch.target is not batch.pose
    same_picture = (batch.target == batch.pose).flatten(1).all(1)
    assert same_picture[~of_grid].all() and not same_picture[of_grid].all()
    assert batch.degrees[of_grid].isfinite().all() and batch.degrees[~of_grid].isnan().all()


@pytest.mark.parametrize("world_size", [2, 3, 6])
def test_processes_share_the_batch_of_one(coloured, world_size):
    backends = [coloured.one, coloured.two]
    shares = []
    for rank in range(world_size):
        source = CountingSource()
        frames = frames_of(coloured, backends, frames="video")
        with loader(frames, 6, fabric=process(rank, world_size), source=source) as batches:
            shares.append(batches.batch(5))
        assert source.reads <= 2 * (1 + AHEAD) * 6 // world_size, "only its rows are decoded"
    with loader(frames_of(coloured, backends), 6) as batches:
        whole = batches.batch(5)
    for name in ("source", "pose", "expression"):
        joined = torch.cat([getattr(share, name) for share in shares])
        assert torch.equal(joined, getattr(whole, name))


def test_a_batch_that_cannot_be_shared_is_refused(coloured):
    with pytest.raises(ParamsError, match=r"batch of 4 cannot be shared evenly among 3 processes"):
        loader(frames_of(coloured), 4, fabric=process(0, 3))


def test_parts_of_a_batch_are_its_rows(coloured):
    with loader(frames_of(coloured), 4) as stage1, loader(frames_of(coloured, [coloured.one]), 4) as stage2:
        one, two = stage1.batch(0), stage2.batch(0)
    part = one.rows(slice(2, 4))
    assert part.expression is part.pose and torch.equal(part.pose, one.pose[2:])
    part = two.rows(slice(0, 3))
    assert torch.equal(part.expression, two.expression[:3]) and len(part.source) == len(part.degrees) == 3


def test_the_next_batches_are_decoded_ahead_but_not_more(coloured):
    source = CountingSource()
    with loader(frames_of(coloured), 4, source=source) as batches:
        batches.batch(0)
        with source.news:
            assert source.news.wait_for(lambda: source.reads >= 4 * (1 + AHEAD), timeout=60)
        batches.batch(1)
        with source.news:
            assert source.news.wait_for(lambda: source.reads >= 4 * (2 + AHEAD), timeout=60)
    assert source.reads == 4 * (2 + AHEAD)


def test_an_unreadable_clip_is_told_at_its_step(coloured):
    frames = frames_of(coloured, frames="video")
    with loader(frames, 1) as batches:
        clips = [coloured.clips[batches.raw_batch(step).samples.clips[0]] for step in range(30)]
    first = next(step for step, clip in enumerate(clips) if clip.identity == "b")
    with (
        loader(frames, 1, source=CountingSource(broken="b#1")) as batches,
        pytest.raises(KPBEError, match=r"b#1.*\.mp4 is broken"),
    ):
        for step in range(30):
            batches.batch(step)
    assert step == first
    assert not threads_of_loaders()


def test_threads_end_with_the_training_however_it_ends(coloured):
    batches = loader(frames_of(coloured))
    assert not threads_of_loaders(), "they begin with the first batch"
    with pytest.raises(ZeroDivisionError), batches:
        batches.batch(0)
        assert threads_of_loaders()
        _ = 1 / 0
    assert not threads_of_loaders()


def test_the_record_of_a_batch_can_be_stored_and_shows_what_was_decoded(coloured, tmp_path):
    with loader(frames_of(coloured, [coloured.one, coloured.two]), 8) as batches:
        batches.batch(3)
        arrays: dict[str, Any] = {**batches.record_of(2)}
    np.savez(tmp_path / "record.npz", **arrays)
    with np.load(tmp_path / "record.npz") as record:
        assert record["source"].shape == record["expression"].shape == (8, 32, 32, 3)
        assert np.array_equal(record["source"][:, 0, 0, 0], 8 * record["frame_indices"][:, 0])
        assert np.array_equal(record["pose"][:, 0, 0, 0], 8 * record["frame_indices"][:, 3])
        assert set(record["clip_ids"]) <= {clip.clip_id for clip in coloured.clips}
        shown_by_two = record["expression"][:, 0, 0, 2] == 255
        assert [f"{coloured.two}" in video for video in record["backend_videos"]] == shown_by_two.tolist()
        assert record["mirrored"].shape == (8,) and record["colours"].shape == (8, 4)


def test_frames_without_labels_leave_the_head_pose_term_alone():
    labels = torch.tensor([[1.0, 2.0, 3.0], [float("nan")] * 3])
    degrees = torch.zeros(2, 3, requires_grad=True)
    loss = head_pose(degrees, labels)
    loss.backward()
    assert loss.item() == pytest.approx(6.0)
    assert degrees.grad is not None and (degrees.grad[1] == 0).all()


def test_validation_holds_out_a_clip_only_of_identities_that_can_spare_one(coloured):
    clips = coloured.clips
    training, validation = hold_out_validation(clips, 8)
    assert [c.clip_id for c in validation] == [clips[1].clip_id]
    assert clips[1] not in training and len(training) == 2
    alone = [replace(clips[0]), replace(clips[2])]
    assert hold_out_validation(alone, 8) == (alone, alone)


def test_the_fixed_batch_never_change_and_show_every_backend(coloured):
    stage1, stage2 = frames_of(coloured), frames_of(coloured, [coloured.one, coloured.two])
    assert same(fixed_batch(stage1, 5, 0), fixed_batch(frames_of(coloured, frames="memory"), 5, 0))
    assert not same(fixed_batch(stage1, 5, 0), fixed_batch(stage1, 5, 1))
    pairs = fixed_batch(stage1, 5, 0)
    assert pairs.expression is pairs.pose and pairs.source.shape == (5, 3, 32, 32)
    assert (255 * pairs.pose[:, 1, 0, 0]).round().tolist() == [0, 60, 120, 0, 60]
    blues = fixed_batch(stage2, 6, 0).expression[:, 2, 0, 0].tolist()
    assert set(blues) == {0, 1}
