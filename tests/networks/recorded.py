"""Recorded outputs of each network, for weights and inputs computed from their names.

Anybody can therefore make them again:

    python -m tests.networks.recorded  # rewrites outputs.npz, after an intended change of a network

The numbers are this code's own, made while it gave the reference implementations' numbers
(`tests/frontend/test_osfv_parity.py`, `tests/backends`): they notice a changed network where those fixtures
are absent, and prove nothing about the references.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kpbe.backends.pcavs import PCAVSNetworks
from kpbe.backends.wav2lip import Wav2LipGenerator
from kpbe.frontend.checkpoints import load_public_checkpoint, public_state_dicts
from kpbe.frontend.model import Frontend
from kpbe.params import ModelParams
from tests.sampled import stored

FILE = Path(__file__).with_name("outputs.npz")
SAMPLES = 700
POWER_ITERATIONS = 30

SMALL = {
    "image_size": 64,
    "depth": 4,
    "canonical_keypoints": {"width": 16, "max_width": 64, "blocks": 3, "input_scale": 0.25},
    "pose_expression": {"width": 16, "stage_blocks": [1, 1, 1, 1]},
    "appearance": {"width": 16, "max_width": 64, "volume_channels": 16, "volume_blocks": 1},
    "motion_field": {"width": 8, "max_width": 64, "blocks": 3, "compressed_channels": 2, "mask_kernel": 3},
    "generator": {"width": 32, "blocks": 2},
}
"""The published frontend with every part of it, narrow and at 64x64."""


# -- weights and inputs ------------------------------------------------------------------------------------


def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal float32 numbers that follow from a name."""
    return np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).standard_normal(shape, np.float32)


def weight(name: str, shape: tuple[int, ...], gain: float) -> np.ndarray:
    """A tensor of a state dict: a norm near the identity, a small bias, or a scaled weight.

    Rows of other weights have mean 0 and variance gain / fan-in.
    """
    last = name.rpartition(".")[-1]
    x = drawn(name, shape)
    if last == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if last in ("running_mean", "running_var"):
        return 0.1 * x if last == "running_mean" else 1 + 0.1 * abs(x)
    if len(shape) == 1 and last == "weight":
        return 1 + 0.1 * x
    if len(shape) <= 1 or last == "bias":
        return 0.05 * x
    rows = x.reshape(shape[0], -1)
    if rows.shape[1] > 1:
        rows = rows - rows.mean(1, keepdims=True)
    return (rows * np.sqrt(gain / rows.shape[1])).reshape(shape).astype(np.float32)


def weights(
    shapes: Mapping[str, tuple[int, ...]], gains: Mapping[str, float], usual: float
) -> dict[str, Tensor]:
    """All tensors of a state dict.

    The first pattern of `gains` that a name contains sets its gain; `usual` is the gain of the others.
    """

    def gain(name: str) -> float:
        return next((value for pattern, value in gains.items() if pattern in name), usual)

    found = {name: weight(name, shape, gain(name)) for name, shape in shapes.items()}
    for name in [name for name in found if name.endswith("weight_u")]:
        stem = name.removesuffix("_u")
        u, v = singular_vectors(found[name], found[f"{stem}_orig"])
        found[name], found[f"{stem}_v"] = u, v
    return {name: torch.from_numpy(np.array(values)) for name, values in found.items()}


