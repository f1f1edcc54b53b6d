"""Sound on the video's time line, exact WAV files, and Wav2Lip's mel against the published numbers."""

from __future__ import annotations

import csv
import itertools
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kpbe.errors import BadClip
from kpbe.media.audio import AUDIO_RATE, is_silent, read_audio, write_wav
from kpbe.media.demuxer import BrokenVideo
from kpbe.media.mel import MEL_WINDOW, mel_window_starts, wav2lip_mel
from kpbe.media.recording import Recording
from kpbe.media.sound_track import NoAudio, find_sound
from kpbe.media.video_writer import write_video

FLASHES = (0.52, 1.3, 2.0, 2.71)
FLASH_SECONDS = 0.12


def tone(seconds: float, rate: int = AUDIO_RATE, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def encode_sound(path: Path, wave: np.ndarray, rate: int, codec: str, first: float = 0.0) -> Path:
    """Foreign file with (channels, samples) float sound that begins `first` seconds after time zero."""
    with av.open(str(path), "w") as output:
        add_sound(output, wave, rate, codec, first)()
    return path


def add_sound(output: Any, wave: np.ndarray, rate: int, codec: str, first: float) -> Any:
    """Add a track; returns the function that encodes it."""
    layout = {1: "mono", 2: "stereo"}[len(wave)]
    stream: Any = output.add_stream(codec, rate=rate)
    stream.layout = layout
    resampler = av.AudioResampler(stream.codec_context.format, layout, rate, frame_size=1152)

    def encode() -> None:
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(wave, np.float32), format="fltp", layout=layout
        )
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), round(first * rate)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            output.mux(stream.encode(piece))
        output.mux(stream.encode(None))

    return encode


