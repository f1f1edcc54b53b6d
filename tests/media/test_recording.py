"""Videos as people have them: every container, odd rates, phones, damage; and what we write ourselves."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kpbe.errors import BadClip
from kpbe.media import recording
from kpbe.media.audio import write_wav
from kpbe.media.demuxer import BrokenVideo
from kpbe.media.recording import FrameAccess, Recording, sample_times
from kpbe.media.video_writer import VideoWriter, write_video

REPOSITORY = Path(__file__).resolve().parents[2]
FRAMES = 40
HEIGHT, WIDTH = 48, 64


def scene(index: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A moving pattern, red in the upper left; the grey of the lower right block tells the frame index."""
    y, x = np.mgrid[:height, :width]
    picture = np.stack(
        [128 + 90 * np.sin((x + 3 * index) / 9), 128 + 90 * np.cos((y - index) / 7), 100 + x], axis=-1
    )
    picture[: height // 4, : width // 4] = (230, 20, 20)
    picture[height // 2 :, width // 2 :] = 20 + 5 * index
    return picture.astype(np.uint8)


def index_of(picture: np.ndarray) -> int:
    """Which frame of `scene` a decoded picture is."""
    height, width = picture.shape[:2]
    return round((float(picture[height // 2 + 4 : -4, width // 2 + 4 : -4].mean()) - 20) / 5)


def encode(
    path: Path,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    times: np.ndarray | None = None,
    fps: Fraction | int = 25,
    first: int = 0,
    size: tuple[int, int] = (HEIGHT, WIDTH),
    turn: int = 0,
    container: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
    **tags: int,
) -> Path:
    """A foreign video of `scene`: not written by the code under test."""
    with av.open(str(path), "w", options=container or {}) as output:
        stream: Any = output.add_stream(codec, rate=fps, options=options or {})
        stream.height, stream.width = size
        stream.pix_fmt = pixels
        stream.codec_context.gop_size, stream.bit_rate = 12, 4_000_000
        tick = 1 / Fraction(fps) if times is None else Fraction(1, 90000)
        if times is not None:
            stream.codec_context.time_base = stream.time_base = tick
        if turn:
            stream.set_display_rotation(turn)
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        for k in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(scene(k, *size), format="rgb24").reformat(
                format=pixels, dst_colorspace=tags.get("colorspace"), dst_color_range=tags.get("color_range")
            )
            frame.pts, frame.time_base = first + k if times is None else round(times[k] / tick), tick
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def irregular_times() -> np.ndarray:
    steps = np.random.default_rng(7).uniform(0.01, 0.09, FRAMES)
    return np.cumsum(steps) - steps[0]


FOREIGN: dict[str, dict[str, Any]] = {
    "plain.mp4": {},
    "plain.mkv": {},
    "long_gop.mp4": {"options": {"g": "250", "keyint_min": "250"}},
    "late_start.mp4": {"first": 100},
    "late_start.mkv": {"first": 100},
    "b_frames.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
    "h264.avi": {},
    "old.mpg": {"codec": "mpeg1video"},
    "dvd.mpg": {"codec": "mpeg2video", "options": {"bf": "2"}},
    "broadcast.ts": {},
    "web.webm": {"codec": "libvpx-vp9", "options": {"cpu-used": "8", "deadline": "realtime"}},
    "full_range_709.mp4": {"colorspace": 1, "color_range": 2},
    "hd_709.mp4": {"colorspace": 1, "color_range": 1},
    "full_chroma.mp4": {"pixels": "yuv444p"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("videos")


@pytest.fixture(scope="module", params=FOREIGN)
def foreign(request: pytest.FixtureRequest, folder: Path) -> Path:
    return encode(folder / request.param, **FOREIGN[request.param])


@pytest.fixture(scope="module")
def plain(folder: Path) -> Path:
    return encode(folder / "read_only_plain.mp4", container={"movflags": "faststart"})


@pytest.fixture(scope="module")
def varying(folder: Path) -> Path:
    return encode(folder / "varying.mp4", times=irregular_times())


# -- reading what others wrote --


def test_every_container_gives_all_frames_in_order(foreign: Path) -> None:
    info = Recording(foreign).info
    assert (info.frames, info.width, info.height, info.rotation) == (FRAMES, WIDTH, HEIGHT, 0)
    assert info.fps == pytest.approx(25)
    assert info.seconds == pytest.approx(FRAMES / 25)
    assert info.constant_fps and not info.has_audio
    frames = Recording(foreign).frames()
    assert frames.shape == (FRAMES, HEIGHT, WIDTH, 3) and frames.dtype == np.uint8
    assert [index_of(f) for f in frames] == list(range(FRAMES))


def test_random_access_gives_the_frames_of_sequential_reading(foreign: Path) -> None:
    frames = Recording(foreign).frames()
    reader = Recording(foreign)
    assert (len(reader), reader.fps, reader.size) == (FRAMES, pytest.approx(25), (WIDTH, HEIGHT))
    order = [5, 30, 2, 39, 30, 17, 18, 0]
    np.testing.assert_array_equal(reader.at(order), frames[order])
    np.testing.assert_array_equal(reader[-1], frames[-1])
    assert reader.at([]).shape == (0, HEIGHT, WIDTH, 3)
    with pytest.raises(IndexError):
        reader[FRAMES]


def test_a_few_frames_of_a_video_are_those_of_sequential_reading(foreign: Path) -> None:
    frames = Recording(foreign).frames()
    access = FrameAccess()
    for asked in [(5, 30), (39, 0), (11, 12, 13), (17, 17), (38,)] * 2:
        np.testing.assert_array_equal(access.read(foreign, asked), frames[list(asked)])
    assert access.read(foreign, []).shape == (0, HEIGHT, WIDTH, 3)
    for outside in (FRAMES, -1):
        with pytest.raises(IndexError, match=f"{foreign.name} has {FRAMES} frames"):
            access.read(foreign, [3, outside])


def test_same_rate_sampling_gives_every_frame_once(foreign: Path) -> None:
    assert [index_of(f) for f in Recording(foreign).at_fps(25)] == list(range(FRAMES))
    assert [index_of(f) for f in Recording(foreign).at_fps(25, 0.6, 1.0)] == list(range(15, 25))


@pytest.mark.parametrize("name", ["plain.mp4", "plain.mkv", "hd_709.mp4", "varying.mp4"])
def test_decord_and_pyav_give_the_same_pixels(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("decord", reason="decord has wheels for Linux x86_64 only")
    times = irregular_times() if name == "varying.mp4" else None
    path = encode(folder / f"both_{name}", times=times, **FOREIGN.get(name, {}))
    order = [39, 3, 20, 21, 3]
    with_decord = Recording(path)
    assert with_decord._decord is not None
    pixels = with_decord.at(order)
    monkeypatch.setattr(recording, "_open_with_decord", lambda _: None)
    np.testing.assert_array_equal(Recording(path).at(order), pixels)


def test_av1_is_read(folder: Path) -> None:
    if "libsvtav1" not in av.codecs_available:
        pytest.skip("this PyAV has no AV1 encoder to make the test video with")
    path = encode(folder / "av1.mp4", "libsvtav1", options={"preset": "12"}, size=(96, 128))
    assert [index_of(Recording(path)[i]) for i in (30, 4)] == [30, 4]


@pytest.mark.parametrize(("turn", "clockwise"), [(90, 270), (180, 180), (-90, 90)])
def test_phone_videos_stand_upright_in_every_reader(turn: int, clockwise: int, folder: Path) -> None:
    """`turn` is FFmpeg's mark: degrees counter-clockwise by which players turn the stored picture."""
    path = encode(folder / f"phone{turn}.mp4", turn=turn)
    info = Recording(path).info
    assert info.rotation == clockwise
    assert (info.width, info.height) == ((HEIGHT, WIDTH) if turn % 180 else (WIDTH, HEIGHT))
    expected = np.rot90(scene(7), turn // 90).astype(int)
    reader = Recording(path)
    assert reader.size == (info.width, info.height)
    for picture in (reader[7], Recording(path).frames()[7], list(Recording(path).at_fps())[7]):
        assert picture.shape == expected.shape
        assert np.abs(picture - expected).mean() < 6
    small = Recording(path).frames(size=(info.width // 2, info.height // 2))
    assert small.shape == (FRAMES, info.height // 2, info.width // 2, 3)
    assert np.abs(small[7] - expected[::2, ::2]).mean() < 20


def test_edit_list_hides_the_frames_before_the_cut(folder: Path) -> None:
    """A clip cut without re-encoding keeps frames before the cut that players do not show."""
    path = encode(folder / "cut_by_copy.mp4", first=-10)
    assert Recording(path).info.frames == FRAMES - 10
    assert [index_of(f) for f in Recording(path).frames()] == list(range(10, FRAMES))
    assert index_of(Recording(path)[3]) == 13
    assert index_of(next(iter(Recording(path).at_fps()))) == 10


def test_a_few_frames_of_videos_turned_cut_or_of_varying_rate(folder: Path, varying: Path) -> None:
    cut = encode(folder / "few_cut_by_copy.mp4", first=-10)
    assert [index_of(f) for f in Recording(cut).a_few_at([29, 0, 4])] == [39, 10, 14]
    assert [index_of(f) for f in Recording(varying).a_few_at([38, 1, 25])] == [38, 1, 25]
    turned = encode(folder / "few_turned.mp4", turn=90)
    np.testing.assert_array_equal(Recording(turned).a_few_at([31, 2]), Recording(turned).frames()[[31, 2]])


def test_a_file_that_changed_is_looked_at_again(tmp_path: Path) -> None:
    path, access = tmp_path / "clip.mkv", FrameAccess()
    write_video(path, [scene(k) for k in range(8)], 25, codec="ffv1")
    assert index_of(access.read(path, [5])[0]) == 5
    write_video(path, [scene(k) for k in range(20, 26)], 25, codec="ffv1")
    assert index_of(access.read(path, [5])[0]) == 25
    path.unlink()
    with pytest.raises(BrokenVideo, match=r"clip\.mkv is not a file"):
        access.read(path, [5])


def test_names_with_hash_colon_and_percent(tmp_path: Path) -> None:
    path = tmp_path / "id10001#a:b%03d#0#40.mp4"
    write_video(path, [scene(k) for k in range(5)], 25)
    assert len(Recording(path)) == 5
    assert [index_of(f) for f in Recording(path).at_fps()] == list(range(5))


def test_real_clips_match_their_manifest(shared_clips: Path) -> None:
    with (shared_clips / "MANIFEST.csv").open(newline="") as file:
        by_origin: dict[str, list[dict[str, str]]] = {}
        for row in csv.DictReader(file):
            if (shared_clips / row["file"]).exists() and not row["file"].endswith(".wav"):
                by_origin.setdefault(row["file"].split("/")[0], []).append(row)
    assert by_origin
    for rows in by_origin.values():
        for row in rows[:: max(1, len(rows) // 4)]:
            info = Recording(shared_clips / row["file"]).info
            assert info.frames == pytest.approx(int(row["frames"]), abs=1), row["file"]
            assert info.fps == pytest.approx(float(row["fps"]), rel=0.01), row["file"]
            assert f"{info.width}x{info.height}" == row["resolution"], row["file"]
            assert info.has_audio == (row["audio"] == "yes"), row["file"]
            assert len(list(Recording(info.path).at_fps(25, 0, 0.4))) == 10


# -- constant rate --


@given(seconds=st.floats(0.01, 600), fps=st.sampled_from([12.5, 23.976, 24, 25, 29.97, 30, 60]))
def test_sample_times_fill_the_span(seconds: float, fps: float) -> None:
    times = sample_times(seconds, fps)
    assert len(times) == max(1, round(seconds * fps))
    if round(seconds * fps):
        assert times[0] == 0
        assert abs(seconds - times[-1] - 1 / fps) <= 0.5 / fps + 1e-9


@pytest.mark.parametrize(
    "rate", [Fraction(30000, 1001), Fraction(30), Fraction(24000, 1001), Fraction(50), Fraction(15)]
)
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_resampled_frames_are_those_on_screen(rate: Fraction, suffix: str, folder: Path) -> None:
    path = encode(folder / f"rate{float(rate):.2f}.{suffix}", fps=rate)
    shown = [index_of(f) for f in Recording(path).at_fps(25)]
    assert len(shown) == round(FRAMES / float(rate) * 25)
    exact = np.arange(len(shown)) / 25 * float(rate)
    assert all(i <= e + 0.25 and e < i + 1.01 for i, e in zip(shown, exact, strict=True))


@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_varying_rate_shows_the_frame_that_covers_each_time(data: st.DataObject, varying: Path) -> None:
    times = irregular_times()
    seconds = Recording(varying).info.seconds
    start = data.draw(st.floats(0, seconds - 0.2))
    end = data.draw(st.floats(start + 0.1, seconds))
    fps = data.draw(st.sampled_from([10.0, 25.0, 29.97]))
    shown = [index_of(f) for f in Recording(varying).at_fps(fps, start, end)]
    assert len(shown) == round((end - start) * fps)
    for k, index in enumerate(shown):
        early, late = (
            np.searchsorted(times, start + k / fps + slack, side="right") - 1 for slack in (0, 0.11 / fps)
        )
        assert early <= index <= late
    assert not Recording(varying).info.constant_fps


def test_varying_rate_random_access(varying: Path) -> None:
    reader = Recording(varying)
    assert [index_of(f) for f in reader.at([38, 1, 12, 25])] == [38, 1, 12, 25]
    assert reader.fps == pytest.approx(FRAMES / Recording(varying).info.seconds)


@pytest.mark.parametrize(("start", "end"), [(-1.0, 1.0), (1.0, 1.0), (1.0, 9.0), (5.0, None)])
def test_a_span_outside_the_video_is_refused(start: float, end: float | None, plain: Path) -> None:
    with pytest.raises(BadClip, match=r"read_only_plain\.mp4 lasts 1\.60 s"):
        Recording(plain).at_fps(25, start, end)


def test_sampling_streams(plain: Path) -> None:
    frames = Recording(plain).at_fps()
    assert len(frames) == FRAMES and isinstance(iter(frames), Iterator)
    assert index_of(next(iter(frames))) == 0


# -- damage --


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.85])
def test_cut_off_mp4_is_refused(share: float, plain: Path, tmp_path: Path) -> None:
    path = tmp_path / "download.mp4"
    path.write_bytes(plain.read_bytes()[: int(plain.stat().st_size * share)])
    with pytest.raises(BrokenVideo, match=r"download\.mp4 .*fetch it again"):
        Recording(path)


@pytest.mark.parametrize("name", ["web.webm", "plain.mkv", "h264.avi"])
def test_cut_off_file_of_another_container_is_refused(name: str, folder: Path, tmp_path: Path) -> None:
    whole = encode(folder / f"whole_{name}", **FOREIGN[name])
    path = tmp_path / name
    path.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.6)])
    with pytest.raises(BrokenVideo, match="cut off"):
        Recording(path).at_fps()


def test_cut_off_matroska_with_sound_is_refused(tmp_path: Path) -> None:
    write_wav(tmp_path / "tone.wav", np.sin(np.arange(25600, dtype=np.float32)))
    path = tmp_path / "half.mkv"
    write_video(path, [scene(k) for k in range(FRAMES)], 25, audio=tmp_path / "tone.wav")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BrokenVideo, match="cut off"):
        Recording(path)


def test_a_lost_last_packet_is_forgiven(plain: Path, tmp_path: Path) -> None:
    path = tmp_path / "nearly.mp4"
    path.write_bytes(plain.read_bytes()[:-5])
    count = Recording(path).info.frames
    assert 0.9 * FRAMES <= count < FRAMES
    assert (
        len(Recording(path).frames()) == len(Recording(path)) == len(list(Recording(path).at_fps())) == count
    )
    assert index_of(Recording(path)[count - 1]) == count - 1


def test_a_download_filled_up_with_zeros_is_refused(plain: Path, tmp_path: Path) -> None:
    path = tmp_path / "preallocated.mp4"
    data = plain.read_bytes()
    path.write_bytes(data[: len(data) // 2].ljust(len(data), b"\0"))
    with pytest.raises(BrokenVideo, match=r"preallocated\.mp4"):
        list(Recording(path).at_fps())
    with pytest.raises(BrokenVideo, match=r"preallocated\.mp4"):
        Recording(path).at(range(FRAMES))
    with pytest.raises(BrokenVideo, match=r"preallocated\.mp4"):
        Recording(path).at([FRAMES - 1])


def _text(path: Path) -> None:
    path.write_text("frame after frame\n" * 40)


def _noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(4000))


def _picture(path: Path) -> None:
    with av.open(str(path), "w", format="image2") as output:
        stream: Any = output.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "rgb24"
        output.mux(stream.encode(av.VideoFrame.from_ndarray(scene(0), format="rgb24")))


def _sound(path: Path) -> None:
    write_wav(path, np.zeros(16000, np.float32))


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("notes.txt", _text),
        ("text.mp4", _text),
        ("noise.mp4", _noise),
        ("empty.mp4", Path.touch),
        ("portrait.png", _picture),
        ("speech.wav", _sound),
        ("folder.mp4", Path.mkdir),
        ("missing.mp4", lambda _: None),
    ],
)
def test_what_is_no_video_is_refused_by_name(name: str, make: Any, tmp_path: Path) -> None:
    make(tmp_path / name)
    with pytest.raises(BrokenVideo, match=name) as caught:
        Recording(tmp_path / name)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


# -- writing --


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


@pytest.mark.parametrize(
    ("codec", "suffix"), [("ffv1", "mkv"), ("h264-lossless", "mp4"), ("h264-lossless", "mkv")]
)
@pytest.mark.parametrize("size", [(48, 64), (33, 35), (1, 1)])
def test_lossless_codecs_give_back_every_value(
    codec: Any, suffix: str, size: tuple[int, int], tmp_path: Path
) -> None:
    if codec == "h264-lossless" and size == (1, 1):
        size = (16, 16)
    frames = np.random.default_rng(3).integers(0, 256, (20, *size, 3), dtype=np.uint8)
    path = tmp_path / f"noise.{suffix}"
    assert write_video(path, frames, 25, codec=codec) == 20
    np.testing.assert_array_equal(Recording(path).frames(), frames)
    np.testing.assert_array_equal(Recording(path).at([19, 4, 5]), frames[[19, 4, 5]])


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("size", [(96, 128), (95, 127)])
def test_h264_keeps_colours_and_levels(suffix: str, size: tuple[int, int], tmp_path: Path) -> None:
    frames = np.stack([scene(k, *size) for k in range(20)])
    path = tmp_path / f"clip.{suffix}"
    write_video(path, frames, 25, crf=4)
    back = Recording(path).at(range(20))
    assert back.shape[1:3] == (96, 128), "players of 4:2:0 take even sides only"
    back = back[:, : size[0], : size[1]]
    assert psnr(back, frames) > 31
    for c in range(3):  # a wrong matrix or range shifts whole channels; random access reads a level too dark
        assert abs(float(back[..., c].mean()) - float(frames[..., c].mean())) < 1.6
    exact = np.stack(list(Recording(path).at_fps(exact=True)))[:, : size[0], : size[1]]
    assert np.abs(exact.mean(axis=(0, 1, 2)) - frames.mean(axis=(0, 1, 2))).max() < 0.5
    assert np.abs(back[:, 4:8, 4:8].astype(int) - (230, 20, 20)).max() <= 4


def test_h264_is_tagged_and_seekable_for_the_web(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write_video(path, [scene(k) for k in range(FRAMES)], 25, gop=12)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        keys = [i for i, p in enumerate(container.demux(stream)) if p.is_keyframe and p.size]
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert (stream.codec_context.colorspace, stream.codec_context.color_range) == (5, 1)  # 601, limited
    assert max(np.diff([*keys, FRAMES])) <= 12


@pytest.mark.parametrize("fps", [25, 24, 30000 / 1001, 12.5, 60])
def test_written_rate_is_read_back(fps: float, tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", [scene(k) for k in range(10)], fps)
    info = Recording(tmp_path / "clip.mp4").info
    assert info.fps == pytest.approx(fps) and info.constant_fps and info.frames == 10


@pytest.mark.parametrize(
    ("codec", "suffix"), [("ffv1", "mkv"), ("h264", "mp4"), ("h264", "mkv"), ("h264-lossless", "mkv")]
)
def test_same_frames_and_sound_give_the_same_bytes(codec: Any, suffix: str, tmp_path: Path) -> None:
    write_wav(tmp_path / "tone.wav", 0.3 * np.sin(np.arange(32000, dtype=np.float32) / 5))
    first, second = tmp_path / f"first.{suffix}", tmp_path / "elsewhere" / f"second.{suffix}"
    for path in (first, second):
        write_video(path, [scene(k) for k in range(30)], 25, codec=codec, audio=tmp_path / "tone.wav")
    assert first.read_bytes() == second.read_bytes()


def test_sound_codec_follows_the_container(tmp_path: Path) -> None:
    write_wav(tmp_path / "tone.wav", np.zeros(16000, np.float32))
    for suffix, codec in (("mp4", "aac"), ("mkv", "pcm_s16le")):
        path = tmp_path / f"clip.{suffix}"
        write_video(path, [scene(k) for k in range(20)], 25, audio=tmp_path / "tone.wav")
        with av.open(str(path)) as container:
            assert container.streams.audio[0].codec_context.name == codec
        assert Recording(path).info.has_audio


def test_a_failure_leaves_nothing_new_behind(tmp_path: Path) -> None:
    kept = tmp_path / "kept.mp4"
    write_video(kept, [scene(0)], 25)
    before = kept.read_bytes()
    write_wav(tmp_path / "tone.wav", np.zeros(16000, np.float32))
    for path in (kept, tmp_path / "new.mp4"):
        with (
            pytest.raises(RuntimeError, match="stop"),
            VideoWriter(path, 25, audio=tmp_path / "tone.wav") as writer,
        ):
            writer.write(scene(1))
            raise RuntimeError("stop")
    with pytest.raises(BadClip, match=r"empty\.mkv .*no frame"):
        write_video(tmp_path / "empty.mkv", [], 25, codec="ffv1")
    with pytest.raises(BadClip, match=r"kept\.mp4 has no audio track"):
        write_video(tmp_path / "mute.mp4", [scene(0)], 25, audio=kept)
    assert kept.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["kept.mp4", "tone.wav"]


@pytest.mark.parametrize(
    "frame", [scene(0).astype(np.float32), scene(0)[..., 0], scene(0, 50, 64), np.dstack([scene(0)] * 2)]
)
def test_a_frame_of_another_kind_is_refused(frame: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(ValueError), VideoWriter(tmp_path / "clip.mp4", 25) as writer:
        writer.write(scene(0))
        writer.write(frame)
    assert list(tmp_path.iterdir()) == []


@settings(deadline=None, max_examples=30)
@given(indices=st.lists(st.integers(-20, 19), max_size=6))
def test_any_list_of_indices_reads_the_frames_asked_for(indices: list[int], lossless: Path) -> None:
    frames = Recording(lossless).frames()
    reader = Recording(lossless)
    for _ in range(2):  # the second time decoding goes on from wherever it stopped
        np.testing.assert_array_equal(reader.at(indices), frames[indices] if indices else frames[:0])


@pytest.fixture(scope="module")
def lossless(folder: Path) -> Path:
    path = folder / "lossless.mp4"
    write_video(path, [scene(k, 16, 16) for k in range(20)], 25, codec="h264-lossless", gop=6)
    return path


def test_pictures_can_still_be_read_after_a_video(tmp_path):
    """decord's own libraries must not keep OpenCV from reading PNGs, in whatever order they are needed."""
    write_video(tmp_path / "a.mp4", (scene(i) for i in range(5)), 25.0)
    Image.fromarray(scene(0)).save(tmp_path / "a.png")
    program = (
        "import sys; from kpbe.media.recording import Recording; Recording(sys.argv[1])[0]; "
        "import cv2; print(cv2.imread(sys.argv[2]).shape)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "a.mp4"), str(tmp_path / "a.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.stdout.strip() == f"({HEIGHT}, {WIDTH}, 3)", done.stderr
