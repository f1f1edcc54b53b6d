"""The perceptual terms: which exist, what replaces missing weights, and that they compare pictures."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from kpbe.checkpoints import catalogue
from kpbe.errors import MissingWeights
from kpbe.media.recording import Recording
from kpbe.params import PerceptualParams, PerceptualWeights, VGGTermParams
from kpbe.training.perceptual import (
    Attention,
    ImagePyramid,
    PerceptualTerms,
    PixelDifference,
    VGGDifference,
    VGGPyramid,
)
from kpbe.training.vgg import VGG19Features, VGGFaceFeatures
from kpbe.training.vgg_units import change_by_blur, normalised_units

SCALES = (1.0, 0.5, 0.25, 0.125)
REAL_CLIPS = (
    "styletalk/source_video_video_andrew_clip_1.mp4",
    "styletalk/source_video_video_Obama_clip1.mp4",
    "lrwar/12389.mp4",
    "lrwar/05897.mp4",
)


def picture(seed: int, side: int = 64) -> torch.Tensor:
    return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(seed))


def losses(**terms: float) -> PerceptualWeights:
    return PerceptualWeights(**{"vgg19": 0.0, **terms})


@pytest.fixture
def no_weights(tmp_path, monkeypatch):
    """A place without any weight file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KPBE_WEIGHTS", raising=False)