def flash_and_beep(
    path: Path,
    times: np.ndarray,
    audio_codec: str,
    rate: int,
    video_first: float = 0.0,
    audio_first: float = 0.0,
) -> Path:
    """White frames and a beep at FLASHES, in seconds of the container; both tracks may begin late."""
    clock = np.arange(round(3.2 * rate)) / rate
    beeping = np.zeros(len(clock), bool)
    for flash in FLASHES:
        beeping |= (clock >= flash) & (clock < flash + FLASH_SECONDS)
    wave = np.where(beeping, 0.8 * np.sin(2 * np.pi * 1000 * clock), 0)[None, round(audio_first * rate) :]
    tick = Fraction(1, 90000)
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream("mpeg2video" if path.suffix == ".mpg" else "libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        if path.suffix != ".mpg":
            stream.codec_context.time_base = stream.time_base = tick
        encode_sound_now = add_sound(output, wave, rate, audio_codec, audio_first)
        shown_until = [*times[1:], times[-1] + 0.03]
        for time, until in zip(times + video_first, np.array(shown_until) + video_first, strict=True):
            lit = any(flash <= (time + until) / 2 < flash + FLASH_SECONDS for flash in FLASHES)
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 255 * lit, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(time / tick), tick
            output.mux(stream.encode(frame.reformat(format="yuv420p")))
        output.mux(stream.encode(None))
        encode_sound_now()
    return path


def onsets(lit: np.ndarray, rate: float) -> np.ndarray:
    return np.flatnonzero(np.diff(np.concatenate([[0], lit.astype(int)])) == 1) / rate


NTSC = np.arange(90) * 1001 / 30000
UNEVEN = np.cumsum(np.random.default_rng(5).uniform(0.008, 0.06, 88))
UNEVEN -= UNEVEN[0]
SYNC_CASES: dict[str, dict[str, Any]] = {
    "ntsc.mp4": {"times": NTSC, "audio_codec": "aac", "rate": 44100},
    "ntsc.mkv": {"times": NTSC, "audio_codec": "pcm_s16le", "rate": 48000},
    "ntsc.mpg": {"times": np.arange(90) / 30, "audio_codec": "mp2", "rate": 44100},
    "uneven.mp4": {"times": UNEVEN, "audio_codec": "aac", "rate": 16000},
    "uneven.mkv": {"times": UNEVEN, "audio_codec": "aac", "rate": 22050},
    "late_picture.mp4": {"times": NTSC, "audio_codec": "aac", "rate": 44100, "video_first": 0.31},
    "late_picture.mkv": {"times": UNEVEN, "audio_codec": "pcm_s16le", "rate": 16000, "video_first": 0.31},
    "late_sound.mp4": {"times": NTSC, "audio_codec": "aac", "rate": 48000, "audio_first": 0.4},
    "late_sound.mkv": {"times": NTSC, "audio_codec": "aac", "rate": 44100, "audio_first": 0.4},
    "late_both.ts": {
        "times": NTSC,
        "audio_codec": "mp2",
        "rate": 48000,
        "audio_first": 0.3,
        "video_first": 0.2,
    },
}


@pytest.fixture(scope="module", params=SYNC_CASES)
def clapperboard(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return flash_and_beep(tmp_path_factory.mktemp("sync") / request.param, **SYNC_CASES[request.param])


@pytest.mark.parametrize(("start", "end"), [(0.0, None), (1.04, 2.6)])
def test_flash_and_beep_coincide_after_resampling(
    clapperboard: Path, start: float, end: float | None
) -> None:
    frames = np.stack([f.mean() for f in Recording(clapperboard).at_fps(25, start, end)])
    wave = read_audio(clapperboard, AUDIO_RATE, start, end)
    assert abs(len(frames) / 25 - len(wave) / AUDIO_RATE) <= 0.5 / 25 + 1e-6
    loud = np.convolve(np.abs(wave), np.ones(64) / 64, mode="same") > 0.2
    flashes = onsets(frames > 128, 25)
    beeps = onsets(loud, AUDIO_RATE)
    assert len(flashes) == len(beeps) >= 2
    assert (
        np.abs(flashes - beeps).max() <= 1 / 25 + 0.5 * 0.06
    )  # one frame, and half a source frame of drawing


def heard_and_seen(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of the container at which beeps and flashes begin, read with PyAV alone."""
    with av.open(str(path)) as container:
        pictures = [(f.time, f.to_ndarray(format="gray").mean()) for f in container.decode(video=0)]
    with av.open(str(path)) as container:
        sounds = [
            (f.time or 0.0, f.sample_rate, f.to_ndarray().reshape(-1)) for f in container.decode(audio=0)
        ]
    clock = np.concatenate([time + np.arange(len(piece)) / rate for time, rate, piece in sounds])
    scale = 32768 if sounds[0][2].dtype == np.int16 else 1
    size = np.abs(np.concatenate([piece for _, _, piece in sounds]) / scale)
    loud = np.convolve(size, np.ones(64) / 64, mode="same") > 0.2
    lit = np.array([grey for _, grey in pictures]) > 128
    times = np.array([time for time, _ in pictures], float)
    return clock[onsets(loud, 1).astype(int)], times[onsets(lit, 1).astype(int)]


@settings(deadline=None, max_examples=12)
@given(
    late_sound=st.integers(0, 80),
    late_picture=st.integers(0, 80),
    container=st.sampled_from(["mp4", "mkv", "ts"]),
    out=st.sampled_from(["mp4", "mkv"]),
)
@example(late_sound=50, late_picture=0, container="mp4", out="mp4")
@example(late_sound=0, late_picture=48, container="mkv", out="mp4")
def test_what_is_written_keeps_the_offset_of_sound_and_picture(
    late_sound: int, late_picture: int, container: str, out: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("offset")
    codec = "mp2" if container == "ts" else "aac"
    offsets = {"audio_first": late_sound / 100, "video_first": late_picture / 100}
    path = flash_and_beep(folder / f"in.{container}", NTSC, codec, 48000, **offsets)
    write_video(folder / f"out.{out}", Recording(path).at_fps(25), 25, audio=path)
    beeps, flashes = heard_and_seen(folder / f"out.{out}")
    silent_until = (late_sound - late_picture) / 100  # one may be under way when picture or sound begins
    begun = [flash for flash in flashes if flash > max(0.01, silent_until + 0.05)]
    assert len(begun) >= 2
    for flash in begun:
        assert np.abs(beeps - flash).min() <= 1 / 25 + 0.02


def test_our_own_clips_keep_sound_and_picture_together(tmp_path: Path) -> None:
    wave = np.zeros(AUDIO_RATE * 2, np.float32)
    wave[AUDIO_RATE : AUDIO_RATE + 1600] = tone(0.1)
    write_wav(tmp_path / "beep.wav", wave)
    frames = [np.full((32, 32, 3), 255 * (25 <= k < 28), np.uint8) for k in range(50)]
    for suffix in ("mp4", "mkv"):
        path = tmp_path / f"clip.{suffix}"
        write_video(path, frames, 25, audio=tmp_path / "beep.wav")
        back = read_audio(path)
        assert len(back) == len(wave)
        assert abs(int(np.argmax(np.abs(back) > 0.1)) - AUDIO_RATE) <= 40
        lit = [f.mean() > 128 for f in Recording(path).at_fps()]
        assert lit.index(True) == 25


def test_sound_longer_than_the_video_is_cut_and_shorter_is_silent(tmp_path: Path) -> None:
    frames = [np.zeros((32, 32, 3), np.uint8)] * 25
    for seconds in (0.5, 3.0):
        write_wav(tmp_path / "tone.wav", tone(seconds))
        for suffix in ("mp4", "mkv"):
            path = tmp_path / f"clip.{suffix}"
            write_video(path, frames, 25, audio=tmp_path / "tone.wav")
            assert Recording(path).info.seconds == pytest.approx(1.0)
            with av.open(str(path)) as container:
                assert (container.duration or 0) / av.time_base <= 1.0 + 0.07
            wave = read_audio(path)
            assert len(wave) == AUDIO_RATE
            assert is_silent(wave[round(0.6 * AUDIO_RATE) :]) == (seconds < 1)


# -- reading --


def test_wav_survives_the_round_trip_bit_for_bit(tmp_path: Path) -> None:
    pcm = np.concatenate([[-32768, 32767, 0, 1, -1], np.random.default_rng(1).integers(-32768, 32768, 5000)])
    wave = (pcm / 32768).astype(np.float32)
    write_wav(tmp_path / "first.wav", wave)
    np.testing.assert_array_equal(read_audio(tmp_path / "first.wav"), wave)
    write_wav(tmp_path / "second.wav", read_audio(tmp_path / "first.wav"))
    assert (tmp_path / "first.wav").read_bytes() == (tmp_path / "second.wav").read_bytes()


def test_loud_waves_are_clipped_and_bad_ones_refused(tmp_path: Path) -> None:
    write_wav(tmp_path / "loud.wav", np.array([2.0, -2.0, 0.5], np.float32))
    np.testing.assert_allclose(read_audio(tmp_path / "loud.wav"), [32767 / 32768, -1, 0.5])
    for wave in (np.array([np.nan]), np.zeros((2, 8)), np.array([np.inf])):
        with pytest.raises(ValueError, match=r"bad\.wav"):
            write_wav(tmp_path / "bad.wav", wave)
    assert not (tmp_path / "bad.wav").exists()


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_resampling_keeps_pitch_phase_and_loudness(rate: int, tmp_path: Path) -> None:
    path = encode_sound(tmp_path / "tone.wav", tone(1.0, rate)[None], rate, "pcm_s16le")
    wave = read_audio(path)
    assert wave.dtype == np.float32 and len(wave) == AUDIO_RATE
    np.testing.assert_allclose(wave[400:-400], tone(1.0)[400:-400], atol=2e-3)


def test_channels_are_averaged(tmp_path: Path) -> None:
    """FFmpeg's own downmix of floating point sound adds the channels at 0.7 each, which clips."""
    both = np.stack([tone(0.5), tone(0.5)])
    for codec, name in (("pcm_s16le", "stereo.wav"), ("pcm_f32le", "float.wav")):
        path = encode_sound(tmp_path / name, both, AUDIO_RATE, codec)
        np.testing.assert_allclose(read_audio(path), tone(0.5), atol=1e-4)
    left = encode_sound(tmp_path / "left.wav", np.stack([tone(0.5), 0 * tone(0.5)]), AUDIO_RATE, "pcm_s16le")
    np.testing.assert_allclose(read_audio(left), tone(0.5) / 2, atol=1e-4)


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    noise = np.random.default_rng(2).normal(0, 0.1, (1, 44100 * 4))
    return encode_sound(tmp_path_factory.mktemp("speech") / "speech.wav", noise, 44100, "pcm_s16le")


@settings(deadline=None, max_examples=40)
@given(start=st.floats(0, 3.9), seconds=st.floats(0.01, 5), rate=st.sampled_from([8000, 16000, 22050, 44100]))
@example(start=0.0, seconds=4.0, rate=16000)
def test_sample_count_is_seconds_times_rate(start: float, seconds: float, rate: int, speech: Path) -> None:
    end = start + seconds
    wave = read_audio(speech, rate, start, end)
    assert len(wave) == round((end - start) * rate)
    assert np.all(np.isfinite(wave)) and np.abs(wave).max(initial=0) <= 1
    beyond = wave[max(0, round((4.05 - start) * rate)) :]
    assert is_silent(beyond)


@settings(deadline=None, max_examples=20)
@given(hundredths=st.integers(0, 300), length=st.integers(10, 90))
def test_a_span_sounds_as_it_does_within_the_whole(hundredths: int, length: int, speech: Path) -> None:
    whole = read_audio(speech)
    start, end = hundredths / 100, (hundredths + length) / 100
    span = read_audio(speech, AUDIO_RATE, start, end)
    np.testing.assert_allclose(span, whole[round(start * AUDIO_RATE) :][: len(span)], atol=1e-4)


@pytest.mark.parametrize(("codec", "name"), [("aac", "long.mp4"), ("aac", "long.mkv"), ("mp2", "long.mpg")])
def test_seeking_far_into_compressed_sound_is_exact(codec: str, name: str, tmp_path: Path) -> None:
    chirp = 0.5 * np.sin(2 * np.pi * np.cumsum(np.linspace(100, 3000, 44100 * 12)) / 44100)
    path = tmp_path / name
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream("mpeg2video" if name.endswith("mpg") else "libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        encode_sound_now = add_sound(output, chirp[None], 44100, codec, 0.0)
        for k in range(300):
            frame = av.VideoFrame(64, 64, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            frame.pts, frame.time_base = k, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        encode_sound_now()
    whole = read_audio(path)
    span = read_audio(path, AUDIO_RATE, 8.0, 9.0)
    np.testing.assert_allclose(span, whole[8 * AUDIO_RATE : 9 * AUDIO_RATE], atol=1e-4)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_span_after_the_last_sound_is_silent(suffix: str, tmp_path: Path) -> None:
    write_wav(tmp_path / "tone.wav", tone(1.0))
    path = tmp_path / f"long.{suffix}"
    write_video(path, [np.zeros((32, 32, 3), np.uint8)] * 200, 25, audio=tmp_path / "tone.wav")
    wave = read_audio(path, AUDIO_RATE, 6.0, 7.0)
    assert len(wave) == AUDIO_RATE and is_silent(wave)


def test_a_mute_video_takes_the_wav_beside_it(tmp_path: Path) -> None:
    clip = tmp_path / "id1#v#0#10.mp4"
    write_video(clip, [np.zeros((32, 32, 3), np.uint8)] * 10, 25)
    with pytest.raises(NoAudio, match=r"id1#v#0#10\.mp4 has no audio track and no id1#v#0#10\.wav"):
        read_audio(clip)
    write_wav(clip.with_suffix(".wav"), tone(2.0))
    assert find_sound(clip).path == clip.with_suffix(".wav")
    np.testing.assert_allclose(read_audio(clip), tone(0.4), atol=1e-4)
    loud = tmp_path / "own.mp4"
    write_video(loud, [np.zeros((32, 32, 3), np.uint8)] * 10, 25, audio=clip.with_suffix(".wav"))
    write_wav(loud.with_suffix(".wav"), 0 * tone(1.0))
    assert find_sound(loud).path == loud


def test_bad_sound_files_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "noise.wav").write_bytes(np.random.default_rng(0).bytes(3000))
    for name in ("noise.wav", "missing.wav"):
        with pytest.raises(BadClip, match=name):
            read_audio(tmp_path / name)
    write_wav(tmp_path / "empty.wav", np.zeros(0, np.float32))
    with pytest.raises(NoAudio, match=r"empty\.wav"):
        read_audio(tmp_path / "empty.wav")
    write_wav(tmp_path / "tone.wav", tone(1.0))
    with pytest.raises(BadClip, match=r"tone\.wav"):
        read_audio(tmp_path / "tone.wav", start=0.5, end=0.5)
    cut = tmp_path / "cut.mp4"
    write_video(cut, [np.zeros((32, 32, 3), np.uint8)] * 60, 25, audio=tmp_path / "tone.wav")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 6 // 10])
    with pytest.raises(BrokenVideo, match=r"cut\.mp4"):
        read_audio(cut)


def test_silence_is_told_from_sound() -> None:
    assert is_silent(np.zeros(100, np.float32)) and is_silent(np.zeros(0, np.float32))
    assert is_silent(np.full(100, 1 / 32768, np.float32))
    assert not is_silent(tone(0.1)) and not is_silent(np.array([0, 0, -0.01, 0], np.float32))


def test_real_clips_have_the_sound_their_manifest_says(shared_clips: Path) -> None:
    with (shared_clips / "MANIFEST.csv").open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["audio"] == "yes" and not r["file"].endswith(".wav")]
    present = [r for r in rows if (shared_clips / r["file"]).exists()]
    assert present
    for row in present[:: len(present) // 12 + 1]:
        path = shared_clips / row["file"]
        wave = read_audio(path)
        assert len(wave) == round(Recording(path).info.seconds * AUDIO_RATE)
        assert not is_silent(wave), row["file"]


# -- mel --


def test_mel_equals_the_reference(golden: Any) -> None:
    fixture = golden("wav2lip_audio")
    label = str(fixture["input_label"])
    wave = golden.fill.waveform(f"w2l/wave/{label}", 2.0)
    golden.compare(fixture, "mel", wav2lip_mel(wave), 1e-5)
    golden.compare(fixture, "mel_reflect_padding", wav2lip_mel(wave, "reflect"), 1e-5)
    short = golden.fill.waveform(f"w2l/wave_short/{label}", 0.337)
    assert len(short) == int(fixture["mel_short_samples"])
    golden.compare(fixture, "mel_short", wav2lip_mel(short), 1e-5)
    click = np.zeros(4000, np.float32)
    click[2000:2100] = 0.5
    golden.compare(fixture, "mel_click", wav2lip_mel(click), 1e-5)
    differing = np.flatnonzero(np.any(wav2lip_mel(wave) != wav2lip_mel(wave, "reflect"), axis=0))
    assert differing.tolist() == fixture["frames_differing_from_reflect"].tolist()


def test_mel_of_silence_is_the_floor() -> None:
    for padding in ("zeros", "reflect"):
        np.testing.assert_array_equal(wav2lip_mel(np.zeros(3200, np.float32), padding), -4)


@settings(deadline=None, max_examples=50)
@given(samples=st.integers(1, 9000), padding=st.sampled_from(["zeros", "reflect"]))
def test_mel_has_a_frame_every_200_samples(samples: int, padding: Any) -> None:
    mel = wav2lip_mel(np.random.default_rng(samples).normal(0, 0.1, samples).astype(np.float32), padding)
    assert mel.shape == (80, 1 + samples // 200) and mel.dtype == np.float32
    assert np.all(np.abs(mel) <= 4)


def test_mel_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="not empty"):
        wav2lip_mel(np.zeros(0, np.float32))


def test_windows_equal_the_reference(golden: Any) -> None:
    fixture = golden("wav2lip_audio")
    expected = np.split(fixture["chunk_starts"], np.cumsum(fixture["chunk_counts"])[:-1])
    for fps, mel_frames, starts in zip(
        fixture["chunk_fps"], fixture["chunk_mel_frames"], expected, strict=True
    ):
        assert mel_window_starts(int(mel_frames), float(fps)) == starts.tolist(), (fps, mel_frames)


@given(
    mel_frames=st.integers(MEL_WINDOW, 3000),
    fps=st.sampled_from([12.5, 15.0, 24.0, 25.0, 29.97, 50.0, 59.94]),
)
def test_windows_cover_the_sound_and_stay_inside(mel_frames: int, fps: float) -> None:
    starts = mel_window_starts(mel_frames, fps)
    assert starts[0] == 0 and starts[-1] == mel_frames - MEL_WINDOW
    assert all(0 <= b - a <= 80 / fps + 1 for a, b in itertools.pairwise(starts))
    assert len(starts) == sum(int(i * (80 / fps)) <= mel_frames - MEL_WINDOW for i in range(mel_frames)) + 1


def test_sound_shorter_than_a_window_is_refused() -> None:
    with pytest.raises(BadClip, match=r"0\.2 s"):
        mel_window_starts(MEL_WINDOW - 1, 25)
