"""The mutations that check the method's tests still apply to the code (`make mutations` runs them)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.method.mutations import REPOSITORY, Mutation, load_mutations


@pytest.mark.parametrize("mutation", load_mutations(), ids=lambda mutation: mutation.name)
def test_a_mutation_changes_the_code(mutation: Mutation, tmp_path: Path) -> None:
    path = tmp_path / mutation.file
    path.parent.mkdir(parents=True)
    shutil.copy2(REPOSITORY / mutation.file, path)
    mutation.apply(tmp_path)
    assert path.read_text() != (REPOSITORY / mutation.file).read_text()
    assert all((REPOSITORY / test).is_file() for test in mutation.tests)
