"""Intervals hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest

from kpbe.evaluation.statistics import mean_interval, paired_difference


def test_mean_interval_of_a_known_example() -> None:
    """n = 5, mean 3, s = sqrt(2.5), t(0.975, 4) = 2.776: half width 1.963."""
    result = mean_interval([1, 2, 3, 4, 5])
    assert (result.n, result.mean) == (5, 3)
    assert result.low == pytest.approx(3 - 1.9632, abs=1e-4)
    assert result.high == pytest.approx(3 + 1.9632, abs=1e-4)


def test_a_single_clip_has_a_mean_but_no_interval() -> None:
    assert mean_interval([2.5]).low is None
    difference = paired_difference([1.0], [3.0])
    assert (difference.mean, difference.low, difference.p) == (2.0, None, None)


@pytest.mark.parametrize("paired", [False, True])
def test_95_percent_intervals_hold_the_true_mean_about_95_times_in_100(paired: bool) -> None:
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(400):
        clip_effect, gain = rng.normal(25, 3, 30), rng.normal(0.5, 1, 30)
        result = (
            paired_difference(clip_effect, clip_effect + gain, resamples=600, seed=trial)
            if paired
            else mean_interval(gain)
        )
        assert result.low is not None and result.high is not None
        held += result.low <= 0.5 <= result.high
    assert 0.90 <= held / 400 <= 0.98


def test_p_values_are_small_for_a_clear_gain_and_even_for_none() -> None:
    rng = np.random.default_rng(1)
    before = rng.normal(25, 3, 40)
    assert (paired_difference(before, before + rng.normal(1, 0.5, 40)).p or 1) < 0.001
    without_gain = [
        paired_difference(before, before + rng.normal(0, 1, 40), resamples=500, seed=i).p or 0.0
        for i in range(300)
    ]
    assert 0.02 <= np.mean(np.array(without_gain) < 0.05) <= 0.10
    assert paired_difference(before, before).p == 1


def test_pairing_sees_a_small_gain_behind_large_differences_between_clips() -> None:
    before = np.linspace(10, 40, 20)
    difference = paired_difference(before, before + np.tile([0.1, 0.3], 10))
    assert difference.mean == pytest.approx(0.2)
    assert difference.low is not None and difference.low > 0.1


def test_the_seed_decides_and_exchanging_the_methods_turns_the_sign() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(2, 12))
    result = paired_difference(first, second, seed=7)
    assert result == paired_difference(first, second, seed=7)
    turned = paired_difference(second, first, seed=7)
    assert (turned.mean, turned.p) == (pytest.approx(-result.mean), pytest.approx(result.p))


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")]])
def test_values_without_a_mean_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError):
        mean_interval(values)


def test_unequal_numbers_of_clips_are_refused() -> None:
    with pytest.raises(ValueError, match="same clips"):
        paired_difference([1.0, 2.0], [1.0])
