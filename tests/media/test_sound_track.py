"""Sound of any kind on the video's time line: tracks, channels, gaps, values that are none."""

from __future__ import annotations

import wave as wave_files
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition

from kpbe.errors import BadClip
from kpbe.media.audio import AUDIO_RATE, read_audio
from kpbe.media.sound_track import NoAudio, Samples, SoundTrack, as_float, as_stereo, find_sound
from kpbe.media.video_writer import write_video

BLACK = np.zeros((32, 32, 3), np.uint8)


def tone(seconds: float, hertz: float, rate: int = AUDIO_RATE) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def encode(
    path: Path,
    channels: np.ndarray,
    layout: str,
    codec: str,
    rate: int = 16000,
    starts: tuple[float, ...] = (0.0,),
) -> Path:
    """(C, n) float samples, cut into as many equal pieces as there are `starts` (seconds)."""
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream(codec, rate=rate)
        stream.layout = layout
        for piece, start in zip(np.array_split(channels, len(starts), axis=1), starts, strict=True):
            packed = np.ascontiguousarray(piece.T.reshape(1, -1), np.float32)
            frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
            frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), round(start * rate)
            resampler = av.AudioResampler(stream.codec_context.format, layout, rate, frame_size=1024)
            for part in [*resampler.resample(frame), *resampler.resample(None)]:
                output.mux(stream.encode(part))
        output.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "layout", "codec"),
    [("a.m4a", "7.1", "aac"), ("a.wav", "7.1", "pcm_s16le"), ("a.opus", "7.1", "libopus"),
     ("a.flac", "5.1", "flac"), ("b.wav", "hexadecagonal", "pcm_s16le"),
     ("b.m4a", "5.0", "aac"), ("c.wav", "quad", "pcm_f32le")],
)  # fmt: skip
def test_any_number_of_channels_is_averaged(name: str, layout: str, codec: str, tmp_path: Path) -> None:
    count = len(av.AudioLayout(layout).channels)
    rate = 48000 if codec == "libopus" else 16000
    path = encode(tmp_path / name, np.tile(tone(1.0, 300, rate), (count, 1)), layout, codec, rate)
    middle = slice(3000, 13000)
    heard, played = read_audio(path, AUDIO_RATE, 0, 1)[middle], tone(1.0, 300)[middle]
    assert np.corrcoef(heard, played)[0, 1] > 0.98
    share = (
        7 / 8 if layout == "7.1" and codec in ("aac", "libopus") else 1
    )  # their low frequency channel is cut
    assert np.sqrt(np.mean(heard**2) / np.mean(played**2)) == pytest.approx(share, abs=0.15)


def test_channels_without_names_are_averaged(tmp_path: Path) -> None:
    pcm = np.rint(32767 * np.tile(tone(0.5, 300)[:, None], (1, 5))).astype("<i2")
    with wave_files.open(str(tmp_path / "five.wav"), "wb") as file:
        file.setnchannels(5)
        file.setsampwidth(2)
        file.setframerate(AUDIO_RATE)
        file.writeframes(pcm.tobytes())
    np.testing.assert_allclose(read_audio(tmp_path / "five.wav"), tone(0.5, 300), atol=1e-3)
    write_video(tmp_path / "five.mp4", [BLACK] * 12, 25, audio=tmp_path / "five.wav")
    assert np.corrcoef(read_audio(tmp_path / "five.mp4")[500:7000], tone(0.5, 300)[500:7000])[0, 1] > 0.98


def test_many_channels_are_mixed_to_the_side_that_their_names_tell() -> None:
    names = ("FL", "FR", "FC", "LFE", "BL", "BR")
    values = np.zeros((6, 4), np.float32)
    values[0], values[3] = 0.8, 1.0
    left, right = as_stereo(Samples(0, values, 16000, names))
    assert left[0] == pytest.approx(0.8 / (2 + 2**-0.5)) and right[0] == 0
    values[:] = 1
    assert as_stereo(Samples(0, values, 16000, names)).max() == pytest.approx(1), "nothing is clipped"
    unnamed = as_stereo(Samples(0, values, 16000, ("NONE",) * 6))
    np.testing.assert_allclose(unnamed, 1)


def test_integers_of_every_size_have_one_full_scale() -> None:
    for dtype in (np.int16, np.int32, np.int64):
        assert as_float(np.array([[np.iinfo(dtype).min]], dtype))[0, 0] == -1
    assert as_float(np.array([[128, 0]], np.uint8)).tolist() == [[0, -1]]


