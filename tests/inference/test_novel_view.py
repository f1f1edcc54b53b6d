"""`kpbe enhance` from a viewpoint of the user's: his pose, the talking video's expression and sound."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from kpbe import cli
from kpbe.errors import KPBEError
from kpbe.frontend.checkpoints import save_frontend
from kpbe.frontend.geometry import rotation_matrix
from kpbe.frontend.model import Frontend
from kpbe.inference.enhance_video import enhance_video
from kpbe.inference.free_view import View, decompose_image, expression_of, free_view, own_view
from kpbe.inference.novel_view import one_view, talking_view
from kpbe.inference.viewpoints import Viewpoint, viewpoints
from kpbe.media.audio import read_audio, write_wav
from kpbe.media.recording import Recording
from kpbe.media.video_writer import write_video
from tests.frontend.tiny import tiny_frontend

SIZE, FRAMES, FPS = 64, 10, 25.0


@pytest.fixture(scope="module")
def frontend() -> Frontend:
    untrained = tiny_frontend()
    with torch.no_grad():  # untrained expressions hardly differ
        untrained.pose_expression.expression.weight.mul_(100)
    return untrained


@pytest.fixture(scope="module")
def talking() -> np.ndarray:
    """Pictures whose expressions differ."""
    coarse = np.random.default_rng(1).integers(0, 255, (FRAMES, 4, 4, 3), np.uint8)
    return coarse.repeat(SIZE // 4, 1).repeat(SIZE // 4, 2)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3), np.uint8)


@pytest.fixture(scope="module")
def project(
    tmp_path_factory: pytest.TempPathFactory, frontend: Frontend, talking: np.ndarray, picture: np.ndarray
) -> Path:
    root = tmp_path_factory.mktemp("project")
    (root / "checkpoints/stage1").mkdir(parents=True)
    save_frontend(root / "checkpoints/stage1/frontend.safetensors", frontend, {})
    write_wav(root / "speech.wav", np.sin(np.arange(round(16000 * FRAMES / FPS)) / 9).astype(np.float32) / 4)
    write_video(root / "talking.mkv", talking, FPS, codec="ffv1", audio=root / "speech.wav")
    Image.fromarray(picture).save(root / "face.png")
    (root / "short.csv").write_text("yaw\n" + "20\n" * 4)
    (root / "mirror.json").write_text("[[-1, 0, 0], [0, 1, 0], [0, 0, 1]]")
    return root


@pytest.fixture
def kpbe(project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    def run(*arguments: str) -> Any:
        return CliRunner().invoke(cli.app, list(arguments))

    monkeypatch.chdir(project)
    monkeypatch.delenv("KPBE_WEIGHTS", raising=False)
    return run


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Driving keypoints of every rendered batch, of which an untrained network's pictures show little."""
    batches: list[torch.Tensor] = []
    render = Frontend.render

    def watched(self, source, keypoints, pose, *more):
        batches.append(keypoints)
        return render(self, source, keypoints, pose, *more)

    monkeypatch.setattr(Frontend, "render", watched)
    return batches


def enhanced(kpbe: Callable[..., Any], seen: list[torch.Tensor], out: str, *view: str) -> torch.Tensor:
    """Driving keypoints (frames, K, 3) of a video that the command made."""
    seen.clear()
    asked = ["enhance", "talking.mkv", "--source", "face.png", "--framing", "whole", "--out", out]
    result = kpbe(*asked, *view)
    assert result.exit_code == 0, (result.output, result.exception)
    keypoints = torch.cat(seen)
    assert len(Recording(out).frames()) == len(keypoints)
    return keypoints


# -- the method --------------------------------------------------------------------------------------------


def test_pose_is_the_users_and_expression_the_talking_videos_frame_by_frame(
    frontend: Frontend, picture: np.ndarray, talking: np.ndarray, seen: list[torch.Tensor]
) -> None:
    source = decompose_image(frontend, picture)
    own = own_view(frontend, source)
    list(talking_view(frontend, source, viewpoints(View(yaw=20.0, x=0.25)), talking, batch_size=4))
    assert [len(batch) for batch in seen] == [4, 4, 2]
    rotation = rotation_matrix(torch.tensor([[20.0, own.pitch, own.roll]]), frontend.params.conventions)
    translation = source.pose.translation.clone()
    translation[0, 0] = 0.25
    still = (source.canonical_keypoints @ rotation.mT + translation[:, None])[0]
    for keypoints, frame in zip(torch.cat(seen), talking, strict=True):
        torch.testing.assert_close(keypoints, still + expression_of(frontend, frame)[0], rtol=0, atol=1e-4)
    moved = torch.cat(seen).diff(dim=0).abs().amax((1, 2))
    assert (moved > 1e-3).all(), "each frame has an expression of its own"


