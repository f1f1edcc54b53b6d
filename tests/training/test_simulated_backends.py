"""Simulated backends: the speaker's mouth on another head, degraded in part or all over, by seed."""

from __future__ import annotations

import numpy as np
import pytest

from kpbe.data.expression.labels import FACE, GUIDES, LIPS, ExpressionLabels, in_pixels, label_path
from kpbe.data.sample.grids import draw_grids
from kpbe.media.recording import Recording
from kpbe.params import GridParams
from kpbe.training import simulated_backends
from kpbe.training.simulated_backends import Head, head_square, lower_face, simulate

SIZE, POSES, MOUTHS = 128, 3, 3


@pytest.fixture(scope="module")
def heads(tmp_path_factory) -> list[list[Head]]:
    """One person by pose and mouth."""
    params = GridParams(identities=1, poses=POSES, mouths=MOUTHS, frame_size=160)
    (grid,) = draw_grids(params, SIZE, tmp_path_factory.mktemp("grids"))
    frames = Recording(grid.clip.video).frames()
    points = ExpressionLabels.load(label_path(grid.clip.video.parent, grid.clip), len(frames)).points
    return [
        [Head(frames[p * MOUTHS + m], points[p * MOUTHS + m]) for m in range(MOUTHS)] for p in range(POSES)
    ]


def with_kind(monkeypatch, clean: float, soft: float) -> None:
    monkeypatch.setattr(simulated_backends, "CLEAN", clean)
    monkeypatch.setattr(simulated_backends, "SOFT", soft)


def test_the_same_seed_makes_the_same_frame_and_another_seed_another(heads):
    head, speaker = heads[0][0], heads[1][2]
    one, again, other = (simulate(head, speaker, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one.picture, again.picture) and not np.array_equal(one.picture, other.picture)


def test_the_mouth_is_the_speakers_and_the_rest_the_heads(heads, monkeypatch):
    with_kind(monkeypatch, 1.0, 0.0)
    for pose in range(POSES):
        for speaker_pose in range(POSES):
            head, speaker, wanted = heads[pose][0], heads[speaker_pose][2], heads[pose][2]
            made = simulate(head, speaker, np.random.default_rng(0))
            left, top, right, bottom = lower_face(head.points, head.size)
            above = slice(0, top - 10)  # a soft seam reaches a little further
            assert np.array_equal(made.picture[above], head.picture[above]), "above the mouth nothing changes"
            lips, truth = (in_pixels(h.points[LIPS], h.size) for h in (made, wanted))
            gap, true_gap = (float(np.linalg.norm(points[3] - points[1])) for points in (lips, truth))
            assert gap == pytest.approx(true_gap, abs=0.25 * true_gap + 1)
            assert np.allclose(made.points[4:GUIDES], head.points[4:GUIDES]), "eyes stay"
            inside = made.picture[top:bottom, left:right]
            assert np.abs(inside.astype(float) - head.picture[top:bottom, left:right]).mean() > 0.5


def test_a_head_that_speaks_already_keeps_its_points_and_is_spoiled_below_the_eyes(heads, monkeypatch):
    with_kind(monkeypatch, 0.0, 0.0)
    monkeypatch.setattr(simulated_backends, "_compressed", lambda picture, quality: picture)
    changed_below = 0
    for seed in range(12):
        head = heads[2][1]
        made = simulate(head, head, np.random.default_rng(seed))
        assert made.points is head.points
        eyes = int(in_pixels(head.points[4:6], head.size)[:, 1].min())
        assert np.array_equal(made.picture[: eyes - 4], head.picture[: eyes - 4])
        changed_below += not np.array_equal(made.picture, head.picture)
    assert changed_below >= 10


def test_a_soft_backend_is_soft_everywhere(heads, monkeypatch):
    with_kind(monkeypatch, 0.0, 1.0)
    head = heads[0][1]

    def detail(picture: np.ndarray) -> float:
        return float(np.abs(np.diff(picture.astype(float), axis=1))[: SIZE // 3].mean())

    made = [simulate(head, head, np.random.default_rng(seed)).picture for seed in range(8)]
    assert np.mean([detail(picture) for picture in made]) < 0.85 * detail(head.picture)


def test_a_soft_head_is_pasted_as_a_square_that_holds_the_face_in_about_half_of_the_frames(
    heads, monkeypatch
):
    with_kind(monkeypatch, 0.0, 1.0)
    monkeypatch.setattr(simulated_backends, "_compressed", lambda picture, quality: picture)
    head = heads[0][1]
    left, top, right, bottom = head_square(head.points, head.size)
    face = head.points[FACE]
    points = in_pixels(face[np.isfinite(face).all(1)], head.size)
    assert left <= points[:, 0].min() and points[:, 0].max() <= right
    assert top <= points[:, 1].min() and points[:, 1].max() <= bottom
    outside = np.ones(head.size, bool)
    outside[top:bottom, left:right] = False
    assert outside.any()
    made = [simulate(head, head, np.random.default_rng(seed)).picture for seed in range(24)]
    pasted = sum(np.array_equal(picture[outside], head.picture[outside]) for picture in made)
    assert 6 <= pasted <= 18
    assert head_square(np.full_like(head.points, np.nan), (SIZE, SIZE)) == (0, 0, SIZE, SIZE)


def test_where_points_are_not_known_the_speaker_itself_is_spoiled(heads, monkeypatch):
    with_kind(monkeypatch, 1.0, 0.0)
    unknown = np.full_like(heads[0][0].points, np.nan)
    head, speaker = Head(heads[0][0].picture, unknown), Head(heads[1][2].picture, unknown)
    assert simulate(head, speaker, np.random.default_rng(0)) is speaker
    with_kind(monkeypatch, 0.0, 0.0)
    made = simulate(speaker, speaker, np.random.default_rng(3))
    assert made.picture.shape == speaker.picture.shape
    left, top, right, bottom = lower_face(unknown, (SIZE, SIZE))
    assert 0 < left < right < SIZE and SIZE / 3 < top < bottom < SIZE
