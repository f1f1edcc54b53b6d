"""Angles between poses and shares of the way, on poses with a known answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kpbe.checkpoints.catalogue import CATALOGUE
from kpbe.data.sample.clip import plan_clip
from kpbe.data.sample.person import Pose
from kpbe.media.recording import Recording
from kpbe.metrics.face_landmarks import FaceLandmarker, FaceLandmarks
from kpbe.metrics.head_pose import (
    ShareOfTheWay,
    mean_angle_error,
    share_of_the_way,
    share_of_the_way_of_poses,
)
from kpbe.params import SampleParams


def turns(*degrees: float) -> np.ndarray:
    return Rotation.from_euler("y", np.reshape(degrees, (-1, 1)), degrees=True).as_matrix()


def test_mean_angle_error_goes_the_short_way_and_skips_unknown_frames() -> None:
    truth = np.array([[10, 0, 179.0], [20, 5, 0], [np.nan, 0, 0]])
    test = np.array([[13, 0, -179.0], [19, 2, 0], [0, 0, 0]])
    error = mean_angle_error(truth, test)
    assert (error.yaw, error.pitch, error.roll) == pytest.approx((2, 1.5, 1))
    assert error.mean == pytest.approx(1.5)
    assert np.isnan(mean_angle_error(truth[2:], test[2:]).mean)


def poses(degrees: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return turns(*degrees), np.array([100.0, 120]) + shift


def test_the_share_is_what_was_moved() -> None:
    rng = np.random.default_rng(0)
    degrees, shift = rng.normal(0, 10, 40), rng.normal(0, 8, (40, 2))
    source = (turns(0)[0], np.array([100.0, 120]))
    driving = poses(degrees, shift)
    moved = share_of_the_way_of_poses(source, driving, poses(0.6 * degrees, shift * (0.5, 0.25)), 80)
    assert (moved.turn, moved.across, moved.down) == pytest.approx((0.6, 0.5, 0.25))
    still = share_of_the_way_of_poses(source, driving, poses(0 * degrees, 0 * shift), 80)
    assert (still.turn, still.across, still.down) == pytest.approx((0, 0, 0))
    away = share_of_the_way_of_poses(source, driving, poses(-degrees, shift), 80)
    assert away.turn == pytest.approx(-1)


def test_the_share_starts_at_the_sources_pose() -> None:
    """The same absolute poses are another share of the way from another source."""
    driving, result = poses(np.full(10, 30.0), np.zeros((10, 2))), poses(np.full(10, 20.0), np.zeros((10, 2)))
    for start, share in ((0, 2 / 3), (10, 0.5)):
        source = (turns(start)[0], np.array([100.0, 120]))
        assert share_of_the_way_of_poses(source, driving, result, 80).turn == pytest.approx(share)


def test_a_driving_head_that_hardly_moves_has_no_share() -> None:
    rng = np.random.default_rng(0)
    source = (turns(0)[0], np.array([100.0, 120]))
    driving = poses(rng.normal(0, 0.5, 40), rng.normal(0, (8, 0.4), (40, 2)))
    found = share_of_the_way_of_poses(source, driving, driving, 80)
    assert found.turn is None and found.down is None and found.across == pytest.approx(1)


def test_frames_without_a_face_are_left_out() -> None:
    def face(degrees: float, x: float) -> FaceLandmarks:
        points = np.array([[x, 0, 0], [x + 80, 80, 0]], np.float32)
        pose = np.eye(4)
        pose[:3, :3] = turns(degrees)[0]
        return FaceLandmarks(points, {}, pose)

    driving = [face(10, 10), face(20, 20), None, face(-30, -30)]
    result = [face(5, 2), None, face(9, 9), face(-15, -6)]
    found = share_of_the_way(face(0, 0), driving, result)
    assert (found.turn, found.across, found.down) == (pytest.approx(0.5), pytest.approx(0.2), None)
    assert share_of_the_way(face(0, 0), [None], [None]) == ShareOfTheWay(None, None, None)
    with pytest.raises(ValueError, match="4 driving and 1 resulting"):
        share_of_the_way(face(0, 0), driving, result[:1])


def test_drawn_heads_that_go_half_the_way(shared_weights: Path) -> None:
    pytest.importorskip("mediapipe")
    landmarker = FaceLandmarker(shared_weights / CATALOGUE["face_landmarker"].file)
    plan = plan_clip(0, 0, SampleParams(seconds=3, frame_size=256))
    first, *others = plan.poses[::7]

    def part(pose: Pose, share: float) -> Pose:
        """The pose at a share of the way from the first one."""
        turn = Rotation.from_matrix(pose.rotation) * Rotation.from_matrix(first.rotation).inv()
        rotation = Rotation.from_rotvec(share * turn.as_rotvec()).as_matrix() @ first.rotation
        shift = share * (pose.translation - first.translation)
        return replace(pose, rotation=rotation, translation=first.translation + shift)

    def faces(share: float) -> list[FaceLandmarks | None]:
        return [landmarker.read(plan.actor.draw(part(pose, share))) for pose in others]

    source, driving = landmarker.read(plan.actor.draw(first)), faces(1)
    assert source is not None
    for share in (0, 0.5):  # the mouth goes on talking, which reads as some turn
        found = share_of_the_way(source, driving, faces(share))
        assert (found.turn, found.across) == (pytest.approx(share, abs=0.1), pytest.approx(share, abs=0.1))


def test_a_real_video_goes_all_the_way_to_itself_and_a_still_one_nowhere(
    shared_clips: Path, shared_weights: Path
) -> None:
    pytest.importorskip("mediapipe")
    landmarker = FaceLandmarker(shared_weights / CATALOGUE["face_landmarker"].file)
    frames = Recording(shared_clips / "styletalk" / "source_video_video_reagan_clip1.mp4").frames()[:100:5]
    source, *faces = [landmarker.read(frame) for frame in frames]
    assert source is not None
    own = share_of_the_way(source, faces, faces)
    still = share_of_the_way(source, faces, [source] * len(faces))
    assert (own.turn, still.turn) == (pytest.approx(1), pytest.approx(0))
