"""A tiny study, and stores on every database that this machine has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from benchmarks.postgres import Postgres, new_database, temporary_postgres
from kpbe.survey.store.answers import SurveyStore
from kpbe.survey.study.design import GROUND_TRUTH, QUESTIONS, Item, Study

METHODS = ("wav2lip", "wav2lip+kpbe")


def make_study(name: str = "pilot", clips: int = 2, seed: int = 0) -> Study:
    def item(kind, clip, method=GROUND_TRUTH, **what):
        key = sha256(f"{seed} {kind} {clip} {method}".encode()).hexdigest()[:16]
        return Item(key, kind, f"p{clip}#v0#0#65", f"p{clip}", method, seconds=2.6, **what)

    shown = [item("main", clip, method) for clip in range(clips) for method in METHODS]
    shown += [item("reference", clip) for clip in range(clips)]
    shown += [
        item("trap", 0, expected={"lip_sync": (1, 3)}, shift_ms=400),
        item("gold", 1, expected={"realness": (1, 2)}, degraded=True),
        item("repeat", 0, METHODS[0], repeats=shown[0].item),
    ]
    training = item("training", 1, expected={"lip_sync": (4, 5)})
    order = tuple(one.item for one in shown)
    return Study(
        name,
        seed,
        QUESTIONS,
        (*shown, training),
        (order, order[::-1], order[2:] + order[:2]),
        (training.item,),
        4,
    )


@pytest.fixture
def study() -> Study:
    return make_study()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    try:
        server = temporary_postgres(durable=False)
        running = server.__enter__()
    except LookupError as error:
        pytest.skip(str(error))
    yield running
    server.__exit__(None, None, None)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'survey.sqlite'}"
        return
    with new_database(request.getfixturevalue("postgres").url) as made:
        yield made


@pytest.fixture
def store(url: str, study: Study) -> Iterator[SurveyStore]:
    made = SurveyStore(url, study)
    made.create()
    made.add_study(study.name, study.design_sha256)
    yield made
    made.database.engine.dispose()


@pytest.fixture
def consenting(store: SurveyStore, study: Study) -> Callable[[], str]:
    """Invites a rater, who agrees; gives the token."""

    def invited() -> str:
        (invitation,) = store.invite(study.name, 1)
        store.record_step(invitation.token, "consent")
        return invitation.token

    return invited
