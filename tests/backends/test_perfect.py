"""The perfect backend on a tiny sample: the source frame with the true mouth; nothing else moves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kpbe.backends.base import DrawnClip, SynthesisRequest, speak
from kpbe.backends.perfect import PerfectBackend
from kpbe.backends.registry import backend_of
from kpbe.backends.synthesize import synthesize
from kpbe.backends.training import train_backend, train_sync
from kpbe.data.acquire import acquire
from kpbe.data.clips import Clip, read_manifest
from kpbe.data.preprocess import preprocess
from kpbe.data.raw import parse_bbox, read_raw_videos
from kpbe.data.sample import Truth
from kpbe.data.source_frame import source_frame_index
from kpbe.errors import BadClip, KPBEError, ParamsError
from kpbe.media.audio import read_audio
from kpbe.media.recording import Recording
from kpbe.params import Params, parse_params
from tests.truth import read_truth

SIZE = 96
SAMPLE = {
    "train_identities": 1,
    "test_identities": 1,
    "clips_per_identity": 1,
    "frame_size": 160,
    "seconds": 2.0,
}
PERFECT = {"kind": "perfect"}


def params(source: str = "sample", fps: float = 25.0, **sample: Any) -> Params:
    stage = {"schedule": {"steps": 1, "batch_size": 1}}
    return parse_params(
        {
            "data": {
                "source": source,
                "fps": fps,
                "metadata": "vox.csv",
                "sample": {**SAMPLE, **sample},
                "crop": {"min_frames": 10, "min_size": 32, "at_border": "shift"},
            },
            "model": {},
            "train": {"stage1": stage, "stage2": stage},
            "backends": ["perfect"],
            "backend": {"perfect": PERFECT},
            "evaluate": {},
            "compute": {"device": "cpu"},
        }
    )


def make_clips(root: Path, given: Params) -> Path:
    acquire(given.data, root / "raw")
    preprocess(given.data, SIZE, root / "raw", root / "clips")
    return root / "clips"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    make_clips(folder, params())
    synthesize("perfect", params(), folder / "clips", folder / "checkpoints/perfect", folder / "perfect")
    return folder


def spoken(root: Path, clip: Clip) -> np.ndarray:
    return Recording(root / "perfect" / clip.split / f"{clip.clip_id}.mkv").frames()


def truth_of(root: Path, clip: Clip) -> Truth:
    (video,) = [v for v in read_raw_videos(root / "raw") if v.identity == clip.identity]
    return read_truth(video.path.with_suffix(".truth.npz"))


def source_index(clip: Clip) -> int:
    return source_frame_index(clip.clip_id, clip.frames, 2210)


def request_of(clip: Clip) -> SynthesisRequest:
    index = source_index(clip)
    drawn = DrawnClip(params().data.sample, clip.start, parse_bbox(clip.bbox), index)
    source = [Recording(clip.video).frames()[index]]
    return SynthesisRequest("a.mp4", source, read_audio(clip.wav), clip_id=clip.clip_id, drawn=drawn)


def seen_opening(frames: np.ndarray, opening: np.ndarray) -> float:
    """Pearson r of the true opening and the difference from the picture with the most closed mouth."""
    changed = np.abs(frames.astype(float) - frames[int(opening.argmin())]).mean((1, 2, 3))
    return float(np.corrcoef(changed, opening)[0, 1])


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((one.astype(float) - other) ** 2) / 255**2))


def test_both_splits_are_spoken_with_their_sound(root: Path) -> None:
    clips = read_manifest(root / "clips")
    assert {clip.split for clip in clips} == {"train", "test"}
    for clip in clips:
        assert spoken(root, clip).shape == (clip.frames, SIZE, SIZE, 3)
        wave = read_audio(clip.wav)
        out = read_audio(root / "perfect" / clip.split / f"{clip.clip_id}.mkv")
        np.testing.assert_array_equal(out[: len(wave)], wave)


def test_at_the_source_frame_the_backend_shows_the_clips_own_picture(root: Path) -> None:
    for clip in read_manifest(root / "clips"):
        frames, real, index = spoken(root, clip), Recording(clip.video).frames(), source_index(clip)
        assert psnr(frames[index], real[index]) > 35
        away = int(
            np.abs(
                truth_of(root, clip).angles[: clip.frames, 0] - truth_of(root, clip).angles[index, 0]
            ).argmax()
        )
        assert psnr(frames[away], real[away]) < 30, (
            "where the head has turned, the still pose is another picture"
        )


def test_nothing_but_the_lower_face_and_what_hangs_on_it_moves(root: Path) -> None:
    for clip in read_manifest(root / "clips"):
        frames = spoken(root, clip)
        left, top, right, bottom = np.load(clip.boxes)[source_index(clip)].round().astype(int)
        moving = frames.astype(int).max(0) - frames.min(0)
        still = np.ones(moving.shape[:2], bool)
        # cheeks and jaw, and the jaw's shadow on the neck
        still[top + (bottom - top) // 4 :, max(left - 2, 0) : right + 3] = False
        assert moving[still].max() <= 2
        assert moving[~still].max() > 30


def test_the_mouth_opens_as_the_truth_does(root: Path) -> None:
    for clip in read_manifest(root / "clips"):
        opening = truth_of(root, clip).mouth_opening[clip.start : clip.start + clip.frames]
        prepared = PerfectBackend().prepare(request_of(clip))
        _, lips, eyes = map(np.stack, zip(*map(prepared.actor.landmarks, prepared.poses), strict=True))
        assert np.corrcoef(lips[:, 3, 1] - lips[:, 1, 1], opening)[0, 1] > 0.95
        assert np.ptp(eyes, axis=0).max() < 0.05
        assert seen_opening(spoken(root, clip), opening) > 0.85


def test_a_slower_clip_takes_the_mouth_of_its_own_moments(tmp_path: Path) -> None:
    slow = params(fps=12.5)
    clips = make_clips(tmp_path, slow)
    synthesize("perfect", slow, clips, tmp_path / "none", tmp_path / "perfect", splits=["test"])
    (clip,) = read_manifest(clips, "test")
    opening = truth_of(tmp_path, clip).mouth_opening[clip.start :: 2][: clip.frames]
    assert len(spoken(tmp_path, clip)) == clip.frames == len(opening)
    assert seen_opening(spoken(tmp_path, clip), opening) > 0.85


def test_its_trainings_leave_a_note_and_nothing_else(root: Path, tmp_path: Path) -> None:
    train_sync("perfect", params(), root / "clips", tmp_path, tmp_path / "sync")
    train_backend("perfect", params(), root / "clips", tmp_path, tmp_path / "sync", tmp_path / "backend")
    assert [path.name for path in sorted(tmp_path.rglob("*.*"))] == ["summary.json", "summary.json"]


@pytest.mark.parametrize("source", ["folder", "voxceleb1"])
def test_other_data_than_the_sample_are_refused_before_anything_runs(source: str) -> None:
    with pytest.raises(ParamsError, match=f"data.source is {source}.*for the built-in sample only"):
        backend_of(params(source), "perfect")


def test_clips_of_another_sample_or_of_none_are_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(KPBEError, match=r"is not what data\.sample of params\.yaml draws"):
        synthesize("perfect", params(seed=9), root / "clips", tmp_path / "none", tmp_path / "out")
    (clip,) = read_manifest(root / "clips", "test")
    with pytest.raises(BadClip, match=r"^a\.mp4: the perfect backend exists for the built-in sample only\.$"):
        next(speak(PerfectBackend(), replace(request_of(clip), drawn=None)))
    with pytest.raises(BadClip, match=r"a\.mp4 is no clip of the sample"):
        next(speak(PerfectBackend(), replace(request_of(clip), clip_id="anna#video#000000#000050")))
