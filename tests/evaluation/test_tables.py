"""Table I says what the result files say, with the paper's numbers beside it."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kpbe.errors import KPBEError
from kpbe.evaluation.results import ClipScore, read_per_clip, summary, write_per_clip
from kpbe.evaluation.tables import render_table1
from kpbe.methods import methods_of
from kpbe.work import write_json

SETTINGS = {
    "backend": "wav2lip",
    "feed": "source_image",
    "data_source": "sample",
    "image_size": "64x64",
    "frontend": "small",
    "identities": 3,
    "rejected_clips": 1,
    "seed": 5,
    "bootstrap": 500,
    "lpips": "not measured: alexnet.safetensors is missing.",
}


def scores_of(backend: str, clips: int, gain: float = 1.5) -> list[ClipScore]:
    rng = np.random.default_rng(0)
    scores = []
    for clip in range(clips):
        level = 20 + rng.normal()
        for rank, method in enumerate(methods_of(backend)):
            psnr = level + gain * rank + 0.1 * rng.normal()
            values = {"ssim": psnr / 40, "psnr": psnr, "ssim_rgb": psnr / 41, "l1": 1 / psnr}
            scores.append(
                ClipScore(f"id{clip % 3}#v#{clip}", f"id{clip % 3}", method, 50, values, int(rank == 0))
            )
    return scores


def write_results(root: Path, backend: str, scores: list[ClipScore]) -> None:
    clips = len({score.clip_id for score in scores})
    write_per_clip(root / "evaluation" / backend, scores)
    settings = {**SETTINGS, "backend": backend, "clips": clips}
    write_json(root / "evaluation" / backend / "metrics.json", {"settings": settings})


def test_the_table_shows_means_intervals_n_and_the_papers_numbers(tmp_path: Path) -> None:
    scores = scores_of("wav2lip", 12)
    write_results(tmp_path, "wav2lip", scores)
    text = render_table1(tmp_path, ["wav2lip"], notes=["Stage 1 used the pixel pyramid."])
    markdown = (tmp_path / "table1.md").read_text()
    mean = np.mean([s.values["psnr"] for s in scores if s.method == "wav2lip+kpbe"])
    assert f"{mean:.2f} ± " in text and f"{mean:.2f} [" in markdown
    for shown in (" ".join(text.split()), markdown):
        for fact in (
            "Static source",
            "Wav2Lip+KPBE",
            "30.37",
            "0.85",
            "Stage 1 used the pixel pyramid.",
            "sample, 64x64, 12 test clips of 3 identities, 1 rejected",
            "one source image",
            "alexnet.safetensors is missing",
            "12 of 600 frames identical to the truth",
        ):
            assert fact in shown
        assert "too confident" not in shown
    assert max(map(len, text.splitlines())) <= 100
    assert "| Wav2Lip | 12 |" in markdown


def test_csv_and_json_hold_the_numbers_unrounded(tmp_path: Path) -> None:
    scores = scores_of("wav2lip", 12)
    write_results(tmp_path, "wav2lip", scores)
    render_table1(tmp_path, ["wav2lip"])
    with (tmp_path / "table1.csv").open(newline="") as file:
        rows = {(r["row"], r["method"], r["compared_with"], r["metric"]): r for r in csv.DictReader(file)}
    expected = np.mean([s.values["psnr"] for s in scores if s.method == "wav2lip"])
    row = rows["mean", "wav2lip", "", "psnr"]
    assert float(row["mean"]) == pytest.approx(expected) and (row["n"], row["paper"]) == ("12", "28.67")
    difference = rows["difference", "wav2lip+kpbe", "wav2lip", "psnr"]
    assert float(difference["low"]) > 1 and float(difference["p"]) < 0.01 and difference["paper"] == "1.7"
    assert ("difference", "wav2lip+kpbe", "static source", "ssim") in rows
    stored = json.loads((tmp_path / "table1.json").read_text())
    assert stored["methods"][1]["means"]["psnr"]["mean"] == pytest.approx(expected)


def test_two_backends_share_the_static_row_when_their_clips_are_the_same(tmp_path: Path) -> None:
    scores = scores_of("wav2lip", 4)
    write_results(tmp_path, "wav2lip", scores)
    renamed = [replace(score, method=score.method.replace("wav2lip", "pcavs")) for score in scores]
    write_results(tmp_path, "pcavs", renamed)
    text = render_table1(tmp_path, ["wav2lip", "pcavs"])
    assert text.count("\nStatic source ") == 1 and "PC-AVS+KPBE" in text and "23.64" in text
    assert "too confident" in text


def test_a_clip_that_is_wholly_identical_to_the_truth_leaves_the_psnr_but_not_the_ssim() -> None:
    scores = scores_of("wav2lip", 3)
    perfect = {**scores[1].values, "psnr": np.inf, "ssim": 1.0}
    scores[1] = replace(scores[1], values=perfect, identical_frames=50)
    means = summary(scores, "wav2lip", resamples=100, seed=0)
    others = [s.values["psnr"] for s in scores if s.method == "wav2lip" and np.isfinite(s.values["psnr"])]
    assert means["wav2lip"]["psnr"] == pytest.approx(np.mean(others)) and len(others) == 2
    assert "lpips" not in means["wav2lip"]
    assert means["difference"]["psnr"] > 0


def test_scores_survive_the_csv(tmp_path: Path) -> None:
    scores = scores_of("wav2lip", 2)
    write_per_clip(tmp_path, scores)
    assert read_per_clip(tmp_path) == scores


def test_missing_or_damaged_results_are_named(tmp_path: Path) -> None:
    with pytest.raises(KPBEError, match=r"per_clip\.csv does not exist"):
        render_table1(tmp_path, ["wav2lip"])
    write_results(tmp_path, "wav2lip", scores_of("wav2lip", 2))
    (tmp_path / "evaluation" / "wav2lip" / "metrics.json").write_text("{")
    with pytest.raises(KPBEError, match=r"metrics\.json is damaged"):
        render_table1(tmp_path, ["wav2lip"])
    (tmp_path / "evaluation" / "wav2lip" / "per_clip.csv").write_text("clip_id\nx\n")
    with pytest.raises(KPBEError, match=r"per_clip\.csv is damaged"):
        render_table1(tmp_path, ["wav2lip"])
    assert not (tmp_path / "table1.md").exists()
