"""The whole frontend at small sizes: shapes, gradients, one source for many frames, unsuitable sizes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from kpbe.errors import ParamsError
from kpbe.frontend.geometry import HeadPose
from kpbe.frontend.model import Decomposition, Frontend
from kpbe.params import ModelParams

NARROW: dict[str, Any] = {
    "num_keypoints": 5,
    "depth": 4,
    "canonical_keypoints": {"width": 4, "blocks": 3, "input_scale": 0.5},
    "pose_expression": {"width": 4, "stage_blocks": (1, 1, 1, 1)},
    "appearance": {"width": 4, "volume_channels": 4, "volume_blocks": 1},
    "motion_field": {"width": 4, "blocks": 2, "compressed_channels": 1},
    "generator": {"width": 16, "blocks": 1},
}


def narrow(**changes: Any) -> ModelParams:
    """Small parameters; a mapping updates its section."""
    values: dict[str, Any] = {"image_size": 64, **NARROW}
    for name, change in changes.items():
        values[name] = {**values.get(name, {}), **change} if isinstance(change, dict) else change
    return ModelParams.model_validate(values)


def _render_pair(frontend: Frontend, batch: int = 2):
    size = frontend.params.image_size
    source = frontend.decompose(torch.rand(batch, 3, size, size))
    pose, expression = frontend.estimate_pose_expression(torch.rand(batch, 3, size, size))
    return source, frontend.render(source, source.driven_by(pose, expression), pose)


@pytest.mark.parametrize(
    ("size", "down_blocks", "decoder", "first_order"),
    [
        *(
            (*sizes, decoder, "translation")
            for sizes in [(64, 1), (64, 2), (128, 2), (128, 3)]
            for decoder in ("original", "spade")
        ),
        (64, 2, "original", "rotation"),
    ],
)
def test_every_weight_learns_at_small_sizes(size, down_blocks, decoder, first_order):
    torch.manual_seed(0)
    model = narrow(
        image_size=size,
        generator={"decoder": decoder},
        appearance={"down_blocks": down_blocks},
        conventions={"first_order": first_order},
    )
    frontend = Frontend(model).train()
    source, rendering = _render_pair(frontend)
    feature = size // 2**down_blocks
    assert source.appearance is not None and source.appearance.shape == (2, 4, 4, feature, feature)
    assert source.canonical_keypoints.shape == source.keypoints.shape == source.expression.shape == (2, 5, 3)
    assert rendering.frame.shape == (2, 3, size, size)
    assert rendering.motion.mask.shape == (2, 6, 4, feature, feature)
    assert rendering.motion.deformation.shape == (2, 4, feature, feature, 3)
    assert rendering.motion.occlusion.shape == (2, 1, feature, feature)
    assert rendering.frame.min() >= 0 and rendering.frame.max() <= 1
    (rendering.frame * torch.rand_like(rendering.frame)).sum().backward()
    gradients = {name: parameter.grad for name, parameter in frontend.named_parameters()}
    assert not [
        name for name, gradient in gradients.items() if gradient is None or not gradient.isfinite().all()
    ]


def test_a_few_steps_bring_the_rendering_closer():
    torch.manual_seed(0)
    frontend = Frontend(narrow()).train()
    source, driving = torch.rand(2, 2, 3, 64, 64)
    optimiser = torch.optim.Adam(frontend.parameters(), lr=2e-3)
    losses = []
    for _ in range(6):
        decomposition = frontend.decompose(source)
        keypoints = decomposition.driven_by(*frontend.estimate_pose_expression(driving))
        loss = (frontend.render(decomposition, keypoints).frame - driving).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("first_order", ["translation", "rotation"])
@torch.no_grad()
def test_one_source_serves_a_batch_of_frames(first_order):
    frontend = Frontend(narrow(conventions={"first_order": first_order})).eval()
    images = torch.rand(3, 3, 64, 64)
    source = frontend.decompose(images[:1])
    encodings = []
    frontend.appearance.register_forward_hook(lambda *_: encodings.append(1))
    pose, expression = frontend.estimate_pose_expression(images)
    keypoints = source.driven_by(pose, expression)
    together = frontend.render(source, keypoints, pose)
    assert not encodings
    for i in range(3):
        rows = slice(i, i + 1)
        pose_alone = HeadPose(pose.rotation[rows], pose.translation[rows], pose.degrees[rows])
        alone = frontend.render(source, keypoints[rows], pose_alone)
        torch.testing.assert_close(together.frame[i : i + 1], alone.frame, atol=1e-5, rtol=0)
        torch.testing.assert_close(
            together.motion.deformation[i : i + 1], alone.motion.deformation, atol=1e-5, rtol=0
        )


@torch.no_grad()
def test_a_frame_s_own_pose_and_expression_give_its_own_keypoints():
    frontend = Frontend(narrow()).eval()
    image = torch.rand(2, 3, 64, 64)
    decomposition = frontend.decompose(image)
    again = decomposition.driven_by(*frontend.estimate_pose_expression(image))
    torch.testing.assert_close(again, decomposition.keypoints)


@torch.no_grad()
def test_moving_the_keypoints_moves_the_picture():
    frontend = Frontend(narrow()).eval()
    source = frontend.decompose(torch.rand(1, 3, 64, 64))
    still = frontend.render(source, source.keypoints)
    moved = frontend.render(source, source.keypoints + torch.tensor([0.3, 0.0, 0.0]))
    # content that moves to the right is fetched from the left
    assert (moved.motion.deformation - still.motion.deformation)[..., 0].mean() < -0.01
    torch.testing.assert_close(
        moved.motion.deformation[..., 1:], still.motion.deformation[..., 1:], atol=0.1, rtol=0
    )


def _in_both_orders() -> tuple[Frontend, Frontend]:
    """The same weights with first-order motion by translation and by rotation."""
    torch.manual_seed(0)
    by_translation = Frontend(narrow()).eval()
    by_rotation = Frontend(narrow(conventions={"first_order": "rotation"})).eval()
    by_rotation.load_state_dict(by_translation.state_dict())
    return by_translation, by_rotation


@torch.no_grad()
def test_motion_by_rotation_is_that_by_translation_where_the_poses_are_equal_and_another_where_not():
    by_translation, by_rotation = _in_both_orders()
    source = by_translation.decompose(torch.rand(2, 3, 64, 64))
    expression = source.expression + 0.2 * torch.randn(2, 5, 3)
    moved_pose = HeadPose(source.pose.rotation, source.pose.translation + 0.1, source.pose.degrees)
    keypoints = source.driven_by(moved_pose, expression)
    expected = by_translation.render(source, keypoints)
    rendering = by_rotation.render(source, keypoints, moved_pose)
    torch.testing.assert_close(rendering.frame, expected.frame, atol=1e-4, rtol=0)
    torch.testing.assert_close(rendering.motion.deformation, expected.motion.deformation, atol=1e-4, rtol=0)

    degrees = source.pose.degrees + torch.tensor([30.0, 0.0, 0.0])
    turned = HeadPose.from_degrees(degrees, source.pose.translation, by_rotation.params.conventions)
    keypoints = source.driven_by(turned, source.expression)
    expected = by_translation.render(source, keypoints)
    rendering = by_rotation.render(source, keypoints, turned)
    assert (rendering.motion.deformation - expected.motion.deformation).abs().max() > 0.1


def test_motion_by_rotation_asks_for_the_driving_pose():
    _, frontend = _in_both_orders()
    source = frontend.decompose(torch.rand(1, 3, 64, 64))
    with pytest.raises(ValueError, match="needs the driving pose"):
        frontend.render(source, source.keypoints)


def test_a_source_without_appearance_is_refused():
    frontend = Frontend(narrow()).eval()
    source = frontend.decompose(torch.rand(1, 3, 64, 64))
    blind = Decomposition(None, source.canonical_keypoints, source.pose, source.expression)
    with pytest.raises(ValueError, match="no appearance"):
        frontend.render(blind, blind.keypoints)


@pytest.mark.parametrize("first_order", ["translation", "rotation"])
def test_keypoints_stay_exact_under_mixed_precision(first_order):
    frontend = Frontend(narrow(conventions={"first_order": first_order})).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        source, rendering = _render_pair(frontend)
    assert (
        source.keypoints.dtype
        == source.pose.rotation.dtype
        == rendering.motion.deformation.dtype
        == torch.float32
    )
    assert rendering.frame.isfinite().all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 48}, r"image_size = 48 gives features of 12x12, .*blocks = 3 cannot halve"),
        ({"canonical_keypoints": {"input_scale": 0.3}}, "input_scale must be 1/n"),
        ({"canonical_keypoints": {"blocks": 6}}, r"image_size a multiple of n \* 2\^blocks"),
        ({"appearance": {"down_blocks": 5}, "image_size": 80}, "must be a multiple of 32"),
        ({"generator": {"width": 18}}, r"generator\.width = 18 must be a multiple of 4"),
        ({"generator": {"width": 18, "decoder": "spade"}}, r"generator\.width = 18 must be a multiple of 4"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_in_words(changes, message):
    section = {"motion_field": {"blocks": 3}} if changes == {"image_size": 48} else {}
    with pytest.raises(ParamsError, match=message):
        Frontend(narrow(**changes, **section))


@pytest.mark.parametrize("decoder", ["original", "spade"])
@torch.no_grad()
def test_a_frozen_frontend_renders_the_same_frames(decoder):
    torch.manual_seed(0)
    frontend = Frontend(narrow(generator={"decoder": decoder})).train()
    _render_pair(frontend)
    images = torch.rand(2, 3, 64, 64)
    source = frontend.eval().decompose(images[:1])
    keypoints = source.driven_by(*frontend.estimate_pose_expression(images))
    expected = frontend.render(source, keypoints).frame
    frozen = frontend.for_rendering()
    assert not [
        name for name, parameter in frozen.named_parameters() if parameter.requires_grad or "original" in name
    ]
    torch.testing.assert_close(frozen.render(source, keypoints).frame, expected, atol=1e-5, rtol=0)
    again = frozen.decompose(images[:1])
    torch.testing.assert_close(again.appearance, source.appearance, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(again.expression, source.expression, atol=1e-5, rtol=1e-4)
