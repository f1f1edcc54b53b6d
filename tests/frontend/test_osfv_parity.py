"""Every stage of the full-size networks gives the reference implementation's numbers (docs/tests.md).

Weights come through the public key map, so these tests check the loader too.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kpbe.errors import BadCheckpoint
from kpbe.frontend.checkpoints import load_public_checkpoint, public_state_dicts
from kpbe.frontend.generator import SpadeBlock, SpadeDecoder
from kpbe.frontend.geometry import (
    coordinate_grid,
    motion_shifts,
    transform_keypoints,
    translated_volumes,
    warp_volume,
)
from kpbe.frontend.model import Frontend
from kpbe.params import ModelParams

VOX256 = ModelParams.model_validate({})
NETWORKS = 2e-4
STAGES = 1e-3
MEAN_PREDICTION = 5e-5
OWN_KEYPOINTS = 2e-3


def _filled(golden, model: ModelParams, networks: dict[str, str]) -> dict[str, dict[str, Tensor]]:
    """Public state dicts with the named networks filled by the rule, under their official names."""
    states = public_state_dicts(Frontend(model))
    for network, golden_name in networks.items():
        shapes = {name: tuple(tensor.shape) for name, tensor in states[network].items()}
        weights = golden.load_filled(golden_name, shapes)
        states[network].update({name: torch.from_numpy(np.array(array)) for name, array in weights.items()})
    return states


def _images(golden) -> Tensor:
    names = ("osfv/source/A", "osfv/driving/A")
    return torch.from_numpy(np.stack([golden.fill.image_chw(name, 256, 256) for name in names]))


@pytest.fixture(scope="module")
def images(golden) -> Tensor:
    """Source and driving picture."""
    return _images(golden)


@pytest.fixture(scope="module")
def states(golden) -> dict[str, dict[str, Tensor]]:
    """Public state dicts of config vox-256 with the original decoder."""
    names = {
        "kp_detector": "osfv_kp_detector",
        "he_estimator": "osfv_he_estimator",
        "generator": "osfv_generator_original",
    }
    return _filled(golden, VOX256, names)


@pytest.fixture(scope="module")
def frontend(states) -> Frontend:
    """The filled frontend."""
    return load_public_checkpoint(states, VOX256)


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def _keep(seen: dict[str, Tensor], name: str, _module: nn.Module, _inputs: object, output: Tensor) -> None:
    seen[name] = output


def _outputs(modules: dict[str, nn.Module], run) -> dict[str, Tensor]:
    """Outputs of modules while `run()` runs."""
    seen: dict[str, Tensor] = {}
    hooks = [module.register_forward_hook(partial(_keep, seen, name)) for name, module in modules.items()]
    run()
    for hook in hooks:
        hook.remove()
    return seen


def _compare_prediction(golden, fixture, frame: Tensor) -> None:
    golden.compare(fixture, "prediction", frame, STAGES)
    sample = frame.numpy().reshape(-1)[:: int(fixture["prediction__stride"])]
    assert np.abs(sample - fixture["prediction__sample"]).mean() < MEAN_PREDICTION


@pytest.mark.slow
def test_canonical_keypoints(golden, frontend, images):
    fixture, estimator = golden("osfv_motion"), frontend.canonical_keypoints
    golden.compare(fixture, "kp_detector_blurred_input", estimator.downscale(images), 1e-6)
    golden.compare(fixture, "kp_heatmap_logits", estimator.heatmap_logits(images), NETWORKS)
    golden.compare(fixture, "kp_canonical", estimator(images), NETWORKS)


@pytest.mark.slow
def test_pose_and_expression_heads(golden, frontend, images):
    fixture, heads = golden("osfv_motion"), frontend.pose_expression(images)
    for name in ("yaw", "pitch", "roll"):
        golden.compare(fixture, f"he_{name}", getattr(heads, name), NETWORKS)
    golden.compare(fixture, "he_t", heads.translation, NETWORKS)
    golden.compare(fixture, "he_exp", heads.expression.flatten(1), NETWORKS)
    pose, expression = frontend.estimate_pose_expression(images)
    for i, name in enumerate(("yaw", "pitch", "roll")):
        golden.compare(fixture, f"deg_{name}", pose.degrees[:, i], NETWORKS)
    golden.compare(fixture, "rotation", pose.rotation, NETWORKS)
    canonical = torch.from_numpy(fixture["kp_canonical"][:1])
    keypoints = transform_keypoints(canonical, pose.rotation, pose.translation, expression)
    golden.compare(fixture, "kp_source", keypoints[:1], NETWORKS)
    golden.compare(fixture, "kp_driving", keypoints[1:], NETWORKS)


@pytest.mark.slow
def test_yaw_and_roll_heads_are_swapped_by_convention(golden, states, images):
    model = VOX256
    unswapped = model.model_copy(
        update={"conventions": model.conventions.model_copy(update={"swap_yaw_and_roll_heads": False})}
    )
    heads = load_public_checkpoint(states, unswapped).pose_expression(images)
    fixture = golden("osfv_motion")
    golden.compare(fixture, "he_roll", heads.yaw, NETWORKS)
    golden.compare(fixture, "he_yaw", heads.roll, NETWORKS)


@pytest.mark.slow
def test_original_generator(golden, frontend, images):
    fixture = golden("osfv_generator_original")
    source, driving = (torch.from_numpy(fixture[name]) for name in ("kp_source", "kp_driving"))
    modules = {"lifted": frontend.appearance.lift, "appearance": frontend.appearance}
    seen = _outputs(modules, lambda: frontend.appearance(images))
    appearance = seen["appearance"]
    golden.compare(fixture, "encoder_second_3d", seen["lifted"].unflatten(1, (-1, 16)), STAGES)
    golden.compare(fixture, "feature_3d", appearance, STAGES)

    shifts = motion_shifts(source, driving)[:, :, None, None, None]
    golden.compare(fixture, "sparse_motions", coordinate_grid((16, 64, 64)) + shifts, 1e-6)
    estimator = frontend.motion_field
    golden.compare(fixture, "compressed", estimator.compress(appearance), STAGES)
    hypotheses = estimator.hypotheses(appearance, source, driving).unflatten(1, (16, 5))
    golden.compare(fixture, "heatmaps", hypotheses[:, :, :1], 1e-5)
    golden.compare(fixture, "deformed_features", hypotheses[:, :, 1:], STAGES)
    other_corners = translated_volumes(estimator.compress(appearance), motion_shifts(source, driving), True)
    with pytest.raises(AssertionError):
        golden.compare(fixture, "deformed_features", other_corners, 0.05)
    del hypotheses, other_corners

    motions: list = []
    seen = _outputs(
        {"hourglass": estimator.hourglass}, lambda: motions.append(estimator(appearance, source, driving))
    )
    motion = motions[0]
    golden.compare(fixture, "hourglass", seen["hourglass"], STAGES)
    golden.compare(fixture, "mask", motion.mask, STAGES)
    golden.compare(fixture, "deformation", motion.deformation, STAGES)
    golden.compare(fixture, "occlusion_map", motion.occlusion, STAGES)

    golden.compare(fixture, "warped_feature", warp_volume(appearance, motion.deformation, False), STAGES)
    frames: list[Tensor] = []
    seen = _outputs(
        {"mix": frontend.generator.mix}, lambda: frames.append(frontend.generator(appearance, motion))
    )
    golden.compare(fixture, "fourth", seen["mix"], STAGES)
    _compare_prediction(golden, fixture, frames[0])


@pytest.mark.slow
def test_whole_frontend_with_its_own_keypoints(golden, frontend, images):
    fixture = golden("osfv_generator_original")
    source = frontend.decompose(images[:1])
    pose, expression = frontend.estimate_pose_expression(images[1:])
    rendering = frontend.render(source, source.driven_by(pose, expression))
    stride = int(fixture["prediction__stride"])
    picked = rendering.frame.numpy().reshape(-1)[::stride]
    expected = fixture["prediction__sample"][: len(picked)]
    assert np.abs(picked - expected).max() < OWN_KEYPOINTS


@pytest.mark.slow
def test_spade_generator(golden, images):
    fixture, model = (
        golden("osfv_generator_spade"),
        ModelParams.model_validate({"generator": {"decoder": "spade"}}),
    )
    states = _filled(golden, model, {"generator": "osfv_generator_spade"})
    with pytest.raises(BadCheckpoint, match=r"has the spade decoder: set model\.generator\.decoder = spade"):
        load_public_checkpoint(states, VOX256)
    frontend = load_public_checkpoint(states, model)
    del states
    source, driving = (torch.from_numpy(fixture[name]) for name in ("kp_source", "kp_driving"))
    appearance = frontend.appearance(images[:1])
    motion = frontend.motion_field(appearance, source, driving)
    golden.compare(fixture, "mask", motion.mask, STAGES)
    golden.compare(fixture, "occlusion_map", motion.occlusion, STAGES)

    decoder, frames = frontend.generator.decoder, []
    assert isinstance(decoder, SpadeDecoder)
    modules = {
        "mix": frontend.generator.mix,
        "decoder_fc": decoder.first,
        "decoder_G_middle_0": decoder.middle[0],
        "decoder_G_middle_5": decoder.middle[5],
        "decoder_up_0": decoder.up[0],
        "decoder_up_1": decoder.up[1],
    }
    seen = _outputs(modules, lambda: frames.append(frontend.generator(appearance, motion)))
    golden.compare(fixture, "decoder_input", seen.pop("mix") * motion.occlusion, STAGES)
    for name, output in seen.items():
        golden.compare(fixture, name, output, STAGES)
    _compare_prediction(golden, fixture, frames[0])
    block = decoder.up[0]
    assert isinstance(block, SpadeBlock)
    original = frontend.state_dict()["generator.decoder.up.0.conv_s.parametrizations.weight.original"]
    sigma = original.norm() / torch.as_tensor(block.conv_s.weight).norm()
    golden.compare(fixture, "sigma_up_0_conv_s", sigma, 1e-5)
