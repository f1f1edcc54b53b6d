"""Balance and spacing of the orders, for many sizes of studies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise, permutations, product

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kpbe.params import SurveyParams
from kpbe.survey.study.design import Item, clips_needed, design_items, stratified
from kpbe.survey.study.orders import breaches, session_orders, williams_rows

SCORED = ("main", "reference")


def study_items(clips: int, identities: int, backends: int, survey: SurveyParams) -> list[Item]:
    ranked = stratified([(f"clip{k}", f"person{k % identities}") for k in range(clips)], survey.seed)
    methods = [name for k in range(backends) for name in (f"b{k}", f"b{k}+kpbe")]
    return design_items(ranked[: clips_needed(survey)], methods, survey, lambda clip, method: clip + method)


def orders_of(items: Sequence[Item], raters: int, survey: SurveyParams) -> list[list[Item]]:
    by_id = {item.item: item for item in items}
    orders = session_orders(items, raters, survey.repeats, survey.seed)
    return [[by_id[name] for name in order] for order in orders]


def blocks_of(order: Sequence[Item], methods: int) -> list[list[Item]]:
    scored = [item for item in order if item.kind in SCORED]
    return [scored[k : k + methods] for k in range(0, len(scored), methods)]


def spread(counts: Counter, keys: Sequence) -> int:
    found = [counts[key] for key in keys]
    return max(found) - min(found)


# -- Williams ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", range(2, 12))
def test_williams_rows_are_balanced_for_place_and_for_what_comes_before(count: int) -> None:
    rows = williams_rows(count)
    assert len(rows) == (count if count % 2 == 0 else 2 * count)
    assert all(sorted(row) == list(range(count)) for row in rows)
    places = Counter((place, number) for row in rows for place, number in enumerate(row))
    pairs = Counter(pair for row in rows for pair in pairwise(row))
    assert set(places.values()) == {len(rows) // count} and len(places) == count**2
    assert set(pairs.values()) == {len(rows) // count} and len(pairs) == count * (count - 1)


@given(count=st.integers(2, 9), taken=st.integers(1, 60))
def test_any_number_of_rows_is_balanced_as_far_as_it_allows(count: int, taken: int) -> None:
    all_rows = williams_rows(count)
    rows = [all_rows[k % len(all_rows)] for k in range(taken)]
    places = Counter((place, number) for row in rows for place, number in enumerate(row))
    pairs = Counter(pair for row in rows for pair in pairwise(row))
    assert spread(places, list(product(range(count), repeat=2))) <= 1
    assert spread(pairs, list(permutations(range(count), 2))) <= (1 if count % 2 == 0 else 2)


# -- sessions ----------------------------------------------------------------------------------------------

SIZES = st.tuples(st.integers(1, 20), st.integers(1, 3), st.integers(1, 9))
SURVEYS = st.builds(
    SurveyParams,
    seed=st.integers(0, 10**6),
    clips=st.integers(1, 13),
    traps=st.integers(0, 3),
    gold=st.sampled_from((0, 2)),
    repeats=st.integers(0, 3),
)


@settings(max_examples=40, deadline=None)
@given(size=SIZES, survey=SURVEYS, identities=st.integers(1, 20))
def test_every_rater_sees_every_item_once_with_the_methods_balanced(
    size: tuple[int, int, int], survey: SurveyParams, identities: int
) -> None:
    clips, backends, raters = size
    items = study_items(clips, identities, backends, survey)
    methods = sorted({item.method for item in items if item.kind in SCORED})
    always = {item.item for item in items if item.kind not in ("training", "repeat")}
    orders = orders_of(items, raters, survey)
    places: Counter = Counter()
    pairs: Counter = Counter()
    for order in orders:
        names = [item.item for item in order]
        assert len(set(names)) == len(names)
        assert {item.item for item in order if item.kind != "repeat"} == always
        for block in blocks_of(order, len(methods)):
            assert sorted(item.method for item in block) == methods
            places.update(enumerate(item.method for item in block))
            pairs.update((a.method, b.method) for a, b in pairwise(block))
        checks = [k for k, item in enumerate(order) if item.kind not in SCORED]
        scored_before = [sum(item.kind in SCORED for item in order[:k]) for k in checks]
        assert all(count % len(methods) == 0 for count in scored_before), "a check stands within a block"
        assert len({item.repeats for item in order if item.repeats}) == len([i for i in order if i.repeats])
    assert spread(places, list(product(range(len(methods)), methods))) <= 1
    assert spread(pairs, list(permutations(methods, 2))) <= 2


@settings(max_examples=60, deadline=None)
@given(
    clips=st.integers(4, 20),
    scored=st.integers(4, 13),
    survey=SURVEYS,
    backends=st.integers(1, 3),
    identities=st.integers(1, 20),
)
@example(
    clips=4,
    scored=4,
    survey=SurveyParams(seed=1757, traps=0, repeats=3).model_copy(update={"gold": 1}),
    backends=3,
    identities=4,
).via("a search that got stuck")
@example(
    clips=6, scored=6, survey=SurveyParams(seed=88212, traps=1, gold=0, repeats=3), backends=1, identities=6
).via("a repeat of the clip of the only check, right after it")
def test_from_four_clips_on_no_clip_follows_itself_and_repeats_come_late(
    clips: int, scored: int, survey: SurveyParams, backends: int, identities: int
) -> None:
    survey = survey.model_copy(update={"clips": scored})
    items = study_items(clips, identities, backends, survey)
    for order in orders_of(items, 4, survey):
        found = breaches(order)
        assert (found.clip, found.repeat) == (0, 0)
        seen = {item.item: k for k, item in enumerate(order)}
        for item in order:
            if item.repeats:
                assert 3 * (seen[item.item] - seen[item.repeats]) >= len(order)
        assert all(a.clip_id != b.clip_id for a, b in pairwise(order))


@pytest.mark.parametrize(("clips", "identities"), [(16, 4), (19, 6), (40, 40)])
def test_papers_design_shows_no_person_twice_in_a_row(clips: int, identities: int) -> None:
    survey = SurveyParams()
    orders = orders_of(study_items(clips, identities, 2, survey), survey.planned_raters, survey)
    assert len(orders) == 35 and {len(order) for order in orders} == {65 + 2 + 2 + 1}
    for order in orders:
        assert breaches(order) == (0, 0, 0)
        assert all(a.identity != b.identity for a, b in pairwise(order))


def test_papers_design_is_balanced_over_its_raters() -> None:
    survey = SurveyParams(planned_raters=20)
    orders = orders_of(study_items(40, 40, 2, survey), 20, survey)
    blocks = [block for order in orders for block in blocks_of(order, 5)]
    places = Counter(p for block in blocks for p in enumerate(item.method for item in block))
    pairs = Counter((a.method, b.method) for block in blocks for a, b in pairwise(block))
    assert set(places.values()) == {20 * 13 // 5}
    assert set(pairs.values()) == {20 * 13 * 4 // 20}
    scored = [[item for item in order if item.kind in SCORED] for order in orders]
    meetings = Counter((a[k - 1].method, a[k].method) for a in scored for k in range(5, 65, 5))
    assert not any(before == after for before, after in meetings), "a method follows itself between blocks"
    assert max(meetings.values()) - min(meetings.values()) <= 2 and len(meetings) == 20
    when = Counter()
    for order in scored:
        for place, item in enumerate(order):
            when[item.item] += place
    means = [total / 20 for total in when.values()]
    assert max(abs(mean - 32) for mean in means) < 14, "an item is shown early or late to nearly all"


def test_repeats_go_round_the_methods() -> None:
    survey = SurveyParams()
    orders = orders_of(study_items(16, 4, 2, survey), 10, survey)
    assert set(Counter(item.method for order in orders for item in order if item.repeats).values()) == {2}


def test_checks_come_early_and_late() -> None:
    survey = SurveyParams()
    for order in orders_of(study_items(16, 4, 2, survey), 12, survey):
        at = [k / len(order) for k, item in enumerate(order) if item.kind in ("trap", "gold")]
        assert at[0] < 0.35 and at[-1] > 0.6


def test_orders_are_the_same_again_and_stay_when_more_raters_are_planned() -> None:
    survey = SurveyParams()
    items = study_items(16, 4, 2, survey)
    few = session_orders(items, 5, 1, 7)
    assert few == session_orders(items, 5, 1, 7) == session_orders(items, 9, 1, 7)[:5]
    assert few != session_orders(items, 5, 1, 8)
    assert len(set(few)) == 5


@pytest.mark.parametrize("clips", [1, 2, 3])
def test_fewer_clips_still_give_whole_orders(clips: int) -> None:
    survey = SurveyParams()
    for order in orders_of(study_items(clips, clips, 2, survey), 6, survey):
        assert len(order) == 5 * clips + 5
        if clips == 3:
            assert breaches(order) == (0, 0, 0)
