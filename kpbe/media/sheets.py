"""Labelled pictures made of pictures: contact sheets and captions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

PAPER = (255, 255, 255)
INK = (40, 40, 40)
GAP = 4
MARGIN = 10
CAPTION_HEIGHT = 26
FONT_SIZE = 15


def contact_sheet(
    rows: Sequence[tuple[str, Sequence[np.ndarray]]],
    headings: Sequence[str] = (),
    cell: int = 128,
) -> np.ndarray:
    """Rows of frames, each with its label on the left, on white.

    Args:
        rows: (label, frames), frames (H,W,3) uint8 RGB. Rows may differ in length; all frames are scaled
            (Lanczos) to the size of the first one, or to a height of `cell` pixels where that one is smaller.
        headings: captions of the columns, shortened to fit.
        cell: least height of a frame on the sheet, in pixels.

    Returns:
        (H,W,3) uint8 RGB.

    Raises:
        ValueError: there is no frame, or one is not (H,W,3) uint8.
    """
    for frame in (frames := [frame for _, row in rows for frame in row]):
        _check(frame)
    if not frames:
        raise ValueError("a contact sheet needs at least one frame.")
    height, width = frames[0].shape[:2]
    if height < cell:
        height, width = cell, round(width * cell / height)
    font = _font()
    labels_width = round(max(font.getlength(label) for label, _ in rows)) + 2 * MARGIN
    top = CAPTION_HEIGHT if headings else GAP
    columns = max(len(row) for _, row in rows)
    size = (labels_width + columns * (width + GAP), top + len(rows) * (height + GAP))
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, heading in enumerate(headings):
        middle = labels_width + column * (width + GAP) + width / 2
        draw.text((middle, top / 2), _shortened(heading, width), INK, font, anchor="mm")
    for line, (label, row) in enumerate(rows):
        y = top + line * (height + GAP)
        draw.text((MARGIN, y + height / 2), label, INK, font, anchor="lm")
        for column, frame in enumerate(row):
            picture = Image.fromarray(frame)
            if picture.size != (width, height):
                picture = picture.resize((width, height), Image.Resampling.LANCZOS)
            sheet.paste(picture, (labels_width + column * (width + GAP), y))
    return np.asarray(sheet)


def label_image(frame: np.ndarray, label: str) -> np.ndarray:
    """A frame (H,W,3) uint8 RGB with a white strip above that holds `label`, shortened to fit; (H+26,W,3).

    Raises:
        ValueError: the frame is not (H,W,3) uint8.
    """
    _check(frame)
    width = frame.shape[1]
    strip = Image.new("RGB", (width, CAPTION_HEIGHT), PAPER)
    ImageDraw.Draw(strip).text(
        (width / 2, CAPTION_HEIGHT / 2), _shortened(label, width), INK, _font(), anchor="mm"
    )
    return np.vstack([np.asarray(strip), frame])


def _check(frame: np.ndarray) -> None:
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise ValueError(f"a frame must be (H,W,3) uint8, not {frame.shape} {frame.dtype}.")


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(FONT_SIZE)


def _shortened(text: str, width: int) -> str:
    font = _font()
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
