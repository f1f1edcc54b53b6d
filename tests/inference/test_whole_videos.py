"""`kpbe enhance` on whole videos: the face is found, followed, rendered and put back; nothing else changes.

The faces are orange discs, which the detector of these tests finds by their colour.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from kpbe import cli
from kpbe.errors import BadClip, KPBEError
from kpbe.frontend.checkpoints import save_frontend
from kpbe.inference import framing
from kpbe.inference.enhance_video import Options, usual_rate
from kpbe.inference.framing import framed
from kpbe.media import parts
from kpbe.media.audio import read_audio, write_wav
from kpbe.media.recording import Recording
from kpbe.media.video_writer import write_video
from tests.frontend.tiny import tiny_frontend

ORANGE = np.array([230, 120, 20])
WIDTH, HEIGHT, RADIUS, FRAMES = 320, 180, 30, 40


class Discs:
    """Finds orange discs, from left to right."""

    def detect(self, frame: np.ndarray) -> np.ndarray:
        import cv2

        mask = (np.abs(frame.astype(int) - ORANGE).max(axis=2) < 40).astype(np.uint8)
        _, _, facts, _ = cv2.connectedComponentsWithStats(mask)
        found = [(x, y, x + w, y + h, 1.0) for x, y, w, h, area in facts[1:].tolist() if area > 400]
        return np.array(sorted(found), float).reshape(-1, 5)


@pytest.fixture(autouse=True)
def discs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "detector_here", Discs)


def room(*middles: float | None, seed: int = 0) -> np.ndarray:
    """A grey room with a disc at each of `middles`; where the disc is None the picture is black."""
    if middles == (None,):
        return np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    picture = np.stack([90 + 40 * np.sin(x / 11 + c + seed) * np.cos(y / 13) for c in range(3)], axis=-1)
    for middle in middles:
        assert middle is not None
        picture[np.hypot(x - middle, y - 90) < RADIUS] = ORANGE
    return picture.astype(np.uint8)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "checkpoints/stage1").mkdir(parents=True)
    save_frontend(tmp_path / "checkpoints/stage1/frontend.safetensors", tiny_frontend(), {})
    write_wav(tmp_path / "speech.wav", np.sin(np.arange(16000 * FRAMES // 25) / 9).astype(np.float32) / 4)
    write_video(tmp_path / "still.mp4", [room(100)] * FRAMES, 25, audio=tmp_path / "speech.wav")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def enhance(*words: str) -> Any:
    return CliRunner().invoke(cli.app, ["enhance", *words])


def done(*words: str) -> str:
    result = enhance(*words)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def test_the_video_keeps_size_rate_length_sound_and_everything_but_the_face(project: Path) -> None:
    write_video("ntsc.mp4", [room(100)] * FRAMES, 30000 / 1001, audio=project / "speech.wav")
    for video in ("still.mp4", "ntsc.mp4"):
        done(video, "--out", "out.mp4")
        before, after = Recording(video), Recording("out.mp4")
        assert (after.size, after.fps, len(after)) == (before.size, before.fps, len(before))
        assert np.corrcoef(read_audio("out.mp4"), read_audio(video))[0, 1] > 0.98
        was, now = (next(iter(r.at_fps(r.fps, exact=True))).astype(float) for r in (before, after))
        outside = np.ones((HEIGHT, WIDTH), bool)
        outside[40:140, 50:150] = False
        assert np.abs(was[outside].mean(axis=0) - now[outside].mean(axis=0)).max() < 1
        assert np.abs(was[75:105, 85:115] - now[75:105, 85:115]).mean() > 2, "the face was rendered"


def test_a_walking_head_is_followed_by_a_square_that_moves_smoothly(project: Path) -> None:
    ways = [60 + 5 * k for k in range(FRAMES)]
    write_video("walk.mp4", [room(way) for way in ways], 25)
    video = framed(Recording("walk.mp4"), 25, "auto")
    middles = (video.squares[:, 0] + video.squares[:, 2]) / 2
    assert np.abs(middles - np.clip(ways, 45, 275))[3:-3].max() < 12
    assert np.abs(np.diff(middles, 2)).max() <= 4, "no jumps"
    steady = framed(Recording("still.mp4"), 25, "auto")
    assert (steady.squares == steady.squares[0]).all(), "a head that stays has a square that stays"
    done("walk.mp4", "--out", "out.mp4")
    first, last = (Recording("out.mp4").at([k])[0].astype(int) for k in (2, FRAMES - 3))
    assert np.abs(first[:, 200:] - room(ways[2])[:, 200:]).mean() < 4
    assert np.abs(last[:, :120] - room(ways[-3])[:, :120]).mean() < 4


def test_two_people_are_refused_until_one_is_chosen(project: Path) -> None:
    write_video("two.mp4", [room(80, 240)] * FRAMES, 25)
    result = enhance("two.mp4", "--out", "out.mp4")
    assert isinstance(result.exception, BadClip)
    assert "two faces of similar size from 0.00 s on: choose one with --face" in str(result.exception)
    done("two.mp4", "--out", "right.mp4", "--face", "right")
    was, now = room(80, 240).astype(int), Recording("right.mp4")[20].astype(int)
    assert np.abs(was - now)[75:105, 65:95].mean() < 4 < np.abs(was - now)[75:105, 225:255].mean()


def test_a_title_stays_as_it_is_and_is_said(project: Path) -> None:
    write_video("title.mp4", [*[room(None)] * 20, *[room(100)] * 20], 25)
    output = done("title.mp4", "--out", "out.mp4")
    assert "title.mp4: there is no face from 0.00 to 0.80 s" in output
    assert Recording("out.mp4").at(range(20)).max() < 6
    output = done("still.mp4", "--source", "title.mp4", "--out", "out.mp4")
    assert "title.mp4: the first frame with a face, at 0.80 s, is the source" in output


def test_without_a_face_the_user_is_told(project: Path) -> None:
    write_video("nobody.mp4", [room()] * 10, 25)
    output = done("nobody.mp4", "--source", "still.mp4", "--out", "out.mp4")
    assert "nobody.mp4: no face was found, the square in the middle is used" in output
    for words, said in (
        (("nobody.mp4", "--source", "still.mp4", "--framing", "face"), "nobody.mp4 shows no face"),
        (("nobody.mp4", "--source", "still.mp4", "--paste"), "nobody.mp4 shows no face to put back"),
        (("still.mp4", "--source", "nobody.mp4"), "nobody.mp4 shows no face to put into still.mp4"),
    ):
        result = enhance(*words, "--out", "none.mp4")
        assert isinstance(result.exception, KPBEError) and said in str(result.exception)
        assert not Path("none.mp4").exists()


def test_an_input_is_never_written_over(project: Path) -> None:
    before = Path("still.mp4").read_bytes()
    Path("link.mp4").symlink_to("still.mp4")
    Image.fromarray(room(100)).save("face.png")
    for out in ("still.mp4", "./still.mp4", "link.mp4"):
        result = enhance("still.mp4", "--source", "face.png", "--out", out)
        assert isinstance(result.exception, KPBEError) and "would be overwritten" in str(result.exception)
    for out in ("out.gif", "checkpoints", "a.webm"):
        result = enhance("still.mp4", "--out", out)
        assert isinstance(result.exception, KPBEError)
        assert "is written to .mp4, .mov, .mkv: name another file" in str(result.exception)
    assert Path("still.mp4").read_bytes() == before


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_work_goes_on_where_it_was_stopped(
    suffix: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "FRAMES_OF_PART", 12)
    out = f"resumed.{suffix}"
    done("still.mp4", "--out", f"whole.{suffix}")
    from kpbe.inference import enhance_video as module

    paste = module.paste_back
    rendered: list[int] = []

    def paste_until_power_fails(*args: Any) -> np.ndarray:
        rendered.append(1)
        if len(rendered) == 33:
            raise KeyboardInterrupt
        return paste(*args)

    monkeypatch.setattr(module, "paste_back", paste_until_power_fails)
    enhance("still.mp4", "--out", out, "--resume")
    assert not Path(out).exists()
    kept = sorted(path.name for path in parts.parts_folder(Path(out)).iterdir() if path.suffix != ".json")
    assert len(kept) >= 1
    result = enhance("still.mp4", "--out", out, "--resume", "--strength", "0.5")
    assert "was begun with other files or options" in str(result.exception)
    rendered[:] = [0] * 100
    done("still.mp4", "--out", out, "--resume")
    assert len(rendered) - 100 <= FRAMES - 12 * len(kept)
    assert not parts.parts_folder(Path(out)).exists()
    whole, resumed = Recording(f"whole.{suffix}"), Recording(out)
    assert (len(whole), whole.fps) == (len(resumed), resumed.fps)
    assert np.abs(whole.frames().astype(int) - resumed.frames()).mean() < 1.5
    assert np.corrcoef(read_audio(out), read_audio(f"whole.{suffix}"))[0, 1] > 0.99


def test_a_folder_or_a_list_in_one_call(project: Path) -> None:
    Path("videos").mkdir()
    for name in ("a", "b"):
        write_video(f"videos/{name}.mp4", [room(100)] * 5, 25)
    Path("videos/c.mp4").write_bytes(b"no video")
    result = enhance("videos", "--out", "better")
    assert result.exit_code == 1 and "1 of 3 videos failed" in result.output
    assert "videos/c.mp4 cannot be read as a video" in result.output
    assert sorted(path.name for path in Path("better").iterdir()) == ["a.mp4", "b.mp4"]
    table = "talking;source\r\nvideos\\a.mp4;still.mp4\r\nvideos/b.mp4;\r\n"
    Path("list.csv").write_bytes(table.encode("utf-16"))
    done("list.csv", "--out", "listed")
    Path("list.txt").write_text("videos/a.mp4\n\n")
    done("list.txt", "--out", "listed2")
    assert len(list(Path("listed").iterdir())) == 2 and len(list(Path("listed2").iterdir())) == 1
    result = enhance("videos", "--out", "still.mp4")
    assert "still.mp4 is a file: name a folder" in str(result.exception)


def test_options_reach_the_picture(project: Path) -> None:
    write_video("pose.mp4", [room(100, seed=k) for k in range(10)], 25)
    output = done("still.mp4", "--pose", "pose.mp4", "--out", "cut.mp4")
    assert "pose.mp4 is 1.20 s shorter than still.mp4: the result ends there" in output
    assert len(Recording("cut.mp4")) == 10
    ways = {"loop": "it begins again", "hold": "its last pose is held", "swing": "back and forth"}
    for end, words in ways.items():
        output = done("still.mp4", "--pose", "pose.mp4", "--pose-end", end, "--out", "end.mp4")
        assert words in output and len(Recording("end.mp4")) == FRAMES
    for words in (
        ("--motion", "relative"), ("--smoothing", "0.5"), ("--take", "lips,pose"), ("--strength", "0.5"),
        ("--close-lips",), ("--fps", "12.5"), ("--no-paste", "--source", "still.mp4", "--best-source-frame"),
    ):  # fmt: skip
        done("still.mp4", *words, "--out", "option.mp4")
    assert len(Recording("option.mp4")) == FRAMES
    for words, said in (
        (("--motion", "wild"), "choose absolute or relative"),
        (("--face", "middle"), "choose auto, largest"),
        (("--take", "nose"), "name some of"),
        (("--motion", "relative", "--yaw", "3"), "leave one of them out"),
        (("--audio-track", "7"), "has 1 audio tracks"),
    ):
        result = enhance("still.mp4", *words, "--out", "none.mp4")
        assert isinstance(result.exception, KPBEError) and said in str(result.exception)


def test_a_video_of_varying_rate_is_sampled_at_its_usual_one(project: Path) -> None:
    from tests.media.test_recording import encode

    steps = np.where(np.random.default_rng(0).random(40) < 0.2, 1 / 15, 1 / 30)
    encode(project / "phone.mp4", times=np.cumsum(steps) - steps[0])
    assert usual_rate(Recording("phone.mp4")) == pytest.approx(30)


def test_memory_does_not_grow_with_length(project: Path) -> None:
    """`Options` holds no frames, and neither does anything else: 4 s and 16 s need the same."""
    assert Options().batch_size <= 32
    script = (
        "import resource, sys; from pathlib import Path; sys.path.insert(0, sys.argv[2]);"
        "from tests.inference.test_whole_videos import Discs; from kpbe.inference import framing;"
        "framing.detector_here = Discs; from kpbe.inference.enhance_video import enhance_video;"
        "from tests.frontend.tiny import tiny_frontend;"
        "enhance_video(tiny_frontend(), Path(sys.argv[1]), None, Path('out.mp4'));"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for seconds in (4, 16):
        write_video("long.mp4", (room(100) for _ in range(25 * seconds)), 25)
        words = [sys.executable, "-c", script, "long.mp4", str(Path(__file__).parents[2])]
        out = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        peaks.append(int(out.split()[-1]))
    frames_kb = 25 * 12 * WIDTH * HEIGHT * 3 / 1024
    assert peaks[1] - peaks[0] < 0.4 * frames_kb


@pytest.mark.slow
def test_sigkill_loses_no_part(project: Path) -> None:
    write_video("long.mp4", (room(100) for _ in range(1500)), 25)
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]);"
        "from tests.inference.test_whole_videos import Discs; from kpbe.inference import framing;"
        "framing.detector_here = Discs; from kpbe.media import parts; parts.FRAMES_OF_PART = 50;"
        "from kpbe.inference.enhance_video import Options, enhance_video;"
        "from tests.frontend.tiny import tiny_frontend;"
        "options = Options(resume=True);"
        "enhance_video(tiny_frontend(), Path('long.mp4'), None, Path('out.mp4'), options=options)"
    )
    words = [sys.executable, "-c", script, str(Path(__file__).parents[2])]
    folder = parts.parts_folder(Path("out.mp4"))
    with subprocess.Popen(words) as process:
        deadline = time.monotonic() + 120
        while len(list(folder.glob("0*.mp4"))) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    whole = {path.name: path.stat().st_mtime_ns for path in folder.glob("0*.mp4")}
    assert len(whole) >= 3 and not Path("out.mp4").exists()
    subprocess.run(words, check=True)
    assert len(Recording("out.mp4")) == 1500 and not folder.exists()
    with av.open("out.mp4") as container:
        times = [packet.pts for packet in container.demux(video=0) if packet.pts is not None]
    assert len(set(times)) == 1500
