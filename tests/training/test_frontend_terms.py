"""Which parts of the network a term of the frontend's loss teaches, and in which samples."""

from __future__ import annotations

import torch

from kpbe.data.expression_labels import POINTS, SHAPES
from kpbe.frontend.model import Frontend
from kpbe.params import FrontendLossParams, ModelParams, PerceptualParams
from kpbe.training.batches import TrainingBatch
from kpbe.training.frontend_terms import FrontendTerms
from kpbe.training.perceptual import PerceptualTerms
from kpbe.training.reconstruction import Reconstruction
from tests.frontend.tiny import tiny_model

ONLY = dict.fromkeys(
    ("gan", "feature_matching", "equivariance", "keypoint_prior", "head_pose", "expression"), 0.0
)


def terms_of(model: ModelParams, **weights: float) -> FrontendTerms:
    losses = FrontendLossParams.model_validate(
        {"vgg19": 0.0, "vgg_face": 0.0, "pixel": 0.0, **ONLY, **weights}
    )
    perceptual = PerceptualTerms(PerceptualParams(scales=(1.0,)), losses)
    return FrontendTerms(losses, model, perceptual, None, labelled=False)


def batch_of(size: int, samples: int = 2) -> TrainingBatch:
    generator = torch.Generator().manual_seed(0)
    source, pose, expression, target = torch.rand(4, samples, 3, size, size, generator=generator)
    points = [torch.rand(samples, POINTS, 2, generator=generator) - 0.5 for _ in range(4)]
    degrees, shapes = torch.zeros(samples, 3), torch.zeros(samples, len(SHAPES))
    return TrainingBatch(
        source, pose, expression, target, degrees, points[0], points[1], points[2], points[3], shapes
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


def test_the_mouth_is_the_backends_only_where_it_is_a_second_source():
    generator = {"width": 16, "blocks": 1, "detail": "warp_both", "detail_width": 16}
    model = ModelParams.model_validate(tiny_model(generator=generator))
    torch.manual_seed(0)
    reconstruction = Reconstruction(Frontend(model)).eval()
    batch = batch_of(model.image_size)
    terms = terms_of(model, mouth_share=1.0)

    def missing(counts: torch.Tensor) -> float:
        with torch.no_grad():
            result = reconstruction(batch.source, batch.pose, batch.expression, None, counts)
            return terms(batch, result, None)["mouth_share"].item()

    both, first = missing(torch.tensor([True, True])), missing(torch.tensor([True, False]))
    assert 0 < both < 1 and 0 < first < 1
    assert missing(torch.tensor([False, False])) == 0, "nobody is asked for what is not there"
