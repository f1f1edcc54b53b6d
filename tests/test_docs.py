"""The page that maps the paper to this code names only things that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

import kpbe
from kpbe.media.video_writer import write_video

REPOSITORY = Path(__file__).resolve().parents[1]
ROWS = [
    line
    for line in (REPOSITORY / "docs" / "paper.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and "`" in line
]


@pytest.mark.parametrize("row", ROWS)
def test_files_and_names_of_the_map_exist(row: str) -> None:
    _, _, files, params, _ = row.split("|")
    source = ""
    for name in re.findall(r"`([^`]+)`", files):
        place = REPOSITORY / "kpbe" / name
        if "/" in name or name.endswith(".py"):
            assert place.exists(), name
            source = place.read_text(encoding="utf-8") if place.is_file() else ""
        else:
            assert re.search(rf"\b(def|class) {name.rsplit('.')[-1]}\b", source), name
    values = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
    for name in re.findall(r"`([a-z_0-9.]+)`", params):
        found = values
        for key in name.split(".") if "." in name or name in values else ():
            assert key in found, name
            found = found[key]


def test_every_page_is_in_the_navigation() -> None:
    pages = {path.relative_to(REPOSITORY / "docs").as_posix() for path in (REPOSITORY / "docs").rglob("*.md")}
    navigation = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
    assert {page for page in pages if page not in navigation} == set()


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    picture = (
        np.random.default_rng(0).integers(40, 200, (8, 8, 3)).astype(np.uint8).repeat(16, 0).repeat(16, 1)
    )
    write_video(tmp_path / "talking.mp4", [np.roll(picture, k, axis=1) for k in range(10)], 25)
    Image.fromarray(picture).save(tmp_path / "face.png")
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["rendered"].shape == (8, 128, 128, 3) and names["turned"].shape == (128, 128, 3)
    assert names["scores"]["psnr"] > 5 and (tmp_path / "better.mp4").is_file()
    assert set(kpbe.EXPORTS) <= set(dir(kpbe))
    for name in kpbe.EXPORTS:
        assert getattr(kpbe, name).__doc__
