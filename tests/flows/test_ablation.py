"""The ablation: which runs it makes, what it reads from them, and its table."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows import ablation
from flows.ablation import Row, Variant
from kpbe.checkpoints.catalogue import CATALOGUE
from kpbe.errors import KPBEError
from kpbe.evaluation.results import ClipScore, write_per_clip
from kpbe.params import EvaluateParams

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def dvc(monkeypatch):
    """Stands in for DVC: records commands and returns what a test has set."""
    calls: list[tuple[str, ...]] = []
    answers: dict[tuple[str, ...], str] = {}

    def answer(*arguments: str, quiet: bool = False) -> str:
        calls.append(arguments)
        return answers.get(arguments, "")

    monkeypatch.setattr(ablation, "_dvc", answer)
    return calls, answers


def test_the_shipped_variants_change_params_that_exist():
    from kpbe.params import load_params

    values = load_params(REPOSITORY / "params.yaml").model_dump(mode="json")
    found = ablation.variants(REPOSITORY / "conf" / "ablation.yaml")
    common = found[0].overrides
    assert all(variant.overrides[: len(common)] == common for variant in found), (
        "the first is the default run"
    )
    for variant in found:
        for override in variant.overrides:
            key = override.partition("=")[0]
            node = values
            for name in key.split("."):
                assert name in node, f"{variant.name}: {key}"
                node = node[name]


def test_changes_of_all_runs_go_over_the_files_own_and_give_runs_other_names():
    plain = ablation.variants(REPOSITORY / "conf" / "ablation.yaml")
    changed = ablation.variants(REPOSITORY / "conf" / "ablation.yaml", ["data=folder"])
    for one, other in zip(plain, changed, strict=True):
        assert other.name.startswith(f"{one.name}-")
        assert set(other.overrides) == {"data=folder", *one.overrides}
        assert other.overrides.index("data=folder") > other.overrides.index("train.stage2.schedule.steps=100")


def test_experiments_find_weights_from_their_own_folder(monkeypatch):
    environment = {}

    def run(command, env, **options):
        environment.update(env)
        return SimpleNamespace(returncode=0, stdout="")

    monkeypatch.setattr(ablation.subprocess, "run", run)
    ablation._dvc("exp", "list")
    assert all(Path(folder).is_absolute() for folder in environment["KPBE_WEIGHTS"].split(os.pathsep))


def test_known_runs_and_runs_without_their_weights_are_not_queued(dvc, monkeypatch):
    calls, _ = dvc
    monkeypatch.setattr(ablation, "find", lambda name: None)
    chosen = [
        Variant("a", "known"),
        Variant("b", "new", ("train.seed=1", "train.stage2.videos=all")),
        Variant("c", "no weights", needs="vgg_face"),
    ]
    ablation.run(chosen, {"a"})
    assert calls == [
        (
            "exp",
            "run",
            "--queue",
            "--name",
            "b",
            "-S",
            "train.seed=1",
            "-S",
            "train.stage2.videos=all",
            "evaluate",
        ),
        ("exp", "run", "--run-all", "--jobs", "1"),
    ]
    calls.clear()
    ablation.run(chosen[::2], {"a"})
    assert calls == []


def test_an_outcome_is_the_metrics_of_its_experiment(monkeypatch, tmp_path):
    metrics = {
        "wav2lip+kpbe": {"ssim": 0.5, "psnr": 20.0, "l1": 0.1},
        "difference": {"ssim": 0.1},
        "settings": {"ssim": "Wang 2004, luminance BT.601"},
    }
    folder = "reports/results/evaluation/wav2lip"
    files = {(name, f"{folder}/metrics.json"): json.dumps(metrics) for name in "ab"}
    for name, scores in (("a", (0.4, 0.6)), ("b", (0.5, 0.7))):
        own = [
            ClipScore(str(clip), f"id{clip}", "wav2lip+kpbe", 9, {"ssim": ssim, "psnr": 20.0}, 0)
            for clip, ssim in enumerate(scores)
        ]
        write_per_clip(tmp_path, own)
        files[name, f"{folder}/per_clip.csv"] = (tmp_path / "per_clip.csv").read_text()
    params = SimpleNamespace(backends=("wav2lip",), evaluate=EvaluateParams())
    monkeypatch.setattr(ablation, "load_params", lambda: params)
    monkeypatch.setattr(ablation, "_read_of", lambda name, path: files[name, path.as_posix()])
    row = ablation.outcome(Variant("a", "about a", ("x=1",)), {"a", "b"}, "a")
    assert row == Row("a", "about a", ("x=1",), {"wav2lip+kpbe": {"ssim": 0.5, "psnr": 20.0}})
    other = ablation.outcome(Variant("b", ""), {"a", "b"}, "a")
    assert other.differences == {
        "wav2lip+kpbe": {"ssim": pytest.approx((0.1, 0.1, 0.1)), "psnr": (0.0, 0.0, 0.0)}
    }
    assert "(+0.100 [+0.100, +0.100])" in ablation.table([row, other])
    assert "failed" in ablation.outcome(Variant("c", ""), {"a"}, "a").note
    monkeypatch.setattr(ablation, "find", lambda name: None)
    missing = ablation.outcome(Variant("d", "", needs="vgg_face"), {"a"}, "a")
    assert missing.note == f"not run: {CATALOGUE['vgg_face'].file} is missing"


def test_the_table_and_its_file_show_numbers_and_gaps(tmp_path):
    rows = [
        Row("a", "first", (), {"wav2lip": {"ssim": 0.1}, "wav2lip+kpbe": {"ssim": 0.5, "psnr": 20.125}}),
        Row("b", "second", ("x=1",), note="not run: vgg is missing"),
    ]
    ablation.write(rows, ["About it."], tmp_path)
    page = (tmp_path / "ablation.md").read_text()
    assert "| run | wav2lip+kpbe SSIM | wav2lip+kpbe PSNR | what it is |" in page
    assert "| a | 0.500 | 20.12 | first |" in page
    assert "| b | – | – | second; not run: vgg is missing |" in page
    written = json.loads((tmp_path / "ablation.json").read_text())
    assert written["about"] == ["About it."] and written["rows"][1]["overrides"] == ["x=1"]


@pytest.mark.parametrize(
    "text",
    [
        "all: []\nruns: {a: {about: x}}",
        "runs",
        "runs: {a: {about: x, set: []}}",
        "all: []\nruns: {a: {about: x, set: [], needs: nonsense}}",
    ],
)
def test_a_damaged_config_is_one_sentence(tmp_path, text):
    (tmp_path / "ablation.yaml").write_text(text)
    with pytest.raises(KPBEError, match=r"ablation\.yaml"):
        ablation.variants(tmp_path / "ablation.yaml")
