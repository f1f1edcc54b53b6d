"""Benchmarks are written as Markdown; here it is taken apart, so that tables get the looks that tables have
on this site.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

RULE = re.compile(r"^\|?[\s:|-]*-[\s:|-]*\|?$")


@dataclass(frozen=True)
class Heading:
    """A heading and its level, 1 for the title."""

    level: int
    text: str


@dataclass(frozen=True)
class Text:
    """Paragraphs and lists, still Markdown."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table's texts (still Markdown); `left` tells the columns of words from those of numbers."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: tuple[bool, ...]


Block = Heading | Text | Table


def blocks(markdown: str) -> Iterator[Block]:
    """Headings, tables and what lies between them, in their order."""
    text: list[str] = []
    lines = markdown.splitlines()
    at = 0
    while at < len(lines):
        line = lines[at]
        is_table = line.lstrip().startswith("|") and at + 1 < len(lines) and RULE.match(lines[at + 1].strip())
        if is_table or line.startswith("#"):
            if any(part.strip() for part in text):
                yield Text("\n".join(text).strip())
            text = []
        if is_table:
            end = at
            while end < len(lines) and lines[end].lstrip().startswith("|"):
                end += 1
            yield _table(lines[at:end])
            at = end
            continue
        if line.startswith("#"):
            level = len(line) - len(line.lstrip("#"))
            yield Heading(level, line[level:].strip())
        else:
            text.append(line)
        at += 1
    if any(part.strip() for part in text):
        yield Text("\n".join(text).strip())


def plain(text: str) -> str:
    """A cell without its marks for bold and code."""
    return re.sub(r"\*\*(.+?)\*\*|`(.+?)`", lambda found: found[1] or found[2], text)


def is_bold(text: str) -> bool:
    """Whether a whole cell is bold."""
    return text.startswith("**") and text.endswith("**") and len(text) > 4


def _table(lines: list[str]) -> Table:
    head, rule, *rows = (_cells(line) for line in lines)
    width = len(head)
    fitted = tuple(tuple((*row, *[""] * width)[:width]) for row in rows)
    return Table(head, fitted, tuple(not mark.endswith(":") for mark in (*rule, *[""] * width)[:width]))


def _cells(line: str) -> tuple[str, ...]:
    inside = line.strip().removeprefix("|").removesuffix("|")
    return tuple(cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", inside))
