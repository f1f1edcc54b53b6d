"""Fixtures for several test packages: the numeric parity fixtures, real clips and real weights of ../shared.

That folder is not part of the repository; KPBE_SHARED names another place for it. Tests that need it are
skipped where it is absent.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from tests.sampled import compare

# Set before torch, Prefect or DVC are imported: one thread (tests run in parallel), no telemetry.
for _name, _value in {
    "OMP_NUM_THREADS": "1",
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}.items():
    os.environ.setdefault(_name, _value)

# In CI the examples of property tests are the same every time, so that no change is refused by chance;
# elsewhere they are drawn anew.
settings.register_profile("ci", derandomize=True, database=None)
if os.environ.get("CI"):
    settings.load_profile("ci")

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("KPBE_SHARED", REPOSITORY.parent / "shared"))


IS_ABSENT = "KPBE_SHARED names the folder that holds"


def shared_folder(name: str) -> Path:
    """`name` inside the shared folder; skips the test where it is absent."""
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent ({IS_ABSENT} {name}/)")
    return folder


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Report how many parity tests were skipped because their fixtures are absent."""
    yield
    reasons = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", ())]
    count = sum(f"{IS_ABSENT} golden/" in reason for reason in reasons)
    if count:
        terminalreporter.write_line(
            f"{count} parity tests skipped: the golden fixtures are not here (see docs/tests.md)", yellow=True
        )


class Golden:
    """The parity fixtures: `golden("osfv_motion")` opens one, `golden.fill` is the module of their rules."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fill = _import_file(folder / "fill.py")

    def __call__(self, name: str) -> Any:
        """The arrays of fixtures/`name`.npz."""
        return np.load(self.folder / "fixtures" / f"{name}.npz")

    compare = staticmethod(compare)

    def shapes(self, net: str) -> dict[str, tuple[int, ...]]:
        """Official state-dict names and shapes of fixtures/keys/`net`.txt."""
        lines = (self.folder / "fixtures" / "keys" / f"{net}.txt").read_text().splitlines()
        rows = (line.split("\t") for line in lines if line and not line.startswith("#"))
        return {name: ast.literal_eval(shape) for name, shape, _ in rows}

    def load_filled(self, net: str, shapes: Mapping[str, Sequence[int]]) -> dict[str, np.ndarray]:
        """Weights of `net` by the fill rule; `shapes` maps official state-dict names to shapes.

        Analytic buffers are left out. The sum of all weights must be the recorded one, so a missing or
        misnamed tensor fails.
        """
        weights = self.fill.fill_net(net, {name: tuple(shape) for name, shape in shapes.items()})
        recorded = json.loads((self.folder / "fixtures" / "weight_checksums.json").read_text())[net]
        total = sum(float(w.sum(dtype=np.float64)) for w in weights.values())
        assert len(weights) == recorded["tensors"], (
            f"{net}: {len(weights)} tensors, expected {recorded['tensors']}"
        )
        assert total == pytest.approx(recorded["sum"], rel=1e-3, abs=1e-3), f"{net}: names or shapes differ"
        return weights


def _import_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"golden_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def golden() -> Golden:
    """Numeric parity fixtures of the reference networks."""
    return Golden(shared_folder("golden"))


@pytest.fixture(scope="session")
def opinions() -> ModuleType:
    """Surveys made up for tests: the module tests/survey/opinions.py."""
    return _import_file(REPOSITORY / "tests" / "survey" / "opinions.py")


@pytest.fixture(scope="session")
def shared_clips() -> Path:
    """Folder of real talking-head clips with MANIFEST.csv."""
    return shared_folder("clips")


@pytest.fixture(scope="session")
def shared_weights() -> Path:
    """Folder of real public weights with MANIFEST.csv."""
    return shared_folder("weights")
