"""How long the pages of the results site take to open in a browser: `python -m benchmarks.site`.

It needs results (`make repro`, or KPBE_ROOT names another checkout), Debian's chromium, and playwright. A
"first visit" is the first to a server that has just been started; the others are new browser sessions. The
report goes to benchmarks/site.md.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING

from benchmarks.report import Page, machine, page, table, write_page
from kpbe.errors import KPBEError

if TYPE_CHECKING:
    from playwright.sync_api import Browser

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = {
    "Overview": "",
    "Clips": "clips",
    "Free view": "free_view",
    "Training": "training",
    "Data": "data",
    "Benchmarks": "benchmarks",
    "Survey": "survey_admin",
    "Planner": "planner",
}
EMPTY_PAGE = "an empty page"
TARGET_SECONDS = 3.0
STARTUP_SECONDS = 120
READY = """() => document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'
  && document.querySelector('h1') && !document.querySelector('[data-testid=stSkeleton], [data-testid=stSpinner]')"""
VIDEO_READY = "() => [...document.querySelectorAll('*')].some(e => e.shadowRoot?.querySelector('video')?.readyState >= 2)"


@contextmanager
def site(root: Path) -> Iterator[str]:
    """The results site of a checkout; gives its address."""
    with served(["reports"], root) as address:
        yield address


@contextmanager
def empty_page() -> Iterator[str]:
    """A Streamlit page with nothing but a title, with the site's settings; gives its address."""
    with TemporaryDirectory() as folder:
        script = Path(folder) / "empty.py"
        script.write_text('import streamlit as st\n\nst.title("Empty")\n', encoding="utf-8")
        with served(["streamlit", "run", str(script)], REPOSITORY) as address:
            yield address


@contextmanager
def served(module: Sequence[str], root: Path) -> Iterator[str]:
    """Run `python -m` with the arguments `module` and a free port; gives the server's address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", *module, "--server.port", str(port), "--server.address", "127.0.0.1"],
        cwd=REPOSITORY,
        env=os.environ | {"KPBE_ROOT": str(root)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + STARTUP_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2)
                break
            except OSError:
                if time.monotonic() > deadline or server.poll() is not None:
                    raise KPBEError("the server did not start: try `make report`.") from None
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def seconds_to_open(browser: Browser, address: str, page: str) -> float:
    """Seconds from the request until a page has stopped changing, in a browser session of its own.

    The clip explorer must also have decoded its first frame.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    try:
        tab = context.new_page()
        tab.set_default_timeout(60_000)
        began = perf_counter()
        tab.goto(f"{address}/{page}")
        tab.wait_for_function(READY)
        if page == "clips":
            tab.wait_for_function(VIDEO_READY)
        return perf_counter() - began
    finally:
        context.close()


def measure(root: Path, chromium: str, visits: int) -> dict[str, list[float]]:
    """Seconds of each visit by page; each page's first visit is to a server that has just been started."""
    from playwright.sync_api import sync_playwright

    seconds: dict[str, list[float]] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, page in PAGES.items():
            with site(root) as address:
                seconds[name] = [seconds_to_open(browser, address, page) for _ in range(visits)]
        with empty_page() as address:
            seconds[EMPTY_PAGE] = [seconds_to_open(browser, address, "") for _ in range(visits)]
        browser.close()
    return seconds


def report(seconds: dict[str, list[float]], about: str) -> Page:
    """The page site.md."""
    rows = [
        (name, f"{times[0]:.1f}", f"{median(times[1:]):.1f} ({min(times[1:]):.1f} to {max(times[1:]):.1f})")
        for name, times in seconds.items()
    ]
    slow = [name for name, times in seconds.items() if times[0] > TARGET_SECONDS]
    verdict = f"All pages open in under {TARGET_SECONDS:.0f} s."
    if slow:
        verdict = f"Over {TARGET_SECONDS:.0f} s at the first visit: {', '.join(slow)}."
    lines = [
        "# The results site: seconds until a page is there",
        "",
        "`python -m benchmarks.site` writes this page: Chromium on the same machine, from the request until "
        "the page has stopped changing (for the clip explorer, until its first frame is decoded), a new "
        "browser session for each visit. The empty page, Streamlit with the same settings and a title, says "
        "what this machine needs at least.",
        "",
        about,
        "",
        table(("page", "first visit of a new server, s", "later visits, s"), rows),
        "",
        verdict,
    ]
    return page(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.site", description=__doc__)
    parser.add_argument("--visits", type=int, default=5, help="to each page, two or more")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    parsed = parser.parse_args(arguments)
    root = Path(os.environ.get("KPBE_ROOT") or REPOSITORY)
    chromium = os.environ.get("KPBE_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        sys.exit(
            "error: no chromium on this machine: apt-get install chromium, or KPBE_CHROMIUM=/path/to/it."
        )
    if not (root / "reports/results/table1.json").is_file():
        sys.exit(f"error: {root} holds no results: run `make repro` first.")
    write_page(parsed.out, report(measure(root, chromium, max(2, parsed.visits)), machine()))


if __name__ == "__main__":
    main()
