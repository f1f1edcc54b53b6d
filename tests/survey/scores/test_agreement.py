"""Agreement as the textbooks compute it."""

from __future__ import annotations

import numpy as np
import pytest

from kpbe.survey.scores.agreement import intraclass, krippendorff_alpha

nan = np.nan
# Krippendorff, Computing Krippendorff's alpha-reliability (2011), example C: four observers, twelve units,
# gaps
KRIPPENDORFF = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, nan, nan, nan],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, nan, 3],
        [nan, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, nan],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, nan],
    ]
)
# Shrout and Fleiss, Intraclass correlations (1979), table 2: four judges, six targets
SHROUT_FLEISS = np.array(
    [[9, 6, 8, 7, 10, 6], [2, 1, 4, 1, 5, 2], [5, 3, 6, 2, 6, 4], [8, 2, 8, 6, 9, 7]], dtype=float
)


@pytest.mark.parametrize(
    ("level", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
)
def test_alpha_of_krippendorffs_example(level, published: float) -> None:
    assert krippendorff_alpha(KRIPPENDORFF, level) == pytest.approx(published, abs=5e-4)


def test_alpha_is_one_for_agreement_near_zero_for_chance_and_undefined_for_nothing() -> None:
    rng = np.random.default_rng(0)
    same = np.tile(rng.integers(1, 6, 30), (5, 1)).astype(float)
    assert krippendorff_alpha(same, "ordinal") == pytest.approx(1)
    chance = krippendorff_alpha(rng.integers(1, 6, (6, 400)).astype(float), "interval")
    assert chance is not None and abs(chance) < 0.05
    assert krippendorff_alpha(np.full((3, 4), 2.0), "interval") is None
    assert krippendorff_alpha(np.array([[1, nan], [nan, 2]]), "interval") is None


def test_intraclass_correlation_of_shrout_and_fleiss_example() -> None:
    found = intraclass(SHROUT_FLEISS)
    assert found is not None and (found.raters, found.stimuli) == (4, 6)
    assert (round(found.single, 2), round(found.mean, 2)) == (0.29, 0.62)
    # intervals of the same example as McGraw and Wong (1996) have them
    assert (found.single_low, found.single_high) == (
        pytest.approx(0.019, abs=1e-3),
        pytest.approx(0.761, abs=1e-3),
    )
    assert (found.mean_low, found.mean_high) == (
        pytest.approx(0.071, abs=2e-3),
        pytest.approx(0.927, abs=1e-3),
    )


def test_intraclass_correlation_leaves_out_stimuli_with_gaps() -> None:
    with_gap = np.column_stack([SHROUT_FLEISS, [5, nan, 5, 5]])
    assert intraclass(with_gap) == intraclass(SHROUT_FLEISS)
    assert intraclass(SHROUT_FLEISS[:1]) is None
    assert intraclass(np.full((3, 4), 2.0)) is None