def two_tracks(path: Path, default: int | None) -> Path:
    with av.open(str(path), "w") as output:
        picture: Any = output.add_stream("libx264", rate=25)
        picture.width, picture.height, picture.pix_fmt = 32, 32, "yuv420p"
        tracks: list[Any] = [output.add_stream("aac", rate=16000) for _ in range(2)]
        for index, track in enumerate(tracks):
            track.layout = "mono"
            track.disposition = Disposition.default if index == default else Disposition(0)
        for k in range(25):
            frame = av.VideoFrame.from_ndarray(BLACK, format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, 25)
            output.mux(picture.encode(frame.reformat(format="yuv420p")))
        output.mux(picture.encode(None))
        for track, hertz in zip(tracks, (300, 900), strict=True):
            frame = av.AudioFrame.from_ndarray(tone(1.0, hertz)[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
            resampler = av.AudioResampler("fltp", "mono", 16000, frame_size=1024)
            for part in [*resampler.resample(frame), *resampler.resample(None)]:
                output.mux(track.encode(part))
            output.mux(track.encode(None))
    return path


def hertz_of(path: Path, track: int | None = None) -> int:
    wave = read_audio(path, track=track)[2000:14000]
    return round(float(np.abs(np.fft.rfft(wave)).argmax()) * AUDIO_RATE / len(wave) / 100) * 100


def test_the_default_track_is_heard_or_the_chosen_one(tmp_path: Path) -> None:
    assert hertz_of(two_tracks(tmp_path / "second.mkv", 1)) == 900
    assert hertz_of(two_tracks(tmp_path / "first.mkv", 0)) == 300
    assert hertz_of(two_tracks(tmp_path / "none.mkv", None)) == 300
    assert [hertz_of(tmp_path / "second.mkv", track) for track in (1, 2)] == [300, 900]
    for wrong in (0, 3):
        with pytest.raises(BadClip, match=r"second\.mkv has 2 audio tracks"):
            find_sound(tmp_path / "second.mkv", wrong)
    write_video(tmp_path / "out.mp4", [BLACK] * 25, 25, audio=tmp_path / "second.mkv")
    assert hertz_of(tmp_path / "out.mp4") == 900


def test_a_gap_is_silence_of_its_length(tmp_path: Path) -> None:
    path = encode(tmp_path / "gap.mka", tone(1.0, 300)[None], "mono", "pcm_s16le", starts=(0.0, 0.9))
    write_video(tmp_path / "gap.mp4", [BLACK] * 35, 25, audio=path)
    for heard in (read_audio(path), read_audio(tmp_path / "gap.mp4")):
        loud = np.abs(heard) > 0.05
        assert loud[1000:7900].mean() > 0.8 and not loud[8600:13800].any() and loud[14900:22000].mean() > 0.8


def test_samples_that_are_no_numbers_are_refused_with_their_second(tmp_path: Path) -> None:
    for bad in (np.nan, np.inf):
        wave = tone(1.5, 300)[None].copy()
        wave[0, 11000] = bad
        path = encode(tmp_path / "bad.wav", wave, "mono", "pcm_f32le")
        with pytest.raises(BadClip, match=r"bad\.wav has sound that is not a number .* at 0\.\d\d s"):
            read_audio(path)
        with pytest.raises(BadClip, match=r"bad\.wav"):
            write_video(tmp_path / "out.mp4", [BLACK] * 40, 25, audio=path)
        assert not (tmp_path / "out.mp4").exists()


def test_times_that_jump_far_are_refused() -> None:
    track = SoundTrack(Path("a.ts"), 0, "mp2", zero=0.0)
    values = np.zeros((1, 1024), np.float32)
    with pytest.raises(BadClip, match=r"a\.ts: the times of its sound jump by -9 s at 10\.00 s"):
        track._in_order(values, 16000, 160000, 16000)
    with pytest.raises(BadClip, match="jump by 1000 s"):
        track._in_order(values, 16000, 0, 16000 * 1000)
    kept, first = track._in_order(values, 16000, 16000, 15000)
    assert (kept.shape[1], first) == (24, 16000), "what overlaps is left out"


def test_uncompressed_sound_stays_as_it_is_in_matroska(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, (2, 16000)).astype(np.float32)
    for codec in ("pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le"):
        path = encode(tmp_path / f"{codec}.wav", noise, "stereo", codec)
        write_video(tmp_path / "out.mkv", [BLACK] * 25, 25, audio=path)
        ours = np.concatenate([s.values for s in find_sound(tmp_path / "out.mkv").samples()], axis=1)
        theirs = np.concatenate([s.values for s in find_sound(path).samples()], axis=1)
        np.testing.assert_array_equal(ours, theirs)
        assert find_sound(tmp_path / "out.mkv").codec == codec


def test_a_file_without_sound_says_so(tmp_path: Path) -> None:
    write_video(tmp_path / "mute.mp4", [BLACK] * 5, 25)
    with pytest.raises(NoAudio, match=r"mute\.mp4 has no audio track and no mute\.wav"):
        find_sound(tmp_path / "mute.mp4")
