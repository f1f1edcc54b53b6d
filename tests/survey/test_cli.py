"""`kpbe survey ...` as an administrator uses it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flows.mos_scores import mos_scores
from flows.stage import StageContext
from kpbe.cli import app
from kpbe.core.files import write_text
from kpbe.core.processes import serial_map
from kpbe.errors import KPBEError, SurveyError
from kpbe.params import load_params
from kpbe.paths import DEMO_RATINGS, STUDY
from kpbe.survey.scores.ratings import read_ratings
from kpbe.survey.store.administration import answers_given
from kpbe.survey.store.answers import SurveyStore, open_store
from kpbe.survey.store.passwords import is_password
from kpbe.survey.study.design import Study

REPOSITORY = Path(__file__).resolve().parents[2]
RATINGS = Path("survey/ratings.csv")
FAIR = {"lip_sync": 3, "head_pose": 3, "realness": 3}


@pytest.fixture
def checkout(tmp_path: Path, study: Study, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a study that nobody has been invited to."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KPBE_SURVEY_URL", raising=False)
    # stores are remembered by the path of their database, which is relative here
    monkeypatch.setattr("kpbe.survey.store.answers._opened", {})
    shutil.copy(REPOSITORY / "params.yaml", tmp_path)
    study.write(STUDY)
    return tmp_path


def survey(*arguments: str, answers: str = "") -> Result:
    result = CliRunner().invoke(app, ["survey", *arguments], input=answers)
    if isinstance(result.exception, KPBEError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def invited(count: int = 1) -> list[str]:
    return re.findall(r"rater=([0-9a-f]+)", survey("invite", "-n", str(count)).output)


def rate(token: str, study: Study, items: int) -> SurveyStore:
    store = open_store()
    rater = store.rater(token)
    assert rater is not None
    store.record_step(token, "consent")
    for item in study.order_of(rater.number)[:items]:
        store.record_play(token, item, 1.0, True, 2.6)
        store.answer(token, item, FAIR, 2.0)
    return store


def test_links_work_once_they_are_shown(checkout):
    shown = survey(
        "invite", "-n", "2", "--base-url", "https://lab.example/survey/", "--out", "links.csv"
    ).output
    links = re.findall(r"(r\d+)  (https://lab\.example/survey/\?rater=([0-9a-f]{32}))", shown)
    assert [name for name, _, _ in links] == ["r001", "r002"]
    for number, (_, _, token) in enumerate(links, 1):
        rater = open_store().rater(token)
        assert rater is not None and rater.number == number
    assert (checkout / "links.csv").read_text().splitlines()[1] == f"r001,{links[0][1]}"


def test_status_tells_who_is_where(checkout, study):
    first, second, _ = invited(3)
    rate(first, study, len(study.order_of(1)))
    open_store().record_step(first, "finished")
    rate(second, study, 2)
    lines = survey("status").output.splitlines()
    assert lines[0] == "pilot: 3 invited"
    assert [line.split()[:2] for line in lines[1:4]] == [
        ["r001", "finished"],
        ["r002", "rating"],
        ["r003", "invited"],
    ]
    assert "2 of 9" in lines[2]
    assert lines[-1] == "1 finished, 1 rating."


def test_comments_are_shown_with_their_rater(checkout, study):
    (token,) = invited()
    assert "nobody wrote anything yet" in survey("comments").output
    rate(token, study, 1).comment(token, "too long")
    assert re.fullmatch(r"r001  \d{4}-\S+Z  too long\n", survey("comments").output)


def test_a_revoked_link_is_out(checkout, study):
    tokens = invited(3)
    for token in tokens:
        rate(token, study, 1)
    assert "r001 is revoked." in survey("revoke", "1", "--reason", "tested the page").output
    assert "r002 is revoked and forgotten." in survey("revoke", tokens[1], "--forget").output
    assert "tested the page" in survey("status").output
    output = survey("export").output
    assert "3 answers of 1 raters; 2 revoked raters left out" in output
    assert {rating.rater for rating in read_ratings(RATINGS)} == {"r003"}
    with pytest.raises(SurveyError, match="no such rater"):
        survey("revoke", "77")


def test_export_is_what_the_scores_read(checkout, study):
    survey("invite", "-n", "1")
    assert "0 answers" in survey("export").output
    assert read_ratings(RATINGS) == []
    (token,) = invited()
    rate(token, study, 3)
    survey("export")
    first = RATINGS.read_bytes()
    ratings = read_ratings(RATINGS)
    assert len(ratings) == 9 and {rating.score for rating in ratings} == {3}
    assert token not in first.decode() and "r002" in first.decode()
    survey("export")
    assert RATINGS.read_bytes() == first


def test_export_does_not_remove_answers_unasked(checkout, study):
    (token,) = invited()
    rate(token, study, 2)
    survey("export")
    survey("revoke", "1")
    with pytest.raises(SurveyError, match="holds 6 answers that this export lacks"):
        survey("export")
    assert len(read_ratings(RATINGS)) == 6
    survey("export", "--replace")
    assert read_ratings(RATINGS) == []


def test_the_demo_stays_apart(checkout, study):
    (token,) = invited()
    rate(token, study, 1)
    survey("export")
    real = RATINGS.read_bytes()
    output = survey("simulate", "--raters", "4").output
    assert "pilot-demo: 3 of 4 invented raters finished" in output
    assert {rating.study for rating in read_ratings(DEMO_RATINGS)} == {"pilot-demo"}
    assert "(demo: invented answers)" in survey("status", "--demo").output
    with pytest.raises(SurveyError, match="for people's answers"):
        survey("export", "--demo", "--out", str(RATINGS), "--replace")
    with pytest.raises(SurveyError, match="for the demo's answers"):
        survey("export", "--out", str(DEMO_RATINGS), "--replace")
    survey("export", "--demo")
    survey("export")
    assert RATINGS.read_bytes() == real
    assert "pilot: 1 invited" in survey("status").output
    for file in ("survey.sqlite", "demo.sqlite"):
        assert (checkout / "data" / "survey" / file).is_file()


def test_the_demo_is_not_kept_where_an_address_for_answers_is_set(checkout, study, monkeypatch):
    monkeypatch.setenv("KPBE_SURVEY_URL", f"sqlite:///{checkout / 'elsewhere.sqlite'}")
    survey("simulate", "--raters", "1")
    survey("invite", "-n", "1")
    assert (checkout / "data/survey/demo.sqlite").is_file() and (checkout / "elsewhere.sqlite").is_file()
    assert not (checkout / "data/survey/survey.sqlite").exists()


def test_answers_are_counted_where_there_are_some(checkout, study, monkeypatch):
    assert answers_given(Path(), "pilot") == 0 and not (checkout / "data/survey/survey.sqlite").exists()
    (token,) = invited()
    rate(token, study, 2)
    assert answers_given(Path(), "pilot") == 6 and answers_given(Path(), "another") == 0
    monkeypatch.setenv("KPBE_SURVEY_URL", f"sqlite:///{checkout / 'unused.sqlite'}")
    assert answers_given(Path(), "pilot") == 0


def scored(**survey_params: object) -> str:
    """Table II as the stage mos_scores writes it."""
    params = load_params()
    params = params.model_copy(update={"survey": params.survey.model_copy(update=survey_params)})
    mos_scores(StageContext(params, "", serial_map))
    return Path("reports/results/table2.md").read_text()


def test_answers_given_to_the_store_become_table_2(checkout, study):
    survey("export")
    assert "no ratings yet" in scored()
    for token in invited(2):
        rate(token, study, len(study.order_of(1)))
    survey("export")
    table = scored()
    assert "2 raters" in table and "3.00" in table and "DEMO" not in table
    survey("simulate", "--raters", "6")
    demo = scored(ratings=DEMO_RATINGS, accept_demo=True)
    assert "DEMO" in demo and "6 raters" in demo


def test_without_a_study_the_stage_is_named(checkout):
    STUDY.unlink()
    for command in (["invite", "-n", "1"], ["status"], ["export"], ["simulate"]):
        with pytest.raises(SurveyError, match="mos_stimuli"):
            survey(*command)
    assert not (checkout / "data/survey/survey.sqlite").exists()


def test_password_gives_a_hash_for_the_secrets(checkout):
    secrets = checkout / ".streamlit" / "secrets.toml"
    output = survey("password", answers="correct horse\ncorrect horse\n").output
    (hashed,) = re.findall(r'admin_password = "(.+)"', output)
    assert hashed.startswith("$argon2id$") and "correct horse" not in output
    assert is_password("correct horse", hashed) and not is_password("Correct horse", hashed)
    assert not secrets.exists()
    survey("password", "--save", answers="correct horse\ncorrect horse\n")
    assert "$argon2id$" in secrets.read_text() and secrets.stat().st_mode & 0o077 == 0
    with pytest.raises(SurveyError, match="exists"):
        survey("password", "--save", answers="another long one\nanother long one\n")
    with pytest.raises(SurveyError, match="at least 10"):
        survey("password", answers="short\nshort\n")


def test_secrets_and_databases_are_not_committed():
    ignored = (REPOSITORY / ".gitignore").read_text().splitlines()
    assert "/.streamlit/secrets.toml" in ignored and "*.sqlite" in ignored and "/data/" in ignored


def test_a_hash_that_is_none_is_said(tmp_path):
    write_text(tmp_path / "x", "")
    with pytest.raises(SurveyError, match="kpbe survey password"):
        is_password("correct horse", "correct horse")
