"""The speed claims: the tables of every benchmark, as its script wrote them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import streamlit as st

from reports import project
from reports.layout import BACKEND_COLOR, ENHANCED_COLOR, Card, Cell, cards, heading, not_yet, section, table

FOLDER = "benchmarks"
RATIO = "ratio"


def page() -> None:
    """The whole page."""
    files = {title_of(path): path for path in sorted(project.place(FOLDER).glob("*.json"))}
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
    blocks = blocks_of(files[chosen])
    cards(ratio_cards(blocks))
    for block in blocks:
        show(block)


def blocks_of(path: Path) -> list[dict[str, Any]]:
    """Headings, paragraphs and tables of a benchmark's page (`benchmarks.report.write_page`)."""
    return json.loads(path.read_text(encoding="utf-8"))


def title_of(path: Path) -> str:
    """A benchmark's title: the first heading of its page."""
    return next((block["heading"] for block in blocks_of(path) if "heading" in block), path.stem)


def ratio_cards(blocks: list[dict[str, Any]]) -> list[Card]:
    """A card for each row of a table that has a column "ratio", with the two numbers it is the ratio of."""
    cards = []
    for block in blocks:
        head = block.get("head", [])
        names = [name.lower() for name in head]
        if RATIO not in names or names.index(RATIO) < 3:
            continue
        place = names.index(RATIO)
        for row in block["rows"]:
            lines = [f"{head[i]} {_two_lines(plain(row[i]))[0]}" for i in (place - 2, place - 1)]
            cards.append(Card(plain(row[0]), f"{plain(row[place])}×", tuple(lines), _color(row[place])))
    return cards


def show(block: dict[str, Any]) -> None:
    """Show a part of a benchmark's page in the style of the site."""
    if "head" in block:
        table(block["head"], [_row(row) for row in block["rows"]])
    elif "text" in block:
        st.markdown(block["text"])
    elif block["level"] > 1:
        section(block["heading"])


def _row(row: list[str]) -> list[Cell]:
    looks = ["left", *[""] * (len(row) - 1)]
    return [
        Cell(*_two_lines(plain(text)), look=f"{look} strong" if is_bold(text) else look)
        for text, look in zip(row, looks, strict=True)
    ]


def plain(text: str) -> str:
    """A cell's text without the Markdown marks for bold and code."""
    return re.sub(r"\*\*(.+?)\*\*|`(.+?)`", lambda match: match[1] or match[2], text)


def is_bold(text: str) -> bool:
    """Whether a whole cell is bold."""
    return text.startswith("**") and text.endswith("**") and len(text) > 4


def _two_lines(text: str) -> tuple[str, str]:
    """Split "number (low to high)" into the number and its range; the range is empty for other text."""
    match = re.fullmatch(r"(\S+) \((\S+ to \S+)\)", text)
    return (match[1], match[2]) if match else (text, "")


def _color(ratio: str) -> str:
    try:
        return ENHANCED_COLOR if float(plain(ratio)) >= 1 else BACKEND_COLOR
    except ValueError:
        return "inherit"


page()
