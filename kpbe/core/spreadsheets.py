"""Tables that people wrote: CSV as Excel, LibreOffice, Numbers or an editor leaves it."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from kpbe.errors import KPBEError

MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order marks and the encodings that they tell."""

DELIMITERS = ",;\t|"


def read_text(path: Path | str) -> str:
    """The text of a file in UTF-8, UTF-16 or, where it is neither, Windows-1252 (Western European).

    Raises:
        FileNotFoundError: there is no such file.
        KPBEError: it holds no text.
    """
    content = Path(path).read_bytes()
    encoding = next((name for mark, name in MARKS.items() if content.startswith(mark)), None)
    if encoding is None and content[1::2].count(0) > len(content) / 4:
        encoding = "utf-16-le"
    elif encoding is None and content[::2].count(0) > len(content) / 4:
        encoding = "utf-16-be"
    for name in (encoding,) if encoding else ("utf-8", "cp1252"):
        try:
            text = content.decode(name)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise KPBEError(f"{path} is no text: save it as CSV (UTF-8).")


def read_spreadsheet(path: Path | str, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Rows of a table with their line numbers; separated by commas, semicolons, tabs or bars.

    Names of columns and cells are stripped of spaces around them; empty rows are left out.

    Args:
        path: the file.
        columns: those it must have; it may have others.

    Returns:
        (line, row) pairs, in order; cells that a row lacks are empty.

    Raises:
        FileNotFoundError: there is no such file.
        KPBEError: it is no table, lacks a column, or a row has more cells than the first line; the message
            names the line.
    """
    lines = list(StringIO(read_text(path)))
    skipped = 1 if lines and lines[0].lower().startswith("sep=") else 0
    lines = lines[skipped:]
    head = lines[0].strip() if lines else ""
    delimiter = max(DELIMITERS, key=lambda d: (_has(head, d, columns), head.count(d)))
    try:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        names = [name.strip() for name in next(reader, [])]
        if missing := [name for name in columns if name not in names]:
            raise KPBEError(
                f"{path} has no column {', '.join(missing)}: its first line must name {', '.join(columns)}."
            )
        rows = []
        for cells in reader:
            line = reader.line_num + skipped
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) > len(names) and any(cell.strip() for cell in cells[len(names) :]):
                raise KPBEError(f"{path}, line {line}: {len(cells)} cells for {len(names)} columns.")
            row = dict.fromkeys(names, "")
            row |= {name: cell.strip() for name, cell in zip(names, cells, strict=False)}
            rows.append((line, row))
    except csv.Error as error:
        raise KPBEError(f"{path} is no table ({error}): save it as CSV.") from None
    return rows


def existing_path(folder: Path, text: str) -> Path:
    """The file that a cell names, counted from `folder`; backslashes part folders where that makes a file."""
    path = folder / text
    turned = folder / text.replace("\\", "/")
    return turned if not path.exists() and turned.exists() else path


def _has(head: str, delimiter: str, columns: Sequence[str]) -> int:
    cells = {cell.strip().strip('"') for cell in head.split(delimiter)}
    return sum(name in cells for name in columns)
