"""VGGFace and VGG-19: key layouts, torchvision's layers, and wrong files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from kpbe.errors import BadCheckpoint
from kpbe.training.vgg import VGG19Features, VGGFaceFeatures, VGGFeatures

# names and shapes of the published vgg_face_dag.pth (reference/keys/vgg_face_dag.txt), the large ones of fc6
# and fc7 cut short
BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
TORCHVISION_VGG16_LAYERS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24)
TORCHVISION_TAPS = {"vgg16": (1, 6, 11, 18, 25), "vgg19": (1, 6, 11, 20, 29)}


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    """A file's content in the layout of vgg_face_dag.pth, with random weights."""
    generator = torch.Generator().manual_seed(0)
    state, channels = {}, 3
    for block, (count, width) in enumerate(BLOCKS, 1):
        for place in range(1, count + 1):
            scale = (2 / (9 * channels)) ** 0.5
            weight = torch.randn(width, channels, 3, 3, generator=generator) * scale
            state[f"conv{block}_{place}.weight"] = weight
            state[f"conv{block}_{place}.bias"] = torch.randn(width, generator=generator)
            channels = width
    for name, rows in (("fc6", 8), ("fc7", 8), ("fc8", 2622)):
        state |= {f"{name}.weight": torch.zeros(rows, 8), f"{name}.bias": torch.zeros(rows)}
    return state


@pytest.fixture(scope="module")
def file(published, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "vgg_face_dag.pth"
    torch.save(published, path)
    return path


def torchvision_features(name: str, network: VGGFeatures, images: torch.Tensor) -> list[torch.Tensor]:
    """Features that torchvision's own layers give for normalised images, with this network's weights."""
    from torchvision import models

    features = getattr(models, name)(weights=None).features
    own = {key.removeprefix("features."): value for key, value in network.state_dict().items()}
    features.load_state_dict({**features.state_dict(), **own})
    seen = []
    with torch.no_grad():
        for index, layer in enumerate(features):
            images = layer(images)
            if index in TORCHVISION_TAPS[name]:
                seen.append(images.clone())
    return seen


def assert_close(got: list[torch.Tensor], wanted: list[torch.Tensor]) -> None:
    assert len(got) == len(wanted) == 5
    for ours, theirs in zip(got, wanted, strict=True):
        assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(1, 3, 48, 40, generator=torch.Generator().manual_seed(1))


def test_vgg_face_is_torchvisions_vgg16_on_pixels_less_the_training_means(published, file, images):
    network = VGGFaceFeatures(file)
    for layer, name in zip(
        TORCHVISION_VGG16_LAYERS, [key for key in published if key.endswith("weight")], strict=False
    ):
        assert torch.equal(network.state_dict()[f"features.{layer}.weight"], published[name])
    means = torch.tensor([129.186, 104.762, 93.594]).view(1, 3, 1, 1)
    assert_close(network(images), torchvision_features("vgg16", network, 255 * images - means))


def test_vgg19_is_torchvisions_on_imagenet_normalised_pixels(images):
    network = VGG19Features()
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    assert_close(network(images), torchvision_features("vgg19", network, (images - mean) / deviation))


def test_only_the_asked_levels_are_computed_and_nothing_is_trained(file, images):
    network = VGGFaceFeatures(file)
    two = network(images, levels=2)
    assert [tuple(x.shape) for x in two] == [(1, 64, 48, 40), (1, 128, 24, 20)]
    assert all(torch.equal(a, b) for a, b in zip(two, network(images)[:2], strict=True))
    assert not any(parameter.requires_grad for parameter in network.parameters())
    images = images.clone().requires_grad_()
    network(images)[-1].sum().backward()
    assert images.grad is not None and images.grad.abs().max() > 0


def test_a_file_without_the_layers_or_with_others_is_refused_by_name(published, tmp_path):
    path = tmp_path / "vgg_face_dag.pth"
    torch.save({key: value for key, value in published.items() if key != "conv4_2.bias"}, path)
    with pytest.raises(
        BadCheckpoint, match=r"vgg_face_dag\.pth is not a VGGFace file: it lacks conv4_2\.bias"
    ):
        VGGFaceFeatures(path)
    torch.save({**published, "conv1_2.weight": torch.zeros(64, 3, 3, 3)}, path)
    with pytest.raises(BadCheckpoint, match=r"conv1_2\.weight has the shape \(64, 3, 3, 3\) instead of"):
        VGGFaceFeatures(path)
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(BadCheckpoint, match="cannot be read as weights"):
        VGGFaceFeatures(path)


def test_vgg19_refuses_vgg_face_and_takes_half_precision(published, tmp_path):
    path = tmp_path / "vgg19.safetensors"
    save_file(published, path)
    with pytest.raises(BadCheckpoint, match=r"is not a VGG-19 file: it lacks features\.0\.weight"):
        VGG19Features(path)
    network = VGG19Features()
    save_file({key: value.half().contiguous() for key, value in network.state_dict().items()}, path)
    loaded = VGG19Features(path).state_dict()
    assert all(torch.allclose(loaded[key], v, atol=1e-3) for key, v in network.state_dict().items())
    assert all(value.dtype == torch.float32 for value in loaded.values())
