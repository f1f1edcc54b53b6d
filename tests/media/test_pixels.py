"""Frames as people see them: turned, stretched, in other colours, transparent, of odd sizes."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.filter import Graph
from av.sidedata.sidedata import Type as SideData

from kpbe.media.demuxer import BrokenVideo
from kpbe.media.pixels import Orientation, PixelFacts, UnreadablePixels, is_hd, over_background
from kpbe.media.recording import Recording
from kpbe.media.video_writer import write_video

COLOURS = np.random.default_rng(0).integers(30, 226, (6, 6, 3)).astype(np.uint8)


def patches(width: int = 192, height: int = 192) -> np.ndarray:
    """36 patches of one colour each, (H, W, 3) uint8."""
    y, x = np.arange(height) * 6 // height, np.arange(width) * 6 // width
    return COLOURS[y][:, x]


def encode(
    path: Path, frames: list[Any], codec: str = "libx264", shape: str = "yuv420p", **settings: Any
) -> Path:
    """A foreign video of PyAV frames; `settings` are the coder's."""
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream(codec, rate=25, options={"qp": "4"} if codec == "libx264" else {})
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, shape
        for name, value in settings.items():
            setattr(stream.codec_context, name, value)
        for index, frame in enumerate(frames):
            frame.pts, frame.time_base = index, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def as_yuv(picture: np.ndarray, matrix: int, shape: str = "yuv420p") -> Any:
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    return frame.reformat(format=shape, dst_colorspace=matrix)


def difference(path: Path, picture: np.ndarray) -> float:
    """Mean difference of the first frame, read for coding again, from a picture."""
    first = next(iter(Recording(path).at_fps(exact=True)))
    return float(np.abs(first.astype(int) - picture)[8:-8, 8:-8].mean())


def test_pixels_that_are_not_square_are_shown_at_their_aspect(tmp_path: Path) -> None:
    narrow = patches(96, 192)
    for aspect, width in ((Fraction(2), 192), (Fraction(1, 2), 48), (Fraction(16, 15), 102)):
        path = encode(tmp_path / "narrow.mp4", [as_yuv(narrow, 5)] * 3, sample_aspect_ratio=aspect)
        recording = Recording(path)
        assert (recording.info.width, recording.info.height) == (width, 192)
        assert recording.frames().shape == (3, 192, width, 3)
        assert recording.at([1]).shape == recording.a_few_at([1]).shape == (1, 192, width, 3)
        assert difference(path, patches(width, 192)) < 6


@pytest.mark.parametrize("size", [(640, 480), (1280, 720)])
def test_without_a_colour_matrix_large_video_is_in_bt709_and_small_in_bt601(
    size: tuple[int, int], tmp_path: Path
) -> None:
    picture = patches(*size)
    right, wrong = (1, 5) if is_hd(*size) else (5, 1)
    assert difference(encode(tmp_path / "right.mp4", [as_yuv(picture, right)]), picture) < 1.5
    assert difference(encode(tmp_path / "wrong.mp4", [as_yuv(picture, wrong)]), picture) > 3
    random_access = Recording(tmp_path / "right.mp4")[0]
    assert np.abs(random_access.astype(int) - picture)[8:-8, 8:-8].mean() < 2.5


