"""The survey's videos as a rater's browser gets them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import yaml

from kpbe.core.files import UNFINISHED, file_sha256, read_csv
from kpbe.core.processes import process_map
from kpbe.data.clips import Clip, write_manifest
from kpbe.errors import KPBEError, SurveyError
from kpbe.media.audio import read_audio, write_wav
from kpbe.media.recording import Recording
from kpbe.media.video_writer import write_video
from kpbe.params import Params, parse_params
from kpbe.survey.study.design import Item, Study, read_study
from kpbe.survey.study.loudness import RATE, integrated_loudness
from kpbe.survey.study.stimuli import make_stimuli
from tests.clips import describe_clip
from tests.survey.study.true_peak import true_peak_db

REPOSITORY = Path(__file__).resolve().parents[3]
FPS, FRAMES, SIDE = 25.0, 40, 32
METHODS = ("wav2lip", "wav2lip+kpbe", "ground_truth")
SPEAKERS = ("alice", "bob", "carol")
COLOURS = {"ground_truth": 60, "wav2lip": 120, "wav2lip+kpbe": 180}


def picture(method: str, number: int, index: int, side: int = SIDE) -> np.ndarray:
    """A picture whose grey identifies the method and whose bar identifies the clip; a second bar moves."""
    frame = np.full((side, side, 3), COLOURS[method], np.uint8)
    frame[:, 2 * number : 2 * number + 2] = 255
    frame[index % side, :] = 0
    return frame


def voice(number: int, seconds: float = FRAMES / FPS) -> np.ndarray:
    """A tone that begins loudly a quarter second into the clip, of another loudness in each clip."""
    time = np.arange(round(seconds * 16000)) / 16000
    return (0.02 + 0.03 * number) * np.sin(2 * np.pi * 300 * time) * (time >= 0.25)


class Project:
    """Test clips of three speakers, a backend's videos and enhanced ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clips: list[Clip] = []
        for number in range(6):
            who = SPEAKERS[number % 3]
            clip = describe_clip(
                folder / "clips", who, video=f"v{number}", split="test", frames=FRAMES, side=SIDE
            )
            for method in METHODS:
                self.write(clip, method, number)
            write_wav(clip.wav, voice(number))
            self.clips.append(Clip(**{**vars(clip), "sha256": file_sha256(clip.video)}))
        write_manifest(folder / "clips", self.clips)

    def path(self, clip: Clip, method: str) -> Path:
        if method == "ground_truth":
            return clip.video
        backend, plus, _ = method.partition("+")
        return self.folder / ("enhanced" if plus else "backend") / backend / "test" / f"{clip.clip_id}.mkv"

    def write(self, clip: Clip, method: str, number: int, frames: int = FRAMES, side: int = SIDE) -> None:
        video = [picture(method, number, index, side) for index in range(frames)]
        codec = "h264" if method == "ground_truth" else "ffv1"
        write_video(self.path(clip, method), video, clip.fps, codec=codec)

    def params(self, **survey: Any) -> Params:
        values = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
        values["backends"] = ["wav2lip"]
        values["survey"].update({"clips": 2, "image_size": 64, "planned_raters": 3, **survey})
        values["compute"].update(workers=2, shard_size=4)
        return parse_params(values)

    @property
    def stimuli(self) -> Path:
        return self.folder / "static" / "stimuli"

    @property
    def records(self) -> Path:
        return self.folder / "survey" / "records"

    @property
    def study_file(self) -> Path:
        return self.folder / "survey" / "study.json"

    def make(self, params: Params | None = None, **options: Any) -> Study:
        return make_stimuli(
            params or self.params(),
            self.folder / "clips",
            self.folder / "backend",
            self.folder / "enhanced",
            self.stimuli,
            self.records,
            self.study_file,
            **options,
        )

    def file(self, item: Item) -> Path:
        return self.stimuli / item.file

    def times(self) -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in self.stimuli.iterdir()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Study]:
    """Read only."""
    project = Project(tmp_path_factory.mktemp("project"))
    return project, project.make()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def one(study: Study, wanted: Callable[[Item], bool]) -> Item:
    return next(item for item in study.items if wanted(item))


def everything_in(path: Path) -> str:
    """All names and texts that a player can read from a file."""
    with av.open(str(path)) as container:
        tracks = [f"{stream.metadata} {stream.name}" for stream in container.streams]
        return f"{container.metadata} {tracks}"


# -- files -------------------------------------------------------------------------------------------------


def test_folder_holds_the_items_videos_and_nothing_else(made: tuple[Project, Study]) -> None:
    project, study = made
    assert {path.name for path in project.stimuli.iterdir()} == {item.file for item in study.items}
    assert not project.stimuli.is_symlink() and not any(
        path.is_symlink() for path in project.stimuli.iterdir()
    )
    assert Counter(item.kind for item in study.items) == {
        "main": 4, "reference": 2, "training": 2, "trap": 2, "gold": 2, "repeat": 3
    }  # fmt: skip
    assert read_study(project.study_file) == study
    for item in study.items:
        assert item.sha256 == file_sha256(project.file(item))


