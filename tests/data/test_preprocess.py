from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from kpbe.core.files import read_csv
from kpbe.core.processes import process_map
from kpbe.data import cuts, preprocess
from kpbe.data.clips import Clip, read_manifest
from kpbe.data.crops import iou
from kpbe.data.raw import RawVideo, write_raw_videos
from kpbe.errors import KPBEError, MissingWeights, ParamsError
from kpbe.media.audio import read_audio, write_wav
from kpbe.media.recording import Recording
from kpbe.media.video_writer import VideoWriter
from kpbe.params import CropParams, DataParams

WIDTH, HEIGHT = 320, 240
FACE = (100, 60, 180, 150)
FLASH = 0.8
"""Seconds at which the background turns white and a beep begins."""

Box = tuple[int, int, int, int]
Painter = Callable[[float], Sequence[Box]]


class RedRectangles:
    """Stands in for a face detector: every red rectangle is a face."""

    def detect(self, frame: np.ndarray) -> np.ndarray:
        red, green, blue = (frame[..., c].astype(int) for c in range(3))
        mask = ((red > 130) & (green < 100) & (blue < 100)).astype(np.uint8)
        _, _, found, _ = cv2.connectedComponentsWithStats(mask)
        boxes = [(x, y, x + w, y + h, 0.9) for x, y, w, h, area in found[1:] if area > 100]
        return np.array(boxes, float).reshape(-1, 5)


def still(_: float) -> list[Box]:
    return [FACE]


def nobody(_: float) -> list[Box]:
    return []


def picture(time: float, faces: Painter) -> np.ndarray:
    frame = np.full((HEIGHT, WIDTH, 3), 255 if FLASH <= time < FLASH + 0.2 else 90, np.uint8)
    for left, top, right, bottom in faces(time):
        frame[top:bottom, left:right] = (210, 40, 40)
        frame[top : top + 12, left + 20 : right - 20] = (40, 200, 40)  # the hair: which side is up
    return frame


def sound(seconds: float) -> np.ndarray:
    time = np.arange(round(seconds * 48000)) / 48000
    loud = np.where((time >= FLASH) & (time < FLASH + 0.2), 0.8, 0.05)
    return (loud * np.sin(2 * np.pi * 440 * time)).astype(np.float32)


def film(
    path: Path,
    seconds: float = 2.0,
    faces: Painter = still,
    fps: int = 25,
    wave: np.ndarray | None = None,
    silent_film: bool = False,
) -> Path:
    """Write a raw video whose faces are red rectangles."""
    wav = path.with_name(f"sound of {path.stem}.wav")
    if not silent_film:
        write_wav(wav, sound(seconds) if wave is None else wave, 48000)
    with VideoWriter(path, fps, audio=None if silent_film else wav) as writer:
        for k in range(round(seconds * fps)):
            writer.write(picture(k / fps, faces))
    return path


