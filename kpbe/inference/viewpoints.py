"""Viewpoints that a user defines: constants, a table with a row for each frame, rotation matrices (paper
IV.F).
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import repeat
from typing import Any, Protocol

import numpy as np

from kpbe.errors import KPBEError
from kpbe.inference.free_view import View

COLUMNS = tuple(field.name for field in fields(View))
ANGLES = COLUMNS[:3]

TOLERANCE = 1e-3
"""Largest entry of R R^T - 1: three decimals are enough to write a rotation down."""


class File(Protocol):
    """A path, or a file that somebody uploaded; messages call it by its `str`."""

    def read_bytes(self) -> bytes:
        """What is in it."""
        ...


@dataclass(frozen=True)
class Viewpoint:
    """Where a head looks and is in one frame.

    Attributes:
        view: angles in degrees and translation; what is None stays the source's own.
        rotation: (3, 3) R of eq. (2) in place of the angles, acting on column vectors whose axes are x to the
            right, y down, z away from the viewer. R = Rx(pitch) Ry(yaw) Rz(roll) is the view of these angles,
            for every frontend.
    """

    view: View
    rotation: np.ndarray | None = None


@dataclass(frozen=True)
class Viewpoints:
    """The viewpoints of a video, frame by frame; with `constant`, the only one is that of every frame."""

    rows: tuple[Viewpoint, ...]
    constant: bool = False

    def __iter__(self) -> Iterator[Viewpoint]:
        return repeat(self.rows[0]) if self.constant else iter(self.rows)

    @property
    def frames(self) -> int | None:
        """For how many frames there are viewpoints; None for any number."""
        return None if self.constant else len(self.rows)


def viewpoints(view: View, table: File | None = None, rotation: File | None = None) -> Viewpoints:
    """Viewpoints from what a user gives.

    A table and a list of rotations have one entry for each frame of the video, from the first on; the shorter
    ends it.

    Args:
        view: constants for all frames.
        table: CSV, see `read_views`; gives the columns that it has, `view` the others.
        rotation: JSON, see `read_rotations`; takes the place of the angles.

    Raises:
        KPBEError: a file cannot be read or is not what it should be, or two of the three say the same thing.
    """
    columns, views = (), [view]
    if table is not None:
        columns, views = read_views(table)
        _refuse_twice([name for name in columns if getattr(view, name) is not None], str(table))
        views = [row.completed(view) for row in views]
    if rotation is None:
        return Viewpoints(tuple(map(Viewpoint, views)), constant=table is None)
    matrices = read_rotations(rotation)
    said = [name for name in ANGLES if name in columns or getattr(view, name) is not None]
    _refuse_twice(said, str(rotation))
    if matrices.ndim == 2:
        return Viewpoints(tuple(Viewpoint(row, matrices) for row in views), constant=table is None)
    per_frame = repeat(view) if table is None else views
    return Viewpoints(tuple(Viewpoint(row, matrix) for row, matrix in zip(per_frame, matrices, strict=False)))


def _refuse_twice(names: Sequence[str], file: str) -> None:
    if names:
        raise KPBEError(
            f"{', '.join(names)} would come from {file} and from elsewhere: give each angle and translation "
            f"once."
        )


def read_views(path: File) -> tuple[tuple[str, ...], list[View]]:
    """A CSV with any of the columns yaw, pitch, roll (degrees) and x, y, z (translation), a row for each
    frame.

    Returns:
        Its columns, and a view for each row; an empty cell leaves the source's own.

    Raises:
        KPBEError: it cannot be read, has another column or no row, or a cell is no finite number; the message
            names file and line.
    """
    try:
        rows = list(csv.reader(_text_of(path).splitlines()))
    except csv.Error as error:
        raise KPBEError(f"{path} is no table ({error}): give a CSV file.") from None
    while rows and not any(cell.strip() for cell in rows[-1]):
        rows.pop()
    if len(rows) < 2:
        raise KPBEError(
            f"{path} has no row: give a first line with some of {','.join(COLUMNS)}, and a row for each "
            f"frame."
        )
    columns = tuple(cell.strip().lower() for cell in rows[0])
    if wrong := [name for name in columns if name not in COLUMNS]:
        raise KPBEError(
            f"{path}: {', '.join(map(repr, wrong))} is no column of views: the first line names some of "
            f"{','.join(COLUMNS)}."
        )
    if len(set(columns)) < len(columns):
        raise KPBEError(f"{path} has a column twice: name each once in its first line.")
    return columns, [_view(columns, cells, f"{path}, line {n}") for n, cells in enumerate(rows[1:], 2)]


def _view(columns: Sequence[str], cells: Sequence[str], where: str) -> View:
    if len(cells) != len(columns):
        raise KPBEError(
            f"{where}: {len(cells)} cells for {len(columns)} columns; write numbers with a decimal point."
        )
    view = View()
    for name, cell in zip(columns, cells, strict=True):
        if cell.strip():
            view = replace(view, **{name: _number(cell, f"{where}: {name}")})
    return view


def _number(cell: str, what: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        raise KPBEError(f"{what} is {cell.strip()!r}, which is no number.") from None
    if not math.isfinite(value):
        raise KPBEError(f"{what} is {cell.strip()}: give a finite number.")
    return value


def read_rotations(path: File) -> np.ndarray:
    """Rotation matrices from a JSON file: three rows of three numbers, or a list of such matrices, one for
    each frame.

    Returns:
        (3, 3) for one matrix, (N, 3, 3) for a list; float64.

    Raises:
        KPBEError: the file cannot be read, is no JSON or has another shape, or a matrix is no rotation; the
            message says why.
    """
    try:
        content = json.loads(_text_of(path))
    except (ValueError, RecursionError) as error:
        raise KPBEError(f"{path} is no JSON ({error}): give three rows of three numbers.") from None
    matrices = _numbers(content)
    if matrices is None or matrices.shape[-2:] != (3, 3) or matrices.ndim not in (2, 3) or not matrices.size:
        shape = "no array of numbers" if matrices is None else f"numbers of the shape {matrices.shape}"
        raise KPBEError(
            f"{path} holds {shape}: give a 3x3 matrix ([[..3..],[..3..],[..3..]]) or a list of them."
        )
    for index, matrix in enumerate(matrices.reshape(-1, 3, 3)):
        if reason := _no_rotation(matrix):
            which = f", matrix {index + 1} of {len(matrices)}" if matrices.ndim == 3 else ""
            raise KPBEError(f"{path}{which} is no rotation: {reason}.")
    return matrices


def _numbers(content: Any) -> np.ndarray | None:
    """The content as an array, None where it is ragged or holds anything but numbers."""
    try:
        values = np.array(content)
    except ValueError:
        return None
    return values.astype(np.float64) if values.dtype.kind in "iuf" else None


def _no_rotation(matrix: np.ndarray) -> str:
    """Why a (3, 3) matrix is no rotation; empty where it is one."""
    if not np.isfinite(matrix).all():
        return "it holds values that are not finite"
    off = float(np.abs(matrix @ matrix.T - np.eye(3)).max())
    if off > TOLERANCE:
        return f"R times its transpose differs from the identity by {off:.3g}"
    if np.linalg.det(matrix) < 0:
        return "its determinant is -1, it mirrors the head"
    return ""


def _text_of(path: File) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise KPBEError(f"{path} cannot be read ({reason}): correct the path or give another file.") from None
