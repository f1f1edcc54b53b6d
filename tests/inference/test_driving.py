"""What moves the source: parts, strength, relative motion, smoothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from kpbe.errors import KPBEError
from kpbe.frontend.images import to_tensor, to_uint8
from kpbe.frontend.model import Frontend
from kpbe.inference.driving import (
    Driver,
    Driving,
    Motion,
    extended,
    motion_of,
    one_euro,
    parts_of,
    pose_end_of,
    smoothed,
)
from kpbe.inference.free_view import decompose_image
from tests.frontend.tiny import SIZE, tiny_frontend


@pytest.fixture(scope="module")
def frontend() -> Frontend:
    return tiny_frontend(num_keypoints=8)


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (5, SIZE, SIZE, 3), dtype=np.uint8)


def keypoints_with(frontend: Frontend, pictures: np.ndarray, driving: Driving, **more: Any) -> torch.Tensor:
    """The driving keypoints that `Driver` renders with."""
    source = decompose_image(frontend, pictures[0])
    seen: list[torch.Tensor] = []
    render = frontend.render

    def record(source, keypoints, pose, second, counts):
        seen.append(keypoints)
        return render(source, keypoints, pose, second, counts)

    initial = frontend.decompose(to_tensor(pictures[1:2])) if driving.relative else None
    frontend.render = record  # type: ignore[method-assign]
    try:
        Driver(frontend, source, driving, initial=initial).render(pictures[1:], **more)
    finally:
        del frontend.render
    return seen[0]


def test_everything_taken_is_equation_2(frontend: Frontend, pictures: np.ndarray) -> None:
    source = decompose_image(frontend, pictures[0])
    with torch.inference_mode():
        expected = to_uint8(frontend.reenact(source, None, to_tensor(pictures[1:])).frame)
    np.testing.assert_array_equal(Driver(frontend, source, Driving()).render(pictures[1:]), expected)


def test_each_part_is_taken_alone(frontend: Frontend, pictures: np.ndarray) -> None:
    source = decompose_image(frontend, pictures[0])
    own = source.keypoints
    still = keypoints_with(frontend, pictures, Driving(frozenset({"expression"}), strength=0.0))
    torch.testing.assert_close(still, own.expand_as(still))
    lips = keypoints_with(frontend, pictures, Driving(frozenset({"lips"})))
    assert not torch.allclose(lips[:, :4], own[:, :4]) and torch.allclose(lips[:, 4:], own[:, 4:])
    eyes = keypoints_with(frontend, pictures, Driving(frozenset({"eyes"})))
    moved = (eyes - own).abs().amax(dim=(0, 2)) > 1e-6
    assert moved.tolist() == [False] * 4 + [True] * 2 + [False] * 2
    pose = keypoints_with(frontend, pictures, Driving(frozenset({"pose"})))
    with torch.inference_mode():
        known = frontend.keypoints_of(to_tensor(pictures[1:]))
        torch.testing.assert_close(pose, source.driven_by(known.pose, source.expression))


def test_half_the_strength_is_half_the_way(frontend: Frontend, pictures: np.ndarray) -> None:
    none, half, full = (
        keypoints_with(frontend, pictures, Driving(strength=strength)) for strength in (0.0, 0.5, 1.0)
    )
    torch.testing.assert_close(half, (none + full) / 2)


def test_relative_motion_begins_at_the_source_itself(frontend: Frontend, pictures: np.ndarray) -> None:
    source = decompose_image(frontend, pictures[0])
    relative = keypoints_with(frontend, pictures, Driving(relative=True))
    torch.testing.assert_close(relative[:1], source.keypoints, atol=1e-5, rtol=1e-4)
    assert (relative[1:] - source.keypoints).abs().amax(dim=(1, 2)).min() > 1e-5


def test_lips_rest_where_nobody_speaks(frontend: Frontend, pictures: np.ndarray) -> None:
    speaks = np.array([True, False, False, True])
    keypoints = keypoints_with(frontend, pictures, Driving(frozenset({"lips"})), speaks=speaks)
    own = decompose_image(frontend, pictures[0]).keypoints[:, :4]
    resting = (keypoints[:, :4] - own).abs().amax(dim=(1, 2)) < 1e-6
    assert resting.tolist() == (~speaks).tolist()


def test_smoothing_takes_jitter_and_leaves_lips_and_turns() -> None:
    generator = torch.Generator().manual_seed(0)
    frames = 200
    turn = torch.sin(torch.arange(frames) / 25.0) * 0.4
    noisy = turn + 0.02 * torch.randn(frames, generator=generator)
    cos, sin, zero, one = noisy.cos(), noisy.sin(), torch.zeros(frames), torch.ones(frames)
    rotation = torch.stack([cos, zero, sin, zero, one, zero, -sin, zero, cos], dim=1).view(-1, 3, 3)
    noise = 0.01 * torch.randn(frames, 8, 3, generator=generator)
    motion = Motion(rotation, noise[:, 0], noise, torch.zeros(frames, 8, 3))
    calm = smoothed(motion, 0.7, 25.0)
    torch.testing.assert_close(calm.rotation @ calm.rotation.mT, torch.eye(3).expand(frames, 3, 3))

    def jitter(values: torch.Tensor) -> float:
        return float((values[2:] - 2 * values[1:-1] + values[:-2]).square().mean().sqrt())

    assert jitter(calm.rotation) < 0.5 * jitter(motion.rotation)
    assert jitter(calm.expression[:, 4:]) < 0.5 * jitter(motion.expression[:, 4:])
    assert torch.equal(calm.expression[:, :4], motion.expression[:, :4])
    angle = torch.atan2(calm.rotation[:, 0, 2], calm.rotation[:, 0, 0])
    assert float((angle - turn).abs()[25:].mean()) < 0.05, "the turn itself is followed"
    assert smoothed(motion, 0.0, 25.0) is motion


def test_the_filter_lets_a_jump_pass() -> None:
    step = torch.cat([torch.zeros(50), torch.ones(50)])
    out = one_euro(step, 1.0, 25.0)
    assert out[:50].abs().max() == 0 and out[53] > 0.8 and abs(float(out[-1]) - 1) < 0.01


def test_motion_of_a_video_is_that_of_its_frames(frontend: Frontend, pictures: np.ndarray) -> None:
    motion = motion_of(frontend, iter(pictures), batch_size=2)
    known = frontend.keypoints_of(to_tensor(pictures))
    assert len(motion) == 5
    torch.testing.assert_close(motion.rotation, known.pose.rotation)
    torch.testing.assert_close(motion.expression, known.expression)


def test_a_shorter_pose_video_ends_as_asked() -> None:
    assert extended(3, 7, "cut").tolist() == [0, 1, 2]
    assert extended(3, 7, "loop").tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert extended(3, 7, "hold").tolist() == [0, 1, 2, 2, 2, 2, 2]
    assert extended(3, 7, "swing").tolist() == [0, 1, 2, 1, 0, 1, 2]
    assert extended(1, 3, "swing").tolist() == [0, 0, 0]
    for end in ("cut", "loop", "hold", "swing"):
        assert extended(9, 4, pose_end_of(end)).tolist() == [0, 1, 2, 3]


def test_words_are_checked() -> None:
    assert parts_of(" lips, pose") == {"lips", "pose"}
    for wrong in ("", "nose", "lips,nose"):
        with pytest.raises(KPBEError, match="name some of expression, pose, lips, eyes"):
            parts_of(wrong)
    with pytest.raises(KPBEError, match="choose one of cut, loop, hold, swing"):
        pose_end_of("stop")
    with pytest.raises(KPBEError, match="between 0 and 2"):
        Driving(strength=3)
    with pytest.raises(KPBEError, match="between 0 and 1"):
        Driving(smoothing=-0.1)