def foreign_film(path: Path, times: Sequence[float], turn: int = 0) -> Path:
    """Write a video with any frame times, stored rotated by `turn` degrees, with its sound beside it."""
    write_wav(path.with_suffix(".wav"), sound(times[-1] + 0.04), 48000)
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream("libx264", rate=30)
        upright = picture(0, still)
        stored = np.rot90(upright, turn // 90)
        stream.height, stream.width = stored.shape[:2]
        stream.pix_fmt = "yuv420p"
        tick = Fraction(1, 90000)
        stream.codec_context.time_base = stream.time_base = tick
        if turn:
            stream.set_display_rotation(-turn)
        for time in times:
            stored = np.ascontiguousarray(np.rot90(picture(time, still), turn // 90))
            frame = av.VideoFrame.from_ndarray(stored, format="rgb24")
            frame.pts, frame.time_base = round(time / tick), tick
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


class World:
    """A folder with raw videos and the clips made from them."""

    def __init__(self, folder: Path) -> None:
        self.raw, self.out = folder / "raw", folder / "clips"
        self.raw.mkdir()
        self.videos: list[RawVideo] = []
        crop = CropParams(min_frames=20, min_size=40, at_border="shift")
        self.data = DataParams(source="folder", detector="yunet", max_rejected_fraction=0.9, crop=crop)

    def path(self, name: str) -> Path:
        return self.raw / name

    def add(self, path: Path, split: str = "train", **about: Any) -> None:
        self.videos.append(RawVideo(path, f"{split}-{path.stem}", split, path.stem, **about))

    def with_crop(self, **values: Any) -> None:
        self.data = self.data.model_copy(update={"crop": self.data.crop.model_copy(update=values)})

    def run(self, **options: Any) -> dict[str, Clip]:
        """Clips by the name of their raw video and their number of first frame."""
        write_raw_videos(self.raw, self.videos)
        clips = preprocess.preprocess(self.data, 64, self.raw, self.out, **options)
        assert read_manifest(self.out) == [replace(clip, seconds=round(clip.seconds, 3)) for clip in clips]
        return {"@".join(map(str, (clip.clip_id.split("#")[1], clip.start))): clip for clip in clips}

    def reason(self, name: str) -> str:
        """Why a raw video gave no clip, while another one did."""
        if "good" not in {video.video_id for video in self.videos}:
            self.add(film(self.path("good.mp4"), 1.0))
        assert set(self.run()) == {"good@0"}
        (row,) = [row for row in read_csv(self.out / "rejected.csv") if name in row["path"]]
        assert row["stage"] == "preprocess"
        assert not list(self.out.rglob(f"*{Path(name).stem}*")), "files of a rejected video are left"
        return row["reason"]

    def times(self) -> dict[str, int]:
        return {p.name: p.stat().st_mtime_ns for p in self.out.rglob("*#*") if p.is_file()}


@pytest.fixture
def world(tmp_path, monkeypatch) -> World:
    detectors = {"yunet": RedRectangles(), "known": None}
    monkeypatch.setattr(preprocess, "_detector", lambda kind: detectors[kind])
    monkeypatch.setattr(preprocess, "weight_files", lambda kind: [])
    return World(tmp_path)


def flash_frame(clip: Clip) -> int:
    """First frame with a white background (the corner shows no face)."""
    corner = Recording(clip.video).frames()[:, 60:, :4].mean(axis=(1, 2, 3))
    return int(np.argmax(corner > 200))


def beep_second(clip: Clip) -> float:
    return float(np.argmax(np.abs(read_audio(clip.wav)) > 0.3)) / 16000


def assert_in_step(clip: Clip, at: float = FLASH) -> None:
    info = Recording(clip.video).info
    assert info.fps == 25 and info.constant_fps and info.frames == clip.frames
    assert len(read_audio(clip.wav)) == round(clip.frames / 25 * 16000)
    assert abs(flash_frame(clip) / 25 - at) <= 0.04
    assert abs(beep_second(clip) - at) <= 0.01


@pytest.mark.parametrize("fps", [25, 30, 50])
def test_clips_have_constant_size_and_rate_and_sound_in_step(world, fps):
    world.add(film(world.path("talk.mp4"), fps=fps))
    clip = world.run()["talk@0"]
    assert clip.clip_id == "train-talk#talk#000000#000050"
    assert (clip.width, clip.height, clip.frames, clip.seconds, clip.has_audio) == (64, 64, 50, 2.0, True)
    assert Recording(clip.video).frames().shape == (50, 64, 64, 3)
    assert_in_step(clip)


def test_boxes_are_those_of_the_faces_in_the_clip(world):
    world.add(film(world.path("talk.mp4"), faces=lambda t: [(100 + int(15 * t), 60, 180 + int(15 * t), 150)]))
    clip = world.run()["talk@0"]
    boxes = np.load(clip.boxes)
    assert boxes.shape == (50, 4) and boxes.dtype == np.float32
    for frame, box in zip(Recording(clip.video).frames(), boxes, strict=True):
        (seen,) = RedRectangles().detect(frame)
        # between the green hair and the chin, half a pixel of blur on each side
        np.testing.assert_allclose(seen[[0, 2, 3]], box[[0, 2, 3]], atol=2)


def test_varying_frame_rate_keeps_sound_in_step(world):
    steps = np.random.default_rng(3).uniform(0.01, 0.07, 60)
    world.add(foreign_film(world.path("phone.mp4"), list(np.cumsum(steps) - steps[0])))
    clip = world.run()["phone@0"]
    assert abs(clip.seconds - steps.sum()) < 0.1
    assert_in_step(clip)


def test_a_turned_phone_video_gives_upright_faces(world):
    world.add(foreign_film(world.path("phone.mp4"), [k / 25 for k in range(50)], turn=90))
    clip = world.run()["phone@0"]
    frame = Recording(clip.video).frames()[0].astype(int)
    rows = np.flatnonzero(((frame[..., 1] > 130) & (frame[..., 0] < 100)).any(axis=1))
    assert len(rows) and rows.max() < 24
    left, top, right, bottom = np.load(clip.boxes)[0]
    assert bottom - top > right - left


def test_a_video_without_a_face_is_rejected(world):
    world.add(film(world.path("empty.mp4"), 1.0, nobody))
    assert world.reason("empty.mp4") == "no face was found"


def test_two_faces_of_similar_size_are_rejected_a_small_one_is_not(world):
    world.add(film(world.path("pair.mp4"), 1.0, lambda t: [(20, 60, 100, 150), (200, 60, 280, 150)]))
    world.add(film(world.path("passerby.mp4"), 1.0, lambda t: [FACE, (280, 20, 305, 50)]))
    world.add(
        film(world.path("visit.mp4"), 1.2, lambda t: [FACE] if t < 0.8 else [FACE, (220, 60, 300, 150)])
    )
    assert set(world.run()) == {"passerby@0", "visit@0"}
    (row,) = read_csv(world.out / "rejected.csv")
    assert "pair.mp4" in row["path"] and row["reason"].startswith("two faces")


def test_a_video_without_sound_is_rejected(world):
    world.add(film(world.path("mute.mp4"), 1.0, silent_film=True))
    assert "no audio track" in world.reason("mute.mp4")


def test_a_silent_sound_track_is_rejected(world):
    world.add(film(world.path("quiet.mp4"), 1.0, wave=np.zeros(48000, np.float32)))
    assert "silent" in world.reason("quiet.mp4")


def test_a_truncated_file_is_rejected(world):
    path = film(world.path("cut.mp4"), 2.0)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    world.add(path)
    assert "cut.mp4" in world.reason("cut.mp4")


def test_something_else_than_a_video_is_rejected(world):
    world.path("page.mp4").write_text("<html>video unavailable</html>")
    world.add(world.path("page.mp4"))
    world.add(world.path("gone.mp4"))
    world.add(film(world.path("good.mp4"), 1.0))
    assert set(world.run()) == {"good@0"}
    reasons = {Path(r["path"]).name: r["reason"] for r in read_csv(world.out / "rejected.csv")}
    assert reasons.keys() == {"gone.mp4", "page.mp4"}
    assert all(name in reason for name, reason in reasons.items())


def test_a_one_second_video_is_too_short_by_fomms_rule(world):
    world.with_crop(min_frames=64)
    world.add(film(world.path("blink.mp4"), 1.0))
    world.add(film(world.path("good.mp4"), 2.6))
    assert world.reason("blink.mp4") == (
        "25 frames (1.00 s) can be used, less than data.crop.min_frames = 64"
    )


def test_a_jump_gives_two_clips_each_with_its_own_sound(world):
    world.add(
        film(world.path("cut.mp4"), 2.4, lambda t: [(10, 60, 90, 150) if t < 0.6 else (200, 60, 280, 150)])
    )
    world.with_crop(min_frames=10)
    clips = world.run()
    assert set(clips) == {"cut@0", "cut@15"}
    assert clips["cut@15"].clip_id.endswith("#000015#000060")
    assert_in_step(clips["cut@15"], FLASH - 0.6)
    world.with_crop(min_frames=20)
    assert set(world.run()) == {"cut@15"}
    (row,) = read_csv(world.out / "rejected.csv")
    assert row["clip_id"].endswith("#000000#000015") and "15 frames" in row["reason"]


def test_long_takes_are_cut_into_pieces(world):
    world.with_crop(max_frames=20)
    world.add(film(world.path("long.mp4"), 2.0))
    assert set(world.run()) == {"long@0", "long@20"}  # the last ten frames are too few


def test_memory_for_frames_does_not_change_the_clips(world, monkeypatch):
    world.with_crop(max_frames=25)
    world.add(film(world.path("talk.mp4"), fps=30))
    kept = world.run()
    monkeypatch.setattr(cuts, "KEPT_BYTES", 0)
    shutil.rmtree(world.out)
    assert [c.sha256 for c in world.run().values()] == [c.sha256 for c in kept.values()]


def test_known_boxes_follow_the_raw_frame_rate(world):
    boxes = np.array([[50 + k, 60, 130 + k, 150] for k in range(100)], np.float32)
    np.save(world.path("boxes.npy"), boxes)
    world.add(film(world.path("talk.mp4"), fps=50), boxes=world.path("boxes.npy"))
    world.data = world.data.model_copy(
        update={"detector": "known", "crop": CropParams(mode="whole", min_frames=9)}
    )
    clip = world.run()["talk@0"]
    left = np.load(clip.boxes)[:, 0] * 240 / 64 + 40  # the middle square of 320 x 240 begins at 40
    np.testing.assert_allclose(left, boxes[::2, 0], atol=0.01)


def test_whole_frames_need_no_faces(world):
    world.add(film(world.path("talk.mp4")))
    world.data = world.data.model_copy(
        update={"detector": "known", "crop": CropParams(mode="whole", min_frames=9)}
    )
    clip = world.run()["talk@0"]
    assert clip.bbox == "40-0-280-240" and not clip.boxes.exists()
    world.with_crop(mode="tube")
    with pytest.raises(ParamsError, match=r"talk\.mp4 are not: choose yunet"):
        world.run()


def test_an_annotated_part_is_taken_from_its_place_with_its_crop(world):
    world.data = world.data.model_copy(update={"detector": "known"})
    about = {"bbox": (160, 80, 400, 320), "width": 640, "height": 480, "fps": 25.0}
    world.add(film(world.path("long.mp4"), 3.0, fps=30), start=10, end=60, **about)
    world.videos.append(replace(world.videos[0], start=60, end=100))
    clips = world.run()
    assert set(clips) == {"long@10"}
    clip = clips["long@10"]
    assert (clip.clip_id, clip.bbox) == ("train-long#long#000010#000060", "80-40-200-160")
    assert_in_step(clip, FLASH - 10 / 25)
    (row,) = read_csv(world.out / "rejected.csv")
    assert row["clip_id"].endswith("#000060#000100") and "the clip needs 72 to 119" in row["reason"]


def test_a_stage_with_too_many_rejected_videos_fails_and_says_why(world):
    world.add(film(world.path("empty.mp4"), 1.0, nobody))
    world.add(film(world.path("good.mp4"), 1.0))
    world.data = world.data.model_copy(update={"max_rejected_fraction": 0.4})
    with pytest.raises(KPBEError, match=r"1 of 2 clips.*\n.*empty\.mp4: no face was found"):
        world.run()


# -- running again -----------------------------------------------------------------------------------------


@pytest.fixture
def two_videos(world) -> World:
    world.add(film(world.path("a.mp4"), 1.0))
    world.add(film(world.path("b.mp4"), 1.0), split="test")
    world.run()
    return world


def remade(before: dict[str, int], after: dict[str, int]) -> set[str]:
    return {name.split("#")[1].removesuffix(".json") for name in after if after[name] != before.get(name)}


def test_nothing_is_made_twice(two_videos):
    before = two_videos.times()
    two_videos.run()
    assert two_videos.times() == before


@pytest.mark.parametrize("suffix", [".mp4", ".wav", ".boxes.npy", ".json"])
def test_only_the_clip_that_lost_a_file_is_made_again(two_videos, suffix):
    before = two_videos.times()
    lost = next(path for path in two_videos.out.rglob(f"*#b*{suffix}"))
    lost.unlink()
    two_videos.run()
    after = two_videos.times()
    assert before.keys() == after.keys() and remade(before, after) == {"b"}


def test_a_changed_param_makes_all_clips_again(two_videos):
    before = two_videos.times()
    two_videos.data = two_videos.data.model_copy(update={"crf": 30})
    two_videos.run()
    assert remade(before, two_videos.times()) == {"a", "b"}


def test_a_changed_video_is_made_again_and_its_old_clips_go(two_videos):
    before = two_videos.times()
    film(two_videos.path("b.mp4"), 1.2)
    clips = two_videos.run()
    assert clips["b@0"].frames == 30
    after = two_videos.times()
    assert remade(before, after) == {"b"}
    assert not [name for name in after if "#000025" in name and "#b#" in name]


def test_clips_of_a_removed_video_are_removed(two_videos):
    two_videos.videos.pop(0)
    assert set(two_videos.run()) == {"b@0"}
    assert {name.split("#")[0] for name in two_videos.times()} == {"test-b"}


def test_an_interrupted_run_goes_on(two_videos, monkeypatch):
    before = two_videos.times()
    film(two_videos.path("c.mp4"), 1.0)
    two_videos.add(two_videos.path("c.mp4"))

    def power_cut(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(preprocess, "boxes_in_crop", power_cut)
        with pytest.raises(KeyboardInterrupt):
            two_videos.run()
    assert set(two_videos.run()) == {"a@0", "b@0", "c@0"}
    assert remade(before, two_videos.times()) == {"c"}
    assert not list(two_videos.out.rglob(".unfinished*"))


@pytest.mark.slow
def test_processes_make_the_same_clips(world):
    for name in ("a", "b"):
        np.save(world.path(f"{name}.npy"), np.tile(np.array(FACE, float), (25, 1)))
        world.add(film(world.path(f"{name}.mp4"), 1.0), boxes=world.path(f"{name}.npy"))
    world.data = world.data.model_copy(update={"detector": "known"})
    alone = world.run()
    shutil.rmtree(world.out)
    assert world.run(map=process_map(2), shard_size=1) == alone


# -- real faces --------------------------------------------------------------------------------------------


@pytest.fixture
def real_world(tmp_path, monkeypatch, shared_clips, shared_weights) -> World:
    monkeypatch.setenv("KPBE_WEIGHTS", str(shared_weights))
    return World(tmp_path)


def test_real_faces_fill_their_clips(real_world, shared_clips):
    real_world.add(shared_clips / "grid_lipnet" / "GRID_lbbc2a.mpg")
    real_world.add(shared_clips / "lrwar" / "12389.mp4")
    clips = real_world.run()
    assert len(clips) == 2
    for clip in clips.values():
        boxes = np.load(clip.boxes)
        assert (iou((4, 4, 60, 60), boxes) > 0.35).all()
        assert (np.ptp(boxes, axis=0) < 24).all()
        assert len(read_audio(clip.wav)) == clip.frames * 640


def test_two_real_faces_side_by_side_are_rejected(real_world, shared_clips):
    pictures = Recording(shared_clips / "grid_lipnet" / "GRID_lbbc2a.mpg").frames()[:30]
    path = real_world.path("pair.mp4")
    write_wav(path.with_suffix(".wav"), sound(1.2), 48000)
    with VideoWriter(path, 25, audio=path.with_suffix(".wav")) as writer:
        for frame in pictures:
            writer.write(np.concatenate([frame, frame[:, ::-1]], axis=1))
    real_world.add(path)
    real_world.add(shared_clips / "lrwar" / "12389.mp4", split="test")
    assert len(real_world.run()) == 1
    (row,) = read_csv(real_world.out / "rejected.csv")
    assert "pair.mp4" in row["path"] and row["reason"].startswith("two faces")


def test_missing_detector_weights_stop_the_stage_before_it_begins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KPBE_WEIGHTS", raising=False)
    world = World(tmp_path)
    world.add(film(world.path("talk.mp4"), 1.0))
    with pytest.raises(MissingWeights, match="yunet"):
        world.run()
    assert not world.out.exists()
