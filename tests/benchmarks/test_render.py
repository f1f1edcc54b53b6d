"""The rendering benchmark at a small size: both sides render the same frames, and the page is written."""

from __future__ import annotations

import pytest
import torch

from benchmarks import render
from benchmarks.reference_rendering import PlainRenderer
from benchmarks.render import PARTS, REST, Clock, Comparison, Speed
from benchmarks.training import model_of
from kpbe.frontend.model import Frontend
from kpbe.params import ModelParams
from tests.frontend.tiny import tiny_model

NARROW = model_of(64, narrow=True)


def with_detail(detail: str) -> ModelParams:
    return ModelParams.model_validate(
        tiny_model(generator={"width": 16, "blocks": 1, "detail": detail}, name="tiny")
    )


def test_both_sides_render_the_same_frames_which_are_not_grey():
    comparison = render.compare(NARROW, rounds=2, frames=3)
    assert 0 < comparison.difference <= render.LARGEST_DIFFERENCE
    assert len(comparison.ratios("wall")) == len(comparison.ratios("own")) == 2
    assert min(comparison.ratios("own")) > 0


def test_other_frames_than_the_reference_s_end_the_benchmark(monkeypatch):
    monkeypatch.setattr(PlainRenderer, "_keypoints", lambda self, canonical, image: canonical)
    with pytest.raises(AssertionError, match="pictures differ by"):
        render.compare(NARROW, rounds=1, frames=2)


def test_the_reference_takes_what_the_public_code_knows():
    with pytest.raises(ValueError, match="neither detail nor motion by rotation"):
        PlainRenderer(Frontend(with_detail("warp")))


@pytest.mark.parametrize("detail", ["none", "warp_both"])
def test_the_parts_make_up_the_frame(detail):
    speed = render.measure(with_detail("warp_both"), 96, detail, rounds=1, frames=2)
    assert set(speed.parts) == set(speed.gflop) == {*PARTS, REST}
    assert min(speed.parts.values()) >= 0 and speed.milliseconds > 0
    used = {part for part, count in speed.gflop.items() if count}
    both = {"appearance", "compositor"}
    assert used >= {"pose and expression", "motion field: hourglass", "motion field: mask", "generator"}
    assert used & both == (both if detail == "warp_both" else set())


def test_operations_are_those_of_the_convolutions_of_each_frame():
    model = with_detail("none")
    speed = render.measure(model, 64, "none", rounds=1, frames=2)
    field = Frontend(model).motion_field
    voxels = model.depth * (model.image_size // 2**model.appearance.down_blocks) ** 2
    assert speed.gflop["motion field: mask"] == pytest.approx(2 * field.mask.weight.numel() * voxels / 1e9)
    occlusion = 2 * field.occlusion.weight.numel() * voxels / model.depth
    assert speed.gflop["motion field: occlusion"] == pytest.approx(occlusion / 1e9)


def test_the_page_shows_ratios_floors_and_the_processor(monkeypatch):
    monkeypatch.setattr(render, "processor", lambda: "Abacus 3000")
    comparison = Comparison(
        4, Clock([2.0, 2.0, 4.0], [1.0, 1.0, 1.0]), Clock([4.0, 5.0, 6.0], [1.6, 1.8, 2.0]), 2e-6
    )
    speed = Speed("small", 256, "warp", 4, Clock([0.4], [0.2]), {"generator": 50.0}, {"generator": 5.0})
    page = render.report(comparison, [speed], rate=200.0, about="- a machine", rounds=3)
    assert "| Abacus 3000, wall clock | 3 | 1.250 | 0.500 | **2.00** (1.50 to 2.50) |" in page
    assert "| Abacus 3000, own time | 3 | 0.450 | 0.250 | **1.80** (1.60 to 2.00) |" in page
    assert "No pixel differs by more than 2e-06" in page
    assert "| small | Abacus 3000 | 256x256 | warp | 10 | 20 | 50% |" in page
    assert "| generator | 5.00 | 50.00 | 25.00 |" in page


def test_matrix_products_have_a_rate():
    threads = torch.get_num_threads()
    assert render.matrix_rate() > 1 and torch.get_num_threads() == threads
