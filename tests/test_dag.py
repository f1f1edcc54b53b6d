"""The whole DAG by the real command, on a few real clips with a handful of training steps."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kpbe.core.files import read_csv, write_csv
from kpbe.methods import controls_of

REPOSITORY = Path(__file__).resolve().parents[1]

CLIPS = {
    "lrwar/12389.mp4": ("id012", "train"),
    "lrwar/05897.mp4": ("id012", "train"),
    "grid_lipnet/GRID_sbwe5n.mpg": ("id143", "train"),
    "lrwar/00620.mp4": ("id005", "train"),
    "grid_lipnet/GRID_lbbc2a.mpg": ("id138", "test"),
    "lrs_lip2speech/fs2_av_check_93000_gt.mp4": ("id109", "test"),
}
TRAININGS = (
    "train.stage1",
    "train.stage2",
    "backend.wav2lip.sync_expert",
    "backend.wav2lip.train",
    "backend.pcavs.sync",
    "backend.pcavs.train",
)
FEW_STEPS = {"steps": 3, "batch_size": 2, "validation_pairs": 2, "sheet_every": 2}


def run(folder: Path, *command: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of its own with the files of this one as they are now."""
    folder = tmp_path_factory.mktemp("project")
    listed = run(REPOSITORY, "git", "ls-files", "-co", "--exclude-standard")
    for name in listed.splitlines():
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / name)
    (folder / "dvc.lock").unlink(missing_ok=True)
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in ([*git, "init", "-q"], [*git, "add", "-A"], [*git, "commit", "-qm", "as it is"]):
        run(folder, *command)
    return folder


@pytest.mark.slow
def test_real_clips_go_all_the_way_to_table_1(project, shared_clips, shared_weights, monkeypatch):
    monkeypatch.setenv("KPBE_WEIGHTS", str(shared_weights))
    rows = [{"path": path, "identity": who, "split": split} for path, (who, split) in CLIPS.items()]
    write_csv(project / "few.csv", ["path", "identity", "split"], rows)
    options = ["data=folder", f"data.root={shared_clips}", "data.list=few.csv"]
    for training in TRAININGS:
        options += [f"{training}.schedule.{key}={value}" for key, value in FEW_STEPS.items()]
    run(project, "dvc", "exp", "run", *(word for option in options for word in ("-S", option)))

    clips = read_csv(project / "data/clips/clips.csv")
    assert {clip["identity"] for clip in clips} == {who for who, _ in CLIPS.values()}
    assert not read_csv(project / "data/clips/rejected.csv")
    for backend in ("wav2lip", "wav2lip_video", "pcavs"):
        evaluation = project / "reports/results/evaluation" / backend
        metrics = json.loads((evaluation / "metrics.json").read_text())
        for method in ("static source", backend, f"{backend}+kpbe", *controls_of(backend)):
            assert 0 < metrics[method]["ssim"] < 1 and 5 < metrics[method]["psnr"] < 60
        assert metrics["settings"]["clips"] == 2
        assert len(read_csv(evaluation / "per_clip.csv")) == 2 * 7
        assert not read_csv(project / "data/backend" / backend / "rejected.csv")
        summary = json.loads((project / "checkpoints/stage2" / backend / "summary.json").read_text())
        assert summary["steps"] == 3 and summary["perceptual"].startswith("VGG-19")
    table = (project / "reports/results/table1.md").read_text()
    for row in (
        "| Wav2Lip |",
        "source-expression control",
        "shuffled backend",
        "| Wav2Lip on video |",
        "Wav2Lip+KPBE",
        "| PC-AVS |",
        "PC-AVS+KPBE",
        "30.37",
        "23.64",
        "VGG-19",
    ):
        assert row in table
    assert (project / "reports/results/figures/figure3.png").stat().st_size > 10_000

    study = json.loads((project / "data/survey/study.json").read_text())
    stimuli = {path.name for path in (project / "reports/static/stimuli").iterdir()}
    assert stimuli == {item["file"] for item in study["items"]} and len(study["orders"]) == 35
    assert len([item for item in study["items"] if item["kind"] == "main"]) == 2 * 4

    assert "pcavs+kpbe" in run(project, "dvc", "metrics", "show", "--json")
    plots = run(project, "dvc", "plots", "show", "--json")
    assert all(
        name in plots for name in ("stage_1.csv", "pcavs_sync.csv", "stage_2_wav2lip.csv", "figure3.png")
    )
    assert "Data and pipelines are up to date" in run(project, "dvc", "repro")