def test_all_videos_have_the_same_form_and_browsers_play_them(made: tuple[Project, Study]) -> None:
    project, study = made
    for item in study.items:
        with av.open(str(project.file(item))) as container:
            video, audio = container.streams.video[0], container.streams.audio[0]
            assert (video.codec_context.name, video.codec_context.pix_fmt) == ("h264", "yuv420p")
            assert (audio.codec_context.name, audio.rate) == ("aac", 48000)
            assert (video.width, video.height, video.average_rate) == (64, 64, 25)
            assert video.frames == FRAMES and float(container.duration or 0) / 1e6 == pytest.approx(
                1.6, abs=0.03
            )
        data = project.file(item).read_bytes()
        assert data.index(b"moov") < data.index(b"mdat"), "not made for starting before all of it is there"
        assert item.seconds == 1.6


def test_nothing_in_a_file_or_its_name_tells_what_it_is(made: tuple[Project, Study]) -> None:
    project, study = made
    told = [everything_in(project.file(item)).lower() for item in study.items]
    assert len(set(told)) == 1
    words = (
        "wav2lip",
        "kpbe",
        "truth",
        "trap",
        "gold",
        "enhanced",
        "backend",
        "date",
        "time",
        "title",
        *SPEAKERS,
    )
    assert not any(word in told[0] for word in words)
    for item in study.items:
        data = project.file(item).read_bytes().lower()
        assert not any(
            word.encode() in data for word in (*words[:5], *SPEAKERS, item.clip_id.lower(), "/tmp")
        )
    order = sorted(project.times().items(), key=lambda pair: pair[1])
    assert [name for name, _ in order] == sorted(project.times()), "the files' times tell the methods apart"


def test_pictures_are_those_of_the_method_enlarged(made: tuple[Project, Study]) -> None:
    project, study = made
    for method in METHODS:
        item = one(study, lambda i, m=method: i.method == m and i.kind in ("main", "reference"))
        number = next(k for k, clip in enumerate(project.clips) if clip.clip_id == item.clip_id)
        frames = Recording(project.file(item)).frames()
        for index in (0, 17, 39):
            wanted = picture(method, number, index).repeat(2, 0).repeat(2, 1).astype(int)
            assert np.abs(frames[index].astype(int) - wanted)[:, 16:].mean() < 8


def test_loudness_is_the_same_to_half_a_unit_and_peaks_stay_below_minus_one(
    made: tuple[Project, Study],
) -> None:
    project, study = made
    for item in study.items:
        wave = read_audio(project.file(item), RATE)
        assert integrated_loudness(wave) == pytest.approx(-23, abs=0.5)
        assert true_peak_db(wave) <= -1


def test_traps_sound_comes_late(made: tuple[Project, Study]) -> None:
    project, study = made

    def onset(item: Item) -> float:
        wave = np.abs(read_audio(project.file(item), RATE))
        return float(np.argmax(wave > 0.5 * wave.max())) / RATE

    for item in study.items:
        assert onset(item) == pytest.approx(0.25 + item.shift_ms / 1000, abs=0.03)
    assert {item.shift_ms for item in study.items if item.kind == "trap"} == {400}


def test_degraded_items_are_coarse_and_jerky(made: tuple[Project, Study]) -> None:
    project, study = made
    bad = one(study, lambda i: i.kind == "gold" and i.degraded)
    good = one(study, lambda i: i.kind == "gold" and not i.degraded)

    def jumps(item: Item) -> list[int]:
        frames = Recording(project.file(item)).frames().astype(int)
        return [k for k in range(1, FRAMES) if np.abs(frames[k] - frames[k - 1]).max() > 60]

    assert jumps(bad) == list(range(5, FRAMES, 5))
    assert jumps(good) == list(range(1, FRAMES))


def test_repeat_is_the_same_video_under_another_name(made: tuple[Project, Study]) -> None:
    _, study = made
    for item in study.items:
        if item.repeats:
            original = study.by_id[item.repeats]
            assert (original.sha256, original.clip_id) == (item.sha256, item.clip_id)


# -- choice of clips ---------------------------------------------------------------------------------------


def test_methods_of_a_clip_are_cut_to_the_shortest(project: Project) -> None:
    clip = project.clips[0]
    project.write(clip, "wav2lip+kpbe", 0, frames=37)
    study = project.make(project.params(clips=6))
    for item in study.items:
        assert Recording(project.file(item)).info.frames == (37 if item.clip_id == clip.clip_id else 40)
        assert item.seconds == pytest.approx(1.48 if item.clip_id == clip.clip_id else 1.6)


