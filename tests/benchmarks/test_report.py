"""Benchmarks' pages: Markdown for people, the same as JSON for the site."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.report import page, table, write_page

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_a_page_is_written_as_markdown_and_as_json(tmp_path: Path) -> None:
    made = page(["# Title", "", "- a\n- b", "## Speed", table(("what", "ratio"), [("x", "**2**")])])
    write_page(tmp_path / "page.md", made)
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert text == "# Title\n\n- a\n- b\n\n## Speed\n\n| what | ratio |\n| --- | ---: |\n| x | **2** |\n"
    assert json.loads((tmp_path / "page.json").read_text(encoding="utf-8")) == [
        {"heading": "Title", "level": 1},
        {"text": "- a\n- b"},
        {"heading": "Speed", "level": 2},
        {"head": ["what", "ratio"], "rows": [["x", "**2**"]]},
    ]


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("*.md")), ids=lambda path: path.name)
def test_every_page_has_its_json(path: Path) -> None:
    blocks = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    lines = path.read_text(encoding="utf-8").splitlines()
    assert {"heading": lines[0].removeprefix("# "), "level": 1} == blocks[0]
    cells = {cell for block in blocks for row in block.get("rows", ()) for cell in row if cell}
    text = "\n".join(lines)
    assert cells and all(cell in text for cell in cells)
