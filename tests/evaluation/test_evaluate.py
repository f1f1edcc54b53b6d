"""The evaluate stage on tiny clips, end to end: from videos to result files, table and figures."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kpbe.checkpoints import catalogue
from kpbe.core.files import read_csv
from kpbe.core.processes import process_map
from kpbe.data.clips import read_manifest, write_manifest
from kpbe.data.source_frame import source_frame_index
from kpbe.errors import KPBEError, MissingWeights, ParamsError
from kpbe.evaluation import evaluate as stage
from kpbe.evaluation.evaluate import evaluate
from kpbe.evaluation.figures import figure3, score_plot
from kpbe.evaluation.networks import METRICS_OF
from kpbe.evaluation.results import read_per_clip
from kpbe.evaluation.table_text import render_table1
from kpbe.media.audio import write_wav
from kpbe.media.recording import Recording
from kpbe.media.video_writer import write_video
from kpbe.methods import CONTROLS, control_method, controls_of
from kpbe.metrics import image
from kpbe.params import Params, load_params, parse_params
from tests.clips import describe_clip

REPOSITORY = Path(__file__).resolve().parents[2]
FRAMES, SIDE, FPS = 9, 48, 25.0


def make_params(**evaluate_section: Any) -> Params:
    schedule = {"steps": 1, "batch_size": 1}
    training = {name: {"schedule": schedule} for name in ("stage1", "stage2")}
    return parse_params(
        {
            "data": {},
            "model": {"name": "small"},
            "backend": {"wav2lip": load_params(REPOSITORY / "params.yaml").backend["wav2lip"]},
            "train": training,
            "evaluate": {**dict.fromkeys(METRICS_OF, "off"), "bootstrap": 200, **evaluate_section},
            "compute": {"device": "cpu", "render_batch": 4},
        }
    )


def moving_picture(seed: int) -> np.ndarray:
    """A smooth texture that drifts to the right, (FRAMES, SIDE, SIDE, 3) uint8."""
    y, x, t, c = np.meshgrid(
        np.arange(SIDE), np.arange(SIDE), np.arange(FRAMES), np.arange(3), indexing="ij", sparse=True
    )
    wave = np.sin((x + 3 * t) / (5 + seed) + c) + np.cos(y / (4 + seed) + seed)
    return np.rint(127.5 + 55 * wave).astype(np.uint8).transpose(2, 0, 1, 3)


def noisy(frames: np.ndarray, deviation: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, deviation, frames.shape)
    return np.clip(frames + noise, 0, 255).astype(np.uint8)


class World:
    """data/clips with test clips of three identities, and both methods' videos."""

    def __init__(self, root: Path) -> None:
        self.clips, self.backend, self.enhanced, self.out = (
            root / name for name in ("clips", "backend", "enhanced", "results/evaluation/wav2lip")
        )
        clips = []
        for number in range(4):
            identity = f"id{number % 3}"
            clip_id = f"{identity}#v{number}#000000#{FRAMES:06}"
            video = self.clips / "test" / f"{clip_id}.mp4"
            write_video(video, moving_picture(number), FPS)
            truth = Recording(video).frames()
            write_video(self.backend / "test" / f"{clip_id}.mkv", noisy(truth, 25), FPS, codec="ffv1")
            for rank, folder in enumerate(("test", *CONTROLS)):
                shown = noisy(truth, 8 + rank)
                write_video(self.enhanced / folder / f"{clip_id}.mkv", shown, FPS, codec="ffv1")
            clips.append(
                describe_clip(
                    self.clips,
                    identity,
                    video=f"v{number}",
                    split="test",
                    frames=FRAMES,
                    side=SIDE,
                    has_audio=False,
                    bbox="",
                )
            )
        train = replace(clips[0], clip_id="other#v#0#9", split="train", identity="other", path="none.mp4")
        write_manifest(self.clips, [*clips, train])
        self.ids = [clip.clip_id for clip in clips]

    def evaluate(self, params: Params | None = None, **options: Any) -> None:
        evaluate(
            "wav2lip", params or make_params(), self.clips, self.backend, self.enhanced, self.out, **options
        )

    def metrics(self) -> dict[str, Any]:
        return json.loads((self.out / "metrics.json").read_text())


