"""The bias model gives sureal's results, and recovers true values."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kpbe.survey.scores.bias_model import LEAST_INCONSISTENCY, fit_bias_model

SUREAL = json.loads((Path(__file__).parent / "sureal.json").read_text(encoding="utf-8"))


def scores_of(rows: list[str]) -> np.ndarray:
    return np.array([[np.nan if sign == "." else float(sign) for sign in row] for row in rows])


def simulated(seed: int, raters: int, stimuli: int) -> tuple[np.ndarray, ...]:
    """Unrounded scores, so that the model holds exactly."""
    rng = np.random.default_rng(seed)
    quality, bias = rng.uniform(1, 5, stimuli), rng.normal(0, 0.5, raters)
    bias -= bias.mean()
    inconsistency = rng.uniform(0.4, 1.2, raters)
    noise = inconsistency[:, None] * rng.normal(size=(raters, stimuli))
    return quality + bias[:, None] + noise, quality, bias, inconsistency


@pytest.mark.parametrize("case", ["complete", "with_gaps"])
def test_the_model_agrees_with_sureal(case: str) -> None:
    model = fit_bias_model(scores_of(SUREAL[case]["scores"]))
    for ours, theirs in {
        "quality": "quality",
        "quality_error": "quality_std",
        "bias": "bias",
        "inconsistency": "inconsistency",
    }.items():
        np.testing.assert_allclose(getattr(model, ours), SUREAL[case][theirs], atol=1e-5)


def test_no_rater_takes_over() -> None:
    """In this example plain maximum likelihood takes one rater to be perfect.

    The qualities are then just that rater's scores.
    """
    example = SUREAL["one_rater_takes_over"]
    scores = scores_of(example["scores"])
    tyrant = int(np.argmin(example["inconsistency"]))
    theirs = np.array(example["quality"]) + example["bias"][tyrant] - scores[tyrant]
    assert np.abs(theirs).max() < 1e-3
    model = fit_bias_model(scores)
    assert model.inconsistency.min() >= LEAST_INCONSISTENCY
    own = model.quality + model.bias[tyrant] - scores[tyrant]
    assert np.abs(own).max() > 0.05
    assert (
        np.corrcoef(model.quality, scores.mean(0))[0, 1]
        > np.corrcoef(example["quality"], scores.mean(0))[0, 1]
    )


def test_true_qualities_biases_and_inconsistencies_are_found() -> None:
    scores, quality, bias, inconsistency = simulated(0, 24, 120)
    model = fit_bias_model(scores)
    within = np.abs(model.quality - quality) < 1.96 * model.quality_error
    assert 0.90 <= within.mean() <= 0.99
    assert np.abs(model.bias - bias).max() < 0.3
    assert np.corrcoef(model.inconsistency, inconsistency)[0, 1] > 0.95
    assert model.bias.mean() == pytest.approx(0, abs=1e-9)


def test_corrected_scores_are_nearer_to_the_truth_than_plain_means() -> None:
    corrected, plain = [], []
    for seed in range(20):
        scores, quality, _, _ = simulated(seed, 10, 65)
        rng = np.random.default_rng(seed)
        scores[rng.random(scores.shape) < 0.3] = np.nan  # who rates what differs, so biases do not cancel
        scores[0] = rng.uniform(1, 5, 65)  # a rater who guesses
        corrected.append(np.mean((fit_bias_model(scores).quality - quality) ** 2))
        plain.append(np.mean((np.nanmean(scores, 0) - quality) ** 2))
    assert np.mean(corrected) < 0.8 * np.mean(plain)


def test_a_constant_added_to_a_rater_changes_only_biases_and_the_common_level() -> None:
    scores, _, _, _ = simulated(3, 8, 30)
    shifted = scores.copy()
    shifted[2] += 1
    before, after = fit_bias_model(scores), fit_bias_model(shifted)
    np.testing.assert_allclose(after.quality - before.quality, 1 / 8, atol=1e-6)
    np.testing.assert_allclose(after.inconsistency, before.inconsistency, atol=1e-6)


def test_raters_and_stimuli_without_answers_stay_unknown() -> None:
    scores, _, _, _ = simulated(4, 6, 20)
    scores[1], scores[:, 5] = np.nan, np.nan
    model = fit_bias_model(scores)
    assert np.isnan(model.quality).nonzero()[0].tolist() == [5]
    assert np.isnan(model.bias).nonzero()[0].tolist() == [1]
    with pytest.raises(ValueError, match="needs answers"):
        fit_bias_model(np.full((3, 4), np.nan))
