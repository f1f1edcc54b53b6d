"""Drawn people in every combination of poses and mouths."""

from __future__ import annotations

import numpy as np
import pytest

from kpbe.data.expression.labels import FACE, LIPS, ExpressionLabels, in_pixels, label_path
from kpbe.data.grids import read_grids
from kpbe.data.head_pose.labels import label_path as head_pose_path
from kpbe.data.sample.grids import draw_grids
from kpbe.data.sample.person import BACKGROUND_POINTS
from kpbe.errors import KPBEError
from kpbe.media.recording import Recording
from kpbe.params import GridParams

SIZE = 64
PARAMS = GridParams(identities=2, poses=3, mouths=4, frame_size=96)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("grids")
    draw_grids(PARAMS, SIZE, out)
    return out


def test_a_row_has_one_pose_and_a_column_one_mouth(folder):
    grids = read_grids(folder)
    assert [(grid.poses, grid.mouths, grid.clip.frames) for grid in grids] == [(3, 4, 12)] * 2
    assert len({grid.clip.identity for grid in grids}) == 2
    for grid in grids:
        frames = Recording(grid.clip.video).frames()
        assert frames.shape == (12, SIZE, SIZE, 3)
        degrees = np.load(head_pose_path(grid.clip.video.parent, grid.clip)).reshape(3, 4, 3)
        assert (degrees == degrees[:, :1]).all() and np.ptp(degrees[:, 0], axis=0).max() > 5
        labels = ExpressionLabels.load(label_path(grid.clip.video.parent, grid.clip), 12)
        points = in_pixels(labels.points, (SIZE, SIZE)).reshape(3, 4, -1, 2)
        gap = np.linalg.norm(points[:, :, 3] - points[:, :, 1], axis=-1)
        assert (gap[:, -1] > gap[:, 0] + 0.5).all(), "from closed to open in every pose"
        assert np.corrcoef(gap[0], gap[1])[0, 1] > 0.95, "the same mouths in every pose"
        assert np.isfinite(points[..., FACE, :]).mean() > 0.6


def test_points_lie_where_the_mouth_is_drawn(folder):
    """Pictures with different mouths differ around the points of the lips."""
    grid = read_grids(folder)[0]
    frames = Recording(grid.clip.video).frames().astype(float)
    labels = ExpressionLabels.load(label_path(grid.clip.video.parent, grid.clip), 12)
    change = np.abs(frames[3] - frames[0]).sum(-1)
    y, x = np.indices(change.shape)
    lips = in_pixels(labels.points[3, LIPS], (SIZE, SIZE)).mean(0)
    away = np.hypot(x - lips[0], y - lips[1])
    assert change[away < 5].mean() > 3 * change[away > 20].mean()


def test_points_of_hair_and_background_move_as_the_picture_does(folder):
    """The same points look alike in two poses, and exchanged points do not; the background stays in place."""
    for grid in read_grids(folder):
        frames = Recording(grid.clip.video).frames().astype(float)
        labels = ExpressionLabels.load(label_path(grid.clip.video.parent, grid.clip), 12)
        scene = in_pixels(labels.points[:, FACE.stop :], (SIZE, SIZE)).reshape(3, 4, -1, 2)[:, 0]
        background = scene[:, -BACKGROUND_POINTS:]
        shown = np.isfinite(background).all((0, 2))
        assert shown.sum() > 3 and np.ptp(background[:, shown], axis=0).max() < 1e-3
        seen = np.all(np.isfinite(scene) & (scene >= 0) & (scene <= SIZE - 1), axis=-1)
        both = seen[0] & seen[1]
        assert both[:-BACKGROUND_POINTS].sum() >= 5
        colours = [
            frames[4 * pose][tuple(scene[pose, both].round().astype(int).T[::-1])] for pose in range(2)
        ]
        alike, unlike = (np.abs(colours[0] - other).mean() for other in (colours[1], colours[1][::-1]))
        assert alike < 0.8 * unlike


def test_people_that_are_drawn_are_kept_and_more_are_added(folder, tmp_path):
    before = {grid.clip.video: grid.clip.video.stat().st_mtime_ns for grid in read_grids(folder)}
    more = draw_grids(PARAMS.model_copy(update={"identities": 3}), SIZE, folder)
    assert len(more) == 3
    assert all(path.stat().st_mtime_ns == made for path, made in before.items())
    draw_grids(PARAMS, SIZE, folder)
    assert draw_grids(PARAMS.model_copy(update={"identities": 0}), SIZE, tmp_path) == []


def test_a_folder_without_grids_is_said(tmp_path):
    with pytest.raises(KPBEError, match=r"grid\.json cannot be read: run the stage draw_grids"):
        read_grids(tmp_path)
