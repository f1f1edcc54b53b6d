"""The clip explorer's input: one video with all methods in step, curves, the mouth, and how it is served."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from kpbe.data.clips import Clip
from kpbe.media.audio import write_wav
from kpbe.media.recording import Recording
from kpbe.media.video_writer import write_video
from reports import explorer
from reports.comparison import Comparison, compare
from reports.explorer import TRUTH, explorer_data, find_mouth
from tests.clips import describe_clip

FRAMES, SIDE, FPS = 12, 64, 25.0
METHODS = (TRUTH, "wav2lip", "wav2lip+kpbe", "pcavs", "pcavs+kpbe")


def flat(levels: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Frames of one grey level each."""
    return np.broadcast_to(levels.astype(np.uint8)[:, None, None, None], (len(levels), side, side, 3)).copy()


def levels_of(position: int, frames: int = FRAMES) -> np.ndarray:
    return 20 + 40 * position + 2 * np.arange(frames)


@pytest.fixture
def videos(tmp_path: Path) -> dict[str, Path]:
    paths = {}
    for position, method in enumerate(METHODS):
        paths[method] = tmp_path / f"{position}.mkv"
        frames = FRAMES + (2 if method == "pcavs" else 0)
        write_video(paths[method], flat(levels_of(position, frames)), FPS, codec="ffv1")
    return paths


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    (tmp_path / "test").mkdir(exist_ok=True)
    return describe_clip(tmp_path, "cy", video="v0", split="test", frames=FRAMES, side=SIDE)


def cell(comparison: Comparison, picture: np.ndarray, method: str) -> np.ndarray:
    """A method's part of a frame of the comparison."""
    height, width = picture.shape[0] // comparison.rows, picture.shape[1] // comparison.columns
    row, column = divmod(comparison.methods.index(method), comparison.columns)
    return picture[row * height : (row + 1) * height, column * width : (column + 1) * width]


def test_all_methods_are_at_the_same_frame_of_one_video(videos: dict[str, Path], tmp_path: Path) -> None:
    sound = tmp_path / "speech.wav"
    write_wav(sound, np.sin(np.arange(16000) / 20).astype(np.float32) / 4)
    comparison = compare(videos, FPS, sound)
    assert (comparison.methods, comparison.frames) == (METHODS, FRAMES), "the shortest video ends it"
    path = tmp_path / "comparison.mp4"
    path.write_bytes(comparison.video)
    with av.open(str(path)) as container:
        assert (len(container.streams.video), len(container.streams.audio)) == (1, 1)
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p", "browsers play no other"
    pictures = Recording(path).frames()
    assert len(pictures) == FRAMES
    for position, method in enumerate(METHODS):
        middles = np.array([cell(comparison, picture, method)[20:-20, 20:-20].mean() for picture in pictures])
        np.testing.assert_allclose(middles, levels_of(position), atol=2.5)


@pytest.mark.parametrize(("side", "expected"), [(64, 128), (50, 150), (128, 128), (160, 160)])
def test_small_pictures_are_enlarged_and_sides_are_even(side: int, expected: int, tmp_path: Path) -> None:
    path = tmp_path / "one.mkv"
    write_video(path, flat(np.array([90, 100]), side), FPS, codec="ffv1")
    comparison = compare({TRUTH: path}, FPS, None)
    (tmp_path / "out.mp4").write_bytes(comparison.video)
    assert Recording(tmp_path / "out.mp4").frames().shape == (2, expected, expected, 3)


def test_mouth_follows_the_landmarks_without_trembling(clip: Clip) -> None:
    trembling = 46 + np.where(np.arange(FRAMES) % 2, 1.0, -1.0)
    points = np.zeros((FRAMES, 3, 2))
    points[:, 0], points[:, 1] = (22, 26), (42, 26)
    points[:, 2, 0], points[:, 2, 1] = 32, trembling
    np.save(clip.landmarks, points.astype(np.float32))
    mouth = find_mouth(clip)
    assert mouth is not None and mouth.middles.shape == (FRAMES, 2)
    np.testing.assert_allclose(mouth.middles[:, 0], 32.5 / SIDE, atol=1e-6)
    assert np.ptp(mouth.middles[2:-2, 1]) < np.ptp(trembling) / SIDE / 2
    assert mouth.side == pytest.approx(1.3 * 20 / SIDE)


