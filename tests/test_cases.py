"""Inputs that once gave wrong results at exit 0 (KPBE_SHARED/cases): now the right one, or a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from kpbe import cli
from kpbe.data.acquire import listed_videos
from kpbe.errors import BadClip
from kpbe.media.audio import AUDIO_RATE, read_audio
from kpbe.media.images import read_image
from kpbe.media.recording import Recording
from tests.conftest import shared_folder

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def cases() -> Path:
    return shared_folder("cases")


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KPBE_WEIGHTS", str(REPOSITORY.parent / "shared" / "weights"))
    monkeypatch.chdir(tmp_path)  # as people do: not in the checkout


def kpbe(*words: object) -> Any:
    return CliRunner().invoke(cli.app, [str(word) for word in words])


def enhanced(cases: Path, name: str, *words: object, out: str = "out.mp4") -> Recording:
    result = kpbe("enhance", cases / name, "--source", cases / "face.png", "--out", out, *words)
    assert result.exit_code == 0, (result.output, result.exception)
    return Recording(out)


def refused(*words: object) -> str:
    result = kpbe(*words)
    assert isinstance(result.exception, BadClip), (result.output, result.exception)
    return str(result.exception)


def loud(path: Path | str) -> np.ndarray:
    """Which twentieths of a second are loud."""
    wave = read_audio(path)
    pieces = wave[: len(wave) // 800 * 800].reshape(-1, 800)
    return np.sqrt((pieces**2).mean(axis=1)) > 0.01


def lag(a: np.ndarray, b: np.ndarray) -> float:
    """Seconds by which `b` is later than `a`, by correlation."""
    length = min(len(a), len(b))
    spectrum = np.fft.rfft(a[:length], 2 * length).conj() * np.fft.rfft(b[:length], 2 * length)
    shift = int(np.fft.irfft(spectrum).argmax())
    return (shift if shift < length else shift - 2 * length) / AUDIO_RATE


@pytest.mark.parametrize("name", ["sound_500ms_late.mp4", "sound_500ms_late.mkv", "sound_with_gap.mkv"])
@pytest.mark.parametrize("out", ["out.mp4", "out.mkv"])
def test_sound_stays_where_it_was(name: str, out: str, cases: Path) -> None:
    enhanced(cases, name, out=out)
    before, after = read_audio(cases / name), read_audio(out)
    assert abs(lag(before, after)) <= 1 / 25
    assert np.corrcoef(before, after[: len(before)])[0, 1] > 0.95
    if "late" in name:
        assert not loud(out)[:9].any() and loud(out)[12:15].all()
    else:
        assert (~loud(out)[10:30]).sum() >= 8, "the gap is there"


def test_the_default_track_is_the_one_that_is_heard(cases: Path) -> None:
    video = cases / "second_track_is_default.mkv"
    with av.open(str(video)) as container:
        assert len(container.streams.audio) == 2
    default, first = read_audio(video), read_audio(video, track=1)
    enhanced(cases, video.name)
    heard = read_audio("out.mp4")[: len(default)]
    assert np.corrcoef(heard, default)[0, 1] > 0.95 > 0.5 > abs(np.corrcoef(heard, first[: len(heard)])[0, 1])
    enhanced(cases, video.name, "--audio-track", 1)
    assert np.corrcoef(read_audio("out.mp4")[: len(first)], first)[0, 1] > 0.95


def test_pixels_are_shown_as_they_are_meant(cases: Path) -> None:
    face = read_image(cases / "face.png")
    anamorphic = enhanced(cases, "anamorphic.mp4")
    assert anamorphic.size == (192, 192)
    hlg = Recording(cases / "hlg.mp4")
    assert hlg.info.hdr == "HLG"
    first = next(iter(hlg.at_fps(exact=True)))
    assert np.abs(first.mean(axis=(0, 1)) - face.mean(axis=(0, 1))).max() < 6
    result = kpbe("enhance", cases / "hlg.mp4", "--source", cases / "face.png", "--out", "out.mp4")
    assert result.output.count("has a high dynamic range (HLG)") == 1


def test_pictures_of_every_kind(cases: Path) -> None:
    face = read_image(cases / "face.png")
    np.testing.assert_array_equal(read_image(cases / "face.tif"), face)
    cut_out = read_image(cases / "transparent_hides_green.png")
    assert (cut_out[3, 3] == 255).all(), "plain, not the hidden green"
    assert kpbe("freeview", cases / "face.tif", "--yaw", 10, "--out", "turned.png").exit_code == 0
    assert "is a HEIC picture" in refused("freeview", cases / "iphone_tiles.heic", "--out", "turned.png")
    words = (
        "freeview",
        cases / "face_odd_size.png",
        "--framing",
        "whole",
        "--yaw",
        10,
        "--out",
        "turned.mp4",
    )
    assert kpbe(*words).exit_code == 0
    with av.open("turned.mp4") as container:
        context = container.streams.video[0].codec_context
        assert context.pix_fmt == "yuv420p" and (context.width, context.height) == (188, 188)


def test_faces(cases: Path) -> None:
    said = refused("enhance", cases / "two_people.mp4", "--out", "out.mp4")
    assert "shows two faces of similar size from 0.00 s on: choose one with --face" in said
    before = Recording(cases / "two_people.mp4")
    after = enhanced(cases, "two_people.mp4", "--face", "left")
    changed = np.abs(before[30].astype(int) - after[30]).mean(axis=(0, 2))
    assert changed[:384].mean() > 4 * changed[384:].mean(), "the left one, not the wall between them"
    before, after = Recording(cases / "walking_head.mp4"), enhanced(cases, "walking_head.mp4")
    for frame, columns in ((2, slice(240, None)), (52, slice(None, 330))):
        assert np.abs(before[frame].astype(int) - after[frame])[:, columns].mean() < 3
    result = kpbe("enhance", cases / "black_title.mp4", "--source", cases / "face.png", "--out", "out.mp4")
    assert "there is no face from 0.00 to 0.80 s" in result.output
    result = kpbe("enhance", cases / "hlg.mp4", "--source", cases / "black_title.mp4", "--out", "out.mp4")
    assert "the first frame with a face, at 0.80 s, is the source" in result.output


def test_sounds_of_every_kind(cases: Path) -> None:
    assert not np.isnan(read_audio(cases / "surround_7.1.m4a")).any()
    for name in ("surround_7.1.m4a", "five_channels.wav"):
        words = (
            "speak",
            "wav2lip",
            "--source",
            cases / "face.png",
            "--audio",
            cases / name,
            "--out",
            "out.mp4",
        )
        result = kpbe(*words)
        assert result.exit_code == 0, (result.output, result.exception)
        spoken = read_audio(cases / name)
        assert abs(lag(spoken, read_audio("out.mp4"))) <= 1 / 25
    for words in (("--out", "out.mp4"), ("--out", "out.mkv")):
        source = ("--source", cases / "face.png", "--audio", cases / "speech_with_nan.wav")
        assert "at 0.70 s" in refused("speak", "wav2lip", *source, *words)


def test_speak_writes_the_sound_that_the_lips_follow(cases: Path) -> None:
    late = cases / "sound_500ms_late.mp4"
    result = kpbe("speak", "wav2lip", "--source", cases / "face.png", "--audio", late, "--out", "out.mp4")
    assert result.exit_code == 0, (result.output, result.exception)
    assert abs(lag(read_audio(late), read_audio("out.mp4"))) <= 1 / 25
    assert len(Recording("out.mp4")) == 55


def test_odd_files(cases: Path) -> None:
    assert len(Recording(cases / "long_subtitles.mkv")) == 55
    enhanced(cases, "long_subtitles.mkv")
    assert len(enhanced(cases, "one_frame_60fps.mp4")) == 1
    assert kpbe("freeview", cases / "one_frame_60fps.mp4", "--yaw", 5, "--out", "turned.png").exit_code == 0


@pytest.mark.parametrize("name", ["list_excel_utf8.csv", "list_latin1.csv"])
def test_lists_of_spreadsheets(name: str, cases: Path, tmp_path: Path) -> None:
    for video in ("a.mp4", "b.mp4"):
        (tmp_path / video).touch()
    videos, rejections = listed_videos(cases / name, tmp_path)
    identities = {"list_excel_utf8.csv": ["anna", "ben"], "list_latin1.csv": ["annä", "ben"]}
    assert [video.identity for video in videos] == identities[name] and not rejections
