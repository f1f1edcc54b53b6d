"""What a study shows: which clips, which items, and the file that keeps it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpbe.errors import SurveyError
from kpbe.params import SurveyParams
from kpbe.survey.study.design import (
    QUESTIONS,
    Item,
    Study,
    clips_needed,
    design_items,
    read_study,
    stratified,
)

METHODS = ("wav2lip", "wav2lip+kpbe", "pcavs", "pcavs+kpbe")
PAPER = SurveyParams()


def clips(count: int, identities: int) -> list[tuple[str, str]]:
    return [(f"clip{k:02}", f"person{k % identities}") for k in range(count)]


def items_of(ranked: list[tuple[str, str]], survey: SurveyParams = PAPER, salt: str = "") -> list[Item]:
    return design_items(ranked, METHODS, survey, lambda clip_id, method: f"{salt}{clip_id}{method}")


def of_kind(items: list[Item], *kinds: str) -> list[Item]:
    return [item for item in items if item.kind in kinds]


# -- clips -------------------------------------------------------------------------------------------------


@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=6),
    seed=st.integers(0, 1000),
)
def test_every_beginning_has_the_identities_as_evenly_as_possible(sizes: list[int], seed: int) -> None:
    available = [(f"{who}-{k}", f"person{who}") for who, size in enumerate(sizes) for k in range(size)]
    ranked = stratified(available, seed)
    assert sorted(ranked) == sorted(available)
    owned = Counter(identity for _, identity in available)
    for count in range(1, len(ranked) + 1):
        taken = Counter(identity for _, identity in ranked[:count])
        most = max(taken.values())
        assert all(taken[who] >= min(owned[who], most - 1) for who in owned)


def test_choice_depends_on_the_seed_and_not_on_the_order_of_the_manifest() -> None:
    available = clips(16, 4)
    assert stratified(available, 1) == stratified(available[::-1], 1)
    assert stratified(available, 1) != stratified(available, 2)


# -- items -------------------------------------------------------------------------------------------------


def test_every_scored_clip_is_shown_by_every_method_and_as_ground_truth() -> None:
    ranked = stratified(clips(40, 8), 0)[: clips_needed(PAPER)]
    items = items_of(ranked)
    scored = of_kind(items, "main", "reference")
    assert len(scored) == 13 * 5
    assert Counter(item.method for item in scored) == dict.fromkeys((*METHODS, "ground_truth"), 13)
    assert {item.clip_id for item in scored} == {clip_id for clip_id, _ in ranked[:13]}
    assert all(item.method == "ground_truth" for item in of_kind(items, "reference"))
    assert not any(item.expected for item in scored)


def test_checks_and_training_use_clips_that_are_not_scored_when_there_are_enough() -> None:
    items = items_of(stratified(clips(40, 8), 0)[: clips_needed(PAPER)])
    scored = {item.clip_id for item in of_kind(items, "main")}
    extra = [item.clip_id for item in of_kind(items, "trap", "gold", "training")]
    assert len(extra) == len(set(extra)) == 6 and not scored & set(extra)


def test_with_few_clips_the_extra_items_are_spread_over_the_scored_ones() -> None:
    extra = [item.clip_id for item in of_kind(items_of(clips(3, 3)), "trap", "gold", "training")]
    assert Counter(extra) == dict.fromkeys(("clip00", "clip01", "clip02"), 2)


def test_what_raters_should_answer_is_written_beside_the_items_that_check_them() -> None:
    items = items_of(stratified(clips(16, 4), 0))
    for trap in of_kind(items, "trap"):
        assert (trap.shift_ms, trap.degraded, trap.expected) == (400, False, {"lip_sync": (1, 3)})
    good, bad = of_kind(items, "gold")
    assert (good.shift_ms, good.degraded) == (0, False)
    assert good.expected == {"lip_sync": (4, 5), "realness": (4, 5)}
    assert (bad.shift_ms, bad.degraded, bad.expected) == (0, True, {"realness": (1, 2)})
    good, bad = of_kind(items, "training")
    assert not good.degraded and good.shift_ms == 0 and good.expected["realness"] == (4, 5)
    assert bad.degraded and bad.shift_ms == 400 and bad.expected["realness"] == (1, 2)
    assert all(set(item.expected) <= set(QUESTIONS) for item in items)


@pytest.mark.parametrize(("repeats", "count"), [(0, 5), (1, 1), (5, 1), (5, 3), (5, 13)])
def test_repeats_are_other_names_for_different_scored_items(repeats: int, count: int) -> None:
    survey = PAPER.model_copy(update={"repeats": repeats})
    items = items_of(clips(count, count), survey)
    by_id = {item.item: item for item in items}
    found = of_kind(items, "repeat")
    assert len(found) == (5 if repeats else 0)
    originals = [by_id[item.repeats or ""] for item in found]
    assert len({item.item for item in originals}) == len(found)
    for item, original in zip(found, originals, strict=True):
        assert original.kind in ("main", "reference") and original.item != item.item
        assert (original.clip_id, original.method) == (item.clip_id, item.method)


def test_names_are_unique_and_change_with_seed_study_and_content() -> None:
    ranked = clips(13, 13)
    other_seed = PAPER.model_copy(update={"seed": 911})
    other_study = PAPER.model_copy(update={"study": "second"})
    versions = [
        items_of(ranked),
        items_of(ranked, salt="x"),
        items_of(ranked, other_seed),
        items_of(ranked, other_study),
    ]
    names = [item.item for version in versions for item in version]
    assert len(set(names)) == len(names) == 4 * (65 + 6 + 5)
    assert all(len(name) == 16 and set(name) <= set("0123456789abcdef") for name in names)
    assert items_of(ranked) == versions[0]


# -- study.json --------------------------------------------------------------------------------------------


@pytest.fixture
def study() -> Study:
    items = tuple(items_of(clips(2, 2)))
    order = tuple(item.item for item in items if item.kind != "training")
    training = tuple(item.item for item in items if item.kind == "training")
    return Study("main", 910, QUESTIONS, items, (order, order[::-1]), training, 35)


def test_study_survives_its_file(study: Study, tmp_path: Path) -> None:
    study.write(tmp_path / "study.json")
    read = read_study(tmp_path / "study.json")
    assert read == study and read.design_sha256 == study.design_sha256
    assert {item.file for item in read.items} == {f"{item.item}.mp4" for item in study.items}
    read.write(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "study.json").read_bytes()


def test_more_raters_than_orders_begin_again(study: Study) -> None:
    assert study.order_of(1) == study.order_of(3) == study.orders[0]
    assert study.order_of(4) == study.orders[1] != study.orders[0]


def test_anything_that_answers_depend_on_changes_the_digest(study: Study, tmp_path: Path) -> None:
    study.write(tmp_path / "study.json")
    values = json.loads((tmp_path / "study.json").read_text())
    for change in (
        lambda v: v["items"][0].update(sha256="0" * 64),
        lambda v: v["items"][0].update(method="pcavs"),
        lambda v: v["items"][-1].update(expected={"lip_sync": [1, 1]}),
        lambda v: v["orders"].reverse(),
        lambda v: v["questions"].reverse(),
        lambda v: v["training"].reverse(),
    ):
        changed = json.loads(json.dumps(values))
        change(changed)
        (tmp_path / "changed.json").write_text(json.dumps(changed))
        with pytest.raises(SurveyError, match="changed after it was written"):
            read_study(tmp_path / "changed.json")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": 1}', "\udcff"])
def test_damaged_study_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(SurveyError, match=r"study\.json is damaged"):
        read_study(path)


def test_missing_study_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(SurveyError, match="dvc repro mos_stimuli"):
        read_study(tmp_path / "study.json")
