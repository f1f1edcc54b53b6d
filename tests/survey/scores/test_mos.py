"""Scores recover the true values and are no more certain than the answers allow."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

from kpbe.survey.scores.mos import holm, score
from kpbe.survey.scores.ratings import Panel, panel_of
from kpbe.survey.study.design import GROUND_TRUTH

QUESTIONS = ("lip_sync", "head_pose", "realness")


@pytest.fixture(scope="module")
def panel(opinions: ModuleType) -> Panel:
    study = opinions.make_study(13, raters=24)
    return panel_of(opinions.answers_to(study, 24, opinions.opinion()), opinions.METHODS, study.questions)


def test_mos_is_the_mean_of_all_answers_with_its_interval_around(panel: Panel, opinions: ModuleType) -> None:
    scores, _ = score(panel, opinions.BACKENDS, resamples=500, seed=0)
    assert (scores.raters, scores.clips) == (24, 13)
    assert [(row.question, row.method) for row in scores.methods] == [
        (question, method) for question in QUESTIONS for method in opinions.METHODS
    ]
    for row in scores.methods:
        assert row.mos.mean == pytest.approx(panel.table(row.method, row.question).mean())
        assert row.mos.n == 24 * 13 and row.mos.low is not None and row.mos.high is not None
        assert row.mos.low < row.mos.mean < row.mos.high
        assert row.naive is not None and row.naive[1] - row.naive[0] < row.mos.high - row.mos.low
        assert row.mos.mean == pytest.approx(opinions.LEVELS[row.method], abs=0.35)


def test_dmos_is_the_distance_to_the_hidden_reference_plus_5(panel: Panel, opinions: ModuleType) -> None:
    scores, _ = score(panel, opinions.BACKENDS, resamples=500, seed=0)
    for row in scores.methods:
        if row.method == GROUND_TRUTH:
            assert row.dmos is None
            continue
        truth = panel.table(GROUND_TRUTH, row.question)
        assert row.dmos is not None
        assert row.dmos.mean == pytest.approx((panel.table(row.method, row.question) - truth).mean() + 5)


def test_corrected_scores_of_a_complete_survey_are_near_the_plain_ones(
    panel: Panel, opinions: ModuleType
) -> None:
    scores, models = score(panel, opinions.BACKENDS, resamples=500, seed=0)
    assert set(models) == set(QUESTIONS) and len(models["realness"].quality) == 13 * 5
    for row in scores.methods:
        assert row.corrected == pytest.approx(row.mos.mean, abs=0.1)
        assert row.corrected_low < row.corrected < row.corrected_high


def test_a_gain_is_found_for_each_backend_and_question(panel: Panel, opinions: ModuleType) -> None:
    scores, _ = score(panel, opinions.BACKENDS, resamples=1000, seed=0)
    assert [(row.backend, row.method, row.question) for row in scores.comparisons] == [
        (backend, f"{backend}+kpbe", question) for backend in opinions.BACKENDS for question in QUESTIONS
    ]
    for row in scores.comparisons:
        assert row.difference.mean == pytest.approx(0.4, abs=0.15)
        assert row.difference.low is not None and row.difference.low > 0
        assert row.p_holm is not None and row.difference.p is not None
        assert row.difference.p < row.p_holm < 0.05


def test_without_a_gain_holm_keeps_all_six_comparisons_quiet(opinions: ModuleType) -> None:
    alarms, surveys = 0, 25
    study = opinions.make_study(8)
    for seed in range(surveys):
        answers = opinions.answers_to(
            study, 10, opinions.opinion(seed, gain=0.0), kinds=("main", "reference")
        )
        panel = panel_of(answers, opinions.METHODS, study.questions)
        scores, _ = score(panel, opinions.BACKENDS, resamples=400, seed=seed)
        alarms += any((row.p_holm or 1) < 0.05 for row in scores.comparisons)
    assert alarms <= 4  # 5 % of 25 are 1.25; more than 4 has a chance below 1 %


def test_agreement_is_reported_for_each_question(panel: Panel, opinions: ModuleType) -> None:
    scores, _ = score(panel, opinions.BACKENDS, resamples=400, seed=0)
    assert [row.question for row in scores.agreement] == list(QUESTIONS)
    for row in scores.agreement:
        assert row.alpha_interval is not None and 0.2 < row.alpha_interval < 0.8
        assert row.icc is not None and row.icc.raters == 24 and row.icc.stimuli == 65
        assert row.icc.mean > 0.9 > row.icc.single > row.alpha_interval - 0.1


def test_a_backend_without_its_enhancement_is_not_compared(panel: Panel) -> None:
    methods = ("wav2lip", GROUND_TRUTH)
    places = [panel.methods.index(method) for method in methods]
    fewer = Panel(panel.raters, panel.clips, methods, panel.questions, panel.scores[:, :, places])
    scores, _ = score(fewer, ["wav2lip"], resamples=200, seed=0)
    assert scores.comparisons == () and len(scores.methods) == 6


def test_a_question_or_method_that_nobody_answered_is_left_out(panel: Panel, opinions: ModuleType) -> None:
    gaps = panel.scores.copy()
    gaps[:, :, :, 0] = np.nan
    gaps[:, :, panel.methods.index("pcavs"), 1] = np.nan
    scores, models = score(
        Panel(panel.raters, panel.clips, panel.methods, panel.questions, gaps),
        opinions.BACKENDS,
        resamples=200,
        seed=0,
    )
    assert set(models) == {"head_pose", "realness"}
    assert scores.of("wav2lip", "lip_sync") is None and scores.of("pcavs", "head_pose") is None
    assert ("pcavs", "head_pose") not in {(row.backend, row.question) for row in scores.comparisons}


def test_holm_of_the_textbook() -> None:
    """Holm (1979): 0.01, 0.04, 0.03, 0.005 become 0.03, 0.06, 0.06, 0.02."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([None, 0.04, 0.9, 0.8]) == [None, pytest.approx(0.12), 1.0, 1.0]
    assert holm([]) == []
