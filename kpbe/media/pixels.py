"""Decoded frames as people see them: upright, with square pixels, opaque, in the colours of BT.709."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import Type as SideData
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

BACKGROUND = 255
"""Grey level of the plain colour behind transparent pixels: white."""

HD_WIDTH, HD_HEIGHT = 1280, 576
"""Video without a colour matrix that is at least this wide, or higher, is in BT.709; smaller in BT.601.
Source: mpv and VLC.
"""

HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
"""Transfer functions of high dynamic range (ITU-T H.273 and BT.2100)."""

WIDE_PRIMARIES = frozenset({9, 11, 12})
"""Colour primaries beyond BT.709's (ITU-T H.273): BT.2020, DCI-P3, Display P3."""

UNSPECIFIED_MATRIX = 2
UNREADABLE_MATRICES = {
    8: "YCgCo",
    11: "Y'D'zD'x",
    13: "derived from primaries",
    14: "ICtCp",
    15: "IPT",
    16: "YCgCo-R",
}
"""Colour matrices (ITU-T H.273) that libswscale would take for another one without a word."""

LARGEST_PIXEL_ASPECT = 8
"""Pixels longer than this are taken for a broken file."""

ASPECT_TOLERANCE = 0.02
"""A frame whose shape differs by more than this share from the first one's is refused."""


class UnreadablePixels(ValueError):
    """The pixels cannot be shown as they are meant; the message says why, without the file's name."""


@dataclass(frozen=True)
class Orientation:
    """How a stored picture is turned to be upright: transposed first, then flipped.

    Attributes:
        transposed: rows and columns change places.
        mirrored: left and right change places.
        upside_down: top and bottom change places.
    """

    transposed: bool = False
    mirrored: bool = False
    upside_down: bool = False

    @classmethod
    def of(cls, frame: Any) -> Orientation:
        """That of a decoded frame's display matrix, to the nearest quarter turn."""
        data = frame.side_data.get(SideData.DISPLAYMATRIX)
        if data is None:
            return cls()
        (a, b, _), (c, d, _), _ = np.frombuffer(bytes(data), np.int32).reshape(3, 3).tolist()
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    @property
    def degrees(self) -> int:
        """The turn clockwise: 0, 90, 180 or 270; of a mirrored picture that before it is mirrored."""
        if self.transposed:
            return 90 if self.mirrored else 270
        return 180 if self.upside_down else 0

    def applied(self, picture: np.ndarray) -> np.ndarray:
        """A stored picture (H, W, ...) upright."""
        upright = picture.swapaxes(0, 1) if self.transposed else picture
        rows = slice(None, None, -1 if self.upside_down else 1)
        columns = slice(None, None, -1 if self.mirrored else 1)
        return np.ascontiguousarray(upright[rows, columns])


@dataclass(frozen=True)
class PixelFacts:
    """What the first frame says of all.

    Attributes:
        stored: width and height of the coded picture.
        width, height: of the picture as it is shown.
        orientation: see there.
        untagged_hd: whether the colour matrix is absent and BT.709's is to be taken.
        hdr: PQ or HLG where the video has a high dynamic range, else None.
        converted: whether FFmpeg's colour management has to bring the colours to BT.709.
        opaque: whether there is no alpha channel.
    """

    stored: tuple[int, int]
    width: int
    height: int
    orientation: Orientation
    untagged_hd: bool
    hdr: str | None
    converted: bool
    opaque: bool

    @classmethod
    def of(cls, frame: Any, pixel_aspect: Fraction | None) -> PixelFacts:
        """Those of a decoded frame.

        Args:
            frame: PyAV's.
            pixel_aspect: width of a pixel as a share of its height; None is square.

        Raises:
            UnreadablePixels: the colours or the shape of pixels cannot be understood.
        """
        if (matrix := int(frame.colorspace)) in UNREADABLE_MATRICES:
            raise UnreadablePixels(
                f"has colours ({UNREADABLE_MATRICES[matrix]}) that cannot be converted: export it in BT.709"
            )
        aspect = float(pixel_aspect or 1)
        if not 1 / LARGEST_PIXEL_ASPECT <= aspect <= LARGEST_PIXEL_ASPECT:
            raise UnreadablePixels(f"says that its pixels are {aspect:g} times as wide as high")
        orientation = Orientation.of(frame)
        shown = (max(1, round(frame.width * aspect)), frame.height)
        width, height = shown[::-1] if orientation.transposed else shown
        return cls(
            stored=(frame.width, frame.height),
            width=width,
            height=height,
            orientation=orientation,
            untagged_hd=matrix == UNSPECIFIED_MATRIX
            and not frame.format.is_rgb
            and is_hd(frame.width, frame.height),
            hdr=HDR_TRANSFERS.get(int(frame.color_trc)),
            converted=int(frame.color_trc) in HDR_TRANSFERS or int(frame.color_primaries) in WIDE_PRIMARIES,
            opaque=not any(component.is_alpha for component in frame.format.components),
        )

    @property
    def plain(self) -> bool:
        """Whether any decoder gives the right picture: upright, square pixels, known colours."""
        square = (self.width, self.height) == self.stored
        upright = self.orientation == Orientation()
        return square and upright and not self.untagged_hd and not self.converted and self.opaque


