from __future__ import annotations

import csv
import os

import pytest

from kpbe.checkpoints import catalogue
from kpbe.errors import MissingWeights


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """An empty repository root as working directory, beside no shared folder."""
    root = tmp_path / "repository"
    root.mkdir()
    monkeypatch.chdir(root)
    monkeypatch.delenv("KPBE_WEIGHTS", raising=False)
    return root


def test_folders_of_the_environment_come_before_the_repository(repository, tmp_path, monkeypatch):
    file = catalogue.CATALOGUE["yunet"].file
    shared = repository.parent / "shared" / "weights"
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (shared, repository / "weights", second):
        folder.mkdir(parents=True)
        (folder / file).touch()
    monkeypatch.setenv("KPBE_WEIGHTS", os.pathsep.join(map(str, (first, second))))
    assert catalogue.find("yunet") == second / file
    monkeypatch.delenv("KPBE_WEIGHTS")
    found = catalogue.find("yunet")
    assert found is not None and found.samefile(repository / "weights" / file)
    (repository / "weights" / file).unlink()
    found = catalogue.find("yunet")
    assert found is not None and found.samefile(shared / file)


def test_missing_file_says_what_where_from_and_where_to(repository):
    assert catalogue.find("wav2lip_gan") is None
    with pytest.raises(MissingWeights) as error:
        catalogue.require("wav2lip_gan")
    message = str(error.value)
    assert all(
        word in message for word in ("wav2lip_gan.pth", "Rudrabha/Wav2Lip", "KPBE_WEIGHTS", "weights/")
    )
    assert "\n" not in message


def test_changed_file_is_told_from_the_published_one(tmp_path):
    path = tmp_path / "weights.onnx"
    path.write_bytes(b"cut short")
    assert catalogue.is_published_file("yunet", path) is False
    assert catalogue.is_published_file("wav2lip_gan", path) is None


def test_catalogue_agrees_with_the_shared_manifest(shared_weights, monkeypatch):
    monkeypatch.setenv("KPBE_WEIGHTS", str(shared_weights))
    with (shared_weights / "MANIFEST.csv").open() as file:
        published = {row["file"]: row["sha256"] for row in csv.DictReader(file)}
    catalogued = {entry.file: entry.sha256 for entry in catalogue.CATALOGUE.values()}
    assert published.items() <= catalogued.items()
    for name, entry in catalogue.CATALOGUE.items():
        if entry.file in published:
            assert catalogue.is_published_file(name, catalogue.require(name))
