"""Lists as spreadsheets and editors leave them."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpbe.core.spreadsheets import existing_path, read_spreadsheet
from kpbe.errors import KPBEError

COLUMNS = ("path", "identity", "split")
ROWS = [["a.mp4", "anna", "train"], ["b.mp4", "änd, ré", "test"]]


def table(delimiter: str = ",", end: str = "\n", first: str = "") -> str:
    lines = [list(COLUMNS), *ROWS]
    return first + "".join(
        delimiter.join(f'"{cell}"' if delimiter in cell else cell for cell in line) + end for line in lines
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_encoding_and_delimiter_gives_the_same_rows(
    encoding: str, delimiter: str, end: str, tmp_path: Path
) -> None:
    (tmp_path / "list.csv").write_bytes(table(delimiter, end).encode(encoding))
    rows = read_spreadsheet(tmp_path / "list.csv", COLUMNS)
    assert rows == [(line, dict(zip(COLUMNS, row, strict=True))) for line, row in enumerate(ROWS, 2)]


def test_excels_first_line_empty_rows_and_spaces_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("sep=;\r\n path ; identity;split;note\r\n\r\n a b.mp4 ;anna;train\r\n;;;\r\n", newline="")
    assert read_spreadsheet(path, COLUMNS) == [
        (4, {"path": "a b.mp4", "identity": "anna", "split": "train", "note": ""})
    ]


def test_what_is_no_list_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    for content, said in (
        (b"path;identity\r\n", "has no column split"),
        (b"", "has no column path, identity, split"),
        (b"path,identity,split\na,b,train,extra\n", "line 2: 4 cells for 3 columns"),
        (b"\x00\x01\x02" * 50, "is no text"),
        (b'path,identity,split\n"a,b,train\n', "is no table"),
    ):
        path.write_bytes(content)
        with pytest.raises(KPBEError, match=said) as caught:
            read_spreadsheet(path, COLUMNS)
        assert "list.csv" in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError):
        read_spreadsheet(tmp_path / "none.csv", COLUMNS)


def test_a_path_of_windows_finds_its_file(tmp_path: Path) -> None:
    (tmp_path / "anna").mkdir()
    (tmp_path / "anna" / "1.mp4").touch()
    assert existing_path(tmp_path, "anna\\1.mp4") == tmp_path / "anna/1.mp4"
    (tmp_path / "odd\\name.mp4").touch()
    assert existing_path(tmp_path, "odd\\name.mp4") == tmp_path / "odd\\name.mp4"