class PixelReader:
    """Decoded frames of one video as (H, W, 3) uint8 RGB arrays; not for several threads at once."""

    def __init__(self, facts: PixelFacts) -> None:
        self.facts = facts
        self._reformatter = VideoReformatter()
        self._graph: tuple[tuple[int, int, str], Any] | None = None

    def picture(self, frame: Any, size: tuple[int, int] | None = None, exact: bool = False) -> np.ndarray:
        """A frame as it is shown, scaled by area averaging to `size` (width, height) where given.

        Args:
            frame: PyAV's.
            size: width and height; None is that of the video.
            exact: whether levels are rounded to the nearest; else sooner, as decord does it, one level too
                dark.

        Raises:
            UnreadablePixels: the frame has another shape than the first one.
        """
        facts = self.facts
        self._refuse_other_shape(frame)
        shown = (facts.width, facts.height) if size is None else size
        width, height = shown[::-1] if facts.orientation.transposed else shown
        if size is not None:
            scaling = Interpolation.AREA
        else:  # without scaling: decord's pixels
            scaling = Interpolation.BILINEAR if (width, height) == facts.stored else Interpolation.BICUBIC
        if exact:
            scaling |= Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND
        if facts.converted:
            frame = self._in_bt709(frame)
        rgb = self._reformatter.reformat(
            frame,
            width,
            height,
            "rgb24" if facts.opaque else "rgba",
            src_colorspace=Colorspace.ITU709 if facts.untagged_hd else None,
            interpolation=scaling,
        ).to_ndarray()
        return facts.orientation.applied(rgb if facts.opaque else over_background(rgb))

    def _refuse_other_shape(self, frame: Any) -> None:
        if (frame.width, frame.height) == self.facts.stored:
            return
        aspect, first = frame.width / frame.height, self.facts.stored[0] / self.facts.stored[1]
        if abs(aspect / first - 1) > ASPECT_TOLERANCE:
            raise UnreadablePixels(
                f"changes its picture from {self.facts.stored[0]}x{self.facts.stored[1]} to "
                f"{frame.width}x{frame.height} at {float(frame.time or 0):.2f} s: cut it there"
            )

    def _in_bt709(self, frame: Any) -> Any:
        """The frame in BT.709, tone-mapped by libswscale (FFmpeg 7.1 and later)."""
        key = (frame.width, frame.height, frame.format.name)
        if self._graph is None or self._graph[0] != key:
            graph = Graph()
            source = graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000)
            )
            scale = graph.add("scale", "out_range=pc:out_primaries=bt709:out_transfer=bt709")
            shape = graph.add("format", "gbrap" if not self.facts.opaque else "gbrp")
            sink = graph.add("buffersink")
            source.link_to(scale)
            scale.link_to(shape)
            shape.link_to(sink)
            graph.configure()
            self._graph = (key, graph)
        self._graph[1].push(frame)
        return self._graph[1].pull()


def is_hd(width: int, height: int) -> bool:
    """Whether players take video of this size, where it does not say so, to be in BT.709."""
    return width >= HD_WIDTH or height > HD_HEIGHT


def over_background(rgba: np.ndarray) -> np.ndarray:
    """Pixels (H, W, 4) uint8 RGBA over the plain `BACKGROUND`, (H, W, 3) uint8."""
    alpha = rgba[..., 3:].astype(np.uint16)
    mixed = rgba[..., :3] * alpha + BACKGROUND * (255 - alpha)
    return ((mixed + 127) // 255).astype(np.uint8)
