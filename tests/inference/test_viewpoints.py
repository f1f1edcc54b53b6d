"""What a user may write down as viewpoints, and what is refused."""

from __future__ import annotations

import json
import math
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kpbe.errors import KPBEError
from kpbe.inference.free_view import View
from kpbe.inference.viewpoints import read_rotations, read_views, viewpoints

IDENTITY = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def about_y(degrees: float) -> list[list[float]]:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [[c, 0, s], [0, 1, 0], [-s, 0, c]]


def text(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rotations(path: Path, content: Any) -> Path:
    return text(path, json.dumps(content))


def test_constants_hold_for_any_number_of_frames() -> None:
    chosen = viewpoints(View(yaw=12.0, z=0.1))
    assert chosen.frames is None
    assert [point.view for point in islice(chosen, 50)] == [View(yaw=12.0, z=0.1)] * 50


@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_a_table_has_any_columns_in_any_order_and_empty_cells_stay_open(tmp_path: Path, start: str) -> None:
    table = text(tmp_path / "a.csv", f"{start}x, Yaw\n0.5,-10\n, 20.5\r\n0,\n\n")
    assert read_views(table) == (("x", "yaw"), [View(yaw=-10, x=0.5), View(yaw=20.5), View(x=0)])
    chosen = viewpoints(View(pitch=3.0), table)
    assert chosen.frames == 3
    assert [point.view.pitch for point in chosen] == [3.0, 3.0, 3.0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "has no row"),
        ("yaw,pitch\n", "has no row"),
        ("yaw,turn\n1,2\n", "'turn' is no column of views.*yaw,pitch,roll,x,y,z"),
        ("yaw,yaw\n1,2\n", "a column twice"),
        ("yaw,x\n1,2\n1\n", "line 3: 1 cells for 2 columns"),
        ("yaw\n1,5\n", "line 2: 2 cells for 1 columns; write numbers with a decimal point"),
        ("yaw\n1\n\n2\n", "line 3: 0 cells"),
        ("yaw,x\n1,2\nleft,2\n", "line 3: yaw is 'left', which is no number"),
        ("yaw,x\n1,nan\n", "line 2: x is nan: give a finite number"),
        ("yaw,x\ninf,0\n", "line 2: yaw is inf"),
        (b"\xff\xfe\x00\x01", "it is no text"),
    ],
)
def test_a_wrong_table_is_refused_with_file_and_line(tmp_path: Path, content: Any, words: str) -> None:
    with pytest.raises(KPBEError, match=rf"(?s)a\.csv.*{words}"):
        viewpoints(View(), text(tmp_path / "a.csv", content))


def test_one_matrix_holds_for_all_frames_and_a_list_for_one_each(tmp_path: Path) -> None:
    one = viewpoints(View(x=0.1), rotation=rotations(tmp_path / "r.json", about_y(20)))
    assert one.frames is None
    point = next(iter(one))
    assert np.asarray(point.rotation).tolist() == about_y(20)
    assert point.view == View(x=0.1)
    many = viewpoints(View(), rotation=rotations(tmp_path / "r.json", [IDENTITY, about_y(20)]))
    assert many.frames == 2
    assert [np.asarray(p.rotation).tolist() for p in many] == [IDENTITY, about_y(20)]


