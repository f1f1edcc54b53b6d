"""The planner's page, and Table II on the overview."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from kpbe import paths
from kpbe.survey.planner import ASSUMED, half_width, raters_needed
from kpbe.survey.scores.results import write_survey_results

Open = Callable[..., AppTest]


def text_of(site: AppTest) -> str:
    return "\n".join(element.value for element in site.html)


def tables_of(site: AppTest) -> list[str]:
    return [element.value for element in site.html if "<table" in element.value]


@pytest.fixture
def rated(project: Path, opinions: ModuleType, tmp_path: Path) -> Callable[..., None]:
    """Lets the stage mos_scores run in the project on made-up answers."""

    def made(raters: int, demo: bool = False, careless: int = 0, seconds: float = 8.0) -> None:
        study = opinions.make_study(6, seconds=seconds)
        attentive = opinions.opinion()
        name = f"{study.name}-demo" if demo else None
        answers = opinions.answers_to(
            study, raters, lambda r, item, q: 3 if r <= careless else attentive(r, item, q), name=name
        )
        study.write(tmp_path / "study.json")
        opinions.write_ratings(tmp_path / "ratings.csv", answers)
        params = opinions.params_with(accept_demo=demo)
        write_survey_results(
            params, tmp_path / "ratings.csv", tmp_path / "study.json", project / paths.RESULTS
        )

    return made


# -- planner -----------------------------------------------------------------------------------------------


def test_the_planner_opens_on_commonly_seen_spreads_without_any_survey(
    empty_project: Path, open_page: Open
) -> None:
    site = open_page("planner")
    assert not site.exception and not site.error
    text = text_of(site)
    assert f"± {half_width(ASSUMED, 35, 13):.2f}" in text and f"± {half_width(ASSUMED, 10, 13):.2f}" in text
    assert not site.get("segmented_control")
    assert len(site.get("vega_lite_chart")) == 1


def test_the_plan_changes_what_it_gives(empty_project: Path, open_page: Open) -> None:
    site = open_page("planner")
    site.number_input(key="clips").set_value(40)
    site.number_input(key="difference").set_value(0.4)
    site.number_input(key="backends").set_value(1).run()
    text = text_of(site)
    needed = raters_needed(ASSUMED, 40, 0.4, 0.8, comparisons=3)
    assert needed is not None and f'<div class="kp-big" style="color:inherit">{needed}</div>' in text
    assert "corrected for 3 comparisons" in text and "with 40 clips" in text and not site.markdown
    assert "120 videos and the checks" in text and "50 min" in text
    site.number_input(key="clips").set_value(2).run()
    assert "2 clips are too few" in text_of(site)


def test_the_planner_takes_the_spread_of_a_real_survey_but_not_of_a_demo(
    project: Path, rated: Callable[..., None], open_page: Open
) -> None:
    rated(10, demo=True)
    assert not open_page("planner").get("segmented_control")
    rated(10)
    site = open_page("planner")
    measured = text_of(site)
    choice: Any = site.get("segmented_control")[0]
    assert choice.value == "This project's survey"
    choice.set_value("What is commonly seen").run()
    assert text_of(site) != measured and f"± {half_width(ASSUMED, 35, 13):.2f}" in text_of(site)


# -- Table II on the overview ------------------------------------------------------------------------------


def test_overview_without_ratings_says_how_to_get_them_and_shows_no_table_ii(
    project: Path, rated: Callable[..., None], open_page: Open
) -> None:
    before = open_page("results")
    assert not before.exception and "No ratings yet." in text_of(before)
    assert "dvc repro mos_scores" in text_of(before)
    rated(0)
    site = open_page("results")
    assert not site.exception and "kpbe survey invite" in text_of(site)
    assert "dvc repro mos_scores" not in text_of(site)
    assert not any("Lip synchronization" in table for table in tables_of(site))


def test_overview_shows_scores_the_papers_and_who_was_left_out(
    project: Path, rated: Callable[..., None], open_page: Open
) -> None:
    rated(24, careless=1)
    site = open_page("results")
    assert not site.exception and not site.error and not site.warning
    opinions, differences = [table for table in tables_of(site) if "Lip synchronization" in table][:2]
    for fact in ("Ground truth", "Wav2Lip+KPBE", "4.11", "4.73", " to "):
        assert fact in opinions
    assert "PC-AVS+KPBE − PC-AVS" in differences and "+0.26" in differences and "(Holm)" in differences
    assert "scores vary by 0.00 only" in text_of(site)
    site.toggle(key="table2_everybody").set_value(True).run()
    everybody = next(table for table in tables_of(site) if "Lip synchronization" in table)
    assert everybody != opinions


def test_few_raters_and_short_videos_are_warned_of(
    project: Path, rated: Callable[..., None], open_page: Open
) -> None:
    rated(14, seconds=2.6)
    few, short = [warning.value for warning in open_page("results").warning]
    assert few.startswith("14 raters count: ITU-T P.910 asks for at least 15")
    assert short.startswith("30 of 30 scored videos last less than 5 s (the shortest 2.6 s): ITU-T P.913")


def test_demo_is_marked_on_the_overview(project: Path, rated: Callable[..., None], open_page: Open) -> None:
    rated(6, demo=True)
    site = open_page("results")
    assert any("DEMO" in warning.value for warning in site.warning)
    assert any("DEMO" in header.value for header in site.header)


def test_nobody_left_is_said(project: Path, rated: Callable[..., None], open_page: Open) -> None:
    rated(3, careless=3)
    site = open_page("results")
    assert not site.exception
    assert any("No rater is left after screening" in warning.value for warning in site.warning)


def test_damaged_table_ii_is_named(project: Path, rated: Callable[..., None], open_page: Open) -> None:
    rated(6)
    (project / paths.RESULTS / "table2.json").write_text("{")
    for page in ("results", "planner"):
        site = open_page(page)
        assert not site.exception
        assert ["table2.json is damaged" in error.value for error in site.error] == [True]
