"""The answers as `kpbe survey export` writes them: read, check, and lay out for the statistics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from kpbe.core.spreadsheets import read_spreadsheet
from kpbe.errors import KPBEError, SurveyError
from kpbe.survey.demographics import DEMOGRAPHICS
from kpbe.survey.study.design import Study

DEMO_SUFFIX = "-demo"
SCORED = ("main", "reference")
"""Kinds of items that are scored; the others check the rater."""

LOWEST, HIGHEST = 1, 5


@dataclass(frozen=True)
class Rating:
    """One answer, a row of ratings.csv; the fields are its columns.

    Attributes:
        study: name of the study.
        rater: name of the rater from their number, such as "r001".
        item, kind, clip_id, identity, method: the rated item, see `kpbe.survey.study.design.Item`.
        question: one of the study's.
        score: from 1 (bad) to 5 (excellent).
        position: place in the rater's order, from 1.
        plays: number of plays of the clip.
        watched: the largest share of it that one play showed, 0 to 1.
        response_seconds: from the end of the clip to the answers.
        answered_at: time in UTC.
        repeats: the item of which this is a second copy, else "".
        age, vision, colour_vision, device, sound: the rater's own statements (`kpbe.survey.demographics`), ""
            where not asked; files of earlier versions lack these columns.
    """

    study: str
    rater: str
    item: str
    kind: str
    clip_id: str
    identity: str
    method: str
    question: str
    score: int
    position: int
    plays: int
    watched: float
    response_seconds: float
    answered_at: str
    repeats: str
    age: str = ""
    vision: str = ""
    colour_vision: str = ""
    device: str = ""
    sound: str = ""

    @property
    def rater_number(self) -> int:
        """The rater's number, which decides their order."""
        return int(self.rater[1:])


COLUMNS: tuple[str, ...] = tuple(field.name for field in fields(Rating))
_REQUIRED = tuple(name for name in COLUMNS if name not in DEMOGRAPHICS)
_NUMBERS: dict[str, type[int] | type[float]] = {
    "score": int,
    "position": int,
    "plays": int,
    "watched": float,
    "response_seconds": float,
}


def is_demo(study: str) -> bool:
    """Whether a study's name marks its answers as invented (`kpbe survey simulate`)."""
    return study.endswith(DEMO_SUFFIX)


def read_ratings(path: Path | str) -> list[Rating]:
    """All answers in a file; empty when it has none.

    Raises:
        SurveyError: the file or a column is missing, a value is not allowed, an answer is listed twice, or
            there are answers to more than one study; the message names the line.
    """
    path = Path(path)
    try:
        rows = read_spreadsheet(path, _REQUIRED)
    except FileNotFoundError:
        raise SurveyError(f"{path} does not exist: write it with `kpbe survey export`.") from None
    except KPBEError as error:
        raise SurveyError(str(error)) from None
    ratings = [_rating(row, f"{path}, line {line}") for line, row in rows]
    _refuse_twice(ratings, path)
    if len(studies := {rating.study for rating in ratings}) > 1:
        raise SurveyError(f"{path} mixes the studies {', '.join(sorted(studies))}: export one of them.")
    return ratings


def check_against(ratings: Sequence[Rating], study: Study) -> None:
    """Check that answers are to the items of `study`, or of its demo.

    Raises:
        SurveyError: an answer has another study's name, an unknown item or question, or an item that is
            described differently in the study.
    """
    questions = set(study.questions)
    for rating in ratings:
        if rating.study not in (study.name, study.name + DEMO_SUFFIX):
            raise SurveyError(
                f"the ratings are of the study {rating.study}, but study.json holds {study.name}."
            )
        item = study.by_id.get(rating.item)
        if item is None:
            raise SurveyError(
                f"the rating of {rating.rater} for {rating.item} is of no item of the study {study.name}."
            )
        is_now, was = (item.kind, item.clip_id, item.method), (rating.kind, rating.clip_id, rating.method)
        if is_now != was:
            raise SurveyError(
                f"the ratings call {rating.item} {' '.join(was)}, study.json {' '.join(is_now)}."
            )
        if rating.question not in questions:
            raise SurveyError(
                f"the study {study.name} does not ask {rating.question}, which {rating.rater} answered."
            )


