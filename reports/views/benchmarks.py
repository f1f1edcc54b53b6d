"""The speed claims: every benchmark's tables, as its script wrote them."""

from __future__ import annotations

import re
from pathlib import Path

import streamlit as st

from reports import project
from reports.layout import BACKEND_COLOR, ENHANCED_COLOR, Card, Cell, cards, heading, not_yet, section, table
from reports.markdown import Block, Heading, Table, Text, blocks, is_bold, plain

FOLDER = "benchmarks"
RATIO = "ratio"


def page() -> None:
    """The whole page."""
    files = {title_of(path): path for path in sorted(project.place(FOLDER).glob("*.md"))}
    if not files:
        not_yet("Benchmarks", "No benchmark has been run yet.", "python -m benchmarks.backends")
    heading(
        "Benchmarks",
        "Ours and its peer, timed in turns in one run on one machine.",
        faint="Each table is written by a script in benchmarks/; run it on your machine for your numbers.",
    )
    titles = list(files)
    chosen = titles[0]
    if len(titles) > 1:
        chosen = (
            st.segmented_control("Benchmark", titles, default=chosen, label_visibility="collapsed") or chosen
        )
    found = list(blocks(files[chosen].read_text(encoding="utf-8")))
    cards(ratio_cards(found))
    for block in found:
        show(block)


def title_of(path: Path) -> str:
    """A benchmark's title: the first heading of its file."""
    found = blocks(path.read_text(encoding="utf-8"))
    return next((block.text for block in found if isinstance(block, Heading)), path.stem)


def ratio_cards(found: list[Block]) -> list[Card]:
    """A card for each line of a table with a column "ratio", with the two numbers before it that it is of."""
    cards = []
    for block in found:
        heads = [head.lower() for head in block.head] if isinstance(block, Table) else []
        if not isinstance(block, Table) or RATIO not in heads or heads.index(RATIO) < 3:
            continue
        place = heads.index(RATIO)
        for row in block.rows:
            lines = [f"{block.head[i]} {_two_lines(plain(row[i]))[0]}" for i in (place - 2, place - 1)]
            cards.append(Card(plain(row[0]), f"{plain(row[place])}×", tuple(lines), _color(row[place])))
    return cards


def show(block: Block) -> None:
    """A part of the file in the looks of the site."""
    if isinstance(block, Heading):
        if block.level > 1:
            section(block.text)
    elif isinstance(block, Text):
        st.markdown(block.text)
    else:
        table(block.head, [_row(block, row) for row in block.rows])


def _row(block: Table, row: tuple[str, ...]) -> list[Cell]:
    looks = ["left" if left or not position else "" for position, left in enumerate(block.left)]
    return [
        Cell(*_two_lines(plain(text)), look=f"{look} strong" if is_bold(text) else look)
        for text, look in zip(row, looks, strict=True)
    ]


def _two_lines(text: str) -> tuple[str, str]:
    """A number, and its range in brackets below it."""
    found = re.fullmatch(r"(\S+) \((\S+ to \S+)\)", text)
    return (found[1], found[2]) if found else (text, "")


def _color(ratio: str) -> str:
    try:
        return ENHANCED_COLOR if float(plain(ratio)) >= 1 else BACKEND_COLOR
    except ValueError:
        return "inherit"


page()