def test_one_frame_is_the_free_view_with_that_expression(
    frontend: Frontend, picture: np.ndarray, talking: np.ndarray
) -> None:
    source = decompose_image(frontend, picture)
    frames = list(talking_view(frontend, source, viewpoints(View(roll=-9.0)), talking))
    (alone,) = free_view(frontend, source, [View(roll=-9.0)], expression_of(frontend, talking[6]))
    assert np.abs(frames[6].astype(int) - alone).max() <= 1
    one = one_view(frontend, source, Viewpoint(View(roll=-9.0)), expression_of(frontend, talking[6]))
    np.testing.assert_array_equal(one, alone)
    (own,) = free_view(frontend, source, [View(roll=-9.0)])
    np.testing.assert_array_equal(one_view(frontend, source, Viewpoint(View(roll=-9.0))), own)


def test_a_rotation_is_that_of_the_angles_and_keeps_the_translation(
    picture: np.ndarray, talking: np.ndarray, frontend: Frontend, seen: list[torch.Tensor]
) -> None:
    source = decompose_image(frontend, picture)
    degrees = torch.tensor([[20.0, 0.0, 0.0]])
    matrix = rotation_matrix(degrees, frontend.params.conventions)[0].double().numpy()
    angles, rotated = Viewpoint(View(20.0, 0.0, 0.0, x=0.1)), Viewpoint(View(x=0.1), matrix)
    list(talking_view(frontend, source, [angles, rotated], [talking[0], talking[0]]))
    torch.testing.assert_close(seen[0][0], seen[0][1])


# -- the command -------------------------------------------------------------------------------------------


def test_constants_and_a_table_of_the_same_are_the_same_video(
    kpbe: Callable[..., Any], seen: list[torch.Tensor]
) -> None:
    Path("all.csv").write_text("yaw,x,y,z\n" + "20,0.25,0,0\n" * FRAMES)
    constant = enhanced(kpbe, seen, "a.mkv", "--yaw", "20", "--translate", "0.25", "0", "0")
    table = enhanced(kpbe, seen, "b.mkv", "--views", "all.csv")
    assert len(constant) == FRAMES
    torch.testing.assert_close(constant, table, rtol=0, atol=0)
    np.testing.assert_array_equal(Recording("a.mkv").frames(), Recording("b.mkv").frames())
    other = enhanced(kpbe, seen, "c.mkv", "--views", "all.csv", "--pitch", "30")
    assert (constant - other).abs().max() > 0.01, "constants fill the columns that the table lacks"


def test_a_table_moves_the_head_row_by_row(kpbe: Callable[..., Any], seen: list[torch.Tensor]) -> None:
    Path("moving.csv").write_text("yaw\n" + "".join(f"{3 * row}\n" for row in range(FRAMES)))
    moving = enhanced(kpbe, seen, "a.mkv", "--views", "moving.csv")
    for row in (0, 4, 9):
        still = enhanced(kpbe, seen, "b.mkv", "--yaw", str(3 * row))
        torch.testing.assert_close(moving[row], still[row], rtol=0, atol=1e-4)


def test_the_rotation_of_a_yaw_is_that_yaw(kpbe: Callable[..., Any], seen: list[torch.Tensor]) -> None:
    c, s = np.cos(np.deg2rad(20)), np.sin(np.deg2rad(20))
    Path("yaw.json").write_text(json.dumps([[c, 0, s], [0, 1, 0], [-s, 0, c]]))
    angles = enhanced(kpbe, seen, "a.mkv", "--yaw", "20", "--pitch", "0", "--roll", "0")
    rotated = enhanced(kpbe, seen, "b.mkv", "--rotation", "yaw.json")
    pi_of_public_checkpoints = 2e-4
    torch.testing.assert_close(angles, rotated, rtol=0, atol=pi_of_public_checkpoints)
    straight = enhanced(kpbe, seen, "c.mkv", "--yaw", "0", "--pitch", "0", "--roll", "0")
    assert (angles - straight).abs().max() > 50 * pi_of_public_checkpoints