def test_mouth_is_guessed_from_face_boxes_and_unknown_without(clip: Clip) -> None:
    assert find_mouth(clip) is None
    np.save(clip.boxes, np.tile(np.array([16, 8, 48, 56], np.float32), (FRAMES, 1)))
    mouth = find_mouth(clip)
    assert mouth is not None
    assert mouth.middles[0] == pytest.approx([0.5, (8 + 0.78 * 48) / SIDE])
    np.save(clip.landmarks, np.full((FRAMES, 3, 2), np.nan, np.float32))
    assert find_mouth(clip) is None, "no face was found in any frame"


@pytest.fixture
def data(clip: Clip, videos: dict[str, Path], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(explorer, "served", lambda video: "/media/0123.mp4")
    curves = {
        "ssim": {"wav2lip": [0.5] * FRAMES},
        "psnr": {"wav2lip": [float("inf"), *[20.0] * (FRAMES - 1)]},
    }

    def made(backend: str, **options):
        source = np.full((SIDE, SIDE, 3), 90, np.uint8)
        return explorer_data(clip, backend, compare(videos, FPS, None), source, 5, curves, **options)

    return made


def test_chosen_backend_is_open_at_first_and_all_can_be_opened(data) -> None:
    shown = data("pcavs")
    assert shown["shown"] == ["static source", TRUTH, "pcavs", "pcavs+kpbe", "difference"]
    assert shown["compared"] == ["pcavs+kpbe", TRUTH]
    assert [panel["id"] for panel in shown["panels"]] == ["static source", *METHODS]
    assert shown["panels"][0]["image"].startswith("data:image/png;base64,")
    dashes = {panel["id"]: panel["dash"] for panel in shown["panels"]}
    assert dashes["wav2lip"] == dashes["wav2lip+kpbe"] != dashes["pcavs"] == dashes["pcavs+kpbe"]


def test_frames_that_equal_the_truth_leave_a_gap_in_the_curve(data) -> None:
    values = {curve["name"]: curve["lines"][0]["values"] for curve in data("wav2lip")["curves"]}
    assert values["PSNR"][0] is None and values["PSNR"][1] == 20.0
    assert None not in values["SSIM"]


def test_mouth_of_a_backend_that_holds_the_source_still_stays_there(data, clip: Clip) -> None:
    points = np.zeros((FRAMES, 3, 2), np.float32)
    points[:, 0], points[:, 1] = (22, 26), (42, 26)
    points[:, 2] = np.stack([np.arange(FRAMES) + 20, np.full(FRAMES, 46)], 1)
    np.save(clip.landmarks, points)
    tracks = data("wav2lip", still=["wav2lip"])["mouth"]["tracks"]
    assert len(tracks["wav2lip"]) == 1 and len(tracks["wav2lip+kpbe"]) == FRAMES
    assert tracks["wav2lip"][0] == tracks[TRUTH][5], "the source frame's"


def test_video_is_handed_out_under_a_name_that_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from streamlit.runtime.media_file_manager import MediaFileManager
    from streamlit.runtime.memory_media_file_storage import MemoryMediaFileStorage

    class Runtime:
        media_file_mgr = MediaFileManager(MemoryMediaFileStorage("/media"))

    monkeypatch.setattr(explorer.runtime, "get_instance", lambda: Runtime)
    address = explorer.served(b"a video")
    assert address.startswith("/media/") and address.endswith(".mp4")
    name = address.removeprefix("/media/").removesuffix(".mp4")
    assert all(letter in "0123456789abcdef" for letter in name) and len(name) >= 32
    assert explorer.served(b"a video") == address
