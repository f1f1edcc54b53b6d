"""The site as a visitor sees it, through Streamlit's AppTest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from kpbe import paths
from kpbe.core.files import read_csv, write_csv, write_json
from kpbe.methods import controls_of
from kpbe.paths import RELEASED_TABLE

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = {
    "results": "Overview",
    "clips": "Clips",
    "free_view": "Free view",
    "training": "Training",
    "data": "Data",
    "benchmarks": "Benchmarks",
}
Open = Callable[..., AppTest]


def text_of(site: AppTest) -> str:
    """All HTML that a page writes."""
    return "\n".join(element.value for element in site.html)


def elements_of(site: AppTest, kind: str) -> Sequence[Any]:
    return site.get(kind)


def charts_of(site: AppTest) -> list[str]:
    return [element.proto.spec for element in elements_of(site, "vega_lite_chart")]


def videos_of(site: AppTest) -> list[str]:
    return [element.proto.alt for element in elements_of(site, "video")]


# -- every page --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_pages_before_any_run_say_what_to_run(page: str, empty_project: Path, open_page: Open) -> None:
    site = open_page(page)
    assert not site.exception and not site.error
    assert [title.value for title in site.title] == [PAGES[page]]
    command = "python -m benchmarks.backends" if page == "benchmarks" else "make repro"
    assert f"<code>{command}</code>" in text_of(site)


@pytest.mark.parametrize("page", [page for page in PAGES if page != "free_view"])
def test_pages_of_a_finished_project_open_without_complaint(
    page: str, project: Path, open_page: Open
) -> None:
    site = open_page(page)
    assert not site.exception and not site.error and not site.info
    assert "make repro" not in text_of(site)
    assert [title.value for title in site.title] == [PAGES[page]]
    assert charts_of(site) or page == "benchmarks"


@pytest.mark.parametrize(
    ("page", "damaged"),
    [
        ("results", paths.RESULTS / "table1.json"),
        ("clips", paths.EVALUATION / "wav2lip" / "per_clip.csv"),
        ("clips", paths.EVALUATION / "wav2lip" / "per_frame.csv"),
        ("training", paths.STAGE1 / "curves.csv"),
        ("data", paths.CLIPS / "clips.csv"),
    ],
)
def test_damaged_file_is_named_in_one_sentence(
    page: str, damaged: Path, project: Path, open_page: Open
) -> None:
    (project / damaged).write_text('{"half a fi\nle,,\n', encoding="utf-8")
    site = open_page(page)
    assert not site.exception
    assert [damaged.name in error.value for error in site.error] == [True]


def test_site_does_not_wait_for_large_packages() -> None:
    modules = ("reports.charts", "reports.explorer", "reports.provenance", "kpbe.inference.frontends")
    late = ("torch", "prefect", "cv2", "altair", "pandas", "scipy")
    code = f"import sys, {', '.join(modules)}; print([m for m in {late} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env=os.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_no_folder_makes_streamlit_skip_the_navigation() -> None:
    """Streamlit runs files in a folder `pages` beside app.py alone if their address is opened first."""
    assert not (REPOSITORY / "reports" / "pages").exists()


# -- results -----------------------------------------------------------------------------------------------


def test_results_show_table1_with_intervals_and_the_papers_numbers(project: Path, open_page: Open) -> None:
    table = json.loads((project / paths.RESULTS / "table1.json").read_text())
    site = open_page("results")
    text = text_of(site)
    for row in table["methods"]:
        ssim = row["means"]["ssim"]
        assert f"{ssim['mean']:.3f}" in text
        assert f"{ssim['low']:.3f} to {ssim['high']:.3f}" in text
    difference = table["differences"][0]["differences"]["psnr"]
    assert f"{difference['mean']:+.2f}" in text and f"p = {difference['p']:.3f}" in text
    for paper in ("0.85", "28.67", "0.90", "30.37", "paper +1.70"):
        assert paper in text
    for line in table["about"]:
        assert line.split(":")[0].replace("'", "&#x27;") in text
    assert len(site.get("image")) == 1 and len(site.get("download_button")) == 3


def test_released_weights_have_their_own_table(project: Path, open_page: Open) -> None:
    assert "Released weights" not in [element.value for element in open_page("results").header]
    table = json.loads((project / paths.RESULTS / "table1.json").read_text())
    table["methods"][0]["means"]["ssim"]["mean"] = 0.123
    write_json(project / RELEASED_TABLE / "table1.json", table)
    site = open_page("results")
    assert "Released weights" in [element.value for element in site.header] and "0.123" in text_of(site)


def test_the_first_sentence_is_about_the_control_without_a_backend(project: Path, open_page: Open) -> None:
    site = open_page("results")
    text = text_of(site)
    assert text.index("against its own source-expression control") < text.index("Table I")
    assert "KPBE is given the true head pose, Wav2Lip is not" in text
    for control in ("source expression", "shuffled backend", "real expression", "source pose"):
        assert f"Wav2Lip+KPBE, {control}" in text
    assert "primary, p = " in text and "Wav2Lip: Mouth L1 ↓ for having it" in text
    assert [tab.label for tab in site.tabs][:2] == ["Pictures", "Mouth"]


def test_open_page_follows_a_new_run(project: Path, open_page: Open) -> None:
    site = open_page("results")
    path = project / paths.RESULTS / "table1.json"
    table = json.loads(path.read_text())
    table["methods"][2]["means"]["ssim"]["mean"] = 0.98765
    write_json(path, table)
    assert "0.988" not in text_of(site)
    assert "0.988" in text_of(site.run())


def test_params_that_changed_since_the_run_are_named(project: Path, open_page: Open) -> None:
    assert "as it was when these results were made" in text_of(open_page("results"))
    params = project / "params.yaml"
    text = params.read_text().replace("fps: 25.0", "fps: 30.0").replace("iou: 0.25", "iou: 0.5")
    params.write_text(text)
    text = text_of(open_page("results"))
    for key, then, now in (("data.fps", "25.0", "30.0"), ("data.crop.iou", "0.25", "0.5")):
        cells = (
            f'{key}<small>preprocess</small></td><td class="left wrap">{then}</td><td class="left wrap">{now}'
        )
        assert cells in text
    assert "01234567" in text and "2.5 MB" in text


def test_wrong_params_do_not_hide_the_results(project: Path, open_page: Open) -> None:
    (project / "params.yaml").write_text("data: {fps: -1}\n")
    site = open_page("results")
    assert not site.exception and not site.error
    assert "data.fps = -1 is not allowed" in text_of(site)


# -- clips -------------------------------------------------------------------------------------------------


def gains_of(project: Path) -> dict[str, float]:
    rows = read_csv(project / paths.EVALUATION / "wav2lip" / "per_clip.csv")
    ssim = {(row["clip_id"], row["method"]): float(row["ssim"]) for row in rows}
    return {
        clip: ssim[clip, "wav2lip+kpbe"] - ssim[clip, "wav2lip"]
        for clip, method in ssim
        if method == "wav2lip"
    }


def test_clips_are_listed_from_best_to_worst_and_back(project: Path, open_page: Open) -> None:
    gains = gains_of(project)
    best_first = sorted(gains, key=lambda clip: -gains[clip])
    site = open_page("clips")
    assert site.selectbox(key="clip").options == best_first
    assert site.selectbox(key="clip").value == best_first[0]
    order = next(box for box in site.selectbox if box.label == "Order")
    order.select("Smallest gain first").run()
    assert site.selectbox(key="clip").options == best_first[::-1]
    assert site.selectbox(key="clip").value == best_first[0], "the chosen clip stays"


def test_smallest_distance_counts_as_greatest_gain(project: Path, open_page: Open) -> None:
    site = open_page("clips")
    next(box for box in site.selectbox if box.label == "Gain in").select("l1").run()
    rows = read_csv(project / paths.EVALUATION / "wav2lip" / "per_clip.csv")
    l1 = {(row["clip_id"], row["method"]): float(row["l1"]) for row in rows}
    clips = {clip for clip, _ in l1}
    expected = sorted(clips, key=lambda clip: l1[clip, "wav2lip+kpbe"] - l1[clip, "wav2lip"])
    assert site.selectbox(key="clip").options == expected


def explorer_of(site: AppTest) -> dict[str, Any]:
    """What the page hands to the explorer; it is drawn by the browser (tests/browser)."""
    (element,) = site.get("bidi_component")
    return json.loads(element.proto.json)


def test_chosen_clip_is_shown_scored_and_kept_in_the_address(project: Path, open_page: Open) -> None:
    wanted = "dee#v0#000000#000010"
    site = open_page("clips")
    site.selectbox(key="clip").select(wanted).run()
    data = explorer_of(site)
    names = [panel["name"] for panel in data["panels"]]
    assert names[:4] == ["Source image", "Ground truth", "Wav2Lip", "Wav2Lip+KPBE"]
    assert names[4] == "Wav2Lip+KPBE, source expression" and len(names) == 8
    assert data["shown"] == ["static source", "ground_truth", "wav2lip", "wav2lip+kpbe", "difference"]
    assert (data["frames"], data["fps"]) == (10, 25.0)
    assert site.query_params["clip"] == wanted
    rows = read_csv(project / paths.EVALUATION / "wav2lip" / "per_clip.csv")
    row = next(row for row in rows if (row["clip_id"], row["method"]) == (wanted, "wav2lip+kpbe"))
    assert f"<b>{float(row['psnr']):.2f}</b>" in text_of(site)
    assert len(charts_of(site)) == 1


def test_explorer_gets_the_curves_of_the_chosen_clip(project: Path, open_page: Open) -> None:
    wanted = "cy#v1#000000#000010"
    rows = read_csv(project / paths.EVALUATION / "wav2lip" / "per_frame.csv")
    expected = [float(r["psnr"]) for r in rows if (r["clip_id"], r["method"]) == (wanted, "static source")]
    curves = {
        curve["name"]: curve["lines"] for curve in explorer_of(open_page("clips", clip=wanted))["curves"]
    }
    methods = ["static source", "wav2lip", "wav2lip+kpbe", *controls_of("wav2lip")]
    assert [line["id"] for line in curves["SSIM"]] == methods
    drawn = curves["PSNR"][0]["values"]
    assert len(drawn) == 10 and drawn[6] is None, "the source frame is not scored"
    assert drawn[3] is None and drawn[:3] == pytest.approx(expected[:3], abs=1e-4)


def test_address_opens_a_clip_and_an_unknown_one_the_first(project: Path, open_page: Open) -> None:
    assert open_page("clips", clip="cy#v1#000000#000010").selectbox(key="clip").value == "cy#v1#000000#000010"
    site = open_page("clips", clip="../../etc/passwd")
    assert site.selectbox(key="clip").value in gains_of(project)


def test_clip_whose_video_is_missing_says_so_and_shows_the_others(project: Path, open_page: Open) -> None:
    site = open_page("clips")
    clip = site.selectbox(key="clip").value
    (project / paths.ENHANCED_VIDEOS / "wav2lip" / "test" / f"{clip}.mkv").unlink()
    site.run()
    assert not site.exception
    assert [f"no video of {clip} by Wav2Lip+KPBE" in info.value for info in site.info] == [True]
    assert [panel["id"] for panel in explorer_of(site)["panels"]] == [
        "static source",
        "ground_truth",
        "wav2lip",
        *controls_of("wav2lip"),
    ]


def test_clip_that_is_not_on_this_machine_is_still_scored(project: Path, open_page: Open) -> None:
    for video in (project / paths.CLIPS / "test").glob("*.mp4"):
        video.unlink()
    site = open_page("clips")
    assert not site.exception and not site.get("bidi_component")
    assert ["dvc pull data/clips" in info.value for info in site.info] == [True]
    assert "Wav2Lip+KPBE" in text_of(site)


def test_clip_whose_frames_are_all_identical_is_shown_as_identical(project: Path, open_page: Open) -> None:
    path = project / paths.EVALUATION / "wav2lip" / "per_clip.csv"
    rows = read_csv(path)
    chosen = rows[0]["clip_id"]
    for row in rows:
        if row["clip_id"] == chosen and row["method"] == "wav2lip+kpbe":
            row["psnr"] = "inf"
    write_csv(path, list(rows[0]), rows)
    site = open_page("clips", clip=chosen)
    assert not site.exception
    assert "<b>identical</b>" in text_of(site)


def test_rejected_clips_are_shown_with_their_reason_as_plain_text(project: Path, open_page: Open) -> None:
    for page in ("clips", "data"):
        text = text_of(open_page(page))
        assert "mallory#v0#000000#000010" in text and "no &lt;face&gt; found" in text


# -- training ----------------------------------------------------------------------------------------------


def test_every_training_that_exists_can_be_looked_at(project: Path, open_page: Open) -> None:
    site = open_page("training")
    trainings = ["Backend Wav2Lip", "Stage 1", "Stage 2, Wav2Lip"]
    assert elements_of(site, "segmented_control")[0].options == trainings
    assert elements_of(site, "segmented_control")[0].value == "Stage 1"
    for name in trainings:
        elements_of(site, "segmented_control")[0].set_value(name).run()
        assert not site.exception
        assert "ended by its time budget" in text_of(site)
        assert len(charts_of(site)) == (3 if name == "Backend Wav2Lip" else 4)
        assert len(site.get("image")) == 1


def test_a_training_whose_mouth_does_not_follow_says_so_in_red(project: Path, open_page: Open) -> None:
    path = project / "checkpoints/stage1/summary.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps(facts | {"validation_opening_r": 0.04}))
    site = open_page("training")
    assert ["does not follow" in error.value and "0.04" in error.value for error in site.error] == [True]
    path.write_text(json.dumps(facts | {"validation_opening_r": 0.6}))
    assert not open_page("training").error


def test_slider_goes_through_the_validation_sheets(project: Path, open_page: Open) -> None:
    site = open_page("training")
    assert site.select_slider[0].options == ["200", "400"]
    assert site.select_slider[0].value == 400
    last = elements_of(site, "image")[0].proto
    site.select_slider[0].set_value(200).run()
    assert "step 200" in str(elements_of(site, "image")[0].proto) and "step 400" in str(last)


def test_running_training_shows_its_curves_so_far(project: Path, open_page: Open) -> None:
    for summary in (project / "checkpoints").rglob("summary.json"):
        summary.unlink()
    site = open_page("training")
    assert not site.exception
    assert ["not finished; its curves end at step 1000" in info.value for info in site.info] == [True]
    assert charts_of(site)


def test_losses_can_be_seen_on_a_logarithmic_scale(project: Path, open_page: Open) -> None:
    site = open_page("training")
    assert not any('"log"' in spec for spec in charts_of(site))
    site.toggle[0].set_value(True).run()
    assert sum('"log"' in spec for spec in charts_of(site)) == 2


def test_terms_of_the_loss_can_be_left_out(project: Path, open_page: Open) -> None:
    site = open_page("training")
    terms = elements_of(site, "pills")[0]
    assert terms.options == ["Loss", "Pixel"]
    before = len(charts_of(site))
    terms.set_value(["loss"]).run()
    assert len(charts_of(site)) == before - 1
    assert not any('"text": "Pixel"' in spec for spec in charts_of(site))


def test_ablation_is_a_table_with_distances_from_its_first_run(project: Path, open_page: Open) -> None:
    assert "Ablation" not in [header.value for header in open_page("training").header]
    runs = [
        ("default", {"wav2lip+kpbe": {"ssim": 0.70, "lpips": 0.30}}, {}, ""),
        (
            "no prior",
            {"wav2lip+kpbe": {"ssim": 0.72, "lpips": 0.25}},
            {"wav2lip+kpbe": {"ssim": (0.02, 0.01, 0.03), "lpips": (-0.05, -0.06, -0.04)}},
            "",
        ),
        ("older", {"wav2lip+kpbe": {"ssim": 0.71}}, {}, ""),
        ("vgg", {}, {}, "not run: a file is missing"),
    ]
    rows = [
        {
            "name": name,
            "about": "",
            "overrides": ["a.b=0"],
            "metrics": metrics,
            "differences": away,
            "note": note,
        }
        for name, metrics, away, note in runs
    ]
    write_json(project / paths.RESULTS / "ablation.json", {"about": ["Same seed."], "rows": rows})
    text = text_of(open_page("training"))
    assert "<b>0.720</b>" in text and "+0.020 [+0.010, +0.030]" in text
    assert "+0.010<" in text
    assert "<b>0.2500</b>" in text and "−0.0500 [−0.0600, −0.0400]" in text
    assert "not run: a file is missing" in text and "Same seed." in text


def test_damaged_ablation_is_named(project: Path, open_page: Open) -> None:
    write_json(project / paths.RESULTS / "ablation.json", {"about": [], "rows": [{"metrics": {"a": 1}}]})
    assert ["ablation.json is damaged" in error.value for error in open_page("training").error] == [True]


# -- data --------------------------------------------------------------------------------------------------


def test_data_page_counts_clips_identities_and_time(project: Path, open_page: Open) -> None:
    site = open_page("data")
    text = text_of(site)
    assert "8 clips" in text and text.count("2 identities") == 2 and "64x64" in text
    assert len(charts_of(site)) == 2
    assert videos_of(site) == ["ada#v0#000000#000010", "ada#v1#000000#000010"]
    site.selectbox[0].select("dee").run()
    assert videos_of(site) == ["dee#v0#000000#000010", "dee#v1#000000#000010"]


def test_clips_that_are_not_on_this_machine_are_said_to_be_missing(project: Path, open_page: Open) -> None:
    for video in (project / paths.CLIPS).rglob("*.mp4"):
        video.unlink()
    site = open_page("data")
    assert not site.exception and not videos_of(site)
    assert ["dvc pull" in info.value for info in site.info] == [True]


def test_rejections_are_counted_by_stage(project: Path, open_page: Open) -> None:
    text = text_of(open_page("data"))
    assert "Rejected by preprocess" in text


# -- benchmarks --------------------------------------------------------------------------------------------


def test_benchmarks_are_tables_with_their_ratios_on_top(project: Path, open_page: Open) -> None:
    site = open_page("benchmarks")
    text = text_of(site)
    assert "3.43×" in text and "0.50×" in text and "a &lt;video&gt;" in text
    assert "<b>3.43</b>" in text and "<small>9.2 to 10</small>" in text
    assert [header.value for header in site.header] == ["Speed"]
    memory = [{"heading": "Memory", "level": 1}, {"head": ["what", "MB"], "rows": [["ours", "7"]]}]
    write_json(project / "benchmarks" / "memory.json", memory)
    site = open_page("benchmarks")
    choice = elements_of(site, "segmented_control")[0]
    assert choice.options == ["Memory", "Ours against theirs"]
    assert ">7</td>" in text_of(site)
