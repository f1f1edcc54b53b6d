"""The raters' part of the store: links, steps, plays, answers with their history.

Each call is one transaction; once it has returned, its data are safe. An answer is unique for (study, rater,
item, question): double clicks, refreshes, two tabs and retries neither lose nor duplicate one. Of a person
the store keeps the browser's name and their statements about themselves; of a token only its SHA-256.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, insert, select, update

from kpbe.errors import SurveyError
from kpbe.paths import STUDY
from kpbe.survey.demographics import checked
from kpbe.survey.scores.ratings import DEMO_SUFFIX, is_demo
from kpbe.survey.store.administration import REACHED, Administration, database_url, sha256_of
from kpbe.survey.store.progress import rater_of
from kpbe.survey.store.rows import Comment, Plays, Rater
from kpbe.survey.store.schema import answer_history, comments, demographics, plays, raters, steps
from kpbe.survey.store.schema import answers as answer_table

if TYPE_CHECKING:
    from kpbe.survey.study.design import Study

MIN_WATCHED = 0.9
"""Least share of the clip that a play must show; one that ends with less was fast-forwarded and does not
unlock the answers.
"""

Step = Literal["consent", "about", "headphones", "training", "finished", "break"]
UNKNOWN_LINK = "This link is not valid: please use the link exactly as you received it."


def open_store(root: Path = Path(), demo: bool = False) -> SurveyStore:
    """The store of the study in `root`/data/survey/study.json, created or upgraded if needed.

    Within a process the same store is returned until the study changes.

    Args:
        root: the repository root.
        demo: the store of invented answers to the same clips; the study's name ends in "-demo".

    Raises:
        KPBEError: there is no study yet, or see `Administration.create` and `add_study`.
    """
    from kpbe.survey.study.design import read_study

    design = read_study(root / STUDY)
    if demo and not is_demo(design.name):
        design = replace(design, name=design.name + DEMO_SUFFIX)
    key = (database_url(root, demo), design.name, design.design_sha256)
    with _opening:
        if key not in _opened:
            store = SurveyStore(key[0], design, demo)
            store.create()
            store.add_study(design.name, design.design_sha256)
            _opened[key] = store
        return _opened[key]


_opened: dict[tuple[str, str, str], SurveyStore] = {}
_opening = Lock()


class SurveyStore(Administration):
    """The raters' actions and, inherited, the administrator's."""

    def rater(self, token: str) -> Rater | None:
        """The rater of a token, revoked or not; None when the token is unknown."""
        with self.database.reading() as connection:
            row = connection.execute(select(raters).where(raters.c.token_sha256 == sha256_of(token))).first()
        return rater_of(row) if row else None

    def record_step(
        self,
        token: str,
        step: Step,
        detail: Mapping[str, Any] | None = None,
        language: str = "",
        user_agent: str = "",
    ) -> None:
        """Record that a rater reached a step; the first time counts, every time is stored.

        Args:
            token: the rater's.
            step: the step; with `"passed": False` in `detail` it was only tried.
            detail: JSON-able facts, e.g. the answers of the headphone check, the size of the screen.
            language: language of the page.
            user_agent: the browser's name.

        Raises:
            SurveyError: the link is unknown or revoked, another step comes before consent, or the survey is
                finished before every clip is rated.
        """
        with self.database.writing() as connection:
            rater = self._at_work(connection, token, consented=step != "consent")
            if step == "finished":
                self._all_rated(connection, rater)
            values: dict[str, Any] = {"language": language[:20]} if language else {}
            column = REACHED.get(step)
            if column and getattr(rater, column) is None and (detail or {}).get("passed", True):
                values[column] = self.clock()
            if values:
                connection.execute(
                    update(raters)
                    .where(raters.c.study == rater.study, raters.c.rater == rater.number)
                    .values(values)
                )
            row = {
                "step": step,
                "detail": json.dumps(detail or {}, sort_keys=True),
                "language": language[:20],
                "user_agent": user_agent[:500],
                "reached_at": self.clock(),
            }
            connection.execute(insert(steps), _of(rater) | row)

    def record_play(
        self,
        token: str,
        item: str,
        fraction_watched: float,
        ended: bool,
        seconds: float,
        dropped_frames: int | None = None,
        play_id: str | None = None,
    ) -> None:
        """Record a play of a clip.

        Args:
            token: the rater's.
            item: the clip.
            fraction_watched: shown share of the clip, 0 to 1; other values are clipped.
            ended: whether the player reached the end.
            seconds: from the start of the play to its end or interruption.
            dropped_frames: as the browser reported them.
            play_id: the player's own name of this play; a repeated call (a retry, a refresh) updates the row,
                which counts once. Without it every call counts.

        Raises:
            SurveyError: unknown or revoked link, no consent yet, or a clip that is not this rater's.
        """
        watched = min(1.0, _finite(fraction_watched))
        row = {
            "watched": watched,
            "ended": bool(ended),
            "seconds": _finite(seconds),
            "dropped_frames": dropped_frames,
        }
        with self.database.writing() as connection:
            rater = self._at_work(connection, token)
            self._item(rater, item)
            values = (
                _of(rater)
                | row
                | {"item": item, "play_id": play_id and play_id[:64], "played_at": self.clock()}
            )
            known = None
            if play_id is not None:
                this = (plays.c.item == item) & (plays.c.play_id == play_id[:64])
                known = connection.execute(select(plays).where(_mine(plays, rater), this)).first()
            if known is None:
                connection.execute(insert(plays), values)
            else:
                row["watched"], row["ended"] = max(known.watched, watched), known.ended or row["ended"]
                connection.execute(update(plays).where(plays.c.id == known.id).values(row))

    def plays(self, token: str, item: str) -> Plays:
        """A rater's plays of a clip.

        Raises:
            SurveyError: unknown or revoked link.
        """
        with self.database.reading() as connection:
            return _plays(connection, self._known(connection, token), item)

    def answer(
        self,
        token: str,
        item: str,
        answers: Mapping[str, int],
        response_seconds: float,
    ) -> None:
        """Store a rater's answers to all questions of a clip: all of them or none.

        The last answers count, each change is stored. The same answers again change nothing, so a call whose
        outcome is unknown can be repeated.

        Args:
            token: the rater's.
            item: the clip, one of the rater's order or a training clip.
            answers: question to score, 1 to 5, for every question of the study.
            response_seconds: from the end of the clip to the answers.

        Raises:
            SurveyError: unknown or revoked link, no consent yet, a clip that is not this rater's, a question
                or score that does not exist, a clip that was not played to its end, other answers than before
                after the survey was finished.
        """
        with self.database.writing() as connection:
            rater = self._at_work(connection, token)
            self._item(rater, item)
            self._scores(answers)
            known = {
                row.question: row.score
                for row in connection.execute(
                    select(answer_table).where(_mine(answer_table, rater), answer_table.c.item == item)
                )
            }
            if known == dict(answers):
                return
            if rater.finished_at:
                raise SurveyError(
                    "You have finished this survey already; your answers cannot be changed any more."
                )
            if not _plays(connection, rater, item).ended:
                raise SurveyError("Please play the clip to its end before you rate it.")
            now = {"response_seconds": _finite(response_seconds), "answered_at": self.clock()}
            changes = [
                _of(rater) | {"item": item, "question": question, "score": score} | now
                for question, score in answers.items()
                if known.get(question) != score
            ]
            connection.execute(insert(answer_history), changes)
            if first := [change for change in changes if change["question"] not in known]:
                connection.execute(insert(answer_table), first)
            for change in changes:
                if change["question"] not in known:
                    continue
                this = (answer_table.c.item == item) & (answer_table.c.question == change["question"])
                values = {"score": change["score"]} | now
                connection.execute(update(answer_table).where(_mine(answer_table, rater), this), values)

    def answered(self, token: str) -> dict[str, dict[str, int]]:
        """A rater's own answers: item to question to score, training clips included.

        Raises:
            SurveyError: unknown or revoked link.
        """
        with self.database.reading() as connection:
            return _answered(connection, self._known(connection, token))

    def describe(self, token: str, answers: Mapping[str, str]) -> None:
        """Store a rater's statements on age, eyes and equipment; the last ones count.

        Args:
            token: the rater's.
            answers: answers by question, some of `kpbe.survey.demographics.DEMOGRAPHICS`; "not_said" is
                stored for the others.

        Raises:
            SurveyError: unknown or revoked link, no consent yet, a question or answer that does not exist, or
                the survey is finished.
        """
        complete = checked(answers)
        with self.database.writing() as connection:
            rater = self._at_work(connection, token)
            if rater.finished_at:
                raise SurveyError("You have finished this survey already; nothing can be changed any more.")
            connection.execute(delete(demographics).where(_mine(demographics, rater)))
            rows = [
                _of(rater) | {"question": question, "answer": answer} for question, answer in complete.items()
            ]
            connection.execute(insert(demographics), rows)

    def comment(self, token: str, text: str, item: str = "") -> None:
        """Store a rater's comment on the survey, or on one clip; the last one counts, an empty one removes.

        Raises:
            SurveyError: unknown or revoked link, no consent yet, or a clip that is not this rater's.
        """
        with self.database.writing() as connection:
            rater = self._at_work(connection, token)
            if item:
                self._item(rater, item)
            connection.execute(delete(comments).where(_mine(comments, rater), comments.c.item == item))
            if text.strip():
                row = {"item": item, "comment": text.strip()[:2000], "written_at": self.clock()}
                connection.execute(insert(comments), _of(rater) | row)

    def comments(self, study: str) -> list[Comment]:
        """The comments on a study by rater, without raters whose link was revoked."""
        valid = select(raters.c.rater).where(raters.c.study == study, raters.c.revoked_at.is_(None))
        query = select(comments).where(comments.c.study == study, comments.c.rater.in_(valid))
        with self.database.reading() as connection:
            rows = connection.execute(query.order_by(comments.c.rater, comments.c.written_at))
            return [Comment(row.rater, row.item, row.comment, row.written_at) for row in rows]

    # -- checks ---------------------------------------------------------------------------------------------

    def _at_work(self, connection: Connection, token: str, consented: bool = True) -> Rater:
        """The rater of a valid token, locked against other writers (SQLite: by the transaction itself)."""
        rater = self._known(connection, token, lock=True)
        if consented and rater.consented_at is None:
            raise SurveyError("Please read the information and agree to it first.")
        return rater

    def _known(self, connection: Connection, token: str, lock: bool = False) -> Rater:
        query = select(raters).where(raters.c.token_sha256 == sha256_of(token), raters.c.revoked_at.is_(None))
        row = connection.execute(query.with_for_update() if lock else query).first()
        if row is None:
            raise SurveyError(UNKNOWN_LINK)
        return rater_of(row)

    def _own_study(self, rater: Rater) -> Study:
        if self.design is None or rater.study != self.design.name:
            raise SurveyError("This survey is over, or your link belongs to another one.")
        return self.design

    def _item(self, rater: Rater, item: str) -> None:
        design = self._own_study(rater)
        if item not in design.training and item not in design.order_of(rater.number):
            raise SurveyError("This clip is not part of your survey.")

    def _scores(self, scores: Mapping[str, int]) -> None:
        questions = self.design.questions if self.design else ()
        if set(scores) != set(questions):
            raise SurveyError("Please answer every question.")
        for score in scores.values():
            if isinstance(score, bool) or not isinstance(score, int) or not 1 <= score <= 5:
                raise SurveyError("A score must be 1, 2, 3, 4 or 5.")

    def _all_rated(self, connection: Connection, rater: Rater) -> None:
        order = self._own_study(rater).order_of(rater.number)
        missing = len(set(order) - _answered(connection, rater).keys())
        if missing:
            raise SurveyError(f"{missing} clip{'s are' if missing > 1 else ' is'} still to be rated.")


def _of(rater: Rater) -> dict[str, Any]:
    return {"study": rater.study, "rater": rater.number}


def _mine(table: Table, rater: Rater) -> ColumnElement[bool]:
    return and_(table.c.study == rater.study, table.c.rater == rater.number)


def _plays(connection: Connection, rater: Rater, item: str) -> Plays:
    rows = connection.execute(select(plays).where(_mine(plays, rater), plays.c.item == item)).all()
    ended = any(row.ended and row.watched >= MIN_WATCHED for row in rows)
    return Plays(len(rows), ended, max((row.watched for row in rows), default=0.0))


def _answered(connection: Connection, rater: Rater) -> dict[str, dict[str, int]]:
    scores: dict[str, dict[str, int]] = {}
    for row in connection.execute(select(answer_table).where(_mine(answer_table, rater))):
        scores.setdefault(row.item, {})[row.question] = row.score
    return scores


def _finite(value: float) -> float:
    """A measured duration or fraction; impossible values count as 0."""
    return max(0.0, float(value)) if math.isfinite(value) else 0.0
