"""Intervals and p-values have their nominal error rates, with the identity as the unit."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from kpbe.evaluation.statistics import holm, intraclass_correlation, mean_interval, paired_difference


def each_its_own(count: int) -> list[str]:
    return [f"id{i}" for i in range(count)]


def test_mean_interval_of_a_known_example() -> None:
    """n = 5, mean 3, s = sqrt(2.5), t(0.975, 4) = 2.776: half width 1.963."""
    result = mean_interval([1, 2, 3, 4, 5], each_its_own(5))
    assert (result.clips, result.identities, result.mean) == (5, 5, 3)
    assert result.low == pytest.approx(3 - 1.9632, abs=1e-4)
    assert result.high == pytest.approx(3 + 1.9632, abs=1e-4)


def test_every_identity_counts_the_same_however_many_clips_it_has() -> None:
    many = mean_interval([0.0] * 9 + [1.0], ["a"] * 9 + ["b"])
    assert (many.clips, many.identities, many.mean) == (10, 2, 0.5)
    again = mean_interval([0.0, 1.0], ["a", "b"])
    assert (many.low, many.high) == (again.low, again.high)


def test_one_identity_has_a_mean_but_no_interval() -> None:
    assert mean_interval([2.5, 3.5], ["a", "a"]).low is None
    difference = paired_difference([1.0, 1.0], [3.0, 4.0], ["a", "a"])
    assert (difference.mean, difference.low, difference.p) == (2.5, None, None)


CROWDS = {
    "4x4": [4] * 4,
    "13 unequal": [10, 150, 33, 61, 22, 40, 8, 75, 18, 29, 12, 54, 13],
    "57x3": [3] * 57,
}


@pytest.mark.parametrize("sizes", CROWDS.values(), ids=CROWDS)
def test_a_true_null_is_rejected_in_one_of_twenty_studies(sizes: list[int]) -> None:
    """Clips of one person share most of their difference (ICC 0.7), as they do in talking-head videos."""
    rng = np.random.default_rng(0)
    identities = np.repeat(each_its_own(len(sizes)), sizes)
    outside, significant, studies = 0, 0, 1000
    for study in range(studies):
        of_person = rng.normal(0, np.sqrt(0.7), len(sizes))
        after = np.repeat(of_person, sizes) + rng.normal(0, np.sqrt(0.3), len(identities))
        result = paired_difference(np.zeros_like(after), after, list(identities), resamples=400, seed=study)
        assert result.low is not None and result.high is not None and result.p is not None
        outside += not result.low <= 0 <= result.high
        significant += result.p < 0.05
    assert 0.035 <= outside / studies <= 0.065
    assert significant / studies <= 0.065
    if len(sizes) > 5:  # below six identities the exact test never falls below 0.05
        assert significant / studies >= 0.035


def test_p_of_four_identities_cannot_fall_below_an_eighth() -> None:
    clear = paired_difference([0.0] * 16, [9.0, 9.1, 9.2, 9.3] * 4, np.repeat(each_its_own(4), 4).tolist())
    assert clear.p == pytest.approx(2 / 2**4)
    assert clear.low is not None and clear.low > 0


@pytest.mark.parametrize("count", [6, 13])
def test_sign_flip_is_scipys_permutation_test_and_finds_a_clear_gain(count: int) -> None:
    rng = np.random.default_rng(count)
    differences = rng.normal(0.4, 1, count)
    ours = paired_difference(np.zeros(count), differences, each_its_own(count)).p
    theirs = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=10**5)
    assert ours == pytest.approx(theirs.pvalue)
    assert paired_difference(np.zeros(count), np.ones(count), each_its_own(count)).p == 2 / 2**count


def test_a_clear_gain_of_many_identities_is_found() -> None:
    before = np.random.default_rng(1).normal(25, 3, 40)
    after = before + np.random.default_rng(2).normal(1, 0.5, 40)
    assert (paired_difference(before, after, each_its_own(40)).p or 1) < 0.001
    assert paired_difference(before, before, each_its_own(40)).p == 1
    assert paired_difference(before, before + 1, each_its_own(40), resamples=999).p == 0.001


def test_two_lucky_identities_among_many_equal_ones_prove_nothing() -> None:
    """Most bootstrap samples of such differences have the same few values, some only one."""
    after = np.array([1.0, 1.0, *[0.0] * 23])
    result = paired_difference(np.zeros(25), after, each_its_own(25))
    assert result.p is not None and result.p > 0.1 and result.low is not None and result.low <= 0


def test_pairing_sees_a_small_gain_behind_large_differences_between_people() -> None:
    before = np.linspace(10, 40, 20)
    difference = paired_difference(before, before + np.tile([0.1, 0.3], 10), each_its_own(20))
    assert difference.mean == pytest.approx(0.2)
    assert difference.low is not None and difference.low > 0.1


def test_the_seed_decides_and_exchanging_the_methods_turns_the_sign() -> None:
    first, second = np.random.default_rng(3).normal(size=(2, 24))
    result = paired_difference(first, second, each_its_own(24), seed=7)
    assert result == paired_difference(first, second, each_its_own(24), seed=7)
    turned = paired_difference(second, first, each_its_own(24), seed=7)
    assert (turned.mean, turned.p) == (pytest.approx(-result.mean), pytest.approx(result.p))


def test_intraclass_correlation() -> None:
    """Shrout and Fleiss (1979), table 2: six targets, four judges, ICC(1) = 0.17."""
    judges = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    identities = np.repeat(each_its_own(6), 4).tolist()
    assert intraclass_correlation(np.ravel(judges), identities) == pytest.approx(0.17, abs=0.005)
    assert intraclass_correlation([1, 1, 2, 2], ["a", "a", "b", "b"]) == 1
    assert intraclass_correlation([1, 2], ["a", "b"]) is None
    assert intraclass_correlation([1, 2], ["a", "a"]) is None
    assert intraclass_correlation([1, 1, 1], ["a", "a", "b"]) is None


def test_intraclass_correlation_of_unequal_groups_is_the_true_one() -> None:
    rng = np.random.default_rng(5)
    sizes = rng.integers(1, 9, 400)
    values = np.repeat(rng.normal(0, 2, 400), sizes) + rng.normal(0, 1, sizes.sum())
    found = intraclass_correlation(values, np.repeat(each_its_own(400), sizes).tolist())
    assert found == pytest.approx(0.8, abs=0.03)


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")]])
def test_values_without_a_mean_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError):
        mean_interval(values, each_its_own(len(values)))


def test_unequal_numbers_of_clips_are_refused() -> None:
    with pytest.raises(ValueError, match="same clips"):
        paired_difference([1.0, 2.0], [1.0], ["a"])
    with pytest.raises(ValueError, match="identities"):
        paired_difference([1.0, 2.0], [1.0, 2.0], ["a"])
