"""Table II agrees with the answers and shows the paper's numbers.

It is empty without answers and marked DEMO if they are invented.
"""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from kpbe.core.files import read_csv
from kpbe.errors import KPBEError, SurveyError
from kpbe.survey.scores.ratings import Rating, panel_of
from kpbe.survey.scores.results import write_survey_results
from kpbe.survey.scores.spread import Spread
from kpbe.survey.scores.table2 import Table2, build_table2, paper_difference, read_table2

FILES = (
    "table2.json",
    "table2.md",
    "table2.csv",
    "table2.tex",
    "survey_scores.json",
    "survey_stimuli.csv",
    "survey_raters.csv",
)


ABOUT = (
    {
        "age": "18-29",
        "vision": "normal",
        "colour_vision": "normal",
        "device": "computer",
        "sound": "headphones",
    },
    {
        "age": "not_said",
        "vision": "corrected",
        "colour_vision": "normal",
        "device": "phone",
        "sound": "headphones",
    },
)


class Survey:
    """A study and answers to it on disk; `run` makes the result files."""

    def __init__(
        self, folder: Path, opinions: ModuleType, ratings: list[Rating], clips: int = 6, seconds: float = 8.0
    ) -> None:
        self.folder, self.opinions = folder, opinions
        self.study = opinions.make_study(clips, seconds=seconds)
        self.study.write(folder / "study.json")
        opinions.write_ratings(folder / "ratings.csv", ratings)

    def run(self, **survey: object) -> Table2:
        params = self.opinions.params_with(**survey)
        return write_survey_results(
            params, self.folder / "ratings.csv", self.folder / "study.json", self.folder / "results"
        )

    def text(self, name: str) -> str:
        return (self.folder / "results" / name).read_text(encoding="utf-8")

    def rows(self, name: str) -> list[dict[str, str]]:
        return read_csv(self.folder / "results" / name)


@pytest.fixture
def ratings(opinions: ModuleType) -> list[Rating]:
    """Ten raters, the last of whom calls everything 3."""
    attentive = opinions.opinion()
    return opinions.answers_to(
        opinions.make_study(6),
        10,
        lambda rater, item, question: 3 if rater == 10 else attentive(rater, item, question),
    )


@pytest.fixture
def survey(tmp_path: Path, opinions: ModuleType, ratings: list[Rating]) -> Survey:
    return Survey(tmp_path, opinions, ratings)


def test_the_table_shows_means_intervals_differences_and_the_papers_numbers(
    survey: Survey, ratings: list[Rating]
) -> None:
    table = survey.run()
    text = survey.text("table2.md")
    kept = [
        r.score
        for r in ratings
        if (r.method, r.question, r.kind) == ("wav2lip+kpbe", "realness", "main") and r.rater != "r010"
    ]
    assert f"{np.mean(kept):.2f} [" in text
    for fact in (
        "| Wav2Lip+KPBE |", "| Ground truth |", "4.11", "4.73", "+0.26", "10 raters answered", "1 left out",
        "6 clips by 5 methods",
        "BT.500", "P.913", "crossed bootstrap", "Holm for 6 comparisons", "alpha (ordinal)",
        "## With everybody",
        "| r010 | variance | scores vary by 0.00 only",
    ):  # fmt: skip
        assert fact in text
    assert table.screened is not None and table.everybody is not None
    assert (table.screened.raters, table.everybody.raters) == (9, 10)
    assert all(len(line.split("|")) == 9 for line in text.splitlines() if line.startswith("| PC-AVS+KPBE |"))


def test_without_exclusions_nothing_is_said_twice(tmp_path: Path, opinions: ModuleType) -> None:
    found = Survey(tmp_path, opinions, opinions.answers_to(opinions.make_study(6), 10, opinions.opinion()))
    table = found.run()
    assert table.screened == table.everybody and table.exclusions == ()
    assert "With everybody" not in found.text("table2.md") and "None." in found.text("table2.md")


def test_csv_and_json_hold_the_numbers_unrounded(survey: Survey, ratings: list[Rating]) -> None:
    table = survey.run()
    rows = {
        (r["raters_counted"], r["value"], r["method"], r["question"]): r for r in survey.rows("table2.csv")
    }
    everybody = panel_of(ratings, table.methods, table.questions).table("pcavs", "lip_sync").mean()
    assert float(rows["all", "mos", "pcavs", "lip_sync"]["mean"]) == pytest.approx(everybody)
    assert rows["screened", "mos", "pcavs", "lip_sync"]["paper"] == "3.44"
    difference = rows["screened", "difference", "pcavs+kpbe", "lip_sync"]
    assert (difference["compared_with"], difference["paper"]) == ("pcavs", "0.26")
    assert float(difference["low"]) < float(difference["mean"]) < float(difference["high"])
    assert ("screened", "dmos", "wav2lip", "realness") in rows
    assert ("screened", "dmos", "ground_truth", "realness") not in rows
    stored = json.loads(survey.text("table2.json"))
    assert stored["paper"]["wav2lip"]["lip_sync"] == 4.11 and stored["demo"] is False
    assert read_table2(survey.folder / "results" / "table2.json") == table
    assert isinstance(table.spread, Spread)