@pytest.fixture
def random_weights(tmp_path, monkeypatch):
    """A weights folder whose VGG files hold random weights, in the published layouts."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    vgg19, face = VGG19Features().state_dict(), VGGFaceFeatures()
    save_file({k: v.contiguous() for k, v in vgg19.items()}, tmp_path / catalogue.CATALOGUE["vgg19"].file)
    layers = {number: name for number, name in zip((0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24), (
        "conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3", "conv4_1", "conv4_2",
        "conv4_3",
        "conv5_1"), strict=True)}  # fmt: skip
    state = {
        f"{layers[int(key.split('.')[1])]}.{key.split('.')[2]}": v for key, v in face.state_dict().items()
    }
    torch.save(state, tmp_path / catalogue.CATALOGUE["vgg_face"].file)
    monkeypatch.setenv("KPBE_WEIGHTS", str(tmp_path))


def test_pixel_term_vanishes_only_for_equal_pictures_and_needs_no_weights(no_weights):
    terms = PerceptualTerms(PerceptualParams(scales=SCALES), losses(pixel=10.0))
    assert terms.description == "multi-scale L1 + gradient"
    assert terms(picture(0), picture(0)) == {"pixel": 0}
    assert terms(picture(0), picture(1))["pixel"] > 0.1


@pytest.mark.parametrize("name", ["vgg19", "vgg_face"])
def test_missing_weights_are_refused_in_a_sentence_or_replaced_by_pixels_as_params_say(no_weights, name):
    wanted = losses(**{name: 3.0})
    with pytest.raises(MissingWeights) as error:
        PerceptualTerms(PerceptualParams(missing="refuse"), wanted)
    file = catalogue.CATALOGUE[name].file
    assert all(word in str(error.value) for word in (name, file, "KPBE_WEIGHTS", "missing to pixels"))
    assert "\n" not in str(error.value)

    both = PerceptualTerms(
        PerceptualParams(missing="pixels", scales=SCALES), losses(**{name: 3.0, "pixel": 1.0})
    )
    assert f"({file} was not found)" in both.description and both.description.endswith(
        ", multi-scale L1 + gradient"
    )
    found = both(picture(0), picture(1))
    assert set(found) == {name, "pixel"} and found[name] == found["pixel"] > 0


def test_found_weights_are_used_each_with_its_own_network(random_weights):
    params = PerceptualParams(scales=(1.0, 0.5))
    terms = PerceptualTerms(params, PerceptualWeights(vgg19=10.0, vgg_face=10.0, pixel=0.0))
    assert terms.description == (
        "VGG-19 pyramid (vgg19_imagenet_features_fp16.safetensors), VGGFace pyramid (vgg_face_dag.pth)"
    )
    got, want = picture(0), picture(1)
    found = terms(got, want)
    for name, network in (("vgg19", VGG19Features), ("vgg_face", VGGFaceFeatures)):
        path = catalogue.find(name)
        assert torch.allclose(found[name], VGGPyramid(network(path), (1.0, 0.5))(got, want), rtol=1e-6)
    assert found["vgg19"] != found["vgg_face"]


def test_each_vgg_has_scales_and_layer_weights_of_its_own(random_weights):
    osfv = {"scales": (1.0,), "layer_weights": (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)}
    params = PerceptualParams(
        scales=(1.0, 0.5),
        vgg19=VGGTermParams(scales=(0.5, 0.25)),
        vgg_face=VGGTermParams.model_validate(osfv),
    )
    got, want = picture(0), picture(1)
    found = PerceptualTerms(params, PerceptualWeights(vgg19=1.0, vgg_face=1.0, pixel=1.0))(got, want)
    vgg19, face = VGG19Features(catalogue.find("vgg19")), VGGFaceFeatures(catalogue.find("vgg_face"))
    assert torch.allclose(found["vgg19"], VGGPyramid(vgg19, (0.5, 0.25))(got, want), rtol=1e-6)
    at_full_scale = VGGPyramid(face, (1.0,), osfv["layer_weights"])
    assert torch.allclose(found["vgg_face"], at_full_scale(got, want), rtol=1e-6)
    shared = ImagePyramid((1.0, 0.5))
    assert torch.allclose(found["pixel"], PixelDifference()(shared(got), shared(want)), rtol=1e-6)


def as_torchvision(state: dict[str, torch.Tensor], factors: Sequence[float]) -> dict[str, torch.Tensor]:
    """The same network in torchvision's layout, with its classifier.

    The activations of each convolution are scaled by a factor.
    """
    scaled, before = {"classifier.6.bias": torch.zeros(1000)}, 1.0
    layers = sorted({int(name.split(".")[1]) for name in state})
    for layer, factor in zip(layers, factors, strict=True):
        weight, bias = (state[f"features.{layer}.{kind}"] for kind in ("weight", "bias"))
        scaled[f"features.{layer}.weight"] = weight * (factor / before)
        scaled[f"features.{layer}.bias"] = bias * factor
        before = factor
    return scaled


SCALED = (20.0, 12.0, 9.0, 9.0, 7.0, 4.0, 4.0, 3.0, 2.0, 1.5, 1.0, 0.7, 0.5)
TAPPED = (20.0, 9.0, 7.0, 2.0, 0.5)


def test_torchvisions_own_file_counts_layer_by_layer_as_the_normalised_one(
    shared_weights, tmp_path, monkeypatch
):
    ours = shared_weights / catalogue.CATALOGUE["vgg19"].file
    path = tmp_path / catalogue.CATALOGUE["vgg19_torchvision"].file
    torch.save(as_torchvision(VGG19Features(ours).state_dict(), SCALED), path)
    got, want, wanted = picture(0), picture(1), PerceptualWeights(vgg19=1.0)

    def by_layer(unit: str) -> torch.Tensor:
        terms = PerceptualTerms(PerceptualParams.model_validate({"vgg19_unit": unit}), wanted)
        term = terms.terms["vgg19"]
        assert isinstance(term, VGGDifference) and f"({path.name})" in terms.description
        return term.by_scale_and_layer([got], [want])[0]

    monkeypatch.setenv("KPBE_WEIGHTS", str(tmp_path))
    normalised, own = by_layer("normalised"), by_layer("own")
    expected = VGGDifference(VGG19Features(ours)).by_scale_and_layer([got], [want])[0]
    assert torch.allclose(normalised, expected, rtol=1e-3)
    assert torch.allclose(own, expected * torch.tensor(TAPPED), rtol=1e-3)


def test_the_normalised_file_s_own_units_are_1(shared_weights):
    network = VGG19Features(shared_weights / catalogue.CATALOGUE["vgg19"].file)
    assert torch.allclose(normalised_units(network), torch.ones(5), rtol=1e-3)
    assert torch.equal(network.units, torch.ones(5))


def test_the_measured_units_hold_for_real_faces(shared_weights, shared_clips):
    """Blurring changes each layer by the same share, within a fifth, for faces and for leaves."""
    network = VGG19Features(shared_weights / catalogue.CATALOGUE["vgg19"].file)
    pictures = [Recording(shared_clips / path)[5] for path in REAL_CLIPS]
    frames = np.stack([cv2.resize(picture, (256, 256), interpolation=cv2.INTER_AREA) for picture in pictures])
    faces = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
    blurred = F.avg_pool2d(F.pad(faces, (2, 2, 2, 2), mode="reflect"), 5, 1)
    with torch.no_grad():
        pairs = zip(network(faces), network(blurred), strict=True)
        changes = torch.stack([(a - b).abs().mean() for a, b in pairs])
    shares = changes / change_by_blur(network)
    assert (shares / shares.mean() - 1).abs().max() < 0.2


def test_vgg_face_differences_are_divided_by_255():
    torch.manual_seed(0)
    network = VGGFaceFeatures()
    got, want = picture(0), picture(1)
    rows = VGGDifference(network).by_scale_and_layer([got], [want])
    features = zip(network(got), network(want), strict=True)
    expected = torch.stack([(a - b).abs().mean() for a, b in features]) / 255
    assert torch.allclose(rows[0], expected, rtol=1e-5)


def test_layer_weights_weigh_layers_and_small_scales_are_left_out():
    torch.manual_seed(0)
    network = VGG19Features()
    got, want = (ImagePyramid(SCALES)(picture(seed)) for seed in (0, 1))
    all_layers = VGGDifference(network)
    rows = all_layers.by_scale_and_layer(got, want)
    assert rows.shape == (3, 5), "64, 32 and 16 pixels; 8 are too few for five levels"
    weighted = VGGDifference(network, (0.5, 0.0, 2.0, 0.0, 0.0))
    expected = 0.5 * rows[:, 0].sum() + 2 * rows[:, 2].sum()
    assert torch.allclose(weighted(got, want), expected, rtol=1e-5)
    tiny = [level[..., :8, :8] for level in got]
    assert all_layers(tiny, tiny) == 0


def test_gradients_reach_the_generated_picture_only(random_weights):
    terms = PerceptualTerms(PerceptualParams(scales=SCALES), PerceptualWeights(vgg19=1.0, pixel=1.0))
    generated, real = picture(0).requires_grad_(), picture(1).requires_grad_()
    torch.stack(list(terms(generated, real).values())).sum().backward()
    assert generated.grad is not None and generated.grad.abs().max() > 0
    assert real.grad is None


def test_where_there_is_a_vgg_pixels_may_teach_less_than_it(random_weights):
    terms = PerceptualTerms(PerceptualParams(scales=(1.0, 0.5)), losses(vgg19=1.0, pixel=1.0))
    generated = picture(0).requires_grad_()
    found = terms(generated, picture(1), for_pixels=generated.detach())
    alone = PerceptualTerms(PerceptualParams(scales=(1.0, 0.5)), losses(pixel=1.0))
    assert found["pixel"] == alone(generated, picture(1))["pixel"]
    assert not found["pixel"].requires_grad and found["vgg19"].requires_grad


def test_without_a_vgg_pixels_teach_everything(no_weights):
    params = PerceptualParams(scales=(1.0,), missing="pixels")
    terms = PerceptualTerms(params, losses(vgg19=1.0, pixel=1.0))
    generated = picture(0).requires_grad_()
    assert terms(generated, picture(1), for_pixels=generated.detach())["pixel"].requires_grad


def test_half_precision_changes_the_vgg_term_little_and_the_pixel_term_not_at_all(random_weights):
    terms = PerceptualTerms(PerceptualParams(scales=SCALES), PerceptualWeights(vgg19=1.0, pixel=1.0))
    exact = terms(picture(0), picture(1))
    with torch.autocast("cpu", torch.bfloat16):
        rough = terms(picture(0), picture(1))
    assert rough["pixel"] == exact["pixel"]
    assert rough["vgg19"].dtype == torch.float32
    assert torch.allclose(rough["vgg19"], exact["vgg19"], rtol=0.03)


def test_pixel_difference_counts_edges_beside_levels():
    flat, striped = torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)
    striped[..., ::2] = 1
    assert PixelDifference()([striped], [flat]) == pytest.approx(0.5 + 1.0)
    shifted = flat + 0.25
    assert PixelDifference()([shifted], [flat]) == pytest.approx(0.25)


def test_the_mouth_counts_more_where_it_is_known_and_everything_alike_elsewhere():
    centres = torch.tensor([[0.5, 0.5], [float("nan")] * 2])
    attention = Attention(centres, torch.tensor([0.1, float("nan")]), most=12.0)
    weights = attention.weights(torch.zeros(2, 3, 40, 40))
    torch.testing.assert_close(weights.mean((1, 2, 3)), torch.ones(2))
    assert torch.equal(weights[1], torch.ones(1, 40, 40))
    row, column = divmod(int(weights[0].argmax()), 40)
    assert (row, column) in {(29, 29), (29, 30), (30, 29), (30, 30)}
    assert weights.max() / weights[0].min() == pytest.approx(12, rel=0.1)

    real = [torch.zeros(2, 3, 40, 40)]
    near, far = torch.zeros(2, 3, 40, 40), torch.zeros(2, 3, 40, 40)
    near[:, :, 28:32, 28:32], far[:, :, 4:8, 4:8] = 1, 1
    difference = PixelDifference()
    assert difference(
        [near[:1]], [real[0][:1]], Attention(centres[:1], attention.spread[:1], 12.0)
    ) > 5 * difference([far[:1]], [real[0][:1]], Attention(centres[:1], attention.spread[:1], 12.0))
    plain = difference([near], real)
    unknown = difference([near[1:]], [real[0][1:]], Attention(centres[1:], attention.spread[1:], 12.0))
    assert unknown.item() == pytest.approx(plain.item(), rel=1e-5)
