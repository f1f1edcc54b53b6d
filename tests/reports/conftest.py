"""A small project after `dvc repro`, written by the stages' own writers, and the site opened on it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from streamlit.testing.v1 import AppTest

from kpbe import paths
from kpbe.core.clip_tasks import REJECTED_COLUMNS
from kpbe.core.files import write_csv, write_json
from kpbe.data.clips import Clip, enhanced_video, write_manifest
from kpbe.evaluation.results import PER_FRAME, PER_FRAME_COLUMNS, ClipScore, summary, write_per_clip
from kpbe.evaluation.table_text import render_table1
from kpbe.media.video_writer import write_video
from kpbe.methods import CONTROLS, controls_of, methods_of
from kpbe.params import load_params
from kpbe.paths import METRICS_FILE
from tests.clips import describe_clip

REPOSITORY = Path(__file__).resolve().parents[2]
BACKEND = "wav2lip"
FPS = 25.0
FRAMES = 10
SOURCE_FRAME = 6
SIDE = 64
LEVELS = {
    "ssim": (0.60, 0.70, 0.80, 0.78, 0.77, 0.82, 0.62),
    "psnr": (18.0, 20.0, 23.0, 22.5, 22.4, 23.2, 18.5),
    "ssim_rgb": (0.6, 0.7, 0.8, 0.78, 0.77, 0.82, 0.62),
    "l1": (0.1, 0.08, 0.05, 0.06, 0.06, 0.04, 0.09),
    "mouth_l1": (0.2, 0.15, 0.1, 0.12, 0.13, 0.09, 0.18),
}
LANDMARKS = [[22, 26], [42, 26], [32, 46]]
BENCHMARK = [
    {"heading": "Ours against theirs", "level": 1},
    {"text": "Written by a script."},
    {"heading": "Speed", "level": 2},
    {
        "head": ["procedure", "frames", "theirs, frames/s", "ours, frames/s", "ratio"],
        "rows": [
            ["a <video>", "50", "2.8 (2.7 to 2.9)", "9.6 (9.2 to 10)", "**3.43**"],
            ["a picture", "50", "4", "2", "**0.50**"],
        ],
    },
]
REJECTED = {
    "clip_id": "mallory#v0#000000#000010",
    "path": "data/raw/m.mp4",
    "stage": "preprocess",
    "reason": "no <face> found",
}


def make_clip(identity: str, split: str, number: int, folder: Path) -> Clip:
    return describe_clip(folder, identity, video=f"v{number}", split=split, frames=FRAMES, side=SIDE)


def write_scores(results: Path, clips: list[Clip]) -> None:
    rng = np.random.default_rng(0)
    scores, rows = [], []
    for clip in clips:
        for position, method in enumerate((*methods_of(BACKEND), *controls_of(BACKEND))):
            ssim, psnr = (LEVELS[name][position] + rng.normal(0, 0.01, FRAMES) for name in ("ssim", "psnr"))
            values = {name: levels[position] + rng.normal(0, 0.004) for name, levels in LEVELS.items()}
            scores.append(ClipScore(clip.clip_id, clip.identity, method, FRAMES, values, 0))
            psnr[3] = np.inf if position == 0 else psnr[3]
            rows += [
                {
                    "clip_id": clip.clip_id,
                    "method": method,
                    "frame": frame,
                    "ssim": ssim[frame],
                    "psnr": psnr[frame],
                }
                for frame in range(FRAMES)
                if frame != SOURCE_FRAME
            ]
    write_per_clip(results, scores)
    write_csv(results / PER_FRAME, PER_FRAME_COLUMNS, rows)
    write_csv(results / "rejected.csv", REJECTED_COLUMNS, [])
    settings = {
        "backend": BACKEND, "kind": "wav2lip", "feed": "source_image", "given_head_pose": False,
        "data_source": "sample", "image_size": f"{SIDE}x{SIDE}",
        "frontend": "small", "clips": len(clips), "identities": len({clip.identity for clip in clips}),
        "rejected_clips": 0, "seed": 2210, "bootstrap": 200, "scored_frames": FRAMES * len(clips),
        "face_every": 1,
        "primary_metric": "mouth_l1", "measured_by": {}, "absent": {"lpips": "evaluate.lpips is off"},
    }  # fmt: skip
    write_json(
        results / METRICS_FILE, {**summary(scores, BACKEND, resamples=200, seed=2210), "settings": settings}
    )


def write_training(folder: Path, metrics: tuple[str, ...]) -> None:
    steps = range(20, 1001, 20)
    rows = []
    for step in steps:
        row: dict[str, float] = {"step": step, "loss": 3 / step, "pixel": 2 / step}
        rows.append(row | (dict.fromkeys(metrics, step / 1000) if step % 200 == 0 else {}))
    write_csv(folder / "curves.csv", ["step", "loss", "pixel", *metrics], rows)
    write_json(
        folder / "summary.json",
        {"steps": 1000, "seconds": 61.5, "clips": 6, "seed": 0, "stopped_by_time_budget": True}
        | dict.fromkeys(metrics, 1.0),
    )
    (folder / "sheets").mkdir()
    for step in (200, 400):
        Image.new("RGB", (40, 20), (step % 255, 90, 120)).save(folder / "sheets" / f"{step:07d}.png")


def write_project(root: Path) -> None:
    shutil.copy(REPOSITORY / "params.yaml", root / "params.yaml")
    clips_folder = root / paths.CLIPS
    training = [
        make_clip(identity, "train", number, clips_folder) for identity in ("ada", "bob") for number in (0, 1)
    ]
    test = [
        make_clip(identity, "test", number, clips_folder) for identity in ("cy", "dee") for number in (0, 1)
    ]
    write_manifest(clips_folder, training + test)
    write_csv(clips_folder / "rejected.csv", REJECTED_COLUMNS, [REJECTED])
    shades = np.linspace(0, 255, FRAMES).astype(np.uint8)[:, None, None, None]
    for clip in training + test:
        write_video(clip.video, np.broadcast_to(shades, (FRAMES, SIDE, SIDE, 3)).copy(), FPS)
    for clip in test:
        for folder, tint in (
            (paths.BACKEND_VIDEOS, (1.0, 0.5, 0.0)),
            (paths.ENHANCED_VIDEOS, (0.0, 0.5, 1.0)),
        ):
            frames = np.broadcast_to(shades * tint, (FRAMES, SIDE, SIDE, 3)).astype(np.uint8)
            write_video(root / folder / BACKEND / "test" / f"{clip.clip_id}.mkv", frames, FPS, codec="ffv1")
        for control in CONTROLS:
            frames = np.broadcast_to(shades // 2, (FRAMES, SIDE, SIDE, 3)).astype(np.uint8)
            path = enhanced_video(root / paths.ENHANCED_VIDEOS / BACKEND, clip, control)
            write_video(path, frames, FPS, codec="ffv1")
        np.save(clip.landmarks, np.tile(np.array(LANDMARKS, np.float32), (FRAMES, 1, 1)))
    results = root / paths.RESULTS
    write_scores(root / paths.EVALUATION / BACKEND, test)
    render_table1(results, [BACKEND], ["stage 1: 6 training clips."])
    (results / "figures").mkdir()
    Image.new("RGB", (60, 40), (200, 190, 180)).save(results / "figures" / "figure3.png")
    write_training(root / paths.STAGE1, ("validation_ssim", "validation_psnr"))
    write_training(root / paths.STAGE2 / BACKEND, ("validation_ssim", "validation_psnr"))
    write_training(root / paths.BACKEND_CHECKPOINTS / BACKEND, ("validation_l1",))
    write_json(root / "benchmarks" / "speed.json", BENCHMARK)
    params = load_params(root / "params.yaml").model_dump(mode="json")
    lock = {
        "schema": "2.0",
        "stages": {
            "preprocess": {
                "cmd": "python -m flows.preprocess",
                "params": {
                    "params.yaml": {"data.fps": params["data"]["fps"], "data.crop": params["data"]["crop"]}
                },
                "outs": [
                    {
                        "path": "data/clips",
                        "hash": "md5",
                        "md5": "0123456789abcdef.dir",
                        "size": 2_500_000,
                        "nfiles": 24,
                    }
                ],
            }
        },
    }
    (root / "dvc.lock").write_text(yaml.safe_dump(lock), encoding="utf-8")


@pytest.fixture(scope="session")
def finished_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("finished")
    write_project(root)
    return root


@pytest.fixture
def empty_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout in which nothing has run."""
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.setenv("KPBE_ROOT", str(root))
    return root


@pytest.fixture
def project(empty_project: Path, finished_project: Path) -> Path:
    """A copy of the finished project, free to be damaged."""
    shutil.copytree(finished_project, empty_project, dirs_exist_ok=True)
    return empty_project


@pytest.fixture
def open_page() -> Callable[..., AppTest]:
    """Opens a page of the site by name, with query parameters of its address."""

    def opened(name: str, **query: str) -> AppTest:
        site = AppTest.from_file(str(REPOSITORY / "reports" / "app.py"), default_timeout=60).run()
        for key, value in query.items():
            site.query_params[key] = value
        if name != "results":
            site.switch_page(f"views/{name}.py").run()
        return site

    return opened