def test_three_decimals_are_a_rotation(tmp_path: Path) -> None:
    rounded = np.round(about_y(20), 3).tolist()
    np.testing.assert_array_equal(read_rotations(rotations(tmp_path / "r.json", rounded)), rounded)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            [[1, 0.1, 0], [0, 1, 0], [0, 0, 1]],
            r"is no rotation: R times its transpose differs from the identity by 0\.1",
        ),
        ([[2, 0, 0], [0, 2, 0], [0, 0, 2]], "is no rotation: R times its transpose"),
        ([[0, 0, 0]] * 3, "is no rotation: R times its transpose"),
        ([[-1, 0, 0], [0, 1, 0], [0, 0, 1]], "is no rotation: its determinant is -1, it mirrors the head"),
        ([[math.nan, 0, 0], [0, 1, 0], [0, 0, 1]], "is no rotation: it holds values that are not finite"),
        ([[math.inf, 0, 0], [0, 1, 0], [0, 0, 1]], "is no rotation: it holds values that are not finite"),
        (
            [IDENTITY, [[1, 0, 0], [0, 1, 0], [0, 0, -1]]],
            "matrix 2 of 2 is no rotation: its determinant is -1",
        ),
        ([[1, 0], [0, 1]], r"holds numbers of the shape \(2, 2\): give a 3x3 matrix"),
        ([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], r"holds numbers of the shape \(3, 4\)"),
        ([1, 0, 0, 0, 1, 0, 0, 0, 1], r"holds numbers of the shape \(9,\)"),
        ([[IDENTITY]], r"holds numbers of the shape \(1, 1, 3, 3\)"),
        ([], r"holds numbers of the shape \(0,\)"),
        ([[1, 0, 0], [0, 1], [0, 0, 1]], "holds no array of numbers"),
        ([["1", "0", "0"], ["0", "1", "0"], ["0", "0", "1"]], "holds no array of numbers"),
        ([[True, False, False], [False, True, False], [False, False, True]], "holds no array of numbers"),
        ([[None, 0, 0], [0, 1, 0], [0, 0, 1]], "holds no array of numbers"),
        ({"rotation": IDENTITY}, "holds no array of numbers"),
    ],
)
def test_what_is_no_rotation_is_refused_with_the_reason(tmp_path: Path, content: Any, words: str) -> None:
    with pytest.raises(KPBEError, match=rf"r\.json.*{words}"):
        read_rotations(rotations(tmp_path / "r.json", content))


def test_files_that_are_missing_or_no_json_are_named(tmp_path: Path) -> None:
    with pytest.raises(KPBEError, match=r"r\.json is no JSON"):
        read_rotations(text(tmp_path / "r.json", "1 0 0\n0 1 0\n0 0 1"))
    with pytest.raises(KPBEError, match=r"r\.json is no JSON"):
        read_rotations(text(tmp_path / "r.json", "[" * 100_000))
    with pytest.raises(KPBEError, match=r"a\.csv is no table"):
        read_views(text(tmp_path / "a.csv", "yaw\n" + "1" * 200_000))
    with pytest.raises(KPBEError, match=r"none\.json cannot be read \(No such file"):
        read_rotations(tmp_path / "none.json")
    with pytest.raises(KPBEError, match=r"none\.csv cannot be read \(No such file"):
        read_views(tmp_path / "none.csv")


def test_nothing_is_given_twice(tmp_path: Path) -> None:
    table, matrix = text(tmp_path / "a.csv", "yaw,x\n1,0\n2,0\n"), rotations(tmp_path / "r.json", IDENTITY)
    with pytest.raises(KPBEError, match=r"^x would come from .*a\.csv and from elsewhere"):
        viewpoints(View(x=0.5), table)
    with pytest.raises(KPBEError, match=r"^yaw would come from .*r\.json and from elsewhere"):
        viewpoints(View(), table, matrix)
    with pytest.raises(KPBEError, match=r"^pitch, roll would come from .*r\.json"):
        viewpoints(View(pitch=1, roll=2), None, matrix)
    places = text(tmp_path / "b.csv", "x\n0.1\n0.2\n0.3\n")
    both = viewpoints(View(y=0.5), places, rotations(tmp_path / "list.json", [IDENTITY, IDENTITY]))
    assert [point.view for point in both] == [View(x=0.1, y=0.5), View(x=0.2, y=0.5)], "the shorter ends it"
    still = viewpoints(View(), places, matrix)
    assert still.frames == 3
    assert all(point.rotation is not None for point in still)