def test_long_clips_are_cut(project: Project) -> None:
    for method in METHODS:
        project.write(project.clips[0], method, 0, frames=60)
    write_wav(project.clips[0].wav, voice(0, 2.4))
    study = project.make(project.params(clips=6, max_seconds=2.0))
    lengths = {
        item.clip_id: (Recording(project.file(item)).info.frames, item.seconds) for item in study.items
    }
    assert lengths[project.clips[0].clip_id] == (50, 2.0) and lengths[project.clips[1].clip_id] == (40, 1.6)


def test_clip_that_a_method_lacks_is_left_out_and_the_reason_kept(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    missing, small, silent, short, broken, good = project.clips
    project.path(missing, "wav2lip+kpbe").unlink()
    project.write(small, "wav2lip", 1, side=24)
    write_wav(silent.wav, np.zeros(25600))
    project.write(short, "wav2lip", 3, frames=30)
    project.path(broken, "wav2lip").write_bytes(b"no video")
    study = project.make(project.params(clips=6))
    assert {item.clip_id for item in study.items} == {good.clip_id}
    reasons = {row["clip_id"]: row["reason"] for row in read_csv(project.records / "rejected.csv")}
    assert "Wav2Lip+KPBE made no video" in reasons[missing.clip_id]
    assert "24x24 at 25 fps, the clip 32x32" in reasons[small.clip_id]
    assert "silent" in reasons[silent.clip_id]
    assert "lasts 1.20 s" in reasons[short.clip_id]
    assert "cannot be read" in reasons[broken.clip_id]
    printed = capsys.readouterr().out
    assert "survey.clips is 6, but only 1 test clips" in printed
    assert "show a clip twice in a row" in printed
    assert missing.clip_id in printed


def test_without_any_usable_clip_the_stage_stops_and_leaves_no_study(project: Project) -> None:
    for clip in project.clips:
        project.path(clip, "wav2lip").unlink()
    with pytest.raises(KPBEError, match="no test clip has a usable video by every method"):
        project.make()
    assert not project.study_file.exists()


def test_clips_are_spread_over_the_speakers(project: Project) -> None:
    study = project.make(project.params(clips=3))
    assert {item.identity for item in study.items if item.kind == "reference"} == set(SPEAKERS)


# -- again -------------------------------------------------------------------------------------------------


def test_another_run_elsewhere_makes_the_same_bytes(made: tuple[Project, Study], project: Project) -> None:
    first, study = made
    again = project.make(map=process_map(2))
    assert again == study
    assert project.study_file.read_bytes() == first.study_file.read_bytes()
    for item in study.items:
        assert project.file(item).read_bytes() == first.file(item).read_bytes()


def test_second_run_makes_only_what_is_missing_and_removes_what_is_stale(project: Project) -> None:
    study = project.make()
    before = project.times()
    lost = one(study, lambda i: i.kind == "main")
    project.file(lost).unlink()
    (project.stimuli / f"{'0' * 16}.mp4").write_bytes(b"of an older study")
    (project.stimuli / f"{UNFINISHED}1.mp4").write_bytes(b"half")
    (project.records / "items" / f"{'0' * 16}.json").write_text("{}")
    assert project.make() == study
    after = project.times()
    assert after.keys() == before.keys()
    assert [name for name in after if after[name] != before[name]] == [lost.file]
    assert len(list((project.records / "items").iterdir())) == len(study.items)


def test_changed_video_gets_another_name_and_the_old_file_goes(project: Project) -> None:
    study = project.make()
    changed = one(study, lambda i: i.method == "wav2lip+kpbe")
    clip = next(clip for clip in project.clips if clip.clip_id == changed.clip_id)
    project.write(clip, "wav2lip+kpbe", 5)
    again = project.make()
    assert again.design_sha256 != study.design_sha256
    same = {item.item for item in study.items} & {item.item for item in again.items}
    differing = [item for item in study.items if item.item not in same]
    assert differing and all((i.clip_id, i.method) == (changed.clip_id, "wav2lip+kpbe") for i in differing)
    assert not project.file(changed).exists()


def test_orders_begin_with_no_training_item_and_hold_the_rest(made: tuple[Project, Study]) -> None:
    _, study = made
    assert len(study.orders) == 3
    training = set(study.training)
    assert [study.by_id[name].degraded for name in study.training] == [False, True]
    for order in study.orders:
        assert not training & set(order)
        assert len(order) == 6 + 2 + 2 + 1


def test_a_study_that_has_answers_is_not_replaced(tmp_path: Path) -> None:
    project = Project(tmp_path)
    before = project.make()
    asked: list[str] = []

    def answered(study: str) -> int:
        asked.append(study)
        return 12

    assert project.make(answered=answered) == before
    assert not asked, "the same study may be made again"
    times, other = project.times(), project.params(seed=99)
    with pytest.raises(SurveyError, match=r"has 12 answers .*survey\.study to a new name"):
        project.make(other, answered=answered)
    assert asked == [before.name]
    assert read_study(project.study_file) == before and project.times() == times
    assert project.make(other, answered=lambda study: 0) != before