def test_large_video_is_written_in_bt709_with_its_tags(tmp_path: Path) -> None:
    picture = patches(1280, 720)
    write_video(tmp_path / "hd.mp4", [picture] * 2, 25)
    with av.open(str(tmp_path / "hd.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (
            1,
            1,
            1,
            1,
        )
    assert difference(tmp_path / "hd.mp4", picture) < 1.5


@pytest.mark.parametrize(("transfer", "name"), [("arib-std-b67", "HLG"), ("smpte2084", "PQ")])
def test_high_dynamic_range_is_brought_to_bt709(transfer: str, name: str, tmp_path: Path) -> None:
    picture = patches()
    graph = Graph()
    source = graph.add_buffer(
        width=192, height=192, format=av.VideoFormat("rgb24"), time_base=Fraction(1, 25)
    )
    scale = graph.add(
        "scale", f"out_primaries=bt2020:out_transfer={transfer}:out_color_matrix=bt2020:out_range=tv"
    )
    shape, sink = graph.add("format", "yuv420p10le"), graph.add("buffersink")
    source.link_to(scale)
    scale.link_to(shape)
    shape.link_to(sink)
    graph.configure()
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    frame.pts, frame.color_trc, frame.color_primaries = 0, 1, 1
    graph.push(frame)
    hdr = graph.pull()
    codes = {"arib-std-b67": 18, "smpte2084": 16}
    path = encode(
        tmp_path / "hdr.mp4", [hdr], "libx264", "yuv420p10le", color_trc=codes[transfer], color_primaries=9,
        colorspace=9, color_range=1,
    )  # fmt: skip
    assert Recording(path).info.hdr == name
    first = next(iter(Recording(path).at_fps()))[8:-8, 8:-8].astype(int)
    shift = np.abs(first.mean(axis=(0, 1)) - picture[8:-8, 8:-8].mean(axis=(0, 1)))
    assert shift.max() < 12, "not pale or dark"
    assert np.corrcoef(first.ravel(), picture[8:-8, 8:-8].ravel())[0, 1] > 0.97


@pytest.mark.parametrize(
    ("name", "codec", "shape"),
    [("a.webm", "libvpx-vp9", "yuva420p"), ("a.mov", "prores_ks", "yuva444p10le"), ("b.mov", "png", "rgba"),
     ("a.gif", "gif", "bgr8")],
)  # fmt: skip
def test_what_is_transparent_does_not_show(name: str, codec: str, shape: str, tmp_path: Path) -> None:
    picture = np.full((64, 64, 4), (10, 200, 30, 0), np.uint8)
    picture[16:48, 16:48] = (220, 40, 30, 255)
    if codec == "gif":
        from PIL import Image

        Image.fromarray(picture).save(
            tmp_path / name, save_all=True, append_images=[Image.fromarray(picture[::-1, ::-1, [2, 1, 0, 3]])]
        )
    else:
        frame = av.VideoFrame.from_ndarray(picture, format="rgba")
        encode(tmp_path / name, [frame.reformat(format=shape)] * 2, codec, shape)
    first = next(iter(Recording(tmp_path / name).at_fps()))
    assert np.abs(first[4, 4].astype(int) - 255).max() <= 2, "white, not the hidden green"
    assert np.abs(first[32, 32].astype(int) - (220, 40, 30)).max() <= 12


def test_half_transparent_pixels_are_mixed_with_white() -> None:
    pixels = np.array([[[100, 0, 200, 128], [7, 8, 9, 255], [7, 8, 9, 0]]], np.uint8)
    assert over_background(pixels).tolist() == [[[177, 127, 227], [7, 8, 9], [255, 255, 255]]]


def test_every_display_matrix_is_undone() -> None:
    class Frame:
        def __init__(self, a: int, b: int, c: int, d: int) -> None:
            one = 1 << 16
            matrix = np.array([a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30], np.int32)
            self.side_data = {SideData.DISPLAYMATRIX: matrix.tobytes()}

    stored = np.arange(6).reshape(2, 3)
    as_told = {  # x' = a x + c y, y' = b x + d y
        (1, 0, 0, 1): stored,
        (-1, 0, 0, -1): stored[::-1, ::-1],
        (-1, 0, 0, 1): stored[:, ::-1],
        (1, 0, 0, -1): stored[::-1],
        (0, 1, -1, 0): np.rot90(stored, -1),
        (0, -1, 1, 0): np.rot90(stored, 1),
        (0, 1, 1, 0): stored.T,
        (0, -1, -1, 0): stored.T[::-1, ::-1],
    }
    for matrix, upright in as_told.items():
        np.testing.assert_array_equal(Orientation.of(Frame(*matrix)).applied(stored), upright, str(matrix))


def test_a_picture_that_changes_its_shape_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wide_then_square.ts"
    parts = []
    for index, size in enumerate([(192, 96), (96, 96)]):
        part = encode(tmp_path / f"part{index}.ts", [as_yuv(patches(*size), 5) for _ in range(12)])
        parts.append(part.read_bytes())
    path.write_bytes(b"".join(parts))
    with pytest.raises(BrokenVideo, match=r"wide_then_square\.ts"):
        list(Recording(path).at_fps())


def test_colours_that_nothing_here_converts_are_refused() -> None:
    frame = as_yuv(patches(), 5)
    frame.colorspace = 14
    with pytest.raises(UnreadablePixels, match="ICtCp"):
        PixelFacts.of(frame, None)
    with pytest.raises(UnreadablePixels, match="as wide as high"):
        PixelFacts.of(as_yuv(patches(), 5), Fraction(100))
