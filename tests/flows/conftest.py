"""Prefect for tests: its own home, and one server per session, started by the first test that needs it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

import pytest

from flows.tracking import prepare_prefect

os.environ.pop("PREFECT_API_URL", None)
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="kpbe-prefect-")
prepare_prefect()


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[str]:
    """The API URL of a Prefect server with an empty database."""
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        url = PREFECT_API_URL.value()
        assert url is not None
        yield url


@pytest.fixture
def prefect_api(prefect_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """PREFECT_API_URL is set, so stages are tracked."""
    monkeypatch.setenv("PREFECT_API_URL", prefect_server)
    return prefect_server
