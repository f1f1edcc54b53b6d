"""Markdown of benchmarks taken apart."""

from __future__ import annotations

import pytest

from reports.markdown import Heading, Table, Text, blocks, is_bold, plain


def test_a_file_becomes_headings_texts_and_tables_in_order() -> None:
    source = "# Title\n\nWords\n- one\n- two\n\n## Speed\n| a | b |\n|---|---:|\n| x | **2** |\n| y \\| z |\nafter\n"
    found = list(blocks(source))
    assert found == [
        Heading(1, "Title"),
        Text("Words\n- one\n- two"),
        Heading(2, "Speed"),
        Table(("a", "b"), (("x", "**2**"), ("y | z", "")), (True, False)),
        Text("after"),
    ]


def test_a_line_with_bars_alone_is_no_table() -> None:
    assert list(blocks("| not | a table |\n")) == [Text("| not | a table |")]


@pytest.mark.parametrize(
    ("cell", "words"), [("**3.4**", "3.4"), ("`make`", "make"), ("a **b** c", "a b c"), ("7", "7")]
)
def test_cells_are_shown_without_marks(cell: str, words: str) -> None:
    assert plain(cell) == words
    assert is_bold(cell) == (cell == "**3.4**")
