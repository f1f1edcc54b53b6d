"""Find the networks of a public OSFV checkpoint, their sizes and their decoder by its tensors.

The same three networks come in many wrappings: the authors' `.pth.tar`, SadTalker's packed safetensors, state
dicts below `model` or `state_dict`, names that DataParallel (`module.`) or torch.compile (`_orig_mod.`) have
changed. A network is recognised by entries that only it has, wherever they lie.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from torch import Tensor

from kpbe.errors import BadCheckpoint, KPBEError
from kpbe.params import ModelParams

BLUR_KERNEL = "down.weight"
"""Entry of the public keypoint detector; only detectors that read a reduced picture have it."""

Network = Literal["generator", "kp_detector", "he_estimator"]

SIGNATURES: dict[Network, tuple[str, ...]] = {
    "kp_detector": ("kp.weight", "predictor.conv.weight", "predictor.down_blocks.down0.conv.weight"),
    "generator": ("first.conv.weight", "second.weight", "dense_motion_network.compress.weight"),
    "he_estimator": ("conv1.weight", "fc_exp.weight", "fc_yaw.weight", "block1.b1_0.conv1.weight"),
}
"""Entries that only this network has."""

USUAL_NAMES: dict[Network, tuple[str, ...]] = {
    "generator": ("generator",),
    "kp_detector": ("kp_detector", "kp_extractor"),
    "he_estimator": ("he_estimator",),
}
"""Keys of a network in the authors' files and in SadTalker's."""

WRAPPERS = frozenset({"module", "_orig_mod"})
"""Parts of names that DataParallel and torch.compile add; no public network has an entry of such a name."""

Conventions = Literal["vox256", "vox256_beta"]
"""Published configurations vox-256 and vox-256-beta, which differ in the order of rotations; weights do not
show it.
"""

IMAGE_SIZE = 256
"""Image size of every published checkpoint; weights of a fully convolutional network do not show it."""


def plain_name(name: str) -> str:
    """A name without the parts that DataParallel and torch.compile add."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def conventions_of(word: str) -> Conventions:
    """Conventions by their name.

    Raises:
        KPBEError: no conventions have that name.
    """
    for conventions in get_args(Conventions):
        if word == conventions:
            return conventions
    raise KPBEError(f"there is no --model {word}: choose one of {', '.join(get_args(Conventions))}.")


def networks_in(content: Mapping[str, Any], origin: str) -> dict[Network, dict[str, Tensor]]:
    """State dicts of the networks in a checkpoint, by public network name; absent ones are left out.

    Args:
        content: content of the file: tensors, and mappings of them at any depth.
        origin: the file, for messages.

    Raises:
        BadCheckpoint: there are several networks of a kind, and not exactly one has a usual name.
    """
    tensors = dict(_tensors(content))
    networks: dict[Network, dict[str, Tensor]] = {}
    for network, signature in SIGNATURES.items():
        first = signature[0]
        prefixes = [name[: -len(first)] for name in tensors if name == first or name.endswith(f".{first}")]
        prefixes = [prefix for prefix in prefixes if all(prefix + entry in tensors for entry in signature)]
        if not prefixes:
            continue
        usual = [p for p in prefixes if p.rstrip(".").rpartition(".")[2] in USUAL_NAMES[network]]
        chosen = usual if len(usual) == 1 else prefixes
        if len(chosen) > 1:
            raise BadCheckpoint(
                f"{origin} holds several networks of the kind {network}: "
                f"{', '.join(p.rstrip('.') for p in chosen)}; keep one of them."
            )
        prefix = chosen[0]
        networks[network] = {
            name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)
        }
    return networks