@pytest.fixture(autouse=True)
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the weights of this machine; a test that needs some names them."""
    monkeypatch.setattr(catalogue, "FOLDERS", ())
    monkeypatch.delenv("KPBE_WEIGHTS", raising=False)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world")
    World(root)
    return root


@pytest.fixture
def world(untouched: Path, tmp_path: Path) -> World:
    shutil.copytree(untouched, tmp_path, dirs_exist_ok=True)
    world = World.__new__(World)
    world.clips, world.backend, world.enhanced, world.out = (
        tmp_path / name for name in ("clips", "backend", "enhanced", "results/evaluation/wav2lip")
    )
    world.ids = [clip.clip_id for clip in read_manifest(world.clips, "test")]
    return world


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the clips that were scored in this run, not taken from an earlier one."""
    ids: list[str] = []
    score_clip = stage.score_clip

    def recorded(videos: stage.ClipVideos, scoring: stage.Scoring) -> Any:
        ids.append(videos.clip.clip_id)
        return score_clip(videos, scoring)

    monkeypatch.setattr(stage, "score_clip", recorded)
    return ids


def test_the_better_video_wins_and_settings_are_recorded(world: World) -> None:
    world.evaluate()
    result = world.metrics()
    assert result["wav2lip+kpbe"]["psnr"] > result["wav2lip"]["psnr"] + 5
    assert result["difference"]["ssim"] > 0 and result["difference"]["psnr_p"] == 2 / 2**3
    assert result["static source"]["psnr"] < result["wav2lip+kpbe"]["psnr"]
    settings = result["settings"]
    assert (settings["clips"], settings["identities"], settings["image_size"]) == (4, 3, "48x48")
    assert (settings["feed"], settings["data_range"]) == ("source_image", 255)
    assert settings["absent"]["lpips"] == "evaluate.lpips is off" and "lpips" not in result["wav2lip"]
    assert settings["scored_frames"] == 4 * (FRAMES - 1)


def test_numbers_are_those_of_the_frames(world: World) -> None:
    world.evaluate()
    clip_id = world.ids[1]
    truth = Recording(world.clips / "test" / f"{clip_id}.mp4").frames().astype(float)
    shown = Recording(world.backend / "test" / f"{clip_id}.mkv").frames().astype(float)
    source = source_frame_index(clip_id, FRAMES, make_params().evaluate.seed)
    scored = [index for index in range(FRAMES) if index != source]
    psnr = 10 * np.log10(255**2 / ((truth - shown) ** 2).mean((1, 2, 3)))[scored]
    rows = read_csv(world.out / "per_frame.csv")
    written = [float(r["psnr"]) for r in rows if (r["clip_id"], r["method"]) == (clip_id, "wav2lip")]
    assert written == pytest.approx(psnr, abs=1e-4)
    score = next(s for s in read_per_clip(world.out) if (s.clip_id, s.method) == (clip_id, "wav2lip"))
    assert score.values["psnr"] == pytest.approx(psnr.mean()) and score.frames == FRAMES - 1
    assert score.values["l1"] == pytest.approx(np.abs(truth - shown)[scored].mean() / 255)


def test_the_source_frame_is_the_static_source_and_is_scored_for_no_method(world: World) -> None:
    world.evaluate()
    rows = read_csv(world.out / "per_frame.csv")
    for clip_id in world.ids:
        source = source_frame_index(clip_id, FRAMES, make_params().evaluate.seed)
        truth = Recording(world.clips / "test" / f"{clip_id}.mp4").frames().astype(float)
        for method in ("static source", "wav2lip", "wav2lip+kpbe", "wav2lip+kpbe+source_pose"):
            of_method = [r for r in rows if (r["clip_id"], r["method"]) == (clip_id, method)]
            assert [int(r["frame"]) for r in of_method] == [i for i in range(FRAMES) if i != source]
        static = [float(r["psnr"]) for r in rows if (r["clip_id"], r["method"]) == (clip_id, "static source")]
        errors = np.delete(((truth - truth[source]) ** 2).mean((1, 2, 3)), source)
        assert static == pytest.approx(10 * np.log10(255**2 / errors), abs=1e-4)


def test_every_control_has_scores_of_its_own_video(world: World) -> None:
    world.evaluate()
    result = world.metrics()
    psnr = [result["wav2lip+kpbe"]["psnr"]]
    psnr += [result[control_method("wav2lip", control)]["psnr"] for control in CONTROLS]
    assert psnr == sorted(psnr, reverse=True) and psnr[0] > psnr[-1] + 2, "each has a little more noise"
    assert result["difference_from_control"]["psnr"] > 0


