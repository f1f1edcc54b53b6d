"""Table I agrees with the result files and shows the paper's numbers."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kpbe.core.files import write_json
from kpbe.errors import KPBEError
from kpbe.evaluation.results import ClipScore, read_per_clip, summary, write_per_clip
from kpbe.evaluation.statistics import holm
from kpbe.evaluation.table_text import render_table1
from kpbe.evaluation.tables import build_table1
from kpbe.methods import control_method, enhanced_method, methods_of

SETTINGS = {
    "backend": "wav2lip",
    "kind": "wav2lip",
    "feed": "source_image",
    "given_head_pose": False,
    "data_source": "sample",
    "image_size": "64x64",
    "frontend": "small",
    "identities": 3,
    "scored_frames": 600,
    "rejected_clips": 1,
    "face_every": 2,
    "primary_metric": "mouth_l1",
    "seed": 5,
    "bootstrap": 500,
    "measured_by": {"faces": "MediaPipe FaceLandmarker"},
    "absent": {"lpips": "alexnet.safetensors is missing", "csim": "evaluate.identity is off"},
}
LEVELS = {"source_expression": 2, "shuffled_backend": 1.9, "real_expression": 3, "source_pose": 0.5}


def scores_of(
    backend: str, clips: int, gain: float = 1.5, worth: float = 1.0, identities: int = 3
) -> list[ClipScore]:
    """Scores in which KPBE is `gain` dB above its backend.

    It is `worth` levels of mouth L1 above its source-expression control.
    """
    rng = np.random.default_rng(0)
    scores = []
    for clip in range(clips):
        level = 20 + rng.normal()
        methods = dict(zip(methods_of(backend), (0.0, gain, 2 * gain), strict=True))
        methods |= {control_method(backend, name): gain * rank for name, rank in LEVELS.items()}
        for method, above in methods.items():
            psnr = level + above + 0.1 * rng.normal()
            mouth = 0.2 - 0.01 * worth * (method == enhanced_method(backend)) + 0.001 * rng.normal()
            values = {
                "ssim": psnr / 40,
                "psnr": psnr,
                "ssim_rgb": psnr / 41,
                "l1": 1 / psnr,
                "mouth_l1": mouth,
            }
            if "+" in method:
                values |= {"opening_r_backend": 0.9, "face_found": 0.95}
            who = f"id{clip % identities}"
            identical = int(method == "static source")
            scores.append(ClipScore(f"{who}#v#{clip}", who, method, 50, values, identical))
    return scores


def write_results(root: Path, backend: str, scores: list[ClipScore]) -> None:
    clips = len({score.clip_id for score in scores})
    write_per_clip(root / "evaluation" / backend, scores)
    identities = len({score.identity for score in scores})
    settings = {**SETTINGS, "backend": backend, "clips": clips, "identities": identities}
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
            "Stage 1 used the pixel pyramid.",
            "sample, 64x64, 12 test clips of 3 identities, 1 rejected",
            "one source image",
            "alexnet.safetensors is missing",
            "12 of 600 frames identical to the truth",
            "Wav2Lip+KPBE, source expression",
            "Wav2Lip+KPBE, real expression",
            "cannot fall below 0.25 with 3 identities",
            "600 frames scored",
            "Not measured: LPIPS (alexnet.safetensors is missing)",
        ):
            assert fact in shown, fact
    assert "30.37" in markdown and "0.85" in markdown
    assert "| Wav2Lip | 12 |" in markdown


def test_csv_and_json_hold_the_numbers_unrounded(tmp_path: Path) -> None:
    scores = scores_of("wav2lip", 12)
    write_results(tmp_path, "wav2lip", scores)
    render_table1(tmp_path, ["wav2lip"])
    with (tmp_path / "table1.csv").open(newline="") as file:
        rows = {(r["row"], r["method"], r["compared_with"], r["metric"]): r for r in csv.DictReader(file)}
    expected = np.mean([s.values["psnr"] for s in scores if s.method == "wav2lip"])
    row = rows["mean", "wav2lip", "", "psnr"]
    assert float(row["mean"]) == pytest.approx(expected) and row["paper"] == "28.67"
    assert (row["clips"], row["identities"]) == ("12", "3")
    difference = rows["difference", "wav2lip+kpbe", "wav2lip", "psnr"]
    assert float(difference["low"]) > 1 and float(difference["p"]) == 0.25 and difference["paper"] == "1.7"
    assert float(difference["p_holm"]) == 1
    primary = rows["difference", "wav2lip+kpbe", "wav2lip+kpbe+source_expression", "mouth_l1"]
    assert float(primary["p"]) == 0.25 and primary["p_holm"] == "", "the primary comparison is not adjusted"
    assert ("difference", "wav2lip+kpbe", "static source", "ssim") in rows
    stored = json.loads((tmp_path / "table1.json").read_text())
    assert stored["methods"][1]["means"]["psnr"]["mean"] == pytest.approx(expected)


def test_two_backends_share_the_static_row_when_their_clips_are_the_same(tmp_path: Path) -> None:
    scores = scores_of("wav2lip", 4)
    write_results(tmp_path, "wav2lip", scores)
    renamed = [replace(score, method=score.method.replace("wav2lip", "pcavs")) for score in scores]
    write_results(tmp_path, "pcavs", renamed)
    text = render_table1(tmp_path, ["wav2lip", "pcavs"])
    assert text.count("\nStatic source ") == 1 and "PC-AVS+KPBE, shuffled backend" in text
    assert "23.64" in (tmp_path / "table1.md").read_text()


@pytest.mark.parametrize(
    ("worth", "said"),
    [
        (1.0, "gains from its backend"),
        (0.0, "shows no gain from its backend"),
        (-1.0, "is worse for its backend"),
    ],
)
def test_the_first_sentence_says_what_the_backend_is_worth(tmp_path: Path, worth: float, said: str) -> None:
    write_results(tmp_path, "wav2lip", scores_of("wav2lip", 24, worth=worth, identities=8))
    text = " ".join(render_table1(tmp_path, ["wav2lip"]).split())
    first = text.removeprefix("Table I - ")
    assert first.startswith(f"Wav2Lip+KPBE {said}: against its own source-expression control")
    assert "Mouth L1 changes by" in first and "8 identities" in first
    assert "KPBE is given the true head pose, Wav2Lip is not" in first
    assert "Wav2Lip+KPBE's lips follow the backend's at r = 0.90." in first
    assert "Beside Wav2Lip's own video it improves SSIM from" in first
    markdown = (tmp_path / "table1.md").read_text()
    assert markdown.splitlines()[2].startswith(f"Wav2Lip+KPBE {said}")


def test_no_worse_metric_is_kept_back(tmp_path: Path) -> None:
    scores = scores_of("wav2lip", 12)
    for score in scores:
        score.values["lpips"] = 0.4 if "+" in score.method else 0.2
        score.values["psnr"] = 20.0
    write_results(tmp_path, "wav2lip", scores)
    text = " ".join(render_table1(tmp_path, ["wav2lip"]).split())
    assert (
        "it does not clearly change PSNR from 20.00 to 20.00; it worsens LPIPS from 0.2000 to 0.4000" in text
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"face_found": 0.2}, "cannot be told: a face is found in 20% of its frames"),
        ({"opening_r_backend": None}, "The backend's lips hardly move"),
    ],
)
def test_why_nothing_is_known_of_the_lips_is_said(tmp_path: Path, changes: dict, said: str) -> None:
    scores = scores_of("wav2lip", 6)
    for score in scores:
        merged = {**score.values, **changes}
        score.values.clear()
        score.values.update({name: value for name, value in merged.items() if value is not None})
    write_results(tmp_path, "wav2lip", scores)
    assert said in " ".join(render_table1(tmp_path, ["wav2lip"]).split())


def test_without_the_primary_metric_the_first_sentence_says_so(tmp_path: Path) -> None:
    scores = scores_of("wav2lip", 6)
    for score in scores:
        del score.values["mouth_l1"]
    write_results(tmp_path, "wav2lip", scores)
    assert "Wav2Lip+KPBE cannot be judged" in render_table1(tmp_path, ["wav2lip"])


@pytest.mark.parametrize(
    ("backend", "facts", "said"),
    [
        (
            "wav2lip_video",
            {"feed": "video", "given_head_pose": True},
            "Wav2Lip on video repaints the real frames",
        ),
        (
            "pcavs",
            {"kind": "pcavs", "given_head_pose": True},
            "PC-AVS and KPBE are both given the true head pose",
        ),
        ("perfect", {"kind": "perfect"}, "Perfect backend is given the true mouth on one still picture"),
        ("mine", {"kind": "folder", "given_head_pose": None}, "whether mine was is not known"),
    ],
)
def test_who_was_given_the_true_pose_is_said(tmp_path: Path, backend: str, facts: dict, said: str) -> None:
    write_results(tmp_path, backend, scores_of(backend, 6))
    path = tmp_path / "evaluation" / backend / "metrics.json"
    write_json(path, {"settings": json.loads(path.read_text())["settings"] | facts})
    assert said in " ".join(render_table1(tmp_path, [backend]).split())


def test_one_identity_is_not_judged_and_four_only_as_far_as_they_can_be(tmp_path: Path) -> None:
    write_results(tmp_path, "wav2lip", scores_of("wav2lip", 6, identities=1))
    assert "cannot be judged: 1 identity" in " ".join(render_table1(tmp_path, ["wav2lip"]).split())
    write_results(tmp_path, "wav2lip", scores_of("wav2lip", 16, identities=4))
    text = " ".join(render_table1(tmp_path, ["wav2lip"]).split())
    assert "may gain from its backend, but p of 4 identities is too large to tell" in text
    assert "(-5.0%), p 0.125" in text and "cannot fall below 0.125 with 4 identities" in text


def test_p_values_are_holms_over_all_of_a_backends_comparisons_but_the_primary_one(tmp_path: Path) -> None:
    scores = scores_of("wav2lip", 24, identities=8)
    for score in scores:  # differences that half of the identities have
        if score.method == "wav2lip+kpbe" and score.identity in ("id0", "id1", "id2"):
            score.values["ssim"] = 0.9 * score.values["ssim"]
    write_results(tmp_path, "wav2lip", scores)
    table = build_table1(tmp_path, ["wav2lip"])
    plain = {
        (row.compared_with, metric): difference.p
        for row in table.differences
        for metric, difference in row.differences.items()
        if metric != row.primary and difference.p is not None
    }
    adjusted = {(row.compared_with, m): p for row in table.differences for m, p in (row.p_holm or {}).items()}
    assert adjusted == dict(zip(plain, holm(list(plain.values())), strict=True))
    assert len(set(plain.values())) > 3 and len(plain) > 20


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