def singular_vectors(start: np.ndarray, kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Approximate left and right vectors of the largest singular value of a kernel (out, ...).

    Spectral norm keeps such vectors.
    """
    matrix = kernel.reshape(len(kernel), -1).astype(np.float64)
    u = start.astype(np.float64) / np.linalg.norm(start)
    v = u @ matrix
    for _ in range(POWER_ITERATIONS):
        v = u @ matrix
        v /= np.linalg.norm(v)
        u = matrix @ v
        u /= np.linalg.norm(u)
    return u.astype(np.float32), v.astype(np.float32)


def pictures(name: str, count: int, size: int) -> Tensor:
    """Smooth pictures (count, 3, size, size) in [0, 1]: low waves of random phase."""
    y, x = np.mgrid[0:size, 0:size] / size
    waves = drawn(name, (count, 3, 6, 4))[..., None, None].astype(np.float64)
    phases = 2 * np.pi * (2 * waves[..., 0, :, :] * x + 2 * waves[..., 1, :, :] * y + waves[..., 2, :, :])
    values = (waves[..., 3, :, :] * np.cos(phases)).sum(2)
    low, high = values.min((2, 3), keepdims=True), values.max((2, 3), keepdims=True)
    return torch.from_numpy((0.05 + 0.9 * (values - low) / (high - low)).astype(np.float32))


def numbers(name: str, *shape: int, scale: float = 1.0) -> Tensor:
    """Normal numbers of a name as a tensor."""
    return torch.from_numpy(drawn(name, shape) * np.float32(scale))


def shapes_of(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


# -- networks ----------------------------------------------------------------------------------------------


def published_frontend(decoder: str) -> Frontend:
    """The narrow published frontend; its weights follow from their names. `decoder` is original or spade."""
    sizes = {**SMALL, "generator": {**SMALL["generator"], "decoder": decoder}}  # pyright: ignore[reportGeneralTypeIssues]
    model = ModelParams.model_validate(sizes)
    states = public_state_dicts(Frontend(model))
    for network, state in states.items():
        blur = {name: tensor for name, tensor in state.items() if name == "down.weight"}
        first = {"he_estimator": {"conv1": 6.0, "fc_": 1.0}}.get(network, {"first.conv": 20.0, "down0": 20.0})
        # blocks that add to what comes in grow: keep what they add small
        states[network] = (
            weights(shapes_of(state), {**first, "resblocks": 0.5, "mask": 40.0, "occlusion": 20.0}, 2.0)
            | blur
        )
    return load_public_checkpoint(states, model)


def osfv_motion() -> dict[str, Tensor]:
    """Keypoints, heads and rotation of two pictures."""
    frontend, images = published_frontend("original"), pictures("frontend", 2, 64)
    heads = frontend.pose_expression(images)
    pose, expression = frontend.estimate_pose_expression(images)
    return {
        "heatmap_logits": frontend.canonical_keypoints.heatmap_logits(images),
        "canonical_keypoints": frontend.canonical_keypoints(images),
        "yaw": heads.yaw,
        "pitch": heads.pitch,
        "roll": heads.roll,
        "degrees": pose.degrees,
        "rotation": pose.rotation,
        "translation": pose.translation,
        "expression": expression,
        "keypoints": frontend.decompose(images).keypoints,
    }


def _rendered(decoder: str) -> dict[str, Tensor]:
    frontend, images = published_frontend(decoder), pictures("frontend", 2, 64)
    source, driving = (numbers(name, 2, 15, 3, scale=0.3).clamp(-1, 1) for name in ("source", "driving"))
    appearance = frontend.appearance(images)
    motion = frontend.motion_field(appearance, source, driving)
    return {
        "appearance": appearance,
        "hypotheses": frontend.motion_field.hypotheses(appearance, source, driving),
        "mask": motion.mask,
        "deformation": motion.deformation,
        "occlusion": motion.occlusion,
        "frame": frontend.generator(appearance, motion),
    }


def osfv_generator() -> dict[str, Tensor]:
    """Appearance, motion field and frame of fixed keypoints, OSFV's plain decoder."""
    return _rendered("original")


def osfv_generator_spade() -> dict[str, Tensor]:
    """The same with the SPADE decoder."""
    return _rendered("spade")


def _filled(network: nn.Module, gains: Mapping[str, float], usual: float) -> None:
    network.load_state_dict(weights(shapes_of(network.state_dict()), gains, usual))
    network.eval()


def wav2lip() -> dict[str, Tensor]:
    """Speech embedding, face features and faces of Wav2Lip's generator at a quarter of its width."""
    generator = Wav2LipGenerator(0.25)
    _filled(generator, {}, 2.0)
    faces = pictures("wav2lip", 2, 96)
    hidden = faces.clone()
    hidden[:, :, 48:] = 0
    given, mel = torch.cat([hidden, faces], 1), numbers("mel", 2, 1, 80, 16, scale=2)
    features = generator.encode_face(given)
    return {
        "audio": generator.encode_audio(mel),
        **{f"face_{level}": feature for level, feature in enumerate(features)},
        "output": generator(mel, given),
    }


def pcavs() -> dict[str, Tensor]:
    """Identity, pose, mouth (of frames, of speech) and faces of PC-AVS at a quarter of its width, 64x64."""
    networks = PCAVSNetworks(0.25, 64)
    blur = {name: tensor for name, tensor in networks.state_dict().items() if name.endswith("kernel")}
    for part in (networks.identity, networks.non_identity, networks.audio):
        _filled(part, {"conv1": 4.0}, 2.0)
    _filled(networks.generator, {}, 2.0)
    networks.load_state_dict(blur, strict=False)
    faces, windows = pictures("pcavs", 2, 64) * 2 - 1, numbers("windows", 2, 1, 80, 20).abs()
    identity, mouth = networks.encode_identity(faces), networks.encode_mouth_from_audio(windows)
    pose = networks.encode_pose(faces)
    return {
        "identity_vector": identity.vector,
        "identity_map": identity.map,
        "pose": pose,
        "mouth_of_frames": networks.encode_mouth_from_frames(faces),
        "mouth_of_audio": mouth,
        "image": networks.render(identity, mouth, pose),
    }


NETWORKS: Mapping[str, Callable[[], dict[str, Tensor]]] = {
    network.__name__: network
    for network in (osfv_motion, osfv_generator, osfv_generator_spade, wav2lip, pcavs)
}


def outputs(network: str) -> dict[str, np.ndarray]:
    """Output name to values of a network, in evaluation mode on the CPU."""
    with torch.no_grad():
        return {name: values.contiguous().numpy() for name, values in NETWORKS[network]().items()}


if __name__ == "__main__":
    arrays: dict[str, np.ndarray] = {}
    for network in NETWORKS:
        for name, values in outputs(network).items():
            arrays |= stored(f"{network}/{name}", values, SAMPLES)
            spread = np.abs(values - values[::-1]).max()
            print(
                f"{network}/{name} {values.shape} deviation {values.std():.3g} largest "
                f"{np.abs(values).max():.3g} between {spread:.3g}"
            )
    np.savez_compressed(FILE, **arrays)  # pyright: ignore[reportArgumentType]
    print(f"{FILE}: {FILE.stat().st_size / 1000:.0f} kB")
