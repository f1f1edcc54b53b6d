"""Sharp pictures moved by the motion field, and how the network blends them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from kpbe.data.expression.labels import LIPS
from kpbe.errors import ParamsError
from kpbe.frontend.detail import (
    BACKEND,
    DECODER,
    LIP_KEYPOINTS,
    SOURCE,
    Compositor,
    around_mouth,
    image_displacement,
    plane_weights,
    warp_image,
)
from kpbe.frontend.geometry import HeadPose, coordinate_grid, rotated_grid
from kpbe.frontend.images import resized
from kpbe.frontend.model import Frontend
from kpbe.params import ConventionParams, ModelParams
from tests.frontend.tiny import tiny_model

DEPTH, CELLS = 3, 8


def model(detail: str = "warp_both", backend_reach: float | None = None, **changes: Any) -> ModelParams:
    generator = {
        "width": 16,
        "blocks": 1,
        "detail": detail,
        "detail_width": 4,
        "backend_reach": backend_reach,
    }
    conventions = {"align_corners": True, "first_order": "rotation"}
    return ModelParams.model_validate(tiny_model(generator=generator, conventions=conventions, **changes))


@pytest.fixture
def frontend() -> Frontend:
    torch.manual_seed(0)
    return Frontend(model()).eval()


def still(batch: int = 1) -> Tensor:
    return coordinate_grid((DEPTH, CELLS, CELLS)).expand(batch, -1, -1, -1, -1).clone()


def evenly(batch: int = 1) -> Tensor:
    return torch.full((batch, DEPTH, CELLS, CELLS), 1 / DEPTH)


def smooth_picture(size: int) -> Tensor:
    """(1, 3, size, size) whose values encode the place, whatever the size."""
    places = (torch.arange(size) * 2 + 1) / size - 1
    y, x = torch.meshgrid(places, places, indexing="ij")
    return torch.stack([0.5 + 0.3 * x, 0.5 + 0.3 * y, 0.5 + 0.2 * torch.sin(2 * x)])[None]


def test_a_still_motion_field_leaves_every_picture_as_it_is():
    for align_corners in (True, False):
        displacement = image_displacement(still(), evenly(), align_corners)
        assert displacement.abs().max() < 1e-6
    picture = torch.rand(1, 3, 40, 56)
    torch.testing.assert_close(warp_image(picture, displacement, (40, 56)), picture, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [64, 96, 200])
def test_a_shift_of_the_volume_is_the_same_shift_of_a_picture_of_any_size(size):
    """Two of eight cells are a quarter of the picture."""
    moved = still()
    moved[..., 0] += 2 * 2 / (CELLS - 1)  # corners lie half a cell inside
    displacement = image_displacement(moved, evenly(), align_corners=True)
    torch.testing.assert_close(displacement[:, 0], torch.full((1, CELLS, CELLS), 0.5))
    picture = smooth_picture(size)
    result = warp_image(picture, displacement, (size, size))
    shift = size // 4
    inside = result[..., : size - shift], picture[..., shift:]
    torch.testing.assert_close(*inside, atol=1e-4, rtol=0)
    border = result[..., -1], picture[..., -1]
    torch.testing.assert_close(*border, msg="beyond the picture its border is repeated")


def test_the_depth_weights_say_which_plane_is_seen():
    moved, weights = still(), torch.zeros(1, DEPTH, CELLS, CELLS)
    moved[:, 1, ..., 1] += 0.5
    weights[:, 1, :, :4], weights[:, 2, :, 4:] = 1, 1
    displacement = image_displacement(moved, weights, align_corners=False)
    torch.testing.assert_close(displacement[0, 1, :, :4], torch.full((CELLS, 4), 0.5))
    assert displacement[0, 1, :, 4:].abs().max() < 1e-6


def test_shares_sum_to_one_and_an_absent_backend_has_none(frontend):
    compositor = frontend.compositor
    assert isinstance(compositor, Compositor)
    with torch.no_grad():
        compositor.choice.weight.normal_(0, 0.3)
    decoded, occlusion = torch.rand(3, 3, 64, 64), torch.rand(3, 1, 16, 16)
    source, backend = torch.rand(3, 3, 96, 96), torch.rand(3, 3, 96, 96)
    seen = torch.tensor([True, False, True])
    both = compositor(decoded, occlusion, source, backend, seen)
    assert both.shares.shape == (3, 3, 96, 96) and both.frame.shape == (3, 3, 96, 96)
    torch.testing.assert_close(both.shares.sum(1), torch.ones(3, 96, 96))
    assert both.shares[1, BACKEND].max() == 0 < both.shares[0, BACKEND].min()
    other = compositor(decoded, occlusion, source, torch.rand(3, 3, 96, 96), seen)
    assert torch.equal(other.frame[1], both.frame[1]), "what does not count is not looked at either"
    assert not torch.equal(other.frame[0], both.frame[0])
    alone = compositor(decoded, occlusion, source)
    torch.testing.assert_close(alone.frame[1], both.frame[1], atol=1e-5, rtol=0)
    assert alone.shares.shape[1] == 2 and alone.matched_backend is None


def lips_at(x: float, y: float, width: float, depth: float = 0.0) -> Tensor:
    """(1, 4, 3): left corner, upper lip, right corner, lower lip of a closed mouth.

    The corners differ by `depth`.
    """
    half = width / 2
    return torch.tensor([[[x - half, y, -depth / 2], [x, y, 0], [x + half, y, depth / 2], [x, y, 0]]])


def test_the_backends_frame_counts_around_the_mouth_only():
    allowed = around_mouth(lips_at(0.2, 0.4, 0.3), 1.0, 100)[0, 0]
    across = (torch.arange(100) * 2 + 1) / 100 - 1
    row = allowed[70]  # y = 0.41
    assert row[(across - 0.2).abs() < 0.15].min() > 0.95, "the lips themselves"
    assert row[(across - 0.2).abs() > 0.5].max() < 0.02
    assert abs(row[across > 0.2].sub(0.5).abs().argmin() / 50 - 0.3) < 0.03, "a half at one mouth's width"
    assert allowed[:40].max() < 0.02, "no eyes"


def test_a_training_cannot_widen_the_backends_reach():
    lips = lips_at(0, 0, 0.4)
    apart_in_depth = lips_at(0, 0, 0.4, depth=2.0)
    assert torch.equal(around_mouth(apart_in_depth, 1.0, 64), around_mouth(lips, 1.0, 64))
    assert not around_mouth(lips.requires_grad_(), 1.0, 64).requires_grad


def test_however_sure_the_choice_the_backends_reach_is_kept(frontend):
    assert LIP_KEYPOINTS == LIPS, "the keypoints are guided to these points"
    compositor = frontend.compositor
    assert isinstance(compositor, Compositor) and compositor.choice.bias is not None
    with torch.no_grad():
        compositor.choice.bias[BACKEND] = 40
    pictures = torch.rand(1, 3, 64, 64), torch.rand(1, 1, 16, 16), *torch.rand(2, 1, 3, 96, 96)
    assert compositor(*pictures).shares[:, BACKEND].min() > 0.99, "everywhere without a bound"
    compositor.backend_reach = 1.0
    shares = compositor(*pictures, None, lips_at(0, 0.3, 0.3)).shares
    torch.testing.assert_close(shares.sum(1), torch.ones(1, 96, 96))
    assert shares[0, BACKEND, 62, 48] > 0.95
    assert shares[0, BACKEND, :36].max() < 0.02
    others = shares[0, :, :36]
    torch.testing.assert_close(others[SOURCE] / others[DECODER], torch.full((36, 96), torch.e))


def test_a_frontend_takes_the_backends_mouth_where_its_own_lips_are():
    torch.manual_seed(0)
    frontend = Frontend(model(backend_reach=0.4)).eval()
    source = frontend.decompose(torch.rand(1, 3, 96, 96))
    second = frontend.second_source(source, torch.rand(1, 3, 96, 96))
    driving = source.keypoints.clone()
    driving[:, LIP_KEYPOINTS] = lips_at(-0.5, 0.5, 0.4)
    with torch.no_grad():
        shares = frontend.render(source, driving, source.pose, second).shares
    assert shares is not None
    left, right = shares[0, BACKEND, 60:84, 12:36], shares[0, BACKEND, 60:84, 60:84]
    assert left.mean() > 10 * right.mean()


def test_the_untrained_choice_is_mostly_the_moved_source(frontend):
    source = frontend.decompose(torch.rand(1, 3, 64, 64))
    rendering = frontend.render(source, source.keypoints, source.pose)
    assert rendering.shares is not None
    assert rendering.shares[:, SOURCE].min() > rendering.shares[:, DECODER].max()


def test_colours_are_matched_smoothly_so_that_lips_keep_their_edges(frontend):
    compositor = frontend.compositor
    assert isinstance(compositor, Compositor) and compositor.colours.bias is not None
    with torch.no_grad():
        compositor.colours.weight.normal_(0, 0.5)
        compositor.colours.bias.copy_(torch.tensor([0.5, 0.0, -0.5]))
    flat = torch.full((1, 3, 128, 128), 0.5)
    flat[..., 60:68, 40:90] = 0.3  # a mouth
    pictures = torch.rand(1, 3, 64, 64), torch.rand(1, 1, 16, 16), torch.rand(1, 3, 128, 128)
    with torch.no_grad():
        matched = compositor(*pictures, flat).matched_backend
    assert matched is not None
    assert matched[:, 0].mean() > 0.55 and matched[:, 2].mean() < 0.45, "redder and less blue"
    change = (matched / flat)[0, 0, :60]
    steps = change.diff(dim=-1).abs().max()
    assert steps < 0.25 * (change.max() - change.min()), "no step within a few pixels"
    contrast = matched[..., 60, 40:90] / matched[..., 59, 40:90]
    torch.testing.assert_close(contrast, torch.full_like(contrast, 0.6), atol=0.03, rtol=0)


# -- the frontend with two sources -------------------------------------------------------------------------


def turned(frontend: Frontend, pose: HeadPose, yaw: float) -> HeadPose:
    degrees = pose.degrees + torch.tensor([yaw, 0.0, 0.0])
    return HeadPose.from_degrees(degrees, pose.translation + 0.1, frontend.params.conventions)


@torch.no_grad()
def test_the_backends_frame_is_moved_from_its_own_pose_and_not_at_all_where_it_has_the_driving_pose(frontend):
    source = frontend.decompose(torch.rand(1, 3, 96, 96))
    backend = torch.rand(2, 3, 80, 80)
    second = frontend.second_source(source, backend)
    same = frontend.reenact(source, None, backend)
    assert same.moved_backend is not None and same.backend_motion is not None
    torch.testing.assert_close(same.moved_backend, resized(backend, (96, 96)), atol=1e-3, rtol=0)
    assert same.backend_motion.displacement is not None
    assert same.backend_motion.displacement.abs().max() < 1e-5
    shift = HeadPose(second.pose.rotation, second.pose.translation + 0.2, second.pose.degrees)
    shifted = frontend.reenact(source, shift, backend)
    assert shifted.backend_motion is not None and shifted.backend_motion.displacement is not None
    assert shifted.backend_motion.displacement.mean() < -0.05, (
        "content that moves right and down comes from there"
    )

    away = frontend.reenact(source, turned(frontend, second.pose, 25.0), backend)
    assert away.moved_backend is not None and away.backend_motion is not None
    assert (away.moved_backend - same.moved_backend).abs().mean() > 0.01
    expected = warp_image(backend, away.backend_motion.displacement, (96, 96))
    torch.testing.assert_close(away.moved_backend, expected)


@torch.no_grad()
def test_frames_have_the_sources_own_size_whatever_the_inner_and_the_backends(frontend):
    for detail in ("none", "warp", "warp_both"):
        frontend.use_detail(detail)
        source = frontend.decompose(torch.rand(1, 3, 144, 144))
        rendering = frontend.reenact(source, None, torch.rand(2, 3, 50, 50))
        assert rendering.frame.shape == (2, 3, 144, 144), detail
        assert (rendering.moved_backend is not None) == (detail == "warp_both")
        assert (rendering.moved_source is not None) == (detail != "none")


@torch.no_grad()
def test_without_detail_the_frame_is_the_decoders(frontend):
    image, driving = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64)
    plain = Frontend(model("none")).eval()
    plain.load_state_dict({k: v for k, v in frontend.state_dict().items() if k in plain.state_dict()})
    frontend.use_detail("none")
    frames = [each.reenact(each.decompose(image), None, driving) for each in (frontend, plain)]
    assert torch.equal(frames[0].frame, frames[1].frame)
    assert torch.equal(frames[1].frame, frames[1].decoded)


@torch.no_grad()
def test_of_another_person_only_the_expression_is_taken(frontend):
    source = frontend.decompose(torch.rand(1, 3, 64, 64))
    rendering = frontend.reenact(source, None, torch.rand(1, 3, 64, 64), same_person=False)
    assert rendering.moved_backend is None and rendering.moved_source is not None


def test_weights_give_no_more_detail_than_they_were_trained_with():
    plain = Frontend(model("warp"))
    assert plain.use_detail("none").detail == "none"
    assert plain.use_detail("warp").detail == "warp"
    with pytest.raises(ParamsError, match=r"generator\.detail = warp and cannot give warp_both"):
        plain.use_detail("warp_both")


def test_sizes_between_which_pictures_are_changed():
    picture = smooth_picture(64)
    assert resized(picture, (64, 64)) is picture
    torch.testing.assert_close(resized(picture, (32, 32)), smooth_picture(32), atol=0.01, rtol=0)
    torch.testing.assert_close(resized(picture, (96, 96)), smooth_picture(96), atol=0.02, rtol=0)


def test_a_surface_is_seen_between_the_planes_next_to_it():
    depth = torch.tensor([-1.0, -2 / 3, 0.0, 1.0]).view(1, 1, 1, 4)
    weights = plane_weights(depth, 4)[0, :, 0].T
    expected = [[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 0, 1]]
    torch.testing.assert_close(weights, torch.tensor(expected))


def test_a_near_point_of_a_turning_head_moves_further_than_a_far_one_the_other_way():
    """The displacement of a turn is that of the surface's depth, between planes too."""
    turn = HeadPose.from_degrees(torch.tensor([[20.0, 0, 0]]), torch.zeros(1, 3), ConventionParams()).rotation
    deformation = rotated_grid((4, 5, 5), turn)
    depth = torch.linspace(-0.8, 0.8, 5).view(1, 1, 1, 5).expand(1, 1, 5, 5)
    moved = image_displacement(deformation, plane_weights(depth, 4), align_corners=False)
    x = torch.linspace(-1, 1, 5)
    wanted = (turn[0, 0, 0] - 1) * x + turn[0, 0, 2] * torch.linspace(-0.8, 0.8, 5)
    torch.testing.assert_close(moved[0, 0, 2], wanted, atol=1e-5, rtol=0)
