"""Frames from memory and from files: the same pixels, and one sentence if they cannot be read."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kpbe.data.clips import Clip, backend_video
from kpbe.data.expression.labels import ExpressionLabels
from kpbe.data.expression.labels import label_path as expression_path
from kpbe.data.head_pose.labels import label_path
from kpbe.data.sample.grids import draw_grids
from kpbe.errors import KPBEError
from kpbe.media.recording import FrameAccess, Recording
from kpbe.media.video_writer import write_video
from kpbe.params import ComputeParams, GridParams
from kpbe.training.frames import ClipFrames, MemoryFrames
from tests.training.short_training import labels_in

MEMORY, VIDEO = ComputeParams(frames="memory"), ComputeParams(frames="video")


@pytest.fixture
def waves(tmp_path: Path, new_clip) -> Callable[[int], Clip]:
    """Write the clip of a new person, encoded as the stage preprocess does it."""

    def write(frames: int) -> Clip:
        clip = new_clip(tmp_path, "train", f"p{len(list(tmp_path.rglob('*.mp4')))}", frames)
        y, x = np.mgrid[:64, :64]
        phases = np.arange(frames)[:, None, None, None] * 0.3 + np.arange(3)
        pictures = 127 + 120 * np.sin(phases + ((x + 2 * y) / 9)[None, :, :, None])
        write_video(clip.video, pictures.astype(np.uint8), 25.0, gop=12, crf=12)
        return clip

    return write


def test_memory_and_files_give_the_same_pixels(waves, coloured):
    clip = waves(40)
    frames = Recording(clip.video).frames()
    both = [ClipFrames([clip], coloured.no_labels, where=where) for where in (MEMORY, VIDEO)]
    for source, driving in [(0, 39), (39, 0), (11, 12), (13, 35), (7, 7)]:
        for one in both:
            pictures = one.pictures(0, (source, driving, source, driving), 0, 0)
            assert np.array_equal(pictures.source, frames[source])
            assert np.array_equal(pictures.pose, frames[driving])
            assert pictures.expression is None


@pytest.mark.parametrize("where", [MEMORY, VIDEO])
def test_each_backend_gives_its_own_frame_of_the_same_moment(coloured, where):
    frames = ClipFrames(coloured.clips, coloured.no_labels, [coloured.one, coloured.two], where)
    assert frames.videos_per_clip == [2, 1, 2], "one clip is missing in the second backend's folder"
    for video, blue in enumerate([0, 255]):
        pictures = frames.pictures(2, (3, 21, 3, 21), video, 0)
        assert pictures.expression is not None
        assert pictures.expression[0, 0].tolist() == [8 * 21, 120, blue]
        assert pictures.pose[0, 0].tolist() == [8 * 21, 120, 200]
        assert pictures.source[0, 0].tolist() == [8 * 3, 120, 200]


def test_frames_are_held_where_they_fit(coloured):
    frames = ClipFrames(coloured.clips, coloured.no_labels, [coloured.one, coloured.two])
    assert frames.gigabytes == pytest.approx(8 * 30 * 32 * 32 * 3 / 1e9)
    assert isinstance(frames.source, MemoryFrames)
    small = ComputeParams(frames_memory_gb=0.9 * frames.gigabytes)
    assert isinstance(ClipFrames(coloured.clips, coloured.no_labels, where=small).source, MemoryFrames)
    both = [coloured.one, coloured.two]
    assert isinstance(ClipFrames(coloured.clips, coloured.no_labels, both, small).source, FrameAccess)
    asked = small.model_copy(update={"frames": "memory"})
    assert isinstance(ClipFrames(coloured.clips, coloured.no_labels, both, asked).source, MemoryFrames)


@pytest.mark.parametrize("where", [MEMORY, VIDEO])
def test_a_video_shorter_than_the_manifest_says_is_named(waves, coloured, where):
    longer = replace(waves(10), frames=12)
    with pytest.raises(KPBEError, match=r"p0#1.*\.mp4 has fewer frames than the 12 of its clip.*\.$"):
        ClipFrames([longer], coloured.no_labels, where=where).pictures(0, (2, 11, 2, 11), 0, 0)


@pytest.mark.parametrize("where", [MEMORY, VIDEO])
def test_a_backend_video_of_another_size_is_named(waves, coloured, tmp_path, where):
    clip = waves(10)
    write_video(backend_video(tmp_path, clip), np.zeros((10, 32, 48, 3), np.uint8), 25.0, codec="ffv1")
    frames = ClipFrames([clip], coloured.no_labels, [tmp_path], where)
    with pytest.raises(KPBEError, match=r"p0#1.*\.mkv is 48x32 instead of 64x64"):
        frames.pictures(0, (1, 2, 1, 2), 0, 0)


def test_clips_of_different_sizes_are_refused(waves, coloured):
    with pytest.raises(KPBEError, match=r"p0#1.*\.mp4 is 64x64, but .* is 32x32"):
        ClipFrames([coloured.clips[0], waves(10)], coloured.no_labels)


def test_a_broken_video_is_named_and_the_threads_end(waves, coloured):
    clips = [waves(10) for _ in range(4)]
    clips[1].video.write_bytes(clips[1].video.read_bytes()[:200])
    with pytest.raises(KPBEError, match=r"p1#1.*\.mp4 .*fetch it again"):
        _ = ClipFrames(clips, coloured.no_labels, where=MEMORY).source
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("frames")]
    with pytest.raises(KPBEError, match=r"p1#1.*\.mp4 .*fetch it again"):
        ClipFrames(clips, coloured.no_labels, where=VIDEO).pictures(1, (0, 1, 0, 1), 0, 0)


def test_no_clip_is_said_in_one_sentence(tmp_path):
    with pytest.raises(KPBEError, match=r"rejected\.csv"):
        ClipFrames([], labels_in(tmp_path))


def test_a_clip_without_any_backend_video_is_refused(coloured, tmp_path):
    with pytest.raises(KPBEError, match=r"a#1.*\.mkv does not exist: run the stage synthesize"):
        ClipFrames(coloured.clips, coloured.no_labels, [tmp_path])


def test_labels_must_fit_their_clip(coloured, tmp_path):
    np.save(label_path(tmp_path, coloured.clips[0]), np.zeros((30, 3), np.float32))
    frames = ClipFrames(coloured.clips, labels_in(tmp_path))
    assert frames.labelled == 1
    np.save(label_path(tmp_path, coloured.clips[0]), np.ones((30, 3), np.float32))
    assert ClipFrames(coloured.clips, labels_in(tmp_path)).labels_digest != frames.labels_digest
    np.save(label_path(tmp_path, coloured.clips[0]), np.zeros((29, 3), np.float32))
    with pytest.raises(KPBEError, match=r"a#1.*\.npy holds labels of shape \(29, 3\) for the 30 frames"):
        ClipFrames(coloured.clips, labels_in(tmp_path))


def test_without_a_backends_video_the_expression_is_a_simulated_backends(coloured, tmp_path):
    """The source's head gets the target's mouth: blue holds no information here, and red is the moment."""
    labels = ExpressionLabels.unknown(30)
    rng = np.random.default_rng(0)
    labels.points[:] = rng.uniform(-0.8, 0.8, labels.points.shape[1:])
    labels.points[:, :6] = [(-0.3, 0.4), (0, 0.35), (0.3, 0.4), (0, 0.45), (-0.4, -0.2), (0.4, -0.2)]
    labels.save(expression_path(tmp_path, coloured.clips[0]))
    frames = ClipFrames(coloured.clips, labels_in(tmp_path), simulate=True)
    assert frames.gives_expression and not frames.with_backend and frames.with_expression_labels == 1
    picture = frames.pictures(0, (3, 21, 3, 21), 0, spoiling=5)
    assert picture.expression is not None and picture.expression.shape == (32, 32, 3)
    top = picture.expression[:6, :, 0].astype(float)
    assert np.abs(top - 8 * 3).mean() < np.abs(top - 8 * 21).mean(), "above the mouth the source's moment"
    mouth = picture.expression[21:24, 13:19, 0].astype(float)
    assert np.abs(mouth - 8 * 21).mean() < np.abs(mouth - 8 * 3).mean(), "the target's mouth"
    again = frames.pictures(0, (3, 21, 3, 21), 0, spoiling=5)
    other = frames.pictures(0, (3, 21, 3, 21), 0, spoiling=6)
    assert again.expression is not None and other.expression is not None
    assert np.array_equal(again.expression, picture.expression)
    assert not np.array_equal(other.expression, picture.expression)
    assert (
        np.allclose(picture.source_points, labels.points[3]) and np.isfinite(picture.expression_points).all()
    )


def test_a_backends_video_is_taken_as_it_is_and_its_points_are_not_known(coloured):
    frames = ClipFrames(coloured.clips, coloured.no_labels, [coloured.one], simulate=True)
    picture = frames.pictures(0, (3, 21, 3, 21), 0, 0)
    assert picture.expression is not None and (picture.expression[..., 2] == 0).all()
    assert np.isnan(picture.expression_points).all()


def test_drawn_people_come_after_the_clips_with_their_own_labels(coloured, tmp_path):
    drawn = draw_grids(GridParams(identities=1, poses=2, mouths=2, frame_size=64), 32, tmp_path)
    frames = ClipFrames(coloured.clips, coloured.no_labels, grids=drawn, simulate=True)
    assert frames.videos_per_clip == [0, 0, 0] and frames.labelled == 1
    shown = Recording(drawn[0].clip.video).frames()
    picture = frames.pictures(3, (0, 3, 1, 2), 0, 0)
    assert np.array_equal(picture.source, shown[0]) and np.array_equal(picture.pose, shown[3])
    assert np.array_equal(picture.target, shown[2])
    assert np.allclose(picture.expression_points, frames.expressions[3].points[1], equal_nan=True)
