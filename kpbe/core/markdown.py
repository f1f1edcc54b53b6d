"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

NONE = slice(0, 0)


def markdown_table(lines: Sequence[Sequence[str]], numbers: slice = NONE) -> str:
    """A Markdown table.

    Args:
        lines: names of the columns, then the rows, as many cells each; a `|` in a cell is escaped.
        numbers: columns that are aligned to the right.
    """
    rule = ["---"] * len(lines[0])
    rule[numbers] = ["---:"] * len(rule[numbers])
    escaped = [[cell.replace("|", "\\|") for cell in cells] for cells in lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (escaped[0], rule, *escaped[1:]))