def test_latex_is_balanced_and_complete(survey: Survey) -> None:
    survey.run()
    text = survey.text("table2.tex")
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    lines = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(lines) == 1 + 5 + 2 and all(line.count(" & ") == 3 for line in lines)
    assert r"$\pm$" in body and "(4.11)" in body and "(+0.26)" in body
    assert not re.search(r"(?<!\\)[%_]", body)
    for word in ("tabular", "table"):
        assert text.count(rf"\begin{{{word}}}") == text.count(rf"\end{{{word}}}") == 1


def test_metrics_stimuli_and_raters(survey: Survey) -> None:
    table = survey.run()
    assert table.screened is not None
    metrics = json.loads(survey.text("survey_scores.json"))
    assert metrics["raters"] == {"answered": 10, "counted": 9}
    found = table.screened.of("wav2lip", "lip_sync")
    assert found is not None and metrics["mos"]["wav2lip"]["lip_sync"] == found.mos.mean
    assert {"lip_sync", "lip_sync_p_holm"} <= set(metrics["difference"]["pcavs+kpbe"])
    stimuli = survey.rows("survey_stimuli.csv")
    assert len(stimuli) == 6 * 5 * 3 and {row["n"] for row in stimuli} == {"9"}
    of_method = [float(r["mos"]) for r in stimuli if (r["method"], r["question"]) == ("wav2lip", "lip_sync")]
    assert np.mean(of_method) == pytest.approx(found.mos.mean)
    raters = survey.rows("survey_raters.csv")
    assert len(raters) == 9 * 3 + 1
    left_out = next(row for row in raters if row["rater"] == "r010")
    assert left_out["counted"] == "no" and left_out["reasons"].startswith("gold:") and left_out["bias"] == ""
    assert sum(float(row["bias"]) for row in raters if row["question"] == "realness") == pytest.approx(
        0, abs=1e-9
    )


# -- no ratings --------------------------------------------------------------------------------------------


def test_no_ratings_means_no_numbers_but_the_papers(tmp_path: Path, opinions: ModuleType) -> None:
    found = Survey(tmp_path, opinions, [])
    table = found.run()
    assert table.screened is None and table.everybody is None and table.spread is None
    for name in ("table2.md", "table2.tex"):
        text = found.text(name)
        assert text.count("no ratings yet") >= 5 * 3
        shown = set(re.findall(r"\b\d\.\d\d\b", text))
        assert shown == {
            "4.11", "4.03", "4.09", "4.14", "4.27", "3.44", "3.12", "3.25", "3.70", "3.31", "3.41", "4.59",
            "4.50", "4.73",
        }  # fmt: skip
        assert "[" not in text.replace("[95 %]", "") and "±" not in text
    for name in ("table2.csv", "survey_stimuli.csv", "survey_raters.csv"):
        assert found.rows(name) == []
    metrics = json.loads(found.text("survey_scores.json"))
    assert metrics == {"study": "pilot", "raters": {"answered": 0, "counted": 0}, "state": "no ratings yet"}
    assert read_table2(tmp_path / "results" / "table2.json") == table


def test_when_nobody_is_left_the_table_says_so(tmp_path: Path, opinions: ModuleType) -> None:
    found = Survey(tmp_path, opinions, opinions.answers_to(opinions.make_study(6), 3, lambda *_: 3))
    table = found.run()
    assert table.screened is None and table.everybody is not None and len(table.exclusions) >= 3
    assert "No rater is left after screening" in found.text("table2.md")
    assert r"\caption{No rater passed the screening; these are the scores of all." in found.text("table2.tex")
    assert {row["raters_counted"] for row in found.rows("table2.csv")} == {"all"}
    assert json.loads(found.text("survey_scores.json"))["raters"] == {"answered": 3, "counted": 0}


def test_a_single_rater_gets_means_without_intervals(tmp_path: Path, opinions: ModuleType) -> None:
    found = Survey(tmp_path, opinions, opinions.answers_to(opinions.make_study(6), 1, opinions.opinion()))
    table = found.run()
    assert table.screened is not None and table.screened.methods[0].mos.low is None
    text = found.text("table2.md")
    assert "Fewer than 5 raters or clips" in text and "nan" not in text.lower().replace("nance", "")
    assert "±" not in found.text("table2.tex").split("caption")[1].split("toprule")[1]


