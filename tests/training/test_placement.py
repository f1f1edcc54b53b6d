"""Pictures and their labels move together."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import center_of_mass
from scipy.spatial.transform import Rotation

from kpbe.data.head_pose.labels import euler_degrees
from kpbe.training.placement import placed_picture, placed_points, placing, rolled_degrees
from kpbe.training.sampling import UNMOVED

PLACEMENTS = [(20, 1, 0, 0), (0, 1.25, 0, 0), (0, 1, 0.2, -0.1), (-12, 0.85, -0.1, 0.15)]


def dot_at(point: tuple[float, float], side: int = 128) -> np.ndarray:
    """A picture with a soft dot at a point of its coordinates."""
    axis = (np.arange(side) * 2 + 1) / side - 1
    squared = (axis[None] - point[0]) ** 2 + (axis[:, None] - point[1]) ** 2
    return np.repeat((255 * np.exp(-squared / 0.005)).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_points_go_where_the_picture_goes(placement):
    matrix = placing(np.array(placement, np.float32))
    point = (0.3, -0.35)
    moved = placed_picture(dot_at(point), matrix)
    row, column = center_of_mass(moved[..., 0])
    found = (2 * np.array([column, row]) + 1) / 128 - 1
    assert placed_points(np.array(point, np.float32), matrix) == pytest.approx(found, abs=0.01)


def test_unmoved_leaves_points_and_pictures_as_they_are():
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    matrix = placing(UNMOVED)
    assert np.array_equal(placed_picture(picture, matrix), picture)
    points = np.array([[0.25, -0.5], [np.nan, np.nan]], np.float32)
    assert np.array_equal(placed_points(points, matrix), points, equal_nan=True)


def test_a_rolled_picture_shows_a_head_turned_about_the_line_of_sight():
    degrees = np.array([30.0, -12.0, 5.0], np.float32)  # yaw, pitch, roll
    rolled = rolled_degrees(degrees, np.array((25, 1, 0, 0), np.float32))
    head = Rotation.from_euler("XYZ", [-12, 30, 5], degrees=True).as_matrix()
    clockwise = Rotation.from_euler("z", 25, degrees=True).as_matrix()
    assert rolled == pytest.approx(euler_degrees((clockwise @ head)[None])[0], abs=1e-3)
    assert rolled_degrees(np.zeros(3, np.float32), np.array((25, 1, 0, 0), np.float32))[2] == pytest.approx(
        25
    )


def test_unknown_poses_stay_unknown():
    unknown = np.full(3, np.nan, np.float32)
    assert np.isnan(rolled_degrees(unknown, np.array((25, 1, 0, 0), np.float32))).all()
