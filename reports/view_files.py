"""Files of the free view: a rotation matrix in place of the angles, and a view for each frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from kpbe.errors import KPBEError

if TYPE_CHECKING:  # torch takes seconds: it is imported when there is something to read
    from kpbe.inference.free_view import View
    from kpbe.inference.viewpoints import Viewpoints

LARGEST_MB = 1
"""Largest file; eight seconds of matrices take a tenth of it."""


@dataclass(frozen=True)
class Uploaded:
    """An uploaded file; messages call it by its name."""

    name: str
    content: bytes

    def __str__(self) -> str:
        return self.name

    def read_bytes(self) -> bytes:
        """What is in it."""
        return self.content


@dataclass(frozen=True)
class ViewFiles:
    """The files that a visitor uploaded: a table of views, rotations, or neither."""

    table: Uploaded | None = None
    rotation: Uploaded | None = None

    def given(self, talks: bool) -> frozenset[str]:
        """Names of the angles and translations that the files set.

        Raises:
            KPBEError: as `viewpoints` says.
        """
        if self.table is None and self.rotation is None:
            return frozenset()
        from kpbe.inference.free_view import View
        from kpbe.inference.viewpoints import ANGLES, read_views

        self.viewpoints(View(), talks)
        columns = () if self.table is None else read_views(self.table)[0]
        return frozenset((*columns, *(ANGLES if self.rotation else ())))

    def viewpoints(self, view: View, talks: bool) -> Viewpoints:
        """The viewpoints that the files set; `view` fills in what they leave open.

        Raises:
            KPBEError: as `kpbe.inference.viewpoints.viewpoints` says, or there is a view for each frame where
                nothing `talks`.
        """
        from kpbe.inference.viewpoints import viewpoints

        seen_from = viewpoints(view, self.table, self.rotation)
        if seen_from.constant or talks:
            return seen_from
        raise KPBEError(
            f"{self.table or self.rotation} holds a view for each frame, and a picture has one: choose a "
            "talking video as the expression, or give a single rotation."
        )


def choose_files(talks: bool) -> ViewFiles:
    """Let the visitor upload files that replace sliders; the table only if a video `talks`.

    Raises:
        KPBEError: a file is too large.
    """
    with st.expander("View from a file", icon=":material/upload_file:"):
        rotation = _upload(
            "Rotation (JSON)",
            "json",
            "A 3x3 matrix in place of the angles, such as [[1,0,0],[0,1,0],[0,0,1]], for column vectors (x "
            "to the right, y down, z away "
            "from you); for a talking video also a list of such matrices, one for each frame.",
        )
        if not talks:
            st.caption("For a talking video also a table of views, a row for each frame.")
            return ViewFiles(rotation=rotation)
        table = _upload(
            "Views (CSV)",
            "csv",
            "A row for each frame at 25 fps; the first line names some of yaw,pitch,roll,x,y,z. An empty "
            "cell leaves the source image's "
            "own. The shorter of the table and the talking video ends the result.",
        )
        return ViewFiles(table, rotation)


def _upload(label: str, kind: str, meaning: str) -> Uploaded | None:
    file = st.file_uploader(label, kind, help=meaning, max_upload_size=LARGEST_MB)
    if file is None:
        return None
    if file.size > LARGEST_MB * 2**20:
        raise KPBEError(f"{file.name} has {file.size / 2**20:.1f} MB: give at most {LARGEST_MB}.")
    return Uploaded(file.name, file.getvalue())
