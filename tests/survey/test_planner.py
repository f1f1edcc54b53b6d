"""Plans agree with simulated surveys."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

from kpbe.survey.planner import ASSUMED, clips_needed, half_width, power, raters_needed, smallest_difference
from kpbe.survey.scores.ratings import panel_of
from kpbe.survey.scores.spread import Spread, spread_of, variance_components


@pytest.mark.parametrize(
    ("raters", "clips", "width"), [(10, 13, 0.30), (24, 13, 0.24), (24, 20, 0.20), (60, 26, 0.16)]
)
def test_half_widths_of_common_surveys(raters: int, clips: int, width: float) -> None:
    assert half_width(ASSUMED, raters, clips) == pytest.approx(width, abs=0.005)


def test_half_width_is_what_repeated_surveys_scatter() -> None:
    rng = np.random.default_rng(0)
    means = [
        (
            rng.normal(0, ASSUMED.rater, (10, 1))
            + rng.normal(0, ASSUMED.clip, (1, 13))
            + rng.normal(0, ASSUMED.rest, (10, 13))
        ).mean()
        for _ in range(4000)
    ]
    assert 1.96 * np.std(means) == pytest.approx(half_width(ASSUMED, 10, 13), rel=0.05)


def test_power_is_how_often_a_difference_is_found() -> None:
    rng = np.random.default_rng(1)
    spread, found = Spread(0.2, 0.3, 0.9), 0
    means = 0.3 + rng.normal(0, 0.2 / np.sqrt(12), 4000)
    means += rng.normal(0, 0.3 / np.sqrt(10), 4000) + rng.normal(0, 0.9 / np.sqrt(120), 4000)
    found = np.mean(np.abs(means) > half_width(spread, 12, 10))
    assert power(spread, 12, 10, 0.3) == pytest.approx(found, abs=0.03)
    assert power(spread, 12, 10, 0.0) == pytest.approx(0.05)
    assert power(spread, 12, 10, 0.3, comparisons=6) < power(spread, 12, 10, 0.3)


def test_the_fewest_raters_reach_the_power_and_one_less_does_not() -> None:
    raters = raters_needed(ASSUMED, 26, 0.3)
    assert raters is not None
    assert power(ASSUMED, raters, 26, 0.3) >= 0.8 > power(ASSUMED, raters - 1, 26, 0.3)
    clips = clips_needed(ASSUMED, 24, 0.3)
    assert clips is not None
    assert power(ASSUMED, 24, clips, 0.3) >= 0.8 > power(ASSUMED, 24, clips - 1, 0.3)


def test_too_few_clips_cannot_be_made_good_by_raters() -> None:
    assert raters_needed(ASSUMED, 5, 0.2) is None
    assert clips_needed(Spread(0.5, 0, 1), 3, 0.1) is None


def test_smallest_difference_has_the_wanted_power() -> None:
    difference = smallest_difference(ASSUMED, 24, 13, 0.8, comparisons=6)
    assert power(ASSUMED, 24, 13, difference, 6) == pytest.approx(0.8, abs=1e-3)


def test_variance_components_are_unbiased() -> None:
    rng = np.random.default_rng(2)
    found = [
        variance_components(
            rng.normal(0, 0.25, (10, 1)) + rng.normal(0, 0.35, (1, 13)) + rng.normal(0, 1, (10, 13)) + 0.3
        )
        or (0, 0, 0)
        for _ in range(3000)
    ]
    assert np.mean(found, axis=0) == pytest.approx([0.0625, 0.1225, 1.0], abs=0.012)


def test_raters_with_gaps_are_left_out_of_the_components() -> None:
    rng = np.random.default_rng(3)
    table = rng.normal(size=(6, 5))
    with_gap = np.vstack([table, [[np.nan, 1, 2, 3, 4]]])
    assert variance_components(with_gap) == variance_components(table)
    assert variance_components(table[:1]) is None


def test_the_spread_of_a_survey_feeds_the_planner(opinions: ModuleType) -> None:
    study = opinions.make_study(13, raters=24)
    panel = panel_of(
        opinions.answers_to(study, 24, opinions.opinion(noise=0.7)), opinions.METHODS, study.questions
    )
    spread = spread_of(panel, opinions.BACKENDS)
    assert spread is not None
    assert spread.rest == pytest.approx(
        np.sqrt(2 * (0.7**2 + 1 / 12)), abs=0.1
    )  # noise and rounding of two scores
    assert spread.rater < 0.2 and spread.clip < 0.25
    assert spread_of(panel.of_raters(["r001"]), opinions.BACKENDS) is None
    assert spread_of(panel, ["other"]) is None
