"""The administrator's part of the store: studies, personal links, revocation, progress, export."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from kpbe.errors import SurveyError
from kpbe.paths import DEMO_DATABASE, SURVEY_DATABASE
from kpbe.survey.scores.ratings import is_demo
from kpbe.survey.store.database import URL_VARIABLE, Database
from kpbe.survey.store.export import export_rows
from kpbe.survey.store.progress import progress_of
from kpbe.survey.store.rows import Invitation, RaterProgress
from kpbe.survey.store.schema import DEMO, OF_RATER, REAL, answers, raters, studies

if TYPE_CHECKING:
    from kpbe.survey.study.design import Study

REACHED = {
    "consent": "consented_at",
    "about": "described_at",
    "headphones": "headphones_passed_at",
    "training": "training_done_at",
    "finished": "finished_at",
}
"""For each step, the column of `raters` with the time when it was first reached."""


def now() -> datetime:
    """This moment in UTC."""
    return datetime.now(UTC)


def database_url(root: Path, demo: bool = False) -> str:
    """URL of the answers: KPBE_SURVEY_URL if set, else the file below `root`.

    The demo's answers are always in their own file.
    """
    if demo:
        return f"sqlite:///{root / DEMO_DATABASE}"
    return os.environ.get(URL_VARIABLE) or f"sqlite:///{root / SURVEY_DATABASE}"


def answers_given(root: Path, study: str) -> int:
    """Number of a study's answers in the database of `root` (`database_url`); 0 without a database.

    Raises:
        SurveyError: there is a database that cannot be read.
    """
    if not os.environ.get(URL_VARIABLE) and not (root / SURVEY_DATABASE).exists():
        return 0
    store = Administration(database_url(root))
    store.create()  # the URL may name a database that is not used yet
    with store.database.reading() as connection:
        return (
            connection.scalar(select(func.count()).select_from(answers).where(answers.c.study == study)) or 0
        )


class Administration:
    """A database of one or more studies, without the raters' actions.

    Args:
        url: of the database, see `kpbe.survey.store.database.Database`.
        design: the study that takes answers; None for a store that only lists.
        demo: whether the database is for invented answers; then study names must end in "-demo", otherwise
            they must not.
        clock: gives the current time.

    Raises:
        SurveyError: the URL cannot be used, or the design does not fit `demo`.
    """

    def __init__(
        self,
        url: str,
        design: Study | None = None,
        demo: bool = False,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self.demo, self.clock, self.design = demo, clock, design
        self.database = Database(url, DEMO if demo else REAL)
        if design is not None:
            self._right_kind(design.name)

    def _right_kind(self, study: str) -> None:
        if is_demo(study) != self.demo:
            kind = "invented answers" if self.demo else "people's answers"
            raise SurveyError(
                f"The study {study!r} cannot be kept in a database of {kind}: names of demos end in -demo."
            )

    def create(self) -> None:
        """Create the tables in an empty database; check and upgrade others as `check_schema` does.

        Raises:
            SurveyError: see `Database.prepare`.
        """
        self.database.prepare(create=True)

    def check_schema(self) -> None:
        """Check that the database is one of ours, and upgrade an older one.

        Raises:
            SurveyError: see `Database.prepare`.
        """
        self.database.prepare(create=False)

    # -- studies and links ----------------------------------------------------------------------------------

    def add_study(self, study: str, design_sha256: str) -> None:
        """Register a study. Another design under the same name is accepted as long as nobody has answered.

        Raises:
            SurveyError: the study has answers to another design.
        """
        self._right_kind(study)
        with self.database.writing() as connection:
            self.database.alone(connection)
            known = self._study(connection, study)
            if known is None:
                row = {"study": study, "design_sha256": design_sha256, "created_at": self.clock()}
                connection.execute(insert(studies).values(row))
            elif known.design_sha256 != design_sha256:
                if connection.scalar(
                    select(func.count()).select_from(answers).where(answers.c.study == study)
                ):
                    raise SurveyError(
                        f"The study {study!r} has answers to other clips or another order: set survey.study "
                        f"to a new name."
                    )
                connection.execute(
                    update(studies).where(studies.c.study == study).values(design_sha256=design_sha256)
                )

    def invite(self, study: str, count: int) -> list[Invitation]:
        """Add raters with the next free numbers; only here can their tokens be seen.

        Raises:
            SurveyError: the study is unknown, or `count` is not 1 to 10000.
        """
        if not 1 <= count <= 10_000:
            raise SurveyError(f"{count} invitations at once are not possible: 1 to 10000 are.")
        with self.database.writing() as connection:
            if self._study(connection, study) is None:
                raise SurveyError(f"The study {study!r} is unknown to this database.")
            last = connection.scalar(select(func.max(raters.c.rater)).where(raters.c.study == study)) or 0
            new = [Invitation(last + 1 + i, secrets.token_hex(16)) for i in range(count)]
            connection.execute(
                insert(raters),
                [
                    {
                        "study": study,
                        "rater": invitation.rater_number,
                        "token_sha256": sha256_of(invitation.token),
                        "invited_at": self.clock(),
                    }
                    for invitation in new
                ],
            )
        return new

    def revoke(self, study: str, who: int | str, reason: str = "", forget: bool = False) -> int:
        """Close a rater's link; their answers stay in the database but are not exported.

        Args:
            study: its name.
            who: the rater's number ("3", "r003") or token.
            reason: text for the administrator.
            forget: also delete all of the rater's data (a withdrawn consent).

        Returns:
            The rater's number.

        Raises:
            SurveyError: nobody has this number or token.
        """
        number = _number(who)
        mine = (
            raters.c.rater == number if number is not None else raters.c.token_sha256 == sha256_of(str(who))
        )
        with self.database.writing() as connection:
            row = connection.execute(
                select(raters).where(raters.c.study == study, mine).with_for_update()
            ).first()
            if row is None:
                raise SurveyError(f"The study {study!r} has no such rater.")
            this = (raters.c.study == study) & (raters.c.rater == row.rater)
            connection.execute(
                update(raters)
                .where(this)
                .values(revoked_at=row.revoked_at or self.clock(), revoked_reason=reason)
            )
            if forget:
                for table in OF_RATER:
                    connection.execute(
                        delete(table).where(table.c.study == study, table.c.rater == row.rater)
                    )
                nothing = dict.fromkeys(REACHED.values()) | {"language": ""}
                connection.execute(update(raters).where(this).values(nothing))
        return row.rater

    def empty(self) -> None:
        """Remove every study and rater from a database of invented answers.

        Raises:
            SurveyError: the database is not a demo's.
        """
        if not self.demo:
            raise SurveyError("People's answers are not removed: only a demo can be emptied.")
        with self.database.writing() as connection:
            for table in (*OF_RATER, raters, studies):
                connection.execute(delete(table))

    # -- what the administrator sees ------------------------------------------------------------------------

    def progress(self, study: str) -> list[RaterProgress]:
        """The progress of every rater of a study, by number."""
        training = self.design.training if self.design else ()
        with self.database.reading() as connection:
            return progress_of(connection, study, training)

    def export_rows(self, design: Study) -> list[dict[str, Any]]:
        """The answers to a study as tidy rows, see `kpbe.survey.store.export.export_rows`."""
        with self.database.reading() as connection:
            return export_rows(connection, design)

    def _study(self, connection: Connection, study: str) -> Row[Any] | None:
        return connection.execute(select(studies).where(studies.c.study == study).with_for_update()).first()


def sha256_of(token: str) -> str:
    """The digest of a token that the database stores."""
    return hashlib.sha256(token.encode()).hexdigest()


def _number(who: int | str) -> int | None:
    if isinstance(who, int):
        return who
    plain = re.fullmatch(r"r?(\d{1,6})", who.strip())
    return int(plain.group(1)) if plain else None