def model_of(
    networks: Mapping[Network, Mapping[str, Tensor]], path: Path, conventions: Conventions | None = None
) -> ModelParams:
    """The parameters of a public checkpoint: sizes and decoder from the shapes of its tensors.

    The published checkpoints without `beta` find keypoints on a reduced picture and rotate heads in the order
    pitch, yaw, roll. `beta` reads the whole picture and has another order of rotations, which no tensor
    shows. So a checkpoint that reads the whole picture is `beta` only if its name or the user says so.

    Args:
        networks: all three, from `networks_in`.
        path: the file; its name or folder may contain `beta`.
        conventions: those that the user names; None derives them.

    Raises:
        BadCheckpoint: an entry that sizes are read from is missing, or the conventions are unclear or
            contradict the weights.
    """
    origin = str(path)
    keypoints, pose, generator = (
        _Shapes(networks[name], f"{origin} ({name})") for name in ("kp_detector", "he_estimator", "generator")
    )
    spade = generator.has("decoder.fc.weight")
    hourglass = "dense_motion_network.hourglass"
    keypoint_blocks = keypoints.count(r"predictor\.down_blocks\.down(\d+)\.")
    appearance_blocks = generator.count(r"down_blocks\.(\d+)\.")
    motion_blocks = generator.count(rf"{re.escape(hourglass)}\.encoder\.down_blocks\.(\d+)\.")
    lifted, keypoint_widest = keypoints.of("predictor.conv.weight")[:2]
    compressed, volume_channels = generator.of("dense_motion_network.compress.weight")[:2]
    scale = 1 / blur_reduction(networks["kp_detector"])
    values = {
        "name": "vox256_spade" if spade else "vox256",
        "image_size": IMAGE_SIZE,
        "num_keypoints": keypoints.of("kp.weight")[0],
        "depth": lifted // keypoint_widest,
        "canonical_keypoints": {
            **_widths(keypoints.of("kp.weight")[1], keypoint_widest, keypoint_blocks, published=1024),
            "blocks": keypoint_blocks,
            "input_scale": scale,
        },
        "pose_expression": {
            "width": pose.of("conv1.weight")[0],
            "stage_blocks": [pose.count(rf"block{n}\.b{n}_(\d+)\.") for n in (1, 3, 5, 7)],
            "bins": pose.of("fc_yaw.weight")[0],
        },
        "appearance": {
            **_widths(
                generator.of("first.conv.weight")[0],
                generator.of("second.weight")[1],
                appearance_blocks,
                published=512,
            ),
            "down_blocks": appearance_blocks,
            "volume_channels": volume_channels,
            "volume_blocks": generator.count(r"resblocks_3d\.3dr(\d+)\."),
        },
        "motion_field": {
            **_widths(
                generator.of(f"{hourglass}.decoder.up_blocks.{motion_blocks - 1}.conv.weight")[0],
                generator.of(f"{hourglass}.encoder.down_blocks.{motion_blocks - 1}.conv.weight")[0],
                motion_blocks,
                published=1024,
            ),
            "blocks": motion_blocks,
            "compressed_channels": compressed,
            "mask_kernel": generator.of("dense_motion_network.mask.weight")[-1],
        },
        "generator": {
            "decoder": "spade" if spade else "original",
            "width": generator.of("third.conv.weight")[0],
            "blocks": generator.count(r"decoder\.G_middle_(\d+)\." if spade else r"resblocks_2d\.2dr(\d+)\."),
        },
        "conventions": {"rotation": _rotation(scale, path, conventions)},
    }
    try:
        return ModelParams.model_validate(values)
    except ValueError as error:
        wrong = str(error).splitlines()[1] if len(str(error).splitlines()) > 1 else str(error)
        raise BadCheckpoint(f"{origin} has a size that KPBE cannot build: model.{wrong}.") from None


def sizes_of(model: ModelParams) -> dict[str, Any]:
    """The sizes of a model that its weights show, except those in which the published checkpoints differ."""
    differing = {"generator": {"decoder"}, "canonical_keypoints": {"input_scale"}}
    return model.model_dump(exclude={"name": True, "image_size": True, "conventions": True, **differing})


PUBLISHED_SIZES = sizes_of(ModelParams())
"""Sizes of every checkpoint that OSFV's and SadTalker's authors published."""


def blur_reduction(kp_detector: Mapping[str, Tensor]) -> int:
    """Factor by which the keypoint detector reduces the picture, from the size of its blur kernel."""
    blur = kp_detector.get(BLUR_KERNEL)
    return 1 if blur is None else (blur.shape[-1] - 1) // 4 + 1  # its radius is 2 (n - 1)


def _widths(width: int, widest: int, blocks: int, published: int) -> dict[str, int]:
    """`width` and `max_width` of blocks that double `width` up to `widest`.

    Where no limit took effect, `max_width` is at least the published one.
    """
    limit = max(widest, published) if widest == width * 2**blocks else widest
    return {"width": width, "max_width": limit}


def _rotation(scale: float, path: Path, conventions: Conventions | None) -> str:
    if scale < 1:
        if conventions == "vox256_beta":
            raise BadCheckpoint(
                f"{path} finds canonical keypoints on a reduced picture, which vox256_beta does not: leave "
                f"--model out."
            )
        return "pitch_yaw_roll"
    if conventions is None and not any("beta" in part.lower() for part in (path.name, path.parent.name)):
        raise BadCheckpoint(
            f"{path} finds canonical keypoints on the whole picture, as vox-256-beta does, and nothing in it "
            "tells the order of its rotations: name it with --model vox256_beta, or --model vox256 for "
            "pitch, yaw and roll as in the later code."
        )
    return "pitch_yaw_roll" if conventions == "vox256" else "beta"


def _tensors(content: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """All tensors with the names of the mappings around them, wrappers left out."""
    for key, value in content.items():
        name = prefix + str(key)
        if isinstance(value, Tensor):
            yield plain_name(name), value
        elif isinstance(value, Mapping):
            yield from _tensors(value, f"{name}.")


class _Shapes:
    """The shapes of one network's entries."""

    def __init__(self, state: Mapping[str, Tensor], origin: str) -> None:
        self._state, self._origin = state, origin

    def has(self, name: str) -> bool:
        return name in self._state

    def of(self, name: str) -> tuple[int, ...]:
        if name not in self._state:
            raise BadCheckpoint(f"{self._origin} lacks {name}: it is damaged, or another network.")
        return tuple(self._state[name].shape)

    def count(self, pattern: str) -> int:
        """How many numbered blocks there are: one more than the largest number."""
        return 1 + max(self._numbers(pattern), default=-1)

    def _numbers(self, pattern: str) -> Iterable[int]:
        matches = (re.match(pattern, name) for name in self._state)
        return (int(match[1]) for match in matches if match)
