"""A running survey site on a copy of the pages, and a real browser.

The browser is Debian's chromium, or the one that KPBE_CHROMIUM names.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kpbe.survey.store.answers import SurveyStore
from kpbe.survey.study.design import Study
from tests.reports.tiny_study import make_study, write_stimuli

if TYPE_CHECKING:
    from playwright.sync_api import Browser

REPOSITORY = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
STARTUP_SECONDS = 90


@dataclass(frozen=True)
class Site:
    """`root` holds the copy of the pages, the study, its stimuli and its database."""

    root: Path
    url: str
    study: Study
    store: SurveyStore

    def invite(self) -> str:
        """Invite a rater and return their token."""
        return self.store.invite(self.study.name, 1)[0].token

    def link(self, token: str, language: str = "") -> str:
        return f"{self.url}/?rater={token}" + (f"&lang={language}" if language else "")


def executable() -> str | None:
    named = os.environ.get("KPBE_CHROMIUM")
    return named or next((found for name in BROWSERS if (found := shutil.which(name))), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = executable()
    if path is None:
        pytest.skip("no chromium on this machine (apt-get install chromium, or KPBE_CHROMIUM=/path/to/it)")
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed (make test installs it)"
    )
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture(scope="session")
def site(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("site")
    copy_pages(root)
    study = make_study()
    study.write(root / "data" / "survey" / "study.json")
    write_stimuli(study, root / "reports" / "static" / "stimuli")
    store = SurveyStore(f"sqlite:///{root / 'data' / 'survey' / 'survey.sqlite'}", study)
    store.create()
    store.add_study(study.name, study.design_sha256)
    with serving(root) as url:
        yield Site(root, url, study, store)
    store.database.engine.dispose()


def copy_pages(root: Path) -> None:
    """Copy the pages below `root`, because Streamlit serves the folder static/ beside them."""
    shutil.copytree(
        REPOSITORY / "reports",
        root / "reports",
        ignore=shutil.ignore_patterns("results", "static", "__pycache__"),
    )
    shutil.copytree(REPOSITORY / ".streamlit", root / ".streamlit")
    shutil.copy(REPOSITORY / "params.yaml", root / "params.yaml")


class serving:
    """Run the survey site of `root`, or another script, for a block; gives its address."""

    def __init__(self, root: Path, script: str = "reports/survey.py", port: int = 0) -> None:
        self.root, self.script = root, script
        with socket.socket() as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind(("127.0.0.1", port))
            self.port = free.getsockname()[1]

    def kill(self) -> None:
        """Send SIGKILL to the server."""
        self.server.kill()
        self.server.wait()

    def __enter__(self) -> str:
        environment = os.environ | {"KPBE_ROOT": str(self.root), "OMP_NUM_THREADS": "1"}
        environment.pop("KPBE_SURVEY_URL", None)
        environment["PYTHONPATH"] = os.pathsep.join([str(self.root), str(REPOSITORY)])
        command = [
            sys.executable,
            "-m",
            "streamlit",
            "run",
            self.script,
            "--server.port",
            str(self.port),
        ]
        command += ["--server.address", "127.0.0.1"]
        self.log = (self.root / "server.log").open("w")
        self.server = subprocess.Popen(
            command, cwd=self.root, env=environment, stdout=self.log, stderr=subprocess.STDOUT
        )
        self._wait_until_healthy()
        return f"http://127.0.0.1:{self.port}"

    def _wait_until_healthy(self) -> None:
        address = f"http://127.0.0.1:{self.port}/_stcore/health"
        deadline = time.monotonic() + STARTUP_SECONDS
        while time.monotonic() < deadline and self.server.poll() is None:
            try:
                with urllib.request.urlopen(address, timeout=2):
                    return
            except OSError:
                time.sleep(0.2)
        self.__exit__()
        raise RuntimeError((self.root / "server.log").read_text())

    def __exit__(self, *_: object) -> None:
        self.server.terminate()
        try:
            self.server.wait(20)
        except subprocess.TimeoutExpired:
            self.server.kill()
            self.server.wait()
        self.log.close()
