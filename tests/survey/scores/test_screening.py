"""Raters who did not take the test properly, or whose scores are outliers, are excluded with the reason."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from kpbe.params import ScreeningParams
from kpbe.survey.scores.screening import (
    bt500_counts,
    bt500_rejects,
    correlations_with_mean,
    rules_in_words,
    screen,
)
from kpbe.survey.study.design import GROUND_TRUTH

RULES = ScreeningParams(bt500=False)
LAST = "r010"


def one_odd_rater(opinions: ModuleType, odd, study=None):
    """Nine attentive raters, and a tenth who answers `odd(item, question, attentive score)`.

    A result of 0 is no answer.
    """
    study = study or opinions.make_study(6)
    attentive = opinions.opinion()

    def answer(rater, item, question):
        score = attentive(rater, item, question)
        return odd(item, question, score) if rater == 10 else score

    return study, opinions.answers_to(study, 10, answer)


def test_attentive_raters_all_count(opinions: ModuleType) -> None:
    study, answers = one_odd_rater(opinions, lambda item, question, score: score)
    found = screen(answers, study, ScreeningParams(min_correlation=0.5))
    assert found.exclusions == () and found.kept == found.raters and len(found.kept) == 10


@pytest.mark.parametrize(
    ("rule", "odd", "said"),
    [
        (
            "completeness",
            lambda i, q, s: 0 if i.clip_id in ("clip04", "clip05") else s,
            "scored 20 of 30 clips",
        ),
        ("traps", lambda i, q, s: 5 if i.kind == "trap" else s, "possible answer to 0 of 2 trap items"),
        ("gold", lambda i, q, s: 3 if i.kind == "gold" else s, "possible answer to 0 of 2 gold items"),
        (
            "repeats",
            lambda i, q, s: (5 if s < 4 else 1) if i.kind == "repeat" else s,
            "points off when clips came again",
        ),
        ("variance", lambda i, q, s: s if i.expected else 3, "vary by 0.00 only"),
    ],
)
def test_each_rule_leaves_out_who_breaks_it_and_nobody_else(
    opinions: ModuleType, rule, odd, said: str
) -> None:
    study, answers = one_odd_rater(opinions, odd)
    found = screen(answers, study, RULES)
    assert [(e.rater, e.rule) for e in found.exclusions] == [(LAST, rule)]
    assert said in found.exclusions[0].reason
    assert found.kept == tuple(f"r{number:03d}" for number in range(1, 10))


def test_clips_that_were_not_played_through_count_against_the_rater(opinions: ModuleType) -> None:
    study, answers = one_odd_rater(opinions, lambda item, question, score: score)
    skipped = [
        replace(a, watched=0.4) if (a.rater, a.item) == (LAST, a.item[:15] + "2") else a for a in answers
    ]
    found = screen(skipped, study, RULES)
    assert [(e.rater, e.rule) for e in found.exclusions] == [(LAST, "playback")]
    assert "less than 90% through" in found.exclusions[0].reason
    assert screen(skipped, study, RULES.model_copy(update={"max_unwatched": 0.2})).exclusions == ()


def test_one_of_two_traps_is_enough_by_default_and_not_when_the_rule_says_so(opinions: ModuleType) -> None:
    study, answers = one_odd_rater(
        opinions, lambda i, q, s: 5 if (i.kind, i.clip_id) == ("trap", "clip00") else s
    )
    assert screen(answers, study, RULES).exclusions == ()
    strict = screen(answers, study, RULES.model_copy(update={"min_traps_passed": 1.0}))
    assert [e.rule for e in strict.exclusions] == ["traps"]


def test_every_broken_rule_is_named(opinions: ModuleType) -> None:
    study, answers = one_odd_rater(opinions, lambda item, question, score: 3)
    found = screen(answers, study, RULES)
    assert {e.rule for e in found.exclusions} == {"gold", "variance"}


# -- among the others --------------------------------------------------------------------------------------


def test_bt500_rejects_whom_sureal_rejects() -> None:
    example = json.loads((Path(__file__).parent / "sureal.json").read_text(encoding="utf-8"))["bt500"]
    scores = np.array([[float(sign) for sign in row] for row in example["scores"]])
    above, below = bt500_counts(scores)
    rejected = [i for i in range(20) if bt500_rejects(int(above[i]), int(below[i]), scores.shape[1])]
    assert rejected == example["rejected"] == [4]


def test_bt500_keeps_raters_with_a_leaning() -> None:
    assert bt500_rejects(above=4, below=3, answers=100)
    assert not bt500_rejects(above=7, below=0, answers=100), "always above: biased, not erratic"
    assert not bt500_rejects(above=2, below=3, answers=100), "not more than 5 %"
    assert not bt500_rejects(above=0, below=0, answers=100)


def test_bt500_widens_the_limits_where_scores_do_not_look_normal() -> None:
    """One 5 among nineteen 1s has kurtosis 18: the limit of sqrt(20) deviations is just not reached.

    Among scores of 1 to 4 the 5 is 2.5 deviations off.
    """
    lonely = np.array([[5.0], *([[1.0]] * 19)])
    assert bt500_counts(lonely)[0].sum() == 0
    spread = np.array([[5.0], [4.0], *([[3.0]] * 6), *([[2.0]] * 7), *([[1.0]] * 5)])
    assert bt500_counts(spread)[0].tolist() == [1, *([0] * 19)]
    assert bt500_counts(np.full((5, 3), 2.0))[0].sum() == 0, "nobody is far from scores that do not vary"


def test_an_erratic_rater_is_rejected_by_bt500_through_the_params(opinions: ModuleType) -> None:
    study = opinions.make_study(12, raters=24)
    attentive = opinions.opinion(noise=0.8, bias=0.2)

    def answer(rater, item, question):
        score = attentive(rater, item, question)
        if rater == 10 and item.kind in ("main", "reference"):
            return 5 if score <= 3 else 1
        return score

    answers = opinions.answers_to(study, 24, answer)
    lenient = ScreeningParams(max_repeat_difference=4)
    found = screen(answers, study, lenient)
    assert [(e.rater, e.rule) for e in found.exclusions] == [(LAST, "BT.500")]
    assert "scores far above" in found.exclusions[0].reason
    assert screen(answers, study, lenient.model_copy(update={"bt500": False})).exclusions == ()


def test_the_correlation_rule_drops_who_scores_the_wrong_way_round(opinions: ModuleType) -> None:
    study, answers = one_odd_rater(opinions, lambda i, q, s: 6 - s if i.kind in ("main", "reference") else s)
    rules = ScreeningParams(bt500=False, max_repeat_difference=4, min_correlation=0.3)
    found = screen(answers, study, rules)
    assert [(e.rater, e.rule) for e in found.exclusions] == [(LAST, "correlation")]
    assert "correlate with the mean of all by -0." in found.exclusions[0].reason


def test_correlation_of_scores_that_do_not_vary_is_zero() -> None:
    scores = np.array([[1, 2, 3, 4], [2, 2, 2, 2], [1, 3, np.nan, 4]])
    found = correlations_with_mean(scores)
    assert found[0] > 0.9 and found[1] == 0 and found[2] > 0.9


def test_a_rater_without_a_scored_answer_is_left_out(opinions: ModuleType) -> None:
    study, answers = one_odd_rater(opinions, lambda i, q, s: s if i.kind == "trap" else 0)
    found = screen(answers, study, ScreeningParams())
    assert {e.rater for e in found.exclusions} == {LAST}
    assert any("scored 0 of 30 clips" in e.reason for e in found.exclusions)


def test_the_rules_are_told_in_one_sentence() -> None:
    said = rules_in_words(ScreeningParams(min_correlation=0.75))
    for fact in (
        "at least 90% of the clips",
        "50% of the traps",
        "variance of at least 0.15",
        "BT.500",
        "at least 0.75",
    ):
        assert fact in said
    assert "BT.500" not in rules_in_words(ScreeningParams(bt500=False))
    assert said.count(".  ") == 0 and GROUND_TRUTH not in said