def test_what_scoring_is_handed_is_this_clips(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Controls follow the backend, shares start at the source frame, and LSE hears the clip's own sound."""
    clip = replace(read_manifest(world.clips, "test")[0], has_audio=True)
    sound = np.linspace(-0.5, 0.5, round(16000 * FRAMES / FPS)).astype(np.float32)
    write_wav(clip.wav, sound)
    write_manifest(world.clips, [clip])
    handed: list[dict[str, Any]] = []
    score_videos = stage.score_videos

    def watched(truth: Any, methods: Any, indices: Any, networks: Any, **options: Any) -> Any:
        handed.append({"methods": methods, "indices": indices, **options})
        return score_videos(truth, methods, indices, networks, **options)

    monkeypatch.setattr(stage, "score_videos", watched)
    world.evaluate(make_params(face_every=3))
    (given,) = handed
    source = source_frame_index(clip.clip_id, FRAMES, make_params().evaluate.seed)
    truth = Recording(clip.video).frames()
    assert np.array_equal(given["source"], truth[source]) and source not in given["indices"]
    assert np.array_equal(given["methods"]["static source"].picture, truth[source])
    enhanced = ["wav2lip+kpbe", *controls_of("wav2lip")]
    assert given["followed"] == dict.fromkeys(enhanced, "wav2lip")
    assert np.abs(given["wave"] - sound).max() < 1e-3 and given["face_every"] == 3
    for method, folder in zip(enhanced, ("test", *CONTROLS), strict=True):
        assert given["methods"][method].info.path.parent.name == folder


@pytest.mark.parametrize("beside", ["landmarks", "wav"])
def test_other_landmarks_or_another_sound_score_a_clip_again(
    world: World, scored: list[str], beside: str
) -> None:
    clips = [replace(clip, has_audio=True) for clip in read_manifest(world.clips, "test")]
    for clip in clips:
        write_wav(clip.wav, np.full(round(16000 * FRAMES / FPS), 0.1, np.float32))
    write_manifest(world.clips, clips)
    world.evaluate()
    scored.clear()
    if beside == "wav":
        write_wav(clips[1].wav, np.full(round(16000 * FRAMES / FPS), 0.2, np.float32))
    else:
        np.save(
            clips[1].landmarks, np.tile(np.array([[18, 14], [30, 14], [24, 30]], np.float32), (FRAMES, 1, 1))
        )
    world.evaluate()
    assert scored == [clips[1].clip_id]


def test_measuring_that_is_asked_for_stops_without_its_network(world: World) -> None:
    for name in METRICS_OF:
        with pytest.raises(MissingWeights):
            world.evaluate(make_params(**{name: "on"}))


def test_another_primary_metric_is_refused_when_it_is_none(world: World) -> None:
    for metric in ("beauty", "turn"):  # a share of 1 is best, so that more is not better
        with pytest.raises(ParamsError, match=metric):
            world.evaluate(make_params(primary_metric=metric))


def test_a_run_whose_metrics_are_wrong_stops(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """scikit-image checks one pair of frames of every clip and method."""
    ssim = image.ssim
    monkeypatch.setattr(image, "ssim", lambda truth, other: ssim(truth, other) + 2e-5)
    with pytest.raises(KPBEError, match=r"SSIM of static source is .* scikit-image"):
        world.evaluate()
    assert not (world.out / "metrics.json").exists()


def test_the_mouth_is_scored_where_landmarks_say_that_it_is(world: World) -> None:
    clip = read_manifest(world.clips, "test")[0]
    np.save(clip.landmarks, np.tile(np.array([[18, 14], [30, 14], [24, 30]], np.float32), (FRAMES, 1, 1)))
    path = world.enhanced / "test" / f"{clip.clip_id}.mkv"
    frames = Recording(clip.video).frames()
    frames[:, :8] = 0  # far from the mouth
    write_video(path, frames, FPS, codec="ffv1")
    world.evaluate()
    score = next(
        s for s in read_per_clip(world.out) if (s.clip_id, s.method) == (clip.clip_id, "wav2lip+kpbe")
    )
    assert score.values["mouth_l1"] == 0 and score.values["mouth_ssim"] == 1 and score.values["l1"] > 0.05
    assert sum("mouth_l1" in s.values for s in read_per_clip(world.out)) == 7, "one clip has landmarks"


def test_clips_whose_videos_do_not_fit_are_rejected_with_the_reason(world: World) -> None:
    (world.enhanced / "test" / f"{world.ids[0]}.mkv").unlink()
    small = np.zeros((FRAMES, 32, 32, 3), np.uint8)
    write_video(world.backend / "test" / f"{world.ids[1]}.mkv", small, FPS, codec="ffv1")
    world.evaluate()
    rejected = {row["clip_id"]: row["reason"] for row in read_csv(world.out / "rejected.csv")}
    assert set(rejected) == set(world.ids[:2])
    assert "is missing" in rejected[world.ids[0]] and f"{world.ids[0]}.mkv" in rejected[world.ids[0]]
    assert "32x32" in rejected[world.ids[1]] and "48x48" in rejected[world.ids[1]]
    assert {s.clip_id for s in read_per_clip(world.out)} == set(world.ids[2:])
    assert world.metrics()["settings"]["rejected_clips"] == 2


def test_a_few_missing_last_frames_are_left_out_for_every_method_but_a_cut_video_is_rejected(
    world: World,
) -> None:
    for clip_id, kept in ((world.ids[0], FRAMES - 2), (world.ids[1], 2)):
        path = world.backend / "test" / f"{clip_id}.mkv"
        write_video(path, Recording(path).frames()[:kept], FPS, codec="ffv1")
    world.evaluate()
    frames = {(s.clip_id, s.frames) for s in read_per_clip(world.out)}
    assert frames >= {(world.ids[2], FRAMES - 1), (world.ids[3], FRAMES - 1)}
    assert {count for clip_id, count in frames if clip_id == world.ids[0]} <= {FRAMES - 3, FRAMES - 2}
    assert [row["clip_id"] for row in read_csv(world.out / "rejected.csv")] == [world.ids[1]]


def test_the_stage_fails_with_the_reasons_when_most_clips_are_rejected(world: World) -> None:
    for clip_id in world.ids[:3]:
        (world.enhanced / "test" / f"{clip_id}.mkv").unlink()
    with pytest.raises(KPBEError, match="3 of 4 clips were rejected") as failure:
        world.evaluate()
    assert world.ids[0] in str(failure.value)
    assert not (world.out / "metrics.json").exists()


def test_only_changed_clips_are_scored_again(world: World, scored: list[str]) -> None:
    world.evaluate()
    before = (world.out / "per_clip.csv").read_bytes()
    scored.clear()
    world.evaluate()
    assert scored == [] and (world.out / "per_clip.csv").read_bytes() == before
    path = world.enhanced / "test" / f"{world.ids[2]}.mkv"
    write_video(path, noisy(Recording(path).frames(), 3), FPS, codec="ffv1")
    world.evaluate()
    assert scored == [world.ids[2]]
    assert (world.out / "per_clip.csv").read_bytes() != before


@pytest.mark.slow
def test_processes_give_the_same_files(world: World) -> None:
    world.evaluate()
    names = ("per_clip.csv", "per_frame.csv", "metrics.json")
    before = [(world.out / name).read_bytes() for name in names]
    shutil.rmtree(world.out)
    world.evaluate(map=process_map(2))
    assert [(world.out / name).read_bytes() for name in names] == before


def test_lpips_is_measured_where_its_weights_are(
    world: World, shared_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KPBE_WEIGHTS", str(shared_weights))
    world.evaluate(make_params(lpips="auto"))
    result = world.metrics()
    assert 0 < result["wav2lip+kpbe"]["lpips"] < result["wav2lip"]["lpips"]
    assert "LPIPS-alex" in result["settings"]["measured_by"]["lpips"]


def test_without_weights_auto_says_why_and_on_fails(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KPBE_WEIGHTS", raising=False)
    monkeypatch.chdir(tmp_path)
    world.evaluate(make_params(lpips="auto"))
    assert "alexnet_imagenet_features.safetensors" in world.metrics()["settings"]["absent"]["lpips"]
    with pytest.raises(MissingWeights):
        world.evaluate(make_params(lpips="on"))


def test_table_and_figures_are_made_from_the_results(world: World) -> None:
    world.evaluate()
    root = world.out.parents[1]
    assert "Wav2Lip+KPBE" in render_table1(root, ["wav2lip"], notes=[])
    with (root / "table1.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == (3 + 4) * 5 + 4 * 5, (
            "seven methods and four differences, by five metrics"
        )
    videos = [("Wav2Lip", world.backend / "test"), ("Wav2Lip+KPBE", world.enhanced / "test")]
    figure3(world.clips, videos, root / "figure3.png", clips=3)
    score_plot(world.out, "wav2lip", world.out / "scores.png")
    with Image.open(root / "figure3.png") as picture:
        assert picture.width > 6 * 160 and picture.height > 3 * 160
    with Image.open(world.out / "scores.png") as picture:
        assert picture.width > 600


def test_a_figure_without_videos_says_which_folder_is_empty(world: World) -> None:
    shutil.rmtree(world.enhanced)
    with pytest.raises(KPBEError, match="enhanced"):
        figure3(world.clips, [("Wav2Lip+KPBE", world.enhanced)], world.out / "figure3.png")
