"""Per-clip work: whole files, fingerprints, rejected clips, resuming, and what a kill leaves behind."""

from __future__ import annotations

import errno
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from kpbe.core.clip_tasks import ClipTask, run_clip_tasks
from kpbe.core.files import UNFINISHED, fingerprint, read_csv, whole, write_csv, write_json, write_text
from kpbe.core.processes import process_map, serial_map, thread_map
from kpbe.errors import BadClip, KPBEError
from kpbe.params import CropParams

REPOSITORY = Path(__file__).resolve().parents[2]


# -- whole files -------------------------------------------------------------------------------------------


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "clip.mp4"
    with whole(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        assert temporary.parent == path.parent
        assert temporary.suffix == ".mp4"  # muxers choose the container by it
    assert path.read_text() == "half"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_text("old")
    with pytest.raises(RuntimeError), whole(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_folder_is_removed(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), whole(tmp_path / "folder") as temporary:
        temporary.mkdir()
        (temporary / "file").write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_csv_is_read_as_it_was_written(tmp_path: Path) -> None:
    rows = [{"clip_id": "a,b", "reason": 'no "face"\nfound'}, {"clip_id": "ü"}]
    write_csv(tmp_path / "rejected.csv", ("clip_id", "reason"), rows)
    assert read_csv(tmp_path / "rejected.csv") == [rows[0], {"clip_id": "ü", "reason": ""}]


# -- fingerprints ------------------------------------------------------------------------------------------


def test_a_fingerprint_follows_file_contents_not_names_or_times(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    write_text(first, "same")
    write_text(second, "same")
    os.utime(second, (0, 0))
    assert fingerprint(first) == fingerprint(second)
    write_text(second, "other")
    assert fingerprint(first) != fingerprint(second)


def test_a_fingerprint_follows_params_and_the_order_of_parts() -> None:
    assert fingerprint(CropParams(), 1) == fingerprint(CropParams(), 1)
    assert fingerprint(CropParams(), 1) != fingerprint(CropParams(iou=0.3), 1)
    assert fingerprint("a", "b") != fingerprint("b", "a")
    with pytest.raises(TypeError, match="cannot fingerprint set"):
        fingerprint({1})


# -- clips -------------------------------------------------------------------------------------------------


def clip_tasks(folder: Path, count: int, version: int = 1) -> list[ClipTask]:
    return [
        ClipTask(
            clip_id=f"clip{index}",
            record=folder / "train" / f"clip{index}.json",
            outputs=(folder / "train" / f"clip{index}.txt",),
            fingerprint=fingerprint(index, version),
            origin=f"videos/{index}.mp4",
            payload=index,
        )
        for index in range(count)
    ]


def make_text(made: list[str], task: ClipTask) -> dict[str, Any]:
    if task.payload % 10 == 7:
        raise BadClip("no face was found.")
    made.append(task.clip_id)
    write_text(task.outputs[0], task.clip_id)
    return {"length": len(task.clip_id)}


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def made() -> list[str]:
    return []


@pytest.fixture
def make(made: list[str]) -> Callable[[ClipTask], dict[str, Any]]:
    return partial(make_text, made)


def test_clips_are_made_once(tmp_path: Path, make: Any, made: list[str]) -> None:
    finished, rejected = run_clip_tasks("stage", clip_tasks(tmp_path, 5), make, tmp_path)
    assert [task.clip_id for task, _ in finished] == [f"clip{i}" for i in range(5)] == made
    assert rejected == []
    again, _ = run_clip_tasks("stage", clip_tasks(tmp_path, 5), make, tmp_path)
    assert len(made) == 5
    assert [facts for _, facts in again] == [facts for _, facts in finished] == [{"length": 5}] * 5


def test_a_rejected_clip_is_listed_and_the_others_are_made(
    tmp_path: Path, make: Any, made: list[str]
) -> None:
    finished, rejected = run_clip_tasks("cut", clip_tasks(tmp_path, 9), make, tmp_path)
    assert len(finished) == len(made) == 8
    row = {"clip_id": "clip7", "path": "videos/7.mp4", "stage": "cut", "reason": "no face was found."}
    assert read_csv(tmp_path / "rejected.csv") == [row]
    assert [vars(rejection) for rejection in rejected] == [row]
    assert not (tmp_path / "train/clip7.txt").exists()


@pytest.mark.parametrize(
    "error", [ValueError("odd\nsecond line"), OSError(errno.EIO, "bad sector"), KeyError("x")]
)
def test_an_unforeseen_error_rejects_its_clip_with_the_traceback_in_the_log(
    error: Exception, tmp_path: Path, make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def fragile(task: ClipTask) -> dict[str, Any]:
        if task.payload == 3:
            write_text(task.outputs[0], "half")
            raise error
        return make(task)

    finished, rejected = run_clip_tasks("cut", clip_tasks(tmp_path, 6), fragile, tmp_path)
    assert len(finished) == 5 and [rejection.clip_id for rejection in rejected] == ["clip3"]
    reason = rejected[0].reason
    assert "see the log" in reason and type(error).__name__ in reason and "second line" not in reason
    assert "Traceback" in caplog.text and "videos/3.mp4" in caplog.text
    assert not (tmp_path / "train/clip3.txt").exists()


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "no space"), KPBEError("weights are missing.")])
def test_an_error_that_concerns_all_clips_ends_the_stage(error: Exception, tmp_path: Path) -> None:
    def make(task: ClipTask) -> dict[str, Any]:
        raise error

    with pytest.raises(type(error)):
        run_clip_tasks("cut", clip_tasks(tmp_path, 3), make, tmp_path)


@pytest.mark.parametrize("record", ["[]", "3", '{"fingerprint": "x"}', "{", "\ufeff"])
def test_a_record_that_is_none_is_made_anew(record: str, tmp_path: Path, make: Any, made: list[str]) -> None:
    run_clip_tasks("stage", clip_tasks(tmp_path, 2), make, tmp_path)
    clip_tasks(tmp_path, 2)[1].record.write_text(record)
    run_clip_tasks("stage", clip_tasks(tmp_path, 2), make, tmp_path)
    assert made == ["clip0", "clip1", "clip1"]


def test_a_clip_that_became_bad_leaves_nothing_of_its_good_days(tmp_path: Path, made: list[str]) -> None:
    run_clip_tasks(
        "stage", clip_tasks(tmp_path, 8), lambda task: make_text([], _with_payload(task, 1)), tmp_path
    )
    assert (tmp_path / "train/clip7.txt").exists()
    run_clip_tasks("stage", clip_tasks(tmp_path, 8, version=2), partial(make_text, made), tmp_path)
    assert not (tmp_path / "train/clip7.txt").exists()
    assert not (tmp_path / "train/clip7.json").exists()


def _with_payload(task: ClipTask, payload: int) -> ClipTask:
    return ClipTask(task.clip_id, task.record, task.outputs, task.fingerprint, task.origin, payload)


def test_a_stage_fails_when_too_many_clips_are_rejected(tmp_path: Path, make: Any) -> None:
    tasks = [task for task in clip_tasks(tmp_path, 38) if task.payload >= 26 or task.payload in (7, 17)]
    with pytest.raises(KPBEError, match=r"stage: 4 of 14 clips were rejected \(allowed: 25%\)") as error:
        run_clip_tasks("stage", tasks, make, tmp_path, max_rejected_fraction=0.25)
    assert str(error.value).count("no face was found.") == 4
    assert "videos/27.mp4" in str(error.value)
    assert len(read_csv(tmp_path / "rejected.csv")) == 4
    finished, _ = run_clip_tasks("stage", tasks, make, tmp_path, max_rejected_fraction=0.3)
    assert len(finished) == 10


def test_a_stage_without_any_clip_left_fails_whatever_is_allowed(tmp_path: Path, make: Any) -> None:
    with pytest.raises(KPBEError, match="1 of 1 clips were rejected"):
        run_clip_tasks("stage", clip_tasks(tmp_path, 8)[7:], make, tmp_path)
    with pytest.raises(KPBEError, match="there is no clip"):
        run_clip_tasks("stage", [], make, tmp_path)


def test_only_clips_whose_fingerprint_changed_are_made_again(
    tmp_path: Path, make: Any, made: list[str]
) -> None:
    run_clip_tasks("stage", clip_tasks(tmp_path, 6), make, tmp_path)
    made.clear()
    mixed = clip_tasks(tmp_path, 3) + clip_tasks(tmp_path, 6, version=2)[3:]
    run_clip_tasks("stage", mixed, make, tmp_path)
    assert made == ["clip3", "clip4", "clip5"]


def test_a_clip_with_a_lost_output_or_a_damaged_record_is_made_again(
    tmp_path: Path, make: Any, made: list[str]
) -> None:
    tasks = clip_tasks(tmp_path, 4)
    run_clip_tasks("stage", tasks, make, tmp_path)
    made.clear()
    tasks[1].outputs[0].unlink()
    tasks[2].record.write_text('{"finger')
    run_clip_tasks("stage", tasks, make, tmp_path)
    assert made == ["clip1", "clip2"]


def test_files_of_clips_that_are_gone_are_removed(tmp_path: Path, make: Any) -> None:
    run_clip_tasks("stage", clip_tasks(tmp_path, 5), make, tmp_path)
    write_text(tmp_path / "clips.csv", "the stage's own file")
    run_clip_tasks("stage", clip_tasks(tmp_path, 2), make, tmp_path)
    kept = ["train/clip0.json", "train/clip0.txt", "train/clip1.json", "train/clip1.txt"]
    assert files_in(tmp_path) == ["clips.csv", "rejected.csv", *kept]


def test_a_video_that_gives_several_clips_keeps_them_all(tmp_path: Path) -> None:
    calls = []

    def cut(task: ClipTask) -> dict[str, Any]:
        calls.append(task.clip_id)
        names = [f"{task.clip_id}-{part}.txt" for part in range(2)]
        for name in names:
            write_text(task.record.parent / name, name)
        return {"outputs": names}

    tasks = [ClipTask("video", tmp_path / "train/video.json", (), fingerprint(1))]
    for _ in range(2):
        run_clip_tasks("cut", tasks, cut, tmp_path)
        assert files_in(tmp_path / "train") == ["video-0.txt", "video-1.txt", "video.json"]
    assert calls == ["video"]
    (tmp_path / "train/video-1.txt").unlink()
    run_clip_tasks("cut", tasks, cut, tmp_path)
    assert calls == ["video", "video"]


# -- shards ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shard_map", [serial_map, thread_map(2), process_map(2), process_map(1)])
def test_results_come_in_the_order_of_the_shards(shard_map: Any) -> None:
    assert list(shard_map(math.sqrt, [float(n * n) for n in range(5)], "roots")) == [0, 1, 2, 3, 4]
    assert list(shard_map(math.sqrt, [], "none")) == []


@pytest.mark.parametrize("shard_map", [serial_map, thread_map(2), process_map(2)])
def test_an_error_in_a_shard_is_the_caller_s(shard_map: Any) -> None:
    with pytest.raises(ValueError, match=r"math domain error|nonnegative"):
        list(shard_map(math.sqrt, [1.0, -1.0, 4.0], "roots"))


def test_a_killed_worker_is_explained() -> None:
    with pytest.raises(KPBEError, match=r"a worker process died .* lower compute\.workers"):
        list(process_map(2)(os._exit, [1, 1, 1], "dying"))


SLOW_STAGE = """
import sys, time
from pathlib import Path
from kpbe.core.clip_tasks import ClipTask, run_clip_tasks
from kpbe.core.processes import process_map, serial_map
from kpbe.core.files import fingerprint, whole

def make(task):
    with whole(task.outputs[0]) as temporary:
        temporary.write_text("begun")
        time.sleep(task.payload)
        temporary.write_text(task.clip_id)
    with open("made.log", "a") as log:
        log.write(task.clip_id + "\\n")
    return {}

if __name__ == "__main__":
    runner, seconds = sys.argv[1:]
    folder = Path("clips")
    tasks = [
        ClipTask(f"clip{i}", folder / "test" / f"clip{i}.json", (folder / "test" / f"clip{i}.txt",),
                 fingerprint(i), payload=float(seconds))
        for i in range(12)
    ]
    map = process_map(2) if runner == "processes" else serial_map
    finished, _ = run_clip_tasks("slow", tasks, make, folder, map=map)
    print(len(finished))
"""


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["serial", "processes"])
def test_a_stage_killed_in_the_middle_goes_on_where_it_was(tmp_path: Path, runner: str) -> None:
    (tmp_path / "slow_stage.py").write_text(SLOW_STAGE)
    test_folder, log = tmp_path / "clips" / "test", tmp_path / "made.log"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}

    def start(seconds: float) -> subprocess.Popen[str]:
        command = [sys.executable, "slow_stage.py", runner, str(seconds)]
        return subprocess.Popen(
            command, cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    stage = start(0.4)
    _wait_until(lambda: len(list(test_folder.glob("*.json"))) >= 3 and _unfinished(test_folder))
    workers = psutil.Process(stage.pid).children(recursive=True)
    stage.send_signal(signal.SIGKILL)
    assert stage.wait() == -signal.SIGKILL
    _wait_until(lambda: not any(_alive(worker) for worker in workers))  # workers do not outlive the stage

    assert _unfinished(test_folder)
    whole_clips = {path.stem for path in test_folder.glob("*.json")}
    assert 3 <= len(whole_clips) < 12
    log.unlink()

    output, errors = start(0.0).communicate(timeout=120)
    assert output.splitlines() == [f"slow: {len(whole_clips)} of 12 clips are already there", "12"], errors
    assert sorted(log.read_text().split()) == sorted({f"clip{i}" for i in range(12)} - whole_clips)
    assert not _unfinished(test_folder)
    assert all((test_folder / f"clip{i}.txt").read_text() == f"clip{i}" for i in range(12))


def _unfinished(folder: Path) -> list[Path]:
    return [path for path in folder.glob(f"{UNFINISHED}*") if path.suffix == ".txt"]


def _alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def _wait_until(condition: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_json_is_stable_for_version_control(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": [1.5]})
    write_json(tmp_path / "b.json", {"a": [1.5], "b": 1})
    assert (tmp_path / "a.json").read_text() == (tmp_path / "b.json").read_text()
