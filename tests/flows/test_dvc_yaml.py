"""dvc.yaml names the code that each stage runs, so that a change of that code reruns the stage."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
STAGES = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
# What every stage uses; a change of it does not change what a stage makes.
EVERYWHERE = {
    f"kpbe/{name}.py"
    for name in ("__init__", "compute", "errors", "params", "weights", "work", "worker_pool")
}


def imported_files(module: Path) -> set[str]:
    """Files of kpbe that a module imports anywhere, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    files = set()
    for name in names:
        path = REPOSITORY / Path(*name.split("."))
        for candidate in (path.with_suffix(".py"), path / "__init__.py"):
            if name.startswith("kpbe") and candidate.is_file():
                files.add(candidate.relative_to(REPOSITORY).as_posix())
    return files


def code_of(stage: str) -> set[str]:
    """All files of kpbe that a stage's flow imports, directly or not."""
    found: set[str] = set()
    waiting = imported_files(REPOSITORY / "flows" / f"{stage}.py")
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting |= imported_files(REPOSITORY / file)
    return {file for file in found if not file.endswith("__init__.py")} - EVERYWHERE


@pytest.mark.parametrize("stage", STAGES)
def test_code_that_a_stage_runs_is_among_its_dependencies(stage: str) -> None:
    dependencies = [dep for dep in STAGES[stage]["deps"] if dep.startswith(("kpbe", "flows"))]
    missing = {
        file
        for file in code_of(stage)
        if not any(file == dep or file.startswith(f"{dep}/") for dep in dependencies)
    }
    assert not missing
    assert f"flows/{stage}.py" in dependencies


@pytest.mark.parametrize("stage", STAGES)
def test_code_dependencies_exist(stage: str) -> None:
    dependencies = [dep for dep in STAGES[stage]["deps"] if dep.startswith(("kpbe", "flows"))]
    assert [dep for dep in dependencies if not (REPOSITORY / dep).exists()] == []


@pytest.mark.parametrize("stage", STAGES)
def test_command_is_the_flow_of_the_same_name(stage: str) -> None:
    command = STAGES[stage]["cmd"].split()
    assert command[:3] == ["python", "-m", f"flows.{stage}"]
    assert ("--backend" in command) == ("matrix" in STAGES[stage])
