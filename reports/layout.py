"""The look of all pages: styles, headings, score cards, tables, notices. Texts are escaped here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import NoReturn

import streamlit as st

from kpbe.evaluation.statistics import Mean, PairedDifference
from kpbe.evaluation.tables import DECIMALS
from kpbe.methods import STATIC_SOURCE, is_control, is_enhanced

ENHANCED_COLOR = "#3b7ddd"
BACKEND_COLOR = "#e0812f"
STATIC_COLOR = "#8f959e"
LONGEST_NAME = 32

STYLE = """
<style>
.stMainBlockContainer { max-width: 1120px; padding-left: 1.5rem; padding-right: 1.5rem; padding-bottom: 4rem; }
.stMainBlockContainer h1 { letter-spacing: -0.01em; padding: 0 0 0.2rem; }
.stMainBlockContainer h2 { margin-top: 1.6rem; padding: 0 0 0.3rem; }
.kp-lead { font-size: 1.3rem; line-height: 1.5; max-width: 54rem; margin: 0; text-wrap: pretty; }
.kp-lead + .kp-lead { margin-top: 0.35rem; }
.kp-badges { display: flex; flex-wrap: wrap; gap: 0.4rem; padding-top: 0.15rem; }
.kp-badge { border: 1px solid var(--kp-line); border-radius: 99px; padding: 0.18rem 0.75rem; font-size: 0.84rem; }
.kp-badge span { opacity: 0.65; margin-right: 0.35rem; }
.kp-badges, .kp-facts { --kp-line: color-mix(in srgb, currentColor 16%, transparent); }
.kp-facts { display: grid; grid-template-columns: minmax(9rem, max-content) 1fr; margin: 0; }
.stHtml dl.kp-facts { padding: 0; font-size: 0.92rem; line-height: 1.55; }
.kp-facts dt, .kp-facts dd { margin: 0; padding: 0.35rem 0; border-bottom: 1px solid var(--kp-line); overflow-wrap: anywhere; }
.kp-facts dt { opacity: 0.65; padding-right: 1.5rem; }
dl.kp-facts dt::first-letter { text-transform: uppercase; }
.kp-facts .alone { grid-column: 1 / -1; }
.kp-faint { opacity: 0.68; font-size: 0.9rem; line-height: 1.5; margin: 0; max-width: 52rem; }
.kp-cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); gap: 0.9rem; }
.kp-card { border: 1px solid var(--kp-line); border-radius: 0.6rem; padding: 0.95rem 1.1rem 0.9rem; min-width: 0; }
.kp-card { background: color-mix(in srgb, currentColor 2.5%, transparent); }
.kp-label { font-size: 0.8rem; letter-spacing: 0.03em; opacity: 0.72; }
.kp-big { font-size: 1.9rem; font-weight: 600; line-height: 1.25; font-variant-numeric: tabular-nums; }
.kp-small { font-size: 0.84rem; opacity: 0.78; font-variant-numeric: tabular-nums; line-height: 1.5; }
.kp-scroll { overflow-x: auto; }
.kp-scroll, .kp-card { --kp-line: color-mix(in srgb, currentColor 16%, transparent); }
table.kp { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 0.95rem; }
table.kp th { font-weight: 600; font-size: 0.82rem; text-align: right; padding: 0.45rem 0.75rem; white-space: nowrap; }
table.kp td { text-align: right; padding: 0.5rem 0.75rem; white-space: nowrap; vertical-align: top; }
table.kp td, table.kp th { border: 0; border-bottom: 1px solid var(--kp-line); }
table.kp thead th { border-bottom-color: color-mix(in srgb, currentColor 45%, transparent); }
table.kp thead { border-top: 1.5px solid color-mix(in srgb, currentColor 70%, transparent); }
table.kp tbody { border-bottom: 1.5px solid color-mix(in srgb, currentColor 70%, transparent); }
table.kp .left { text-align: left; }
table.kp td.wrap { white-space: normal; min-width: 16rem; overflow-wrap: anywhere; }
table.kp small { display: block; opacity: 0.65; font-size: 0.8rem; }
table.kp .paper { opacity: 0.65; font-style: italic; }
.kp-dot { display: inline-block; width: 0.6rem; height: 0.6rem; border-radius: 50%; margin-right: 0.5rem; }
.kp-notes { margin: 0; padding-left: 1.1rem; font-size: 0.92rem; line-height: 1.6; max-width: 52rem; }
.kp-notes li { margin: 0.15rem 0; overflow-wrap: anywhere; }
.kp-empty { border: 1px dashed color-mix(in srgb, currentColor 35%, transparent); border-radius: 0.6rem; }
.kp-empty { padding: 2rem 2rem 2.1rem; max-width: 46rem; margin-top: 0.8rem; }
.kp-empty b { font-size: 1.1rem; }
.kp-empty code { font-size: 0.95rem; padding: 0.15rem 0.45rem; border-radius: 0.3rem; }
.kp-empty code { background: color-mix(in srgb, currentColor 9%, transparent); }
@media (max-width: 640px) {
  .stMainBlockContainer { padding-left: 1rem; padding-right: 1rem; }
  .kp-big { font-size: 1.6rem; }
  .kp-lead { font-size: 1.12rem; }
  .kp-facts { grid-template-columns: 1fr; }
  .kp-facts dt { border: 0; padding-bottom: 0; }
  .kp-facts dd { padding-top: 0; }
  table.kp th, table.kp td { padding-left: 0.45rem; padding-right: 0.45rem; }
}
</style>
"""


@dataclass(frozen=True)
class Card:
    """A number that stands out: label, value, and lines below it."""

    label: str
    value: str
    lines: tuple[str, ...] = ()
    color: str = "inherit"


@dataclass(frozen=True)
class Cell:
    """A cell of a table: text, a second line in small letters, look, and colour of a dot.

    The look is a combination of "left", "wrap", "paper" and "strong".
    """

    text: str
    below: str = ""
    look: str = ""
    dot: str = ""


def heading(title: str, *lead: str, faint: str = "") -> None:
    """Show the head of a page: its title, a few leading sentences, and the fine print."""
    st.title(title, anchor=False)
    st.html("".join(f'<p class="kp-lead">{escape(sentence)}</p>' for sentence in lead))
    if faint:
        st.html(f'<p class="kp-faint">{escape(faint)}</p>')


def badges(shown: Sequence[tuple[str, str]]) -> None:
    """Show short facts in a row, each a name (may be empty) and a value."""
    parts = []
    for name, value in shown:
        label = f"<span>{escape(name)}</span>" if name else ""
        parts.append(f'<div class="kp-badge">{label}{escape(value)}</div>')
    st.html(f'<div class="kp-badges">{"".join(parts)}</div>')


def section(title: str, faint: str = "") -> None:
    """Show the head of a part of a page, with fine print below it."""
    st.header(title, anchor=False)
    if faint:
        st.html(f'<p class="kp-faint">{escape(faint)}</p>')


def not_yet(title: str, text: str, command: str = "make repro") -> NoReturn:
    """Say that a stage has not run and which command runs it, and end the page."""
    st.title(title, anchor=False)
    st.html(
        f'<div class="kp-empty"><b>{escape(text)}</b><br><br>Run <code>{escape(command)}</code> first; '
        "then reload this page.</div>"
    )
    st.stop()


def cards(shown: Sequence[Card]) -> None:
    """Show cards side by side, or below each other where there is little room."""
    parts = []
    for card in shown:
        lines = "".join(f'<div class="kp-small">{escape(line)}</div>' for line in card.lines)
        parts.append(
            f'<div class="kp-card"><div class="kp-label">{escape(card.label)}</div>'
            f'<div class="kp-big" style="color:{card.color}">{escape(card.value)}</div>{lines}</div>'
        )
    st.html(f'<div class="kp-cards">{"".join(parts)}</div>')


def table(head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Show a table as papers print it; "left" and "paper" looks of the first row also apply to the head."""
    looks = [cell.look for cell in rows[0]] if rows else [""] * len(head)
    heads = "".join(
        f'<th class="{look.replace("wrap", "left")}">{escape(text)}</th>'
        for text, look in zip(head, looks, strict=True)
    )
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    st.html(
        f'<div class="kp-scroll"><table class="kp"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def rejection_table(rejections: Sequence[Mapping[str, str]]) -> None:
    """Show rejected clips (rows of rejected.csv): clip, stage and reason."""
    rows = [
        [Cell(row["clip_id"] or row["path"], row["stage"], "left"), Cell(row["reason"], look="wrap")]
        for row in rejections
    ]
    table(("Clip", "Reason"), rows)


def notes(lines: Sequence[str]) -> None:
    """Show lines of fine print as a list."""
    st.html(f'<ul class="kp-notes">{"".join(f"<li>{escape(line)}</li>" for line in lines)}</ul>')


def facts(lines: Sequence[str]) -> None:
    """Show lines of the form "name: text" as two columns; a line without a colon spans both."""
    parts = []
    for line in lines:
        name, colon, text = line.partition(": ")
        if colon and len(name) <= LONGEST_NAME:
            parts.append(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>")
        else:
            parts.append(f'<dd class="alone">{escape(line)}</dd>')
    st.html(f'<dl class="kp-facts">{"".join(parts)}</dl>')


def _cell(cell: Cell) -> str:
    text = escape(cell.text)
    if cell.dot:
        text = f'<span class="kp-dot" style="background:{cell.dot}"></span>{text}'
    if "strong" in cell.look:
        text = f"<b>{text}</b>"
    below = f"<small>{escape(cell.below)}</small>" if cell.below else ""
    look = cell.look.replace("wrap", "left wrap")
    return f'<td class="{look}">{text}{below}</td>'


def downloads(folder: Path, kinds: Mapping[str, str]) -> None:
    """Show a download button for each file of `kinds` (name to MIME type) that exists in the folder."""
    with st.container(horizontal=True, gap="small"):
        for name, kind in kinds.items():
            path = folder / name
            if path.is_file():
                st.download_button(
                    name,
                    path.read_bytes(),
                    name,
                    kind,
                    icon=":material/download:",
                    on_click="ignore",
                    type="tertiary",
                )


def counted(count: int, thing: str) -> str:
    """A count with its noun: "1 clip", "2 clips", "3 identities"."""
    plural = f"{thing[:-1]}ies" if thing.endswith("y") else f"{thing}s"
    return f"{count:,} {thing if count == 1 else plural}"


def duration(seconds: float) -> str:
    """A time in seconds, minutes or hours, with its unit."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


# -- numbers -----------------------------------------------------------------------------------------------


def method_color(method: str) -> str:
    """The colour of a method, the same on every page."""
    if method == STATIC_SOURCE or is_control(method):
        return STATIC_COLOR
    return ENHANCED_COLOR if is_enhanced(method) else BACKEND_COLOR


def number(value: float, metric: str, sign: str = "") -> str:
    """A metric's value with its number of decimals."""
    return f"{value:{sign}.{DECIMALS[metric]}f}".replace("-", "−")


def in_decimals(value: float, name: str) -> str:
    """A value with its metric's decimals, or with four digits if `name` is not a metric of Table I."""
    return number(value, name) if name in DECIMALS else f"{value:.4g}"


def interval(value: Mean | PairedDifference, metric: str, sign: str = "") -> str:
    """A 95 % interval as "low to high"; empty when there is none."""
    if value.low is None or value.high is None:
        return ""
    return f"{number(value.low, metric, sign)} to {number(value.high, metric, sign)}"


def p_value(p: float | None) -> str:
    """A p-value in words, e.g. "p < 0.001"; "–" for None."""
    if p is None:
        return "–"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
