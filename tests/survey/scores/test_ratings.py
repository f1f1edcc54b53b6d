"""Answers are read unchanged, and impossible ones are refused with one sentence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from kpbe.core.files import read_csv, write_csv
from kpbe.errors import SurveyError
from kpbe.survey.scores.ratings import COLUMNS, Rating, check_against, is_demo, panel_of, read_ratings
from kpbe.survey.store import export

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def written(tmp_path: Path, opinions: ModuleType) -> Path:
    path = tmp_path / "ratings.csv"
    opinions.write_ratings(path, opinions.answers_to(opinions.make_study(2), 3, opinions.opinion()))
    return path


def change(path: Path, line: int, **values: str) -> None:
    rows = read_csv(path)
    rows[line - 2] |= values
    write_csv(path, COLUMNS, rows)


def test_answers_survive_the_csv(tmp_path: Path, opinions: ModuleType) -> None:
    answers = opinions.answers_to(opinions.make_study(2), 3, opinions.opinion())
    opinions.write_ratings(tmp_path / "ratings.csv", answers)
    assert read_ratings(tmp_path / "ratings.csv") == answers


def test_the_repository_begins_without_ratings() -> None:
    assert read_ratings(REPOSITORY / "survey" / "ratings.csv") == []


def test_columns_are_those_of_the_export_and_demos_are_known_by_name() -> None:
    assert COLUMNS == export.COLUMNS
    assert is_demo("main-demo") and not is_demo("demonstration")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"score": "6"}, "line 4: score = 6 is not 1 to 5"),
        ({"score": "0"}, "line 4: score = 0 is not 1 to 5"),
        ({"score": "good"}, "line 4: score = 'good' is not a number"),
        ({"score": "3.5"}, "line 4: score = '3.5' is not a number"),
        ({"watched": "nan"}, "line 4: watched = 'nan' is not a number"),
        ({"rater": "Ann"}, "line 4: rater = 'Ann' is not r001"),
        ({"study": ""}, "line 4: study is empty"),
        ({"age": "34"}, "line 4: age = '34' is not one of under_18, 18-29"),
        ({"study": "other"}, "mixes the studies other, pilot"),
        ({"question": "lip_sync"}, "r001 answered lip_sync of 0000000000000000 twice"),
    ],
)
def test_a_wrong_value_is_named_with_its_line(written: Path, values: dict[str, str], said: str) -> None:
    change(written, 4, **values)
    with pytest.raises(SurveyError, match=said) as error:
        read_ratings(written)
    assert str(written) in str(error.value)


def test_missing_files_columns_and_values_are_named(written: Path) -> None:
    with pytest.raises(SurveyError, match=r"none\.csv does not exist"):
        read_ratings(written.with_name("none.csv"))
    text = written.read_text()
    written.write_text(text.replace("score", "points", 1))
    with pytest.raises(SurveyError, match="has no column score"):
        read_ratings(written)
    written.write_text(text + "pilot,r009,0000\n")
    with pytest.raises(SurveyError, match="is not a number"):
        read_ratings(written)
    written.write_bytes(b"\x00\x01\x02study")
    with pytest.raises(SurveyError, match="is no text"):
        read_ratings(written)


@pytest.mark.parametrize(
    ("change_of", "said"),
    [
        (lambda r: replace(r, study="other"), "are of the study other, but study.json holds pilot"),
        (lambda r: replace(r, item="f" * 16), "is of no item of the study pilot"),
        (lambda r: replace(r, method="pcavs"), "clip00 pcavs, study.json main clip00 wav2lip"),
        (lambda r: replace(r, question="beauty"), "does not ask beauty"),
    ],
)
def test_answers_must_be_to_the_study(
    opinions: ModuleType, change_of: Callable[[Rating], Rating], said: str
) -> None:
    study = opinions.make_study(2)
    answers = opinions.answers_to(study, 1, opinions.opinion())
    check_against(answers, study)
    check_against([replace(answer, study="pilot-demo") for answer in answers], study)
    with pytest.raises(SurveyError, match=said):
        check_against([change_of(answers[0]), *answers[1:]], study)


def test_the_panel_holds_scored_answers_where_they_belong(opinions: ModuleType) -> None:
    study = opinions.make_study(3)
    answers = opinions.answers_to(study, 4, opinions.opinion())
    dropped = next(a for a in answers if (a.rater, a.clip_id, a.method) == ("r002", "clip01", "pcavs"))
    panel = panel_of([a for a in answers if a is not dropped], opinions.METHODS, study.questions)
    assert panel.scores.shape == (4, 3, 5, 3)
    assert np.isnan(panel.scores).sum() == 1 and np.isnan(panel.table("pcavs", dropped.question)[1, 1])
    wanted = next(
        a
        for a in answers
        if (a.rater, a.clip_id, a.method, a.question) == ("r003", "clip02", "wav2lip", "realness")
    )
    assert panel.table("wav2lip", "realness")[2, 2] == wanted.score
    assert panel.stimuli("realness")[2, 2 * 5] == wanted.score
    assert panel.of_raters(["r003"]).scores.shape == (1, 3, 5, 3)


def test_files_from_before_raters_were_asked_about_themselves_are_read(written: Path) -> None:
    answers = read_ratings(written)
    columns = COLUMNS[: COLUMNS.index("age")]
    write_csv(written, columns, [{name: row[name] for name in columns} for row in read_csv(written)])
    assert read_ratings(written) == answers and {answer.age for answer in answers} == {""}
