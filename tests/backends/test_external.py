"""External backends: a program run once for each clip, and videos made elsewhere."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml

from kpbe.backends import training
from kpbe.backends.base import SynthesisRequest
from kpbe.backends.external.command import CommandBackend, CommandSettings
from kpbe.backends.registry import BACKENDS, backend_of, get_backend, is_trainable
from kpbe.backends.synthesize import synthesize
from kpbe.core.files import read_csv
from kpbe.core.processes import process_map
from kpbe.data.clips import Clip, write_manifest
from kpbe.data.source_frame import source_frame_index
from kpbe.errors import BadClip, KPBEError, MissingWeights, ParamsError
from kpbe.media.audio import read_audio, write_wav
from kpbe.media.recording import Recording
from kpbe.media.video_writer import write_video
from kpbe.params import Params, parse_params, parse_section
from tests.clips import describe_clip

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = Path(__file__).parent / "programs" / "talk.py"
FRAMES = 12
SIZE = 64


def call(*arguments: str, program: Path = PROGRAM) -> str:
    """A command template that runs the stand-in program with the usual arguments and some more."""
    usual = "--image {image} --audio {audio} --output {output} --clip-id {clip_id}"
    return shlex.join([sys.executable, str(program)]) + " " + " ".join([usual, *arguments])


def settings(**values: Any) -> CommandSettings:
    return parse_section(CommandSettings, {"command": call(), "timeout_s": 60, **values}, "params.yaml")


def loaded(**values: Any) -> CommandBackend:
    return CommandBackend.from_checkpoint(None, settings(**values))


def request(tmp_path: Path, **values: Any) -> SynthesisRequest:
    picture = np.full((SIZE, SIZE, 3), (30, 90, 160), np.uint8)
    wave = np.full(FRAMES * 640, 0.5, np.float32)
    fields: dict[str, Any] = {"clip_id": "anna#talk#0#12", "log": tmp_path / "logs" / "anna.log", **values}
    return SynthesisRequest("anna.mp4", [picture], wave, pose_frames=[picture] * FRAMES, **fields)


def made(backend: Any, asked: SynthesisRequest) -> np.ndarray:
    return np.stack(list(backend.synthesize(asked, backend.prepare(asked))))


def reason_of(tmp_path: Path, **values: Any) -> str:
    with pytest.raises(BadClip) as error:
        made(loaded(**values), request(tmp_path))
    return str(error.value)


# -- clips and the stage -----------------------------------------------------------------------------------


def write_clip(folder: Path, split: str, identity: str) -> Clip:
    rng = np.random.default_rng(int.from_bytes(identity.encode(), "big"))
    clip_id = f"{identity}#video#000000#000012"
    video = folder / split / f"{clip_id}.mp4"
    coarse = rng.integers(0, 255, (FRAMES, 4, 4, 3), dtype=np.uint8)
    write_video(video, coarse.repeat(16, 1).repeat(16, 2), 25.0)
    write_wav(video.with_suffix(".wav"), rng.normal(0, 0.1, FRAMES * 640 - 100).astype(np.float32))
    return describe_clip(folder, identity, video="video", split=split, frames=FRAMES, side=SIZE)


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    folder = tmp_path / "clips"
    made = [write_clip(folder, *who) for who in (("train", "anna"), ("train", "bert"), ("test", "cleo"))]
    write_manifest(folder, made)
    return made


def params(**section: Any) -> Params:
    schedule = {"schedule": {"steps": 1, "batch_size": 1}}
    others = {
        "data": {"max_rejected_fraction": 0.7},
        "model": {},
        "evaluate": {},
        "compute": {"device": "cpu"},
    }
    train = {"stage1": schedule, "stage2": schedule}
    return parse_params({**others, "train": train, "backends": ["other"], "backend": {"other": section}})


def run(clips: list[Clip], out: Path, **section: Any) -> dict[str, str]:
    """Run the stage; the reasons of rejected clips by identity."""
    if section.get("kind", "command") == "command":
        section = {"kind": "command", "command": call(), "timeout_s": 60, **section}
    synthesize("other", params(**section), clips[0].folder, out.with_name("no checkpoint"), out)
    return {row["clip_id"].split("#")[0]: row["reason"] for row in read_csv(out / "rejected.csv")}


def videos(out: Path) -> dict[str, int]:
    found = sorted(out.rglob("*.mkv"), key=lambda path: path.name)
    return {path.name.split("#")[0]: path.stat().st_mtime_ns for path in found}


# -- settings ----------------------------------------------------------------------------------------------


def test_both_kinds_are_registered_and_not_trained() -> None:
    assert {"command", "folder"} <= set(BACKENDS)
    assert not is_trainable(get_backend("command"))
    assert not is_trainable(get_backend("folder"))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"command": "talk {image} {audio}"}, "{output}"),
        ({"command": "talk {output} {output_folder}"}, "one of"),
        ({"command": "talk {output} {picture}"}, "unknown placeholder {picture}"),
        ({"command": "talk {output} {}"}, "unknown placeholder {}"),
        ({"command": "talk {output} {fps:.2f}"}, "unknown placeholder {fps:.2f}"),
        ({"command": "talk {output} {fps.real}"}, "unknown placeholder {fps.real}"),
        ({"command": "talk {output"}, "cannot be read"),
        ({"command": 'talk {output} "'}, "close quotes"),
        ({"command": ""}, "name a program"),
        ({"command": "talk {output} {video}"}, "set feed to video"),
        ({"command": "talk {output} {checkpoint}"}, "checkpoint names no file"),
        ({"command": "talk {output}", "environment": ["CUDA"]}, "NAME=value"),
        ({"command": "talk {output}", "timeout_s": 0}, "timeout_s"),
    ],
)
def test_a_command_that_cannot_be_filled_in_is_refused_in_one_sentence(
    values: dict[str, Any], words: str
) -> None:
    with pytest.raises(ParamsError) as error:
        backend_of(params(kind="command", **values), "other")
    message = str(error.value)
    assert words in message
    assert "\n" not in message
    assert message.count(". ") == 0


def test_braces_and_quotes_reach_the_program_as_they_are(tmp_path: Path) -> None:
    script = tmp_path / "my show.py"
    script.write_text("import sys; print(sys.argv[1:])")
    command = f"'{sys.executable}' '{script}' '{{{{\"a b\": 1}}}}' --x={{frames}}:{{fps}} \"it's\" {{output}}"
    with pytest.raises(BadClip, match="left no video"):
        made(loaded(command=command), request(tmp_path))
    shown = (tmp_path / "logs" / "anna.log").read_text().splitlines()[1]
    assert shown.startswith(repr(['{"a b": 1}', f"--x={FRAMES}:25", "it's"])[:-1])


@pytest.mark.parametrize("name", ["sadtalker", "musetalk", "folder_example"])
def test_the_examples_of_conf_are_accepted(name: str) -> None:
    section = yaml.safe_load((REPOSITORY / "conf" / "backend" / f"{name}.yaml").read_text())[name]
    backend, _ = backend_of(params(**section), "other")
    assert backend.kind == section["kind"]


# -- one clip ----------------------------------------------------------------------------------------------


def test_the_program_is_given_picture_sound_and_pose_and_its_video_is_taken_over(tmp_path: Path) -> None:
    frames = made(loaded(command=call("--pose-video {pose_video}")), request(tmp_path))
    assert frames.shape == (FRAMES, SIZE, SIZE, 3)
    bar = int(0.5 * SIZE)  # the wave's constant half, exactly as sent
    assert frames[:, : bar - 2].min() > 250
    np.testing.assert_allclose(frames[:, bar + 2 :].mean(axis=(0, 1, 2)), (30, 90, 160), atol=3)
    log = (tmp_path / "logs" / "anna.log").read_text()
    assert log.startswith(f"$ {sys.executable}")
    assert f"pose h264 {FRAMES}" in log


def test_opencv_reads_what_the_program_is_given(tmp_path: Path) -> None:
    script = tmp_path / "show.py"
    script.write_text(
        "import cv2, sys, wave\n"
        "video = cv2.VideoCapture(sys.argv[1]); n = 0\n"
        "while video.read()[0]: n += 1\n"
        "print(n, video.get(cv2.CAP_PROP_FPS), cv2.imread(sys.argv[2])[0, 0].tolist(), "
        "wave.open(sys.argv[3]).readframes(2))\n"
    )
    command = f"{sys.executable} '{script}' {{pose_video}} {{image}} {{audio}} {{output}}"
    with pytest.raises(BadClip):
        made(loaded(command=command), request(tmp_path))
    assert (
        f"{FRAMES} 25.0 [160, 90, 30] {bytes([0, 64, 0, 64])!r}"
        in (tmp_path / "logs" / "anna.log").read_text()
    )


@pytest.mark.parametrize(("more", "missing"), [(0, 0), (5, 0), (-2, 2), (-3, 3)])
def test_a_little_too_short_is_filled_and_too_long_is_cut(tmp_path: Path, more: int, missing: int) -> None:
    frames = made(loaded(command=call(f"--more {more}")), request(tmp_path))
    assert len(frames) == FRAMES
    for index in range(FRAMES - missing, FRAMES):
        np.testing.assert_array_equal(frames[index], frames[FRAMES - missing - 1])


def test_too_short_is_rejected_with_how_much_is_missing(tmp_path: Path) -> None:
    assert "made only 8 of 12 frames" in reason_of(tmp_path, command=call("--more -4"))
    assert "made only 11 of 12" in reason_of(tmp_path, command=call("--more -1"), allowed_missing_frames=0)


def test_another_frame_rate_and_size_are_converted(tmp_path: Path) -> None:
    frames = made(loaded(command=call("--fps 50 --size 96")), request(tmp_path))
    assert frames.shape == (FRAMES, SIZE, SIZE, 3)
    np.testing.assert_allclose(frames[:, -10:].mean(axis=(0, 1, 2)), (30, 90, 160), atol=3)


def test_a_program_that_names_its_file_itself_writes_into_the_output_folder(tmp_path: Path) -> None:
    command = call("--output-folder {output_folder}").replace("--output {output} ", "")
    assert made(loaded(command=command), request(tmp_path)).shape == (FRAMES, SIZE, SIZE, 3)
    assert "several videos (0.mp4, 1.mp4)" in reason_of(tmp_path, command=command + " --videos 2")


def test_feed_video_gives_all_frames(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = list(np.broadcast_to(rng.integers(0, 255, (3, 1, 1, 3), dtype=np.uint8), (3, SIZE, SIZE, 3)))
    asked = SynthesisRequest("anna.mp4", frames, np.zeros(FRAMES * 640, np.float32))
    result = made(loaded(feed="video", command=call("--video {video}")), asked)
    np.testing.assert_allclose(result[0], frames[0], atol=4)


def test_paths_with_spaces_and_quotes_are_passed_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tmp_path / 'it\'s "my" folder $HOME {x}'
    odd.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(odd))
    program = odd / PROGRAM.name
    program.write_text(PROGRAM.read_text())
    log = odd / "logs" / "a b.log"
    script = f"{sys.executable} {shlex.quote(program.name)} " + call().split("talk.py ", 1)[1]
    result = made(loaded(command=script, working_folder=odd), request(tmp_path, clip_id="a 'b'#c", log=log))
    assert len(result) == FRAMES
    assert "a 'b'#c" in shlex.split(log.read_text().splitlines()[0])
    assert not list(odd.glob("kpbe-*"))


def test_the_environment_is_ours_and_the_additions(tmp_path: Path) -> None:
    script = tmp_path / "show.py"
    script.write_text("import os; print(os.environ['DEVICE'], 'PATH' in os.environ)")
    command = f"{sys.executable} {shlex.quote(str(script))} {{output}}"
    assert "'2=x True'" in reason_of(tmp_path, command=command, environment=["DEVICE=2=x"])


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("fail", "exit code 3; its last line is 'CUDA out of memory'"),
        ("nothing", "left no video; its last line is 'loading nothing'"),
        ("garbage", "output.mp4, which cannot be read as a video"),
    ],
)
def test_a_failure_is_told_with_the_last_line_and_the_log(tmp_path: Path, what: str, words: str) -> None:
    reason = reason_of(tmp_path, command=call(f"--do {what}"))
    assert words in reason
    assert reason.startswith("anna.mp4: the command ")
    assert str(tmp_path / "logs" / "anna.log") in reason
    assert "loading" in (tmp_path / "logs" / "anna.log").read_text()


def test_a_program_that_prints_nothing_or_is_killed_says_so(tmp_path: Path) -> None:
    reason = reason_of(
        tmp_path, command=f"{sys.executable} -c 'import os; os.kill(os.getpid(), 9)' {{output}}"
    )
    assert "killed by signal 9 (out of memory?); it printed nothing" in reason


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_at_the_time_out_the_program_and_its_children_are_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    reason = reason_of(tmp_path, command=call(f"--do hang --pids '{pids}'"), timeout_s=4)
    assert "did not end within 4 s (timeout_s)" in reason
    assert "'still thinking'" in reason
    parent, child = map(int, pids.read_text().split())
    wait_for(lambda: gone(parent) and gone(child), 5)


def test_children_that_a_program_leaves_behind_are_killed_too(tmp_path: Path) -> None:
    script = tmp_path / "leave.py"
    script.write_text(
        "import subprocess, sys\n"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)']).pid)\n"
    )
    reason_of(tmp_path, command=f"{sys.executable} {shlex.quote(str(script))} {{output}}")
    pid = int((tmp_path / "logs" / "anna.log").read_text().splitlines()[1])
    wait_for(lambda: gone(pid), 5)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Make SIGINT raise KeyboardInterrupt.

    A shell that starts the tests in the background lets them ignore it.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_kills_the_program_and_cleans_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interruptible: None
) -> None:
    pids, scratch = tmp_path / "pids", tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    backend = loaded(command=call(f"--do hang --pids '{pids}'"))
    waiter = subprocess.Popen(
        [
            "/bin/sh",
            "-c",
            f"while [ ! -e '{pids}' ]; do sleep 0.1; done; kill -s INT {os.getpid()}",
        ]
    )
    with pytest.raises(KeyboardInterrupt):
        backend.prepare(request(tmp_path))
    waiter.wait()
    wait_for(lambda: all(gone(int(pid)) for pid in pids.read_text().split()), 5)
    assert not list(scratch.iterdir())


def test_a_program_or_folder_that_is_not_there_stops_at_once(tmp_path: Path) -> None:
    with pytest.raises(KPBEError, match="sadtalk0r is not on the PATH: install") as error:
        loaded(command="sadtalk0r {output}")
    assert not isinstance(error.value, BadClip)
    with pytest.raises(KPBEError, match="no program that can be run"):
        loaded(command="./inference.py {output}", working_folder=tmp_path)
    with pytest.raises(KPBEError, match=r"\(working_folder\) is not a folder"):
        loaded(working_folder=tmp_path / "SadTalker")
    (tmp_path / "empty").touch(mode=0o755)
    with pytest.raises(KPBEError, match=r"cannot be started \(Exec format error\)"):
        made(loaded(command="./empty {output}", working_folder=tmp_path), request(tmp_path))


# -- the stage ---------------------------------------------------------------------------------------------


def test_the_stage_makes_every_clip_with_its_sound_and_a_log(clips: list[Clip], tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "logs").mkdir(parents=True)
    (out / "logs" / "gone#video#0#1.log").touch()
    assert not run(clips, out)
    for clip in clips:
        video = out / clip.split / f"{clip.clip_id}.mkv"
        assert (Recording(video).info.frames, Recording(video).info.fps, Recording(video).info.width) == (
            FRAMES,
            25.0,
            SIZE,
        )
        wave = read_audio(clip.wav)
        np.testing.assert_array_equal(read_audio(video)[: len(wave)], wave)
        source = Recording(clip.video).frames()[source_frame_index(clip.clip_id, FRAMES, 2210)]
        np.testing.assert_allclose(
            Recording(video).frames()[0, -20:].mean((0, 1)), source[-20:].mean((0, 1)), atol=4
        )
    assert {path.stem for path in (out / "logs").iterdir()} == {clip.clip_id for clip in clips}
    first = videos(out)
    run(clips, out, timeout_s=50, environment=["CUDA_VISIBLE_DEVICES=0"])
    assert videos(out) == first
    run(clips, out, version="2")
    assert all(videos(out)[who] != first[who] for who in first)
    assert {path.stem for path in (out / "logs").iterdir()} == {clip.clip_id for clip in clips}


@pytest.mark.slow  # two new processes import torch
def test_settings_travel_to_worker_processes(clips: list[Clip], tmp_path: Path) -> None:
    section = params(kind="command", command=call(), environment=["A=1"])
    synthesize("other", section, clips[0].folder, tmp_path, tmp_path / "out", map=process_map(2))
    assert list(videos(tmp_path / "out")) == ["anna", "bert", "cleo"]


def test_a_failing_clip_is_rejected_and_keeps_its_log_while_the_others_are_made(
    clips: list[Clip], tmp_path: Path
) -> None:
    script = tmp_path / "some.py"
    script.write_text(
        f"import sys\nif 'bert' in str(sys.argv): sys.exit('no face')\nexec(open({str(PROGRAM)!r}).read())\n"
    )
    out = tmp_path / "out"
    reasons = run(clips, out, command=call(program=script))
    log = out / "logs" / f"{clips[1].clip_id}.log"
    assert list(reasons) == ["bert"]
    assert f"ended with exit code 1; its last line is 'no face', its log {log}." in reasons["bert"]
    assert "no face" in log.read_text()
    assert list(videos(out)) == ["anna", "cleo"]


def test_a_missing_program_stops_the_stage_before_any_clip(clips: list[Clip], tmp_path: Path) -> None:
    with pytest.raises(KPBEError, match="not on the PATH"):
        run(clips, tmp_path / "out", command="sadtalk0r {output}")
    assert not list((tmp_path / "out").rglob("*.mkv"))
    with pytest.raises(MissingWeights, match=r"none\.pth \(backend\.other\.checkpoint\)"):
        run(clips, tmp_path / "out", checkpoint=str(tmp_path / "none.pth"))


def test_a_named_checkpoint_is_handed_on_and_remakes_the_clips_when_it_changes(
    clips: list[Clip], tmp_path: Path
) -> None:
    weights, out = tmp_path / "net.pth", tmp_path / "out"
    weights.write_text("1")
    command = call("--slow {checkpoint} --once '{checkpoint}'")
    run(clips, out, command=command, checkpoint=str(weights))
    assert f"--slow {weights}" in (out / "logs" / f"{clips[0].clip_id}.log").read_text()
    first = videos(out)
    weights.write_text("2")
    run(clips, out, command=command, checkpoint=str(weights))
    assert all(videos(out)[who] != first[who] for who in first)


def test_after_kill_9_only_missing_clips_are_made_and_nothing_is_left_running(
    clips: list[Clip], tmp_path: Path
) -> None:
    out, journal, pids, scratch = (tmp_path / name for name in ("out", "journal", "pids", "scratch"))
    scratch.mkdir()
    more = f"--journal '{journal}' --pids '{pids}' --once '{tmp_path / 'once'}' --slow bert"
    section = {"kind": "command", "command": call(more), "timeout_s": 120}
    stage = (
        "import yaml\nfrom pathlib import Path\n"
        "from kpbe.backends.synthesize import synthesize\nfrom kpbe.params import parse_params\n"
        f"values = yaml.safe_load(Path({str(tmp_path / 'params.yaml')!r}).read_text())\n"
        f"synthesize('other', parse_params(values), Path({str(clips[0].folder)!r}), Path('x'), "
        f"Path({str(out)!r}))\n"
    )
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params(**section).model_dump(mode="json")))
    environment = {**os.environ, "TMPDIR": str(scratch)}
    running = subprocess.Popen([sys.executable, "-c", stage], cwd=REPOSITORY, env=environment)
    try:
        wait_for(lambda: pids.exists() or running.poll() is not None)
        assert running.poll() is None
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    wait_for(lambda: all(gone(int(pid)) for pid in pids.read_text().split()), 10)
    wait_for(lambda: not list(scratch.iterdir()), 10)
    assert list(videos(out)) == ["anna"]
    first = videos(out)["anna"]
    journal.unlink()
    assert not run(clips, out, **section)
    assert [line.split("#")[0] for line in journal.read_text().splitlines()] == ["bert", "cleo"]
    assert list(videos(out)) == ["anna", "bert", "cleo"]
    assert videos(out)["anna"] == first


@pytest.mark.parametrize(
    "section", [{"kind": "command", "command": "talk {output}"}, {"kind": "folder", "folder": "x"}]
)
def test_the_training_stages_leave_a_note_that_there_is_nothing_to_train(
    section: dict[str, Any], tmp_path: Path
) -> None:
    values = params(**section)
    training.train_sync("other", values, tmp_path, tmp_path, tmp_path / "sync")
    training.train_backend("other", values, tmp_path, tmp_path, tmp_path / "sync", tmp_path / "backend")
    for folder in ("sync", "backend"):
        note = yaml.safe_load((tmp_path / folder / "summary.json").read_text())
        assert note["trained"] is False
        assert section["kind"] in note["reason"]


# -- folder ------------------------------------------------------------------------------------------------


def fill(
    folder: Path, clip: Clip, name: str, frames: int = FRAMES, size: int = SIZE, shade: int = 90
) -> Path:
    path = folder / name.format(clip.clip_id, clip.clip_id.replace("#", "_"))
    write_video(path, np.full((frames, size, size, 3), shade, np.uint8), 25.0)
    return path


def test_videos_are_found_by_clip_id_however_the_folder_is_laid_out(
    clips: list[Clip], tmp_path: Path
) -> None:
    videos_folder, out = tmp_path / "theirs", tmp_path / "out"
    fill(videos_folder, clips[0], "{}.mp4", frames=FRAMES - 2)
    fill(videos_folder, clips[1], "train/{1}.mkv", size=96)
    upper = fill(videos_folder, clips[2], "test/{}.mp4", frames=FRAMES + 9)
    upper.rename(upper.with_suffix(".MP4"))
    assert not run(clips, out, kind="folder", folder=str(videos_folder))
    for clip in clips:
        frames = Recording(out / clip.split / f"{clip.clip_id}.mkv").frames()
        assert frames.shape == (FRAMES, SIZE, SIZE, 3)
        np.testing.assert_allclose(frames, 90, atol=3)


def test_only_a_replaced_video_is_taken_over_again(clips: list[Clip], tmp_path: Path) -> None:
    videos_folder, out = tmp_path / "theirs", tmp_path / "out"
    for clip in clips:
        fill(videos_folder, clip, "{}.mp4")
    run(clips, out, kind="folder", folder=str(videos_folder))
    first = videos(out)
    fill(videos_folder, clips[1], "{}.mp4", shade=200)
    run(clips, out, kind="folder", folder=str(videos_folder))
    assert [who for who in first if videos(out)[who] != first[who]] == ["bert"]
    videos_folder.rename(tmp_path / "moved")
    second = videos(out)
    run(clips, out, kind="folder", folder=str(tmp_path / "moved"))
    assert videos(out) == second


def test_none_two_and_bad_videos_are_rejected_with_the_folder_named(
    clips: list[Clip], tmp_path: Path
) -> None:
    videos_folder, out = tmp_path / "theirs", tmp_path / "out"
    fill(videos_folder, clips[0], "{}.mp4")
    fill(videos_folder, clips[1], "{}.mp4")
    fill(videos_folder, clips[1], "train/{1}.mkv")
    reasons = run(clips, out, kind="folder", folder=str(videos_folder))
    assert f"{videos_folder} has 2 videos of it" in reasons["bert"]
    assert "train/bert_video_000000_000012.mkv" in reasons["bert"]
    assert f"{videos_folder} has no video of it" in reasons["cleo"]
    assert "cleo_video_000000_000012.mp4" in reasons["cleo"]
    (videos_folder / "train" / "bert_video_000000_000012.mkv").unlink()
    fill(videos_folder, clips[1], "{}.mp4", frames=4)
    (videos_folder / f"{clips[2].clip_id}.mp4").write_bytes(b"no video")
    reasons = run(clips, out, kind="folder", folder=str(videos_folder))
    assert "has only 4 of 12 frames" in reasons["bert"]
    assert "cannot be read as a video" in reasons["cleo"]
    assert list(videos(out)) == ["anna"]


def test_a_folder_that_is_not_there_stops_the_stage(clips: list[Clip], tmp_path: Path) -> None:
    with pytest.raises(KPBEError, match=r"nowhere \(folder\) is not a folder") as error:
        run(clips, tmp_path / "out", kind="folder", folder=str(tmp_path / "nowhere"))
    assert not isinstance(error.value, BadClip)