def _rating(row: dict[str, Any], where: str) -> Rating:
    values: dict[str, Any] = {name: row[name] for name in COLUMNS if name in row}
    for name, number in _NUMBERS.items():
        try:
            values[name] = number(row[name].replace(",", "."))
        except ValueError:
            raise SurveyError(f"{where}: {name} = {row[name]!r} is not a number.") from None
        if not math.isfinite(values[name]):
            raise SurveyError(f"{where}: {name} = {row[name]!r} is not a number.")
    if not LOWEST <= values["score"] <= HIGHEST:
        raise SurveyError(f"{where}: score = {values['score']} is not {LOWEST} to {HIGHEST}.")
    if not (values["rater"][:1] == "r" and values["rater"][1:].isdecimal()):
        raise SurveyError(f"{where}: rater = {values['rater']!r} is not r001, r002, ...")
    for question, possible in DEMOGRAPHICS.items():
        if values.get(question, "") not in ("", *possible):
            raise SurveyError(
                f"{where}: {question} = {values[question]!r} is not one of {', '.join(possible)}."
            )
    if not values["study"]:
        raise SurveyError(f"{where}: study is empty.")
    return Rating(**values)


def _refuse_twice(ratings: Sequence[Rating], path: Path) -> None:
    seen: set[tuple[str, str, str]] = set()
    for rating in ratings:
        key = (rating.rater, rating.item, rating.question)
        if key in seen:
            raise SurveyError(f"{path}: {rating.rater} answered {rating.question} of {rating.item} twice.")
        seen.add(key)


# -- as an array -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Panel:
    """The scored answers as an array.

    Attributes:
        raters, clips, methods, questions: labels of the axes.
        scores: raters x clips x methods x questions, 1 to 5, NaN where there is no answer.
    """

    raters: tuple[str, ...]
    clips: tuple[str, ...]
    methods: tuple[str, ...]
    questions: tuple[str, ...]
    scores: np.ndarray

    def table(self, method: str, question: str) -> np.ndarray:
        """Scores of a method on a question, raters x clips."""
        return self.scores[:, :, self.methods.index(method), self.questions.index(question)]

    def stimuli(self, question: str) -> np.ndarray:
        """Scores of all stimuli, raters x (clips methods); all methods of the first clip come first."""
        return self.scores[:, :, :, self.questions.index(question)].reshape(len(self.raters), -1)

    def answers(self) -> np.ndarray:
        """All answers of each rater, raters x (clips methods questions)."""
        return self.scores.reshape(len(self.raters), -1)

    def of_raters(self, kept: Sequence[str]) -> Panel:
        """The panel with only the raters `kept`, in this panel's order."""
        places = [place for place, rater in enumerate(self.raters) if rater in set(kept)]
        return Panel(
            tuple(self.raters[place] for place in places),
            self.clips,
            self.methods,
            self.questions,
            self.scores[places],
        )


def panel_of(ratings: Sequence[Rating], methods: Sequence[str], questions: Sequence[str]) -> Panel:
    """Lay out the answers to scored items; answers about other methods are left out.

    Args:
        ratings: of one study.
        methods: in the order of the table.
        questions: in the order of the table.
    """
    scored = [
        r for r in ratings if r.kind in SCORED and r.method in set(methods) and r.question in set(questions)
    ]
    raters, clips = sorted({r.rater for r in ratings}), sorted({r.clip_id for r in scored})
    axes = [
        {name: place for place, name in enumerate(names)} for names in (raters, clips, methods, questions)
    ]
    scores = np.full(tuple(map(len, axes)), np.nan)
    for r in scored:
        scores[axes[0][r.rater], axes[1][r.clip_id], axes[2][r.method], axes[3][r.question]] = r.score
    return Panel(tuple(raters), tuple(clips), tuple(methods), tuple(questions), scores)
