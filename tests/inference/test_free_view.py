"""Free view: what is asked for replaces the source's own pose, what is not asked for stays."""

from __future__ import annotations

import math
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from kpbe import cli
from kpbe.errors import KPBEError, MissingWeights
from kpbe.frontend.checkpoints import public_state_dicts, save_frontend
from kpbe.frontend.geometry import HeadPose, rotation_matrix, with_own_pitch_sign
from kpbe.frontend.model import Frontend
from kpbe.inference import frontends
from kpbe.inference.free_view import (
    TURN_BY,
    View,
    decompose_image,
    expression_of,
    free_view,
    look_around,
    own_view,
    write_free_view,
)
from kpbe.inference.frontends import frontend_file, open_frontend, trained_frontends
from kpbe.media.recording import Recording
from tests.conftest import REPOSITORY
from tests.frontend.tiny import tiny_frontend

SIZE = 64


def make_frontend(**conventions: Any) -> Frontend:
    return tiny_frontend(conventions=conventions)


@pytest.fixture(scope="module")
def frontend() -> Frontend:
    return make_frontend()


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3), np.uint8)


@pytest.fixture
def seen(frontend: Frontend, monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Driving keypoints of every rendered batch."""
    batches: list[torch.Tensor] = []
    render = frontend.render

    def watched(source, keypoints, pose):
        batches.append(keypoints)
        return render(source, keypoints, pose)

    monkeypatch.setattr(frontend, "render", watched)
    return batches


def test_nothing_asked_for_is_the_reconstruction(frontend: Frontend, picture: np.ndarray, seen) -> None:
    source = decompose_image(frontend, picture)
    (frame,) = free_view(frontend, source, [View()])
    assert frame.shape == (SIZE, SIZE, 3) and frame.dtype == np.uint8
    torch.testing.assert_close(seen[0], source.keypoints)


def test_given_angles_replace_the_estimated_ones(frontend: Frontend, picture: np.ndarray, seen) -> None:
    source = decompose_image(frontend, picture)
    own = own_view(frontend, source)
    list(free_view(frontend, source, [View(yaw=20, x=0.25)]))
    degrees = torch.tensor([[20.0, own.pitch or 0, own.roll or 0]])
    rotation = rotation_matrix(degrees, frontend.params.conventions)
    translation = source.pose.translation.clone()
    translation[0, 0] = 0.25
    expected = source.canonical_keypoints @ rotation.mT + translation[:, None] + source.expression
    torch.testing.assert_close(seen[0], expected)


def test_views_are_rendered_in_batches_in_their_order(frontend: Frontend, picture: np.ndarray, seen) -> None:
    source = decompose_image(frontend, picture)
    views = [View(yaw=float(angle)) for angle in (-30, -10, 0, 10, 30)]
    frames = list(free_view(frontend, source, views, batch_size=2))
    assert [len(batch) for batch in seen] == [2, 2, 1]
    (alone,) = free_view(frontend, source, [views[3]])
    assert np.abs(frames[3].astype(int) - alone).max() <= 1


def test_expression_of_another_picture_moves_the_keypoints(
    frontend: Frontend, picture: np.ndarray, seen
) -> None:
    source = decompose_image(frontend, picture)
    expression = expression_of(frontend, 255 - picture)
    list(free_view(frontend, source, [View(), View(yaw=9.0)], expression))
    torch.testing.assert_close(seen[0][0], (source.keypoints - source.expression + expression)[0])


@pytest.mark.parametrize("angle", ["yaw", "pitch", "roll"])
def test_an_angle_means_the_same_in_both_conventions(angle: str, picture: np.ndarray) -> None:
    turned = {
        convention: pose_of(make_frontend(rotation=convention), picture, View(**{angle: 15.0})).rotation
        for convention in ("pitch_yaw_roll", "beta")
    }
    torch.testing.assert_close(turned["beta"], turned["pitch_yaw_roll"])


def pose_of(network: Frontend, picture: np.ndarray, view: View) -> HeadPose:
    """The head pose that a view is rendered with; angles that it leaves open are 0."""
    poses: list[HeadPose] = []
    render = network.render
    network.render = lambda s, k, pose, render=render: poses.append(pose) or render(s, k, pose)  # type: ignore[method-assign]
    zero = View(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    list(free_view(network, decompose_image(network, picture), [view.completed(zero)]))
    return poses[0]


def test_a_positive_pitch_looks_down_with_our_sign_and_is_the_public_networks_minus(
    picture: np.ndarray,
) -> None:
    ours = pose_of(make_frontend(), picture, View(yaw=10.0, pitch=20.0))
    nose = torch.tensor([0.0, 0.0, -1.0])  # towards the camera: x right, y down, z away
    moved = ours.rotation[0] @ nose
    assert moved[1] > 0.3 and moved[0] < -0.1, "down and to the left in the picture"
    public = pose_of(make_frontend(pitch_sign=-1), picture, View(yaw=10.0, pitch=20.0))
    # what a network that learned from Hopenet calls -20 is a head that looks down
    assert public.degrees[0].tolist() == [10.0, -20.0, 0.0]


def test_a_head_that_was_labelled_with_a_pitch_is_shown_with_it_under_both_signs(picture: np.ndarray) -> None:
    label = torch.tensor([[5.0, 20.0, -3.0]])
    for sign in (1, -1):
        network = make_frontend(pitch_sign=sign)
        source = decompose_image(network, picture)
        degrees = with_own_pitch_sign(label, network.params.conventions)
        conventions = network.params.conventions
        as_labelled = replace(source, pose=HeadPose.from_degrees(degrees, torch.zeros(1, 3), conventions))
        own = own_view(network, as_labelled)
        assert (own.yaw, own.pitch, own.roll) == (5.0, 20.0, -3.0)
        assert pose_of(network, picture, own).degrees.tolist() == degrees.tolist()


@pytest.mark.parametrize(
    "conventions", [{}, {"rotation": "beta"}, {"pitch_sign": -1}, {"first_order": "rotation"}]
)
def test_own_view_reads_back_what_renders_the_source(
    conventions: dict[str, Any], picture: np.ndarray
) -> None:
    network = make_frontend(**conventions)
    source = decompose_image(network, picture)
    (own,) = free_view(network, source, [own_view(network, source)])
    (nothing,) = free_view(network, source, [View()])
    assert np.abs(own.astype(int) - nothing).max() <= 1


def test_looking_around_starts_at_the_heads_own_view_and_reaches_both_sides() -> None:
    own = View(5.0, -2.0, 1.0, 0.1, 0.0, 0.3)
    views = look_around(own, View(yaw=25.0, pitch=8.0), frames=40)
    assert views[0] == own and len(views) == 40
    assert views[10].yaw == pytest.approx(25.0) and views[10].pitch == pytest.approx(8.0)
    assert views[30].yaw == pytest.approx(-15.0)
    assert all(view.x == 0.1 and view.roll == 1.0 for view in views)
    steps = np.diff([view.yaw or 0.0 for view in [*views, views[0]]])
    assert np.abs(steps).max() < 20 * 2 * math.pi / 40 * 1.01, "no jump, at the seam neither"
    still = look_around(own, View(), frames=40)
    assert still[10].yaw == pytest.approx(5.0 + TURN_BY)


# -- files and the command ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, frontend: Frontend, picture: np.ndarray) -> Path:
    root = tmp_path_factory.mktemp("project")
    for folder in ("checkpoints/stage1", "checkpoints/stage2/wav2lip"):
        (root / folder).mkdir(parents=True)
        save_frontend(root / folder / "frontend.safetensors", frontend, {})
    Image.fromarray(picture).save(root / "face.png")
    Image.fromarray(255 - picture).save(root / "other.png")
    return root


def run(*arguments: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(project)
    return CliRunner().invoke(cli.app, list(arguments))


def test_command_writes_a_picture_and_tells_the_sources_own_pose(
    project: Path, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ["freeview", "face.png", "--yaw", "20", "--expression", "other.png", "--out", "turned.png"]
    result = run(*asked, project=project, monkeypatch=monkeypatch)
    assert result.exit_code == 0, result.output
    assert "own pose is yaw" in result.output
    network = open_frontend(project / "checkpoints/stage1/frontend.safetensors")
    source = decompose_image(network, picture)
    (expected,) = free_view(network, source, [View(yaw=20.0)], expression_of(network, 255 - picture))
    written = np.asarray(Image.open(project / "turned.png"))
    assert np.abs(written.astype(int) - expected).max() <= 1


def test_command_writes_a_turning_video(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(
        "freeview", "face.png", "--yaw", "20", "--out", "turn.mp4", project=project, monkeypatch=monkeypatch
    )
    assert result.exit_code == 0, result.output
    info = Recording(project / "turn.mp4").info
    assert (info.frames, info.width, info.height, info.fps) == (75, SIZE, SIZE, 25.0)
    assert len(Recording(project / "turn.mp4").frames()) == 75


def test_what_is_missing_or_wrong_is_said_in_one_sentence(
    project: Path, frontend: Frontend, picture: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run("freeview", "face.png", "--out", "a.gif", project=project, monkeypatch=monkeypatch)
    assert isinstance(result.exception, KPBEError) and "a.gif is neither a picture" in str(result.exception)
    with pytest.raises(KPBEError, match=r"a\.txt is neither a picture"):
        write_free_view(tmp_path / "a.txt", frontend, picture, View())
    monkeypatch.chdir(tmp_path)
    assert frontend_file(None).is_file(), "the one beside the package"
    monkeypatch.setattr(frontends, "shipped", lambda path: path)
    with pytest.raises(MissingWeights, match="no trained frontend in checkpoints/"):
        frontend_file(None)
    with pytest.raises(MissingWeights, match=r"elsewhere\.safetensors does not exist"):
        frontend_file(Path("elsewhere.safetensors"))


def test_frontends_are_found_by_name_and_by_their_folder(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(trained_frontends(project)) == ["Stage 2, Wav2Lip", "Stage 1"]
    monkeypatch.chdir(project)
    assert frontend_file(None) == Path("checkpoints/stage2/wav2lip/frontend.safetensors")
    assert frontend_file(Path("checkpoints/stage1")) == Path("checkpoints/stage1/frontend.safetensors")


def test_a_public_checkpoint_needs_no_params(
    project: Path, frontend: Frontend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sizes are its own; params.yaml has another model, and a public pitch runs the other way."""
    torch.save({"model": public_state_dicts(frontend), "epoch": 3}, project / "00000189-checkpoint.pth.tar")
    shutil.copy(REPOSITORY / "params.yaml", project / "params.yaml")
    asked = ["freeview", "face.png", "--yaw", "20", "--out", "public.png"]
    checkpoint = ["--checkpoint", "00000189-checkpoint.pth.tar"]
    result = run(*asked, *checkpoint, project=project, monkeypatch=monkeypatch)
    assert result.exit_code == 0, result.output
    assert "public OSFV checkpoint, original decoder, 256x256, pitch, yaw, roll" in result.output
    assert "sizes are not the published ones" in result.output
    assert Image.open(project / "public.png").size == (SIZE, SIZE)
    opened = open_frontend(project / "00000189-checkpoint.pth.tar")
    assert frontend.params.conventions.pitch_sign == 1 and opened.params.conventions.pitch_sign == -1
    image = torch.rand(1, 3, SIZE, SIZE)
    with torch.inference_mode():
        torch.testing.assert_close(opened.canonical_keypoints(image), frontend.canonical_keypoints(image))


def test_model_is_asked_for_public_checkpoints_only(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["freeview", "face.png", "--out", "a.png", "--model"]
    for word, sentence in (
        ("vox256_beta", r"frontend\.safetensors was written by KPBE and says itself what it is"),
        ("beta", "no --model beta: choose one of vox256, vox256_beta"),
    ):
        result = run(*asked, word, project=project, monkeypatch=monkeypatch)
        assert isinstance(result.exception, KPBEError)
        assert re.search(sentence, str(result.exception))