# -- demo and errors ---------------------------------------------------------------------------------------


def test_a_demo_is_refused_and_nothing_is_written(tmp_path: Path, opinions: ModuleType) -> None:
    invented = opinions.answers_to(opinions.make_study(6), 5, opinions.opinion(), name="pilot-demo")
    found = Survey(tmp_path, opinions, invented)
    with pytest.raises(
        SurveyError,
        match=r"ratings\.csv holds invented answers \(study pilot-demo\): set survey\.accept_demo",
    ):
        found.run()
    assert not (tmp_path / "results").exists()


def test_an_accepted_demo_is_marked_in_every_file(tmp_path: Path, opinions: ModuleType) -> None:
    invented = opinions.answers_to(opinions.make_study(6), 5, opinions.opinion(), name="pilot-demo")
    found = Survey(tmp_path, opinions, invented)
    table = found.run(accept_demo=True)
    assert table.demo and table.title == "Table II (DEMO: invented answers)"
    for name in FILES:
        assert "DEMO" in found.text(name), name
        if name.endswith(".csv"):
            assert {row["demo"] for row in found.rows(name)} == {"DEMO"}
    assert found.text("table2.md").startswith("# Table II (DEMO")
    assert r"\caption{DEMO" in found.text("table2.tex") and found.text("table2.tex").startswith("% DEMO")


def test_answers_to_another_study_are_refused(tmp_path: Path, opinions: ModuleType) -> None:
    found = Survey(
        tmp_path, opinions, opinions.answers_to(opinions.make_study(6, name="old"), 5, opinions.opinion())
    )
    with pytest.raises(SurveyError, match=r"study old, but study\.json holds pilot"):
        found.run()


def test_backends_that_the_study_lacks_or_params_no_longer_name_are_left_out(opinions: ModuleType) -> None:
    study = opinions.make_study(6)
    answers = opinions.answers_to(study, 5, opinions.opinion())
    params = opinions.params_with()
    one = params.model_copy(update={"backends": ("pcavs", "other")})
    table = build_table2(one, answers, study).table
    assert table.methods == ("pcavs", "pcavs+kpbe", "ground_truth")
    assert table.screened is not None and {row.backend for row in table.screened.comparisons} == {"pcavs"}


def test_the_papers_gains() -> None:
    gains = [
        paper_difference(b, q) for b in ("wav2lip", "pcavs") for q in ("lip_sync", "head_pose", "realness")
    ]
    assert gains == [0.03, 0.11, 0.18, 0.26, 0.19, 0.16]
    assert paper_difference("other", "lip_sync") is None


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    for text in ("{", "[]", '{"study": 3}'):
        (tmp_path / "table2.json").write_text(text)
        with pytest.raises(KPBEError, match=r"table2\.json is damaged"):
            read_table2(tmp_path / "table2.json")


def test_csv_columns_are_quoted_as_needed(survey: Survey) -> None:
    survey.run()
    for name in ("table2.csv", "survey_raters.csv"):
        rows = list(csv.reader(survey.text(name).splitlines()))
        assert {len(row) for row in rows} == {len(rows[0])}


def test_who_the_raters_are_is_told_in_counts(tmp_path: Path, opinions: ModuleType) -> None:
    answers = opinions.answers_to(opinions.make_study(6), 16, opinions.opinion())
    asked = Survey(tmp_path, opinions, [replace(a, **ABOUT[a.rater_number % 2]) for a in answers])
    asked.run()
    said = (
        "What the raters say of themselves - age: 18-29 8, not said 8; eyesight: normal 8, corrected to "
        "normal 8; colour vision: normal 16; device: computer 8, phone 8; sound: headphones 16."
    )
    assert f"- {said}" in asked.text("table2.md").splitlines()
    assert f"% {said}" in asked.text("table2.tex").splitlines()


def test_that_nobody_was_asked_is_told(survey: Survey) -> None:
    survey.run()
    text = survey.text("table2.md")
    assert "- The raters were not asked for their age, eyesight and equipment." in text.splitlines()


@pytest.mark.parametrize(
    ("raters", "seconds", "warned"), [(15, 5.0, 0), (14, 5.0, 1), (15, 4.9, 1), (3, 2.2, 3)]
)
def test_few_raters_and_short_videos_are_told(
    tmp_path: Path, opinions: ModuleType, raters: int, seconds: float, warned: int
) -> None:
    answers = opinions.answers_to(opinions.make_study(6), raters, opinions.opinion())
    table = Survey(tmp_path, opinions, answers, seconds=seconds).run()
    assert len(table.warnings) == warned
    assert set(table.warnings) <= set(table.about)
