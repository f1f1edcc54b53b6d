"""Breaks the method on purpose, one way at a time, and shows that a test notices.

    python -m tests.method.mutations [name ...]          (or `make mutations`; about eight minutes)

Each mutation replaces lines of the code in a copy of the repository and runs the tests that guard them. A
mutation that no test notices is an error. Whoever rewrites the replaced lines moves the mutation along:
`test_mutations.py` fails when one no longer applies.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
COPIED = ("kpbe", "flows", "tests", "conf", "params.yaml", "pyproject.toml", "dvc.yaml", "weights")


@dataclass(frozen=True)
class Mutation:
    """One way of breaking the method.

    Attributes:
        name: what is broken.
        file: which file is changed.
        changes: (old, new) texts; each old text stands in the file exactly once.
        tests: files of which at least one test must fail.
    """

    name: str
    file: str
    changes: tuple[tuple[str, str], ...]
    tests: tuple[str, ...]

    def apply(self, root: Path) -> None:
        """Change the file below `root`.

        Raises:
            ValueError: an old text is not there exactly once.
        """
        path = root / self.file
        text = path.read_text(encoding="utf-8")
        for old, new in self.changes:
            if text.count(old) != 1:
                raise ValueError(f"{self.name}: {self.file} holds {text.count(old)} times, not once: {old}")
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")


def load_mutations() -> list[Mutation]:
    """The mutations of mutations.yaml."""
    content = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return [
        Mutation(
            item["name"],
            item["file"],
            tuple((change["old"], change["new"]) for change in item["changes"]),
            tuple(item["tests"]),
        )
        for item in content
    ]


def copy_repository(root: Path) -> None:
    """The code and its tests, below `root`."""
    for name in COPIED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, root / name)


def run_tests(tests: Sequence[str], mutation: Mutation | None = None) -> str | None:
    """The first test that fails in a copy of the repository, mutated or not; None when all pass.

    Raises:
        RuntimeError: the tests did not run.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "kpbe"
        root.mkdir()
        copy_repository(root)
        if mutation is not None:
            mutation.apply(root)
        shared = os.environ.get("KPBE_SHARED", str(REPOSITORY.parent / "shared"))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
        environment = os.environ | {"KPBE_SHARED": shared}
        run = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    if run.returncode == 0:
        return None
    failed = [line for line in run.stdout.splitlines() if line.startswith("FAILED")]
    if run.returncode != 1 or not failed:
        raise RuntimeError(f"{tests}: the tests did not run:\n{run.stdout[-3000:]}{run.stderr[-1000:]}")
    return failed[0].split(" ")[1].split("/")[-1]


def main(names: Sequence[str]) -> None:
    """Entry point; exits with 1 when a mutation goes unnoticed."""
    chosen = [mutation for mutation in load_mutations() if not names or mutation.name in names]
    files = sorted({test for mutation in chosen for test in mutation.tests})
    if broken := run_tests(files):
        sys.exit(f"{broken} fails without any mutation: mend it first.")
    unnoticed = []
    for mutation in chosen:
        test = run_tests(mutation.tests, mutation)
        print(f"{'red  ' if test else 'GREEN'}  {mutation.name}: {test or 'no test notices'}", flush=True)
        if test is None:
            unnoticed.append(mutation.name)
    if unnoticed:
        sys.exit(f"unnoticed: {'; '.join(unnoticed)}")


if __name__ == "__main__":
    main(sys.argv[1:])
