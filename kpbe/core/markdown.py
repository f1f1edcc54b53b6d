"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

NONE = slice(0, 0)


def markdown_table(lines: Sequence[Sequence[str]], numbers: slice = NONE) -> str:
    """A Markdown table.

    Args:
        lines: the column names, then the rows, all of equal length; a `|` in a cell is escaped.
        numbers: columns that are aligned to the right.
    """
    rule = ["---"] * len(lines[0])
    rule[numbers] = ["---:"] * len(rule[numbers])
    escaped = [[cell.replace("|", "\\|") for cell in cells] for cells in lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (escaped[0], rule, *escaped[1:]))