@pytest.mark.parametrize(
    "conventions",
    [{}, {"pitch_sign": -1}, {"pitch_sign": -1, "rotation": "beta"}, {"rotation": "beta", "pi": 3.1416}],
    ids=str,
)
@pytest.mark.parametrize("angles", [(0, 20, 0), (25, -15, 10)], ids=str)
def test_a_matrix_means_the_same_as_its_angles_for_every_frontend(
    kpbe: Callable[..., Any],
    seen: list[torch.Tensor],
    frontend: Frontend,
    conventions: dict[str, Any],
    angles: tuple[float, float, float],
) -> None:
    of_the_same_weights = Frontend(
        frontend.params.model_copy(
            update={"conventions": frontend.params.conventions.model_copy(update=conventions)}
        )
    )
    of_the_same_weights.load_state_dict(frontend.state_dict())
    save_frontend(Path("other.safetensors"), of_the_same_weights.eval(), {})
    yaw, pitch, roll = angles
    matrix = Rotation.from_euler("XYZ", [pitch, yaw, roll], degrees=True).as_matrix()
    Path("view.json").write_text(json.dumps(matrix.tolist()))
    checkpoint = ["--checkpoint", "other.safetensors"]
    view = ["--yaw", str(yaw), "--pitch", str(pitch), "--roll", str(roll)]
    asked = enhanced(kpbe, seen, "a.mkv", *view, *checkpoint)
    rotated = enhanced(kpbe, seen, "b.mkv", "--rotation", "view.json", *checkpoint)
    pi_of_public_checkpoints = 4e-4
    torch.testing.assert_close(asked, rotated, rtol=0, atol=pi_of_public_checkpoints)
    other_way = enhanced(kpbe, seen, "c.mkv", *view[:2], "--pitch", str(-pitch), *view[4:], *checkpoint)
    assert (asked - other_way).abs().max() > 50 * pi_of_public_checkpoints


def test_sound_is_kept_and_the_shorter_ends_the_video(
    kpbe: Callable[..., Any], seen: list[torch.Tensor]
) -> None:
    enhanced(kpbe, seen, "whole.mkv", "--yaw", "20")
    np.testing.assert_array_equal(read_audio("whole.mkv"), read_audio("speech.wav"))
    asked = ["enhance", "talking.mkv", "--source", "face.png", "--views", "short.csv", "--out", "short.mp4"]
    result = kpbe(*asked)
    assert "short.mp4: 4 frames" in result.output
    assert "4 views for the 10 frames of talking.mkv: the shorter ends the video." in result.output
    info = Recording("short.mp4").info
    assert (info.frames, info.has_audio) == (4, True)
    assert len(read_audio("short.mp4")) == pytest.approx(4 * 640, abs=1100)  # AAC comes in blocks of 1024
    Path("long.csv").write_text("yaw\n" + "20\n" * (FRAMES + 3))
    result = kpbe(*asked[:4], "--views", "long.csv", "--out", "long.mkv")
    assert "long.mkv: 10 frames" in result.output
    assert "13 views for the 10 frames" in result.output


def test_wrong_input_is_refused_before_anything_is_written(kpbe: Callable[..., Any], project: Path) -> None:
    enhance = ["enhance", "talking.mkv", "--source", "face.png", "--out", "none.mp4"]
    for view, words in (
        (["--rotation", "mirror.json"], "mirror.json is no rotation: its determinant is -1"),
        (["--views", "face.png"], "face.png cannot be read (it is no text)"),
        (["--pose", "talking.mkv", "--yaw", "3"], "talking.mkv and a viewpoint both give the head pose"),
    ):
        result = kpbe(*enhance, *view)
        assert isinstance(result.exception, KPBEError)
        assert words in str(result.exception)
    assert not (project / "none.mp4").exists() and not list(project.glob(".unfinished*"))


def test_free_view_takes_rotations_and_a_table(kpbe: Callable[..., Any], frontend: Frontend) -> None:
    Path("still.json").write_text("[[1, 0, 0], [0, 1, 0], [0, 0, 1]]")
    assert kpbe("freeview", "face.png", "--rotation", "still.json", "--out", "a.png").exit_code == 0
    angles = ["--yaw", "0", "--pitch", "0", "--roll", "0"]
    assert kpbe("freeview", "face.png", *angles, "--out", "b.png").exit_code == 0
    np.testing.assert_array_equal(np.asarray(Image.open("a.png")), np.asarray(Image.open("b.png")))
    assert kpbe("freeview", "face.png", "--views", "short.csv", "--out", "short.mkv").exit_code == 0
    assert kpbe("freeview", "face.png", "--yaw", "20", "--out", "c.png").exit_code == 0
    frames, expected = Recording("short.mkv").frames(), np.asarray(Image.open("c.png"))
    assert len(frames) == 4
    assert np.abs(frames.astype(int) - expected).max() <= 1
    for view, out in ((["--rotation", "still.json"], "a.mp4"), (["--views", "short.csv"], "a.png")):
        result = kpbe("freeview", "face.png", *view, "--out", out)
        assert isinstance(result.exception, KPBEError)
        assert f"{out}: " in str(result.exception)


def test_a_pose_video_and_viewpoints_exclude_each_other(project: Path, frontend: Frontend) -> None:
    talking, face = project / "talking.mkv", project / "face.png"
    with pytest.raises(KPBEError, match="both give the head pose"):
        enhance_video(frontend, talking, face, project / "x.mp4", talking, viewpoints=viewpoints(View()))
