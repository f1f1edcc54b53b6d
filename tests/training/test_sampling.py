"""Sampling: identities equally often, the same for any batch size, with the set flips and distances."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpbe.data.clips import Clip
from kpbe.data.grids import DrawnGrid
from kpbe.params import AugmentParams, FrontendTrainParams, SamplingParams, ScheduleParams, WarmUpParams
from kpbe.training.sampling import HUE, Sampler, Samples, samples_per_epoch

PAIR = [0, 3]
"""The source and the target among `Samples.frames`."""

PLAIN = AugmentParams(time_flip=False, mirror=False, brightness=0, contrast=0, saturation=0, hue=0)


@pytest.fixture
def clips(new_clip) -> list[Clip]:
    """a has three clips, b has two, c has one."""
    return [new_clip(Path(), "train", who, 40, video=str(k)) for k, who in enumerate("abacba")]


def sampler(
    clips: list[Clip],
    batch_size: int = 4,
    seed: int = 0,
    sampling: SamplingParams | None = None,
    augment: AugmentParams | None = None,
    warm_up: WarmUpParams | None = None,
    videos: list[int] | None = None,
    grids: Sequence[DrawnGrid] = (),
    drawn_share: float = 0.0,
) -> Sampler:
    return Sampler(
        clips,
        videos or [0] * len(clips),
        FrontendTrainParams(
            schedule=ScheduleParams(steps=1, batch_size=batch_size),
            sampling=sampling or SamplingParams(drawn_share=drawn_share),
            augment=augment or AugmentParams(),
            warm_up=warm_up or WarmUpParams(),
        ),
        seed,
        grids,
    )


def drawn(of: Sampler, batch_size: int, steps: range) -> Samples:
    batches = [of.draw(step, range(batch_size)) for step in steps]
    return Samples(*(np.concatenate([getattr(b, f.name) for b in batches]) for f in fields(Samples)))


def same(a: Samples, b: Samples) -> bool:
    return all(np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(Samples))


def test_samples_depend_on_seed_and_their_number_only(clips):
    first = drawn(sampler(clips, 6), 6, range(10))
    again = sampler(clips, 6)
    again.draw(8, range(6))
    assert same(first, drawn(again, 6, range(10)))
    assert same(first, drawn(sampler(clips, 4), 4, range(15))), "the batch size only cuts the stream"
    assert not same(first, drawn(sampler(clips, 6, seed=1), 6, range(10)))


def test_shares_of_a_batch_are_rows_of_it(clips):
    whole = sampler(clips, 6).draw(3, range(6))
    shares = [sampler(clips, 6).draw(3, range(first, first + 2)) for first in (0, 2, 4)]
    assert np.array_equal(np.concatenate([share.frames for share in shares]), whole.frames)
    assert np.array_equal(np.concatenate([share.clips for share in shares]), whole.clips)


@pytest.mark.parametrize(("by_identity", "things"), [(True, 3), (False, 6)])
def test_an_epoch_shows_everybody_equally_often(clips, by_identity, things):
    sampling = SamplingParams(by_identity=by_identity, num_repeats=4)
    assert samples_per_epoch(clips, sampling) == 4 * things
    of = sampler(clips, 1, sampling=sampling)
    assert of.samples_per_epoch == 4 * things
    orders = []
    for epoch in range(3):
        seen = drawn(of, 1, range(epoch * 4 * things, (epoch + 1) * 4 * things)).clips.tolist()
        shown = [clips[k].identity if by_identity else clips[k].clip_id for k in seen]
        assert set(Counter(shown).values()) == {4} and len(set(shown)) == things
        orders.append(shown)
    assert orders[0] != orders[1] != orders[2]


def test_clips_of_an_identity_are_drawn_evenly(clips):
    counts = Counter(drawn(sampler(clips, 50), 50, range(36)).clips.tolist())
    assert all(counts[k] == pytest.approx(200, abs=50) for k in (0, 2, 5))
    assert all(counts[k] == pytest.approx(300, abs=50) for k in (1, 4))
    assert counts[3] == 600


def test_a_pair_is_played_backwards_or_mirrored_never_both(clips):
    samples = drawn(sampler(clips, 100), 100, range(20))
    backwards = samples.frames[:, 0] > samples.frames[:, 1]
    assert not (backwards & samples.mirrored).any()
    assert backwards.mean() == pytest.approx(0.5, abs=0.05)
    assert samples.mirrored.mean() == pytest.approx(0.25, abs=0.05)


def test_without_time_flip_every_second_pair_is_mirrored(clips):
    samples = drawn(sampler(clips, 100, augment=AugmentParams(time_flip=False)), 100, range(20))
    assert (samples.frames[:, 0] <= samples.frames[:, 1]).all()
    assert samples.mirrored.mean() == pytest.approx(0.5, abs=0.05)


def test_colours_stay_within_their_ranges_and_come_in_any_order(clips):
    augment = AugmentParams(brightness=0.1, contrast=0.2, saturation=0.3, hue=0.05)
    samples = drawn(sampler(clips, 100, augment=augment), 100, range(5))
    for column, (middle, most) in enumerate([(1, 0.1), (1, 0.2), (1, 0.3), (0, 0.05)]):
        values = samples.colours[:, column] - middle
        assert 0.9 * most < np.abs(values).max() <= most * 1.0001 and abs(values.mean()) < 0.15 * most
    assert len(set(map(tuple, samples.order.tolist()))) == 24


def test_turned_off_nothing_is_changed_and_the_same_frames_are_drawn(clips):
    plain, usual = (drawn(sampler(clips, 50, augment=a), 50, range(2)) for a in (PLAIN, None))
    assert (
        not plain.mirrored.any()
        and (plain.colours == (1, 1, 1, 0)).all()
        and plain.colours.shape[1] == HUE + 1
    )
    assert np.array_equal(plain.clips, usual.clips)
    assert np.array_equal(plain.frames[:, PAIR], np.sort(usual.frames[:, PAIR], axis=1))


def test_each_backend_that_has_the_clip_is_drawn(clips):
    samples = drawn(sampler(clips, 100, videos=[1, 2, 3, 1, 1, 2]), 100, range(6))
    for clip, videos in enumerate([1, 2, 3, 1, 1, 2]):
        assert set(samples.videos[samples.clips == clip]) == set(range(videos))


def test_warm_up_pairs_grow_apart(clips):
    of = sampler(clips, 200, warm_up=WarmUpParams(same_frame_until=2, any_frame_from=6))
    gaps = [np.abs(np.diff(of.draw(step, range(200)).frames[:, PAIR])).max() for step in range(8)]
    assert gaps[:3] == [0, 0, 0]
    assert [round(39 * reach) for reach in (0.25, 0.5, 0.75)] == gaps[3:6]
    assert min(gaps[6:]) > 32


@given(
    frames=st.integers(1, 300),
    start=st.integers(0, 50),
    length=st.integers(0, 50),
    step=st.integers(0, 120),
    seed=st.integers(0, 2**31),
)
def test_frames_lie_in_the_clip_and_within_reach(new_clip, frames, start, length, step, seed):
    warm_up = WarmUpParams(same_frame_until=start, any_frame_from=start + length)
    one = [new_clip(Path(), "train", "a", frames)]
    pairs = sampler(one, 4, seed, warm_up=warm_up).draw(step, range(4)).frames
    assert (pairs >= 0).all() and (pairs < frames).all()
    assert np.abs(np.diff(pairs[:, PAIR])).max() <= round(warm_up.reach(step) * (frames - 1))


def test_quadruples_have_the_pose_of_the_one_and_the_mouth_of_the_other(clips, new_clip):
    grids = [DrawnGrid(new_clip(Path(), "train", f"drawn-{n}", 12, sha256="x"), 3, 4) for n in range(2)]
    of = sampler(clips, 300, grids=grids, drawn_share=0.5)
    samples = of.draw(0, range(300))
    drawn_ones = samples.clips >= len(clips)
    assert 0.4 < drawn_ones.mean() < 0.6 and set(samples.clips[drawn_ones]) == {len(clips), len(clips) + 1}
    source, pose, backend, target = samples.frames[drawn_ones].T
    assert (pose // 4 == target // 4).all(), "the target has the pose frame's pose"
    assert (backend % 4 == target % 4).all(), "and the backend's mouth"
    assert (pose % 4 != target % 4).mean() > 0.5 and (source // 4 != target // 4).mean() > 0.4
    assert 0.5 < (backend // 4 == source // 4).mean() < 0.95, "often a still-fed backend's head"
    real = samples.frames[~drawn_ones]
    assert (real[:, 1] == real[:, 3]).all()
    assert 0.4 < (real[:, 2] == real[:, 0]).mean() < 0.8, "a still-fed backend has the source's head"
    assert len(set(samples.spoiling.tolist())) > 290


def test_without_grids_nothing_is_drawn(clips):
    assert (drawn(sampler(clips, 50, drawn_share=0.9), 50, range(2)).clips < len(clips)).all()
