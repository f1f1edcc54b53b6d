"""Which parts of the network each term of the frontend's loss trains, and on which samples."""

from __future__ import annotations

import pytest
import torch

from kpbe.data.expression.labels import POINTS, SHAPES
from kpbe.frontend.detail import DECODER, FIRST_CHOICE
from kpbe.frontend.model import Frontend
from kpbe.params import FrontendLossParams, ModelParams, PerceptualParams
from kpbe.training.batches import TrainingBatch
from kpbe.training.frontend_terms import FrontendTerms, by_fixed_shares
from kpbe.training.perceptual import PerceptualTerms
from kpbe.training.reconstruction import Reconstruction
from tests.frontend.tiny import tiny_model

ONLY = dict.fromkeys(
    ("gan", "feature_matching", "equivariance", "keypoint_prior", "head_pose", "expression"), 0.0
)


def terms_of(model: ModelParams, labelled: bool = False, **weights: float) -> FrontendTerms:
    losses = FrontendLossParams.model_validate(
        {"vgg19": 0.0, "vgg_face": 0.0, "pixel": 0.0, **ONLY, **weights}
    )
    perceptual = PerceptualTerms(PerceptualParams(scales=(1.0,)), losses)
    return FrontendTerms(losses, model, perceptual, None, labelled)


def batch_of(size: int, samples: int = 2) -> TrainingBatch:
    generator = torch.Generator().manual_seed(0)
    source, pose, expression, target = torch.rand(4, samples, 3, size, size, generator=generator)
    points = [torch.rand(samples, POINTS, 2, generator=generator) - 0.5 for _ in range(4)]
    degrees, shapes = torch.zeros(2, samples, 3), torch.zeros(samples, len(SHAPES))
    return TrainingBatch(
        source,
        pose,
        expression,
        target,
        degrees[0],
        degrees[1],
        points[0],
        points[1],
        points[2],
        points[3],
        shapes,
    )


def test_lips_teach_the_expression_alone():
    model = ModelParams.model_validate(tiny_model())
    batch = batch_of(model.image_size)
    rigid, expression = (torch.randn(2, 5, 3, requires_grad=True) for _ in range(2))
    keypoints = rigid + expression
    result = {
        "source_keypoints": keypoints,
        "driving_keypoints": keypoints,
        "expression_keypoints": keypoints,
        "source_expression": expression,
        "expression": expression,
    }
    found = terms_of(model, lips=1.0)(batch, result, None)
    assert found.keys() == {"lips"}
    found["lips"].backward()
    assert expression.grad is not None and (expression.grad[:, :4] != 0).any()
    assert (expression.grad[:, 4:] == 0).all(), "the lips' keypoints are the first four"
    assert rigid.grad is None or (rigid.grad == 0).all(), "the head does not turn for it"


def test_a_turn_is_judged_without_what_is_wrong_with_both_poses():
    model = ModelParams.model_validate(tiny_model())
    batch = batch_of(model.image_size)
    batch.degrees[:] = torch.tensor([[10.0, 2.0, 0.0], [0.0, 0.0, torch.nan]])
    terms = terms_of(model, labelled=True, turn=1.0)
    of_everybody = torch.tensor([3.0, -8.0, 1.0])
    source = batch.source_degrees + of_everybody

    def turn(degrees: torch.Tensor) -> float:
        return terms(batch, {"degrees": degrees, "source_degrees": source}, None)["turn"].item()

    right = batch.degrees.nan_to_num() + of_everybody
    assert turn(right) == 0
    assert turn(source) == (10 + 2) / 2, "a head that does not turn"
    assert turn(right + torch.tensor([0.0, 0.0, 4.0])) == 4, "of the labels that are known"


def test_lips_are_also_asked_how_they_changed():
    """Lips differ more between two people than when one opens them; the change counts as much as the lips."""
    model = ModelParams.model_validate(tiny_model())
    batch = batch_of(model.image_size)
    for points in (batch.source_points, batch.target_points):
        points[:] = 0
    terms = terms_of(model, lips=1.0)

    def lips(of_source: float, of_driving: float) -> float:
        nothing = torch.zeros(2, 5, 3)
        source, driving = nothing.clone(), nothing.clone()
        source[:, 3, 1], driving[:, 3, 1] = of_source, of_driving
        result = {"source_keypoints": nothing, "driving_keypoints": nothing}
        result |= {"source_expression": source, "expression": driving}
        moved = {
            name: nothing + value
            for name, value in (("source_keypoints", source), ("driving_keypoints", driving))
        }
        return terms(batch, result | moved, None)["lips"].item()

    assert lips(0.1, 0.1) > 0 and lips(0.1, 0.0) > 0
    assert lips(0.1, -0.1) > 1.4 * lips(0.1, 0.1), "the second changes nothing"


def test_depth_in_the_expression_has_its_own_penalty():
    model = ModelParams.model_validate(tiny_model())
    expression = torch.zeros(2, 5, 3)
    expression[0, 1, 2], expression[:, 3, :2] = -0.5, 0.4
    found = terms_of(model, expression_depth=1.0)(
        batch_of(model.image_size), {"expression": expression}, None
    )
    assert found["expression_depth"].item() == 0.25, "mean over the batch"


def sharp_reconstruction() -> tuple[ModelParams, Reconstruction]:
    generator = {"width": 16, "blocks": 1, "detail": "warp_both", "detail_width": 16}
    model = ModelParams.model_validate(tiny_model(generator=generator))
    torch.manual_seed(0)
    return model, Reconstruction(Frontend(model)).eval()


def test_there_is_a_picture_that_teaches_the_shares_nothing():
    model, reconstruction = sharp_reconstruction()
    batch = batch_of(model.image_size)
    result = reconstruction(batch.source, batch.pose, batch.expression, None)
    fixed = by_fixed_shares(result)
    torch.testing.assert_close(fixed, result["generated"])
    compositor = reconstruction.frontend.compositor
    assert compositor is not None
    choice, decoder = compositor.choice.weight, next(reconstruction.frontend.generator.parameters())
    for name, frames, teaches in (
        ("by fixed shares", fixed, False),
        ("generated", result["generated"], True),
    ):
        of_choice, of_decoder = torch.autograd.grad(
            frames.square().sum(), (choice, decoder), retain_graph=True, allow_unused=True
        )
        assert (of_choice is not None and of_choice.abs().max() > 0) == teaches, name
        assert of_decoder.abs().max() > 0, name


def test_the_decoders_share_has_its_price():
    model, reconstruction = sharp_reconstruction()
    batch = batch_of(model.image_size)
    with torch.no_grad():
        result = reconstruction(batch.source, batch.pose, batch.expression, None)
    price = terms_of(model, decoder_share=1.0)(batch, result, None)["decoder_share"].item()
    logits = torch.tensor(FIRST_CHOICE)
    assert price == pytest.approx(logits.softmax(0)[DECODER].item(), abs=1e-5)


def test_the_mouth_is_the_backends_only_where_it_is_a_second_source():
    model, reconstruction = sharp_reconstruction()
    batch = batch_of(model.image_size)
    terms = terms_of(model, mouth_share=1.0)

    def missing(counts: torch.Tensor) -> float:
        with torch.no_grad():
            result = reconstruction(batch.source, batch.pose, batch.expression, None, counts)
            return terms(batch, result, None)["mouth_share"].item()

    both, first = missing(torch.tensor([True, True])), missing(torch.tensor([True, False]))
    assert 0 < both < 1 and 0 < first < 1
    assert missing(torch.tensor([False, False])) == 0, "nobody is asked for what is not there"
