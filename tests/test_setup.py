"""The set-up files agree with the code and with each other."""

from __future__ import annotations

import ast
import configparser
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OWN = {"kpbe", "flows", "reports"}
DISTRIBUTIONS = packages_distributions()


def requirements(lines: list[str]) -> dict[str, Requirement]:
    found = {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}
    return {name: requirement for name, requirement in found.items() if name != "kpbe"}


def pins() -> dict[str, str]:
    text = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)] == []
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def imports(path: Path) -> set[str]:
    """Top-level packages that a file imports anywhere."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def python_files(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((REPOSITORY / folder).rglob("*.py"))]


def test_constraints_pin_every_dependency_to_a_version_that_it_allows() -> None:
    versions = pins()
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    for name, requirement in requirements([*PROJECT["dependencies"], *extras]).items():
        assert name in versions, f"{name} is not in constraints.txt"
        assert requirement.specifier.contains(versions[name]), (
            f"{requirement} does not allow {versions[name]}"
        )


def test_constraints_pin_whatever_is_installed_for_them() -> None:
    """Indirect dependencies are pinned too, so that installations do not depend on their date."""
    from importlib.metadata import distribution

    versions = pins()
    waiting = list(requirements(PROJECT["dependencies"]).values())
    seen: set[str] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        assert name in versions, f"{name} is not in constraints.txt"
        waiting.extend(Requirement(line) for line in distribution(name).requires or [])


def test_every_import_is_a_declared_dependency() -> None:
    declared = set(requirements([*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dask"]]))
    declared |= set(requirements(PROJECT["optional-dependencies"]["ray"]))
    declared |= set(requirements(PROJECT["optional-dependencies"]["landmarks"]))
    for path in python_files("kpbe", "flows", "reports"):
        for package in imports(path) - OWN - sys.stdlib_module_names:
            names = {canonicalize_name(name) for name in DISTRIBUTIONS.get(package, [package])}
            assert names & declared, (
                f"{path.relative_to(REPOSITORY)} imports {package}, which pyproject.toml does not name"
            )


def test_the_library_imports_no_workflow_tool() -> None:
    for path in python_files("kpbe"):
        assert not imports(path) & {"prefect", "dvc", "streamlit", "flows", "reports"}, path


@pytest.mark.parametrize("target", ["repro", "test", "report", "ui", "params", "lint", "docs", "clean"])
def test_make_targets_can_be_made(target: str) -> None:
    result = subprocess.run(["make", "-n", target], cwd=REPOSITORY, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_ci_checks_the_code_and_runs_the_tests() -> None:
    script = REPOSITORY / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True)
    assert script.read_text(encoding="utf-8").rstrip().endswith("make lint\nmake test")


def test_dvc_composes_params_and_calls_nobody() -> None:
    config = configparser.ConfigParser()
    config.read_string(
        re.sub(r"^\s+", "", (REPOSITORY / ".dvc/config").read_text(encoding="utf-8"), flags=re.M)
    )
    assert config["hydra"].getboolean("enabled")
    assert not any(config["core"].getboolean(key) for key in ("analytics", "autostage", "check_update"))


def stage_outputs() -> dict[str, bool]:
    """Outputs of dvc.yaml and whether DVC keeps them in its cache."""
    outputs = {}
    for stage in yaml.safe_load((REPOSITORY / "dvc.yaml").read_text(encoding="utf-8"))["stages"].values():
        for item in [*stage.get("outs", []), *stage.get("metrics", [])]:
            path, options = next(iter(item.items())) if isinstance(item, dict) else (item, {})
            outputs[path.replace("${item.backend}", "wav2lip")] = options.get("cache", True)
    return outputs


@pytest.mark.parametrize(("path", "cached"), stage_outputs().items())
def test_git_ignores_what_dvc_keeps_and_keeps_the_metrics(path: str, cached: bool) -> None:
    ignored = subprocess.run(["git", "check-ignore", "-q", path], cwd=REPOSITORY).returncode == 0
    assert ignored == cached


def test_nothing_here_names_this_machine() -> None:
    files = [
        "constraints.txt",
        "pyproject.toml",
        "dvc.yaml",
        "params.yaml",
        "Makefile",
        ".ci/run",
        ".dvc/config",
    ]
    for name in [
        *files,
        *(path.relative_to(REPOSITORY).as_posix() for path in python_files("kpbe", "flows")),
    ]:
        text = (REPOSITORY / name).read_text(encoding="utf-8")
        assert "/work/" not in text, name
        assert "index-url" not in text, name
