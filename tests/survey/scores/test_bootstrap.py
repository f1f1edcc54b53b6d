"""Intervals keep their coverage for new raters and new clips."""

from __future__ import annotations

import numpy as np
import pytest

from kpbe.survey.planner import ASSUMED, half_width
from kpbe.survey.scores.bootstrap import crossed_difference, crossed_mean, naive_interval
from kpbe.survey.scores.spread import Spread

ONE_METHOD = 1 / np.sqrt(2)


def scores_of_two_methods(
    rng: np.random.Generator, raters: int, clips: int, spread: Spread, gain: float
) -> list[np.ndarray]:
    """Rounded five-point scores; `spread` is that of the difference of the methods."""
    common = 3.4 + rng.normal(0, 0.4, (raters, 1)) + rng.normal(0, 0.3, (1, clips))

    def method(level: float) -> np.ndarray:
        rater = rng.normal(0, spread.rater * ONE_METHOD, (raters, 1))
        clip = rng.normal(0, spread.clip * ONE_METHOD, (1, clips))
        rest = rng.normal(0, spread.rest * ONE_METHOD, (raters, clips))
        return np.clip(np.rint(common + level + rater + clip + rest), 1, 5)

    return [method(0.0), method(gain)]


@pytest.mark.parametrize(
    ("raters", "clips", "spread"),
    [(10, 13, ASSUMED), (24, 20, ASSUMED), (10, 13, Spread(0.5, 0.5, 0.6)), (6, 8, ASSUMED)],
)
def test_crossed_intervals_hold_a_difference_95_times_in_100_and_naive_ones_do_not(
    raters: int, clips: int, spread: Spread
) -> None:
    rng = np.random.default_rng(0)
    crossed, naive, widths, studies = 0, 0, [], 400
    for seed in range(studies):
        first, second = scores_of_two_methods(rng, raters, clips, spread, gain=0.0)
        found = crossed_difference(first, second, resamples=500, seed=seed)
        assert found is not None and found.low is not None and found.high is not None
        crossed += found.low <= 0 <= found.high
        widths.append((found.high - found.low) / 2)
        low, high = naive_interval(second - first) or (0.0, 0.0)
        naive += low <= 0 <= high
    assert 0.92 <= crossed / studies <= 0.98
    assert naive / studies < 0.88
    assert np.mean(widths) == pytest.approx(half_width(spread, raters, clips), rel=0.2)


def test_the_papers_survey_shows_differences_of_about_a_third_of_a_point() -> None:
    """10 raters x 13 clips: the interval of a difference is about +-0.30.

    The naive 1.96 sd / sqrt(n) of a method is about half of that.
    """
    rng = np.random.default_rng(1)
    crossed, naive = [], []
    for seed in range(100):
        first, second = scores_of_two_methods(rng, 10, 13, ASSUMED, gain=0.2)
        found = crossed_difference(first, second, resamples=500, seed=seed)
        assert found is not None and found.low is not None and found.high is not None
        crossed.append((found.high - found.low) / 2)
        low, high = naive_interval(first) or (0.0, 0.0)
        naive.append((high - low) / 2)
    assert 0.27 <= np.mean(crossed) <= 0.36
    assert 0.13 <= np.mean(naive) <= 0.19


def test_p_values_are_small_for_a_clear_gain_and_rarely_below_5_percent_for_none() -> None:
    rng = np.random.default_rng(2)
    first, second = scores_of_two_methods(rng, 24, 13, ASSUMED, gain=1.2)
    found = crossed_difference(first, second, resamples=2000, seed=0)
    assert found is not None and found.p is not None and found.p < 0.005 and found.mean > 0.7
    wrong = []
    for seed in range(300):
        found = crossed_difference(
            *scores_of_two_methods(rng, 10, 13, ASSUMED, gain=0.0), resamples=500, seed=seed
        )
        assert found is not None and found.p is not None and found.low is not None and found.high is not None
        wrong.append(found.p < 0.05)
        if abs(found.p - 0.05) > 0.01:
            assert (found.p < 0.05) == (not found.low <= 0 <= found.high)
    assert 0.01 <= np.mean(wrong) <= 0.08


def test_interval_of_a_mean_is_wider_than_one_that_takes_answers_for_independent() -> None:
    first, _ = scores_of_two_methods(np.random.default_rng(3), 10, 13, ASSUMED, 0)
    found = crossed_mean(first, resamples=2000, seed=0)
    naive = naive_interval(first)
    assert found is not None and found.low is not None and found.high is not None and naive is not None
    assert found.mean == pytest.approx(first.mean()) == pytest.approx(sum(naive) / 2)
    assert found.p is None and (found.n, found.raters, found.clips) == (130, 10, 13)
    assert found.high - found.low > 1.2 * (naive[1] - naive[0])


def test_gaps_leave_the_pairs_that_are_there() -> None:
    first, second = scores_of_two_methods(np.random.default_rng(4), 6, 5, ASSUMED, 0.5)
    first[0, 0], second[1, 1], first[:, 4] = np.nan, np.nan, np.nan
    found = crossed_difference(first, second, resamples=500, seed=0)
    assert found is not None and (found.n, found.raters, found.clips) == (22, 6, 4)
    assert found.mean == pytest.approx(np.nanmean(second - first))
    assert crossed_mean(np.full((3, 3), np.nan), resamples=100, seed=0) is None


def test_one_rater_or_one_clip_gives_a_mean_without_interval() -> None:
    for shape in ((1, 8), (8, 1)):
        found = crossed_difference(np.full(shape, 2.0), np.full(shape, 3.0), resamples=100, seed=0)
        assert found is not None and (found.mean, found.low, found.p) == (1, None, None)


def test_the_seed_decides_and_exchanging_the_methods_turns_the_sign() -> None:
    first, second = scores_of_two_methods(np.random.default_rng(5), 10, 13, ASSUMED, 0.3)
    found = crossed_difference(first, second, resamples=1000, seed=7)
    assert found == crossed_difference(first, second, resamples=1000, seed=7)
    turned = crossed_difference(second, first, resamples=1000, seed=7)
    assert found is not None and turned is not None and found.low is not None
    assert (turned.mean, turned.high, turned.p) == (
        pytest.approx(-found.mean),
        pytest.approx(-found.low),
        pytest.approx(found.p),
    )
    with pytest.raises(ValueError, match="same raters and clips"):
        crossed_difference(first, second[:3], resamples=100, seed=0)
