"""The sample as files: complete, readable, resumable, and the same from any number of processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kpbe.core.processes import process_map
from kpbe.data.raw import RawVideo
from kpbe.data.sample import render_clip, write_sample
from kpbe.media.audio import read_audio
from kpbe.media.recording import Recording
from kpbe.params import SampleParams
from tests.truth import read_truth

PARAMS = SampleParams.model_validate(
    {"train_identities": 2, "test_identities": 1, "clips_per_identity": 1, "seconds": 0.6, "frame_size": 96}
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[RawVideo]]:
    folder = tmp_path_factory.mktemp("sample")
    return folder, write_sample(PARAMS, folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_videos_are_listed_and_identities_kept_apart(written: tuple[Path, list[RawVideo]]) -> None:
    folder, videos = written
    assert [video.split for video in videos] == ["train", "train", "test"]
    assert [video.identity for video in videos] == ["sample01", "sample02", "sample03"]
    for video in videos:
        assert video.path == folder / video.split / f"{video.identity}_{video.video_id}.mp4"
        assert video.boxes == video.path.with_suffix(".boxes.npy")
        assert (video.width, video.height, video.fps) == (96, 96, 25)
        for suffix in (".wav", ".boxes.npy", ".truth.npz", ".json"):
            assert video.path.with_suffix(suffix).exists()


def test_files_hold_the_rendered_clip(written: tuple[Path, list[RawVideo]]) -> None:
    _, videos = written
    clip = render_clip(1, 0, PARAMS)
    video = videos[1].path
    info = Recording(video).info
    assert (info.width, info.height, info.frames, info.has_audio) == (96, 96, 15, True)
    assert info.fps == pytest.approx(25)
    frames = Recording(video).frames()
    error = ((frames.astype(float) - clip.frames) ** 2).mean()
    assert 10 * np.log10(255**2 / error) > 32
    wave = read_audio(video.with_suffix(".wav"))
    assert np.abs(wave - clip.wave).max() < 1e-4
    truth = read_truth(video.with_suffix(".truth.npz"))
    for name, value in vars(clip.truth).items():
        numbers = isinstance(value, np.ndarray)  # points that are turned away are NaN
        assert np.array_equal(getattr(truth, name), value, equal_nan=numbers), name
    assert np.array_equal(np.load(video.with_suffix(".boxes.npy")), clip.truth.boxes)


def test_a_second_run_makes_only_what_is_missing(tmp_path: Path) -> None:
    videos = write_sample(PARAMS, tmp_path)
    before = contents(tmp_path)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.mp4")}
    lost = videos[1].path
    lost.unlink()
    assert write_sample(PARAMS, tmp_path) == videos
    assert contents(tmp_path) == before
    assert {path for path, stamp in stamps.items() if path.stat().st_mtime_ns != stamp} == {lost}


def test_fewer_people_leave_no_files_of_the_others(tmp_path: Path) -> None:
    write_sample(PARAMS, tmp_path)
    fewer = PARAMS.model_copy(update={"train_identities": 1})
    write_sample(fewer, tmp_path)
    assert sorted(p.name for p in tmp_path.rglob("*.mp4")) == ["sample01_01.mp4", "sample02_01.mp4"]
    assert (tmp_path / "test" / "sample02_01.mp4").exists()


@pytest.mark.slow
def test_processes_write_the_same_bytes(written: tuple[Path, list[RawVideo]], tmp_path: Path) -> None:
    write_sample(PARAMS, tmp_path, process_map(2))
    assert contents(tmp_path) == contents(written[0])
