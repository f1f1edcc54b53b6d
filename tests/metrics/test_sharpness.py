"""Blur lowers sharpness, and trembling raises jitter; steady movement does not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from kpbe.metrics.sharpness import sharpness, temporal_jitter


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def test_blur_lowers_sharpness() -> None:
    frame = noise()
    blurred = [cv2.GaussianBlur(frame, (0, 0), sigma) for sigma in (0.5, 1, 2)]
    values = [sharpness(picture) for picture in (frame, *blurred)]
    assert values == sorted(values, reverse=True) and values[-1] < 0.05 * values[0]
    assert sharpness(np.full((64, 64, 3), 90, np.uint8)) == pytest.approx(0)


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    single = np.zeros((9, 9, 3))
    single[4, 4] = 100
    laplacian = np.zeros((9, 9))
    laplacian[4, 4], laplacian[3, 4], laplacian[5, 4], laplacian[4, 3], laplacian[4, 5] = -400, *[100] * 4
    assert sharpness(single) == pytest.approx(laplacian.var())


def test_trembling_is_jitter_and_steady_movement_is_not() -> None:
    rng = np.random.default_rng(0)
    face = rng.uniform(0, 100, (20, 2))
    steady = face + np.arange(30)[:, None, None] * (2.0, -1.0)
    assert temporal_jitter(steady, 100) == pytest.approx(0, abs=1e-9)
    zigzag = steady + np.where(np.arange(30) % 2, 1.0, -1.0)[:, None, None] * (1.0, 0)
    assert temporal_jitter(zigzag, 100) == pytest.approx(0.04)  # one pixel to and fro: 1, -1, 1 differ by 4
    assert temporal_jitter(zigzag * 3, 300) == pytest.approx(0.04)
    assert temporal_jitter(zigzag, np.full(30, 200.0)) == pytest.approx(0.02)


def test_frames_without_a_face_add_nothing() -> None:
    points = np.arange(10.0)[:, None, None] * np.ones((1, 4, 2))
    points[4] = np.nan
    points[5:] += 50  # a jump across the gap
    assert temporal_jitter(points, 100) == pytest.approx(0, abs=1e-9)
    points[::2] = np.nan
    assert temporal_jitter(points, 100) is None
    assert temporal_jitter(points[:2], 100) is None
