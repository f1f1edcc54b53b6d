"""Invented raters walk through the store as people do, and are recognisable everywhere."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from statistics import mean

import pytest

from kpbe.survey.scores.ratings import Rating, is_demo
from kpbe.survey.simulate import simulate
from kpbe.survey.store.answers import SurveyError, SurveyStore
from kpbe.survey.study.design import Study


@pytest.fixture
def demo(tmp_path, study: Study) -> SurveyStore:
    store = SurveyStore(f"sqlite:///{tmp_path / 'demo.sqlite'}", replace(study, name="pilot-demo"), demo=True)
    store.create()
    return store


def answers_of(store: SurveyStore) -> list[Rating]:
    assert store.design is not None
    return [Rating(**row) for row in store.export_rows(store.design)]


def test_a_simulation_has_whoever_a_real_study_has(demo):
    assert simulate(demo, raters=6, careless=1, seed=3) == 5
    states = [one.state for one in demo.progress("pilot-demo")]
    assert states == ["finished"] * 5 + ["rating", "invited"]
    ratings = answers_of(demo)
    assert all(is_demo(rating.study) and 1 <= rating.score <= 5 for rating in ratings)
    assert {rating.watched for rating in ratings} == {1.0} and max(rating.plays for rating in ratings) > 1
    assert len({rating.answered_at for rating in ratings}) > 20


def test_the_same_seed_invents_the_same_answers(demo):
    simulate(demo, raters=4, seed=5)
    first = answers_of(demo)
    simulate(demo, raters=4, seed=5)
    assert answers_of(demo) == first, "the last simulation is replaced"
    simulate(demo, raters=4, seed=6)
    assert answers_of(demo) != first


def test_methods_differ_and_raters_are_biased(demo):
    simulate(demo, raters=10, careless=0, seed=1)
    by_method, by_rater = defaultdict(list), defaultdict(list)
    for rating in answers_of(demo):
        if rating.kind in ("main", "reference"):
            by_method[rating.method].append(rating.score)
            by_rater[rating.rater].append(rating.score)
    means = {method: mean(scores) for method, scores in by_method.items()}
    assert means["wav2lip"] < means["wav2lip+kpbe"] < means["ground_truth"]
    levels = [mean(scores) for scores in by_rater.values()]
    assert max(levels) - min(levels) > 0.5


def test_only_the_careless_rater_misses_the_checks(demo):
    simulate(demo, raters=8, careless=1, seed=2)
    design = demo.design
    assert design is not None
    missed = defaultdict(int)
    for rating in answers_of(demo):
        bounds = design.by_id[rating.item].expected.get(rating.question)
        missed[rating.rater] += bounds is not None and not bounds[0] <= rating.score <= bounds[1]
    assert missed.pop("r001") == 2
    assert sum(missed.values()) <= 2


def test_a_real_study_is_never_simulated(tmp_path, study):
    real = SurveyStore(f"sqlite:///{tmp_path / 'survey.sqlite'}", study)
    real.create()
    real.add_study(study.name, study.design_sha256)
    real.invite(study.name, 1)
    with pytest.raises(SurveyError, match="demo study only"):
        simulate(real)
    assert len(real.progress(study.name)) == 1
