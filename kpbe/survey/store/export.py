"""The answers as one tidy table with a row for each answer, the input of the scores."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select

from kpbe.core.files import read_csv, write_text
from kpbe.errors import SurveyError
from kpbe.survey.demographics import DEMOGRAPHICS
from kpbe.survey.scores.ratings import COLUMNS
from kpbe.survey.store.rows import rater_name
from kpbe.survey.store.schema import answers, demographics, plays, raters

if TYPE_CHECKING:
    from kpbe.survey.study.design import Study

KEY = ("study", "rater", "item", "question")


def export_rows(connection: Connection, design: Study) -> list[dict[str, Any]]:
    """The answers of all raters with a valid link, by rater, position and question; without training.

    Returns:
        Rows whose keys are the fields of `kpbe.survey.scores.ratings.Rating`.
    """
    name = design.name
    valid = connection.scalars(
        select(raters.c.rater).where(raters.c.study == name, raters.c.revoked_at.is_(None))
    ).all()
    watched: defaultdict[tuple[int, str], list[float]] = defaultdict(list)
    for play in connection.execute(select(plays).where(plays.c.study == name)):
        watched[play.rater, play.item].append(play.watched)
    by_key = {
        (answer.rater, answer.item, answer.question): answer
        for answer in connection.execute(select(answers).where(answers.c.study == name))
    }
    statements: defaultdict[int, dict[str, str]] = defaultdict(lambda: dict.fromkeys(DEMOGRAPHICS, ""))
    for row in connection.execute(select(demographics).where(demographics.c.study == name)):
        statements[row.rater][row.question] = row.answer
    rows = []
    for rater in sorted(valid):
        for position, key in enumerate(design.order_of(rater), 1):
            item, shares = design.by_id[key], watched[rater, key]
            for question in design.questions:
                answer = by_key.get((rater, key, question))
                if answer is None:
                    continue
                rows.append(
                    {
                        "study": name,
                        "rater": rater_name(rater),
                        "item": key,
                        "kind": item.kind,
                        "clip_id": item.clip_id,
                        "identity": item.identity,
                        "method": item.method,
                        "question": question,
                        "score": answer.score,
                        "position": position,
                        "plays": len(shares),
                        "watched": round(max(shares, default=0.0), 3),
                        "response_seconds": round(answer.response_seconds, 2),
                        "answered_at": utc_text(answer.answered_at),
                        "repeats": item.repeats or "",
                        **statements[rater],
                    }
                )
    return rows


def write_ratings(path: Path, rows: list[dict[str, Any]], replace: bool = False) -> None:
    """Write rows as CSV, whole or not at all.

    Args:
        path: the CSV file.
        rows: from `export_rows`.
        replace: overwrite the file even if it holds answers that `rows` lacks.

    Raises:
        SurveyError: the file holds such answers (of another study or database) and `replace` is False.
    """
    if path.exists() and not replace:
        new = {tuple(str(row[key]) for key in KEY) for row in rows}
        lost = sum(tuple(row.get(key, "") for key in KEY) not in new for row in read_csv(path))
        if lost:
            raise SurveyError(
                f"{path} holds {lost} answers that this export lacks: give --replace if they shall go, or "
                f"--out another file."
            )
    write_text(path, csv_text(rows))


def csv_text(rows: list[dict[str, Any]]) -> str:
    """Rows as the text of a CSV file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def utc_text(moment: datetime) -> str:
    """A moment as "2026-01-31T09:15:02Z"."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
