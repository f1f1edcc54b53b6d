"""The free view page: a picture, sliders, and what the frontend makes of them."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from kpbe.media.audio import write_wav
from kpbe.media.video import probe, write_video
from kpbe.trained_frontends import open_frontend
from reports import talking

Open = Callable[..., AppTest]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An untrained frontend as a training leaves it."""
    import torch

    from kpbe.frontend.checkpoints import save_frontend
    from kpbe.frontend.model import Frontend
    from kpbe.params import ModelParams

    torch.manual_seed(0)
    model = {
        "image_size": 64, "num_keypoints": 5, "depth": 4,
        "canonical_keypoints": {"width": 4, "blocks": 3, "input_scale": 0.5},
        "pose_expression": {"width": 4, "stage_blocks": (1, 1, 1, 1)},
        "appearance": {"width": 4, "volume_channels": 4, "volume_blocks": 1},
        "motion_field": {"width": 4, "blocks": 2, "compressed_channels": 1},
        "generator": {"width": 16, "blocks": 1},
    }  # fmt: skip
    path = tmp_path_factory.mktemp("weights") / "frontend.safetensors"
    save_frontend(path, Frontend(ModelParams.model_validate(model)), {})
    return path.read_bytes()


@pytest.fixture
def page(project: Path, weights: bytes, open_page: Open) -> AppTest:
    for folder in ("stage1", "stage2/wav2lip"):
        (project / "checkpoints" / folder / "frontend.safetensors").write_bytes(weights)
    site = open_page("free_view")
    assert not site.exception and not site.error
    return site


def captions(site: AppTest) -> list[str]:
    return [image.caption for element in site.get("image") for image in element.proto.imgs]


def rendered(site: AppTest) -> Any:
    """The address of the rendered picture, which is a digest of its content."""
    return site.get("image")[-1].proto.imgs[0].url


def slider(site: AppTest, label: str) -> Any:
    return next(found for found in site.slider if found.label == label)


def choice(site: AppTest, label: str) -> Any:
    found: Any = site.get("segmented_control")
    return next(control for control in found if control.label == label)


@pytest.fixture
def asked(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """Views and expressions that are rendered, each seen in the picture: an untrained network shows no motion."""
    from kpbe import free_view

    renders: list[tuple[Any, Any]] = []
    render = free_view.free_view

    def shaded(frontend, source, views, expression=None, batch_size=16):
        for view, frame in zip(views, render(frontend, source, views, expression, batch_size), strict=True):
            renders.append((view, expression))
            yield np.full_like(frame, len(renders) % 256)

    monkeypatch.setattr(free_view, "free_view", shaded)
    return renders


def test_turning_the_head_renders_another_picture(page: AppTest, asked: list[Any]) -> None:
    before = rendered(page)
    wanted = 30.0 if slider(page, "Yaw").value < 30 else -30.0
    slider(page, "Yaw").set_value(wanted).run()
    assert not page.exception
    assert rendered(page) != before
    view, expression = asked[-1]
    assert view.yaw == wanted and view.pitch == slider(page, "Pitch").value and expression is None
    assert f"Rendered: yaw {wanted:.0f}°".replace("-", "−") in captions(page)[-1]
    assert captions(page)[-1].startswith("Source image: yaw")


def test_head_goes_back_to_its_own_pose(page: AppTest, asked: list[Any]) -> None:
    own = slider(page, "Roll").value
    slider(page, "Roll").set_value(own - 5 if own > 0 else own + 5).run()
    assert asked[-1][0].roll != own
    next(button for button in page.button if button.label == "Back to its own pose").click().run()
    assert slider(page, "Roll").value == own == asked[-1][0].roll


def test_frontend_and_source_can_be_chosen(page: AppTest) -> None:
    frontends = next(box for box in page.selectbox if box.label == "Frontend")
    assert frontends.options == ["Stage 2, Wav2Lip", "Stage 1"]
    clips = next(box for box in page.selectbox if box.label == "Source clip")
    assert all(clip.startswith(("cy", "dee")) for clip in clips.options), "test clips only"
    frontends.select("Stage 1").run()
    assert not page.exception and not page.error


def test_expression_of_another_clip_is_taken(page: AppTest, asked: list[Any]) -> None:
    choice(page, "Expression").set_value("A test clip's frame").run()
    assert not page.exception
    assert slider(page, "Frame").max == 9
    slider(page, "Frame").set_value(0).run()
    first = asked[-1][1]
    slider(page, "Frame").set_value(9).run()
    assert (asked[-1][1] != first).any(), "the clip grows brighter, and so the expression differs"


def test_turning_video_can_be_made(page: AppTest) -> None:
    assert not page.get("video") and len(page.get("download_button")) == 1
    page.toggle[0].set_value(True).run()
    assert not page.exception
    assert len(page.get("video")) == 1 and len(page.get("download_button")) == 2


def toggle(site: AppTest, label: str) -> Any:
    return next(found for found in site.toggle if found.label == label)


def test_a_clip_of_any_method_talks_from_the_chosen_view(
    page: AppTest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from kpbe import novel_view

    spoken: list[tuple[Any, np.ndarray]] = []
    render = novel_view.talking_view

    def watched(frontend, source, seen_from, frames, batch_size=16):
        pairs = list(zip(seen_from, frames, strict=False))
        spoken.extend(pairs)
        yield from render(frontend, source, [point for point, _ in pairs], [frame for _, frame in pairs])

    monkeypatch.setattr(novel_view, "talking_view", watched)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    assert [found.label for found in page.toggle] == ["Turning video"]
    choice(page, "Expression").set_value("A talking video").run()
    methods = next(box for box in page.selectbox if box.label == "Method")
    assert methods.options == ["Ground truth", "Wav2Lip", "Wav2Lip+KPBE"]
    methods.select("Wav2Lip").run()
    slider(page, "Yaw").set_value(30.0).run()
    toggle(page, "Talking video").set_value(True).run()
    assert not page.exception and not page.error
    assert len(page.get("video")) == 1 and len(page.get("download_button")) == 2
    assert len(spoken) == 10 and {point.view.yaw for point, _ in spoken} == {30.0}
    last = spoken[-1][1].reshape(-1, 3).mean(0)
    np.testing.assert_allclose(last, [255, 127, 0], atol=2)  # the backend's own colours, at its last frame
    assert not list((tmp_path / "temporary").iterdir())

    spoken.clear()
    monkeypatch.setattr(talking, "LONGEST_SECONDS", 0.16)
    page.run()  # the toggle's help names the limit: it is another one now
    toggle(page, "Talking video").set_value(True).run()
    assert len(spoken) == 4, "no more than the longest that is rendered"


def test_talking_video_can_be_uploaded_and_leaves_no_file(
    page: AppTest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (6, 64, 64, 3), np.uint8)
    write_video(tmp_path / "me.mp4", frames, 25.0)
    content = (tmp_path / "me.mp4").read_bytes()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    choice(page, "Expression").set_value("A talking video").run()
    choice(page, "Talking video").set_value("My own").run()
    assert not page.exception and [found.label for found in page.toggle] == ["Turning video"]
    page.file_uploader[0].set_value(("me.mp4", content, "video/mp4")).run()
    toggle(page, "Talking video").set_value(True).run()
    assert not page.exception and not page.error
    assert len(page.get("video")) == 1
    page.file_uploader[0].set_value(("me.mp4", b"no video", "video/mp4")).run()
    assert len(page.error) == 1 and "me.mp4" in page.error[0].value
    monkeypatch.setattr(talking, "LARGEST_MB", len(content) / 2e6)
    page.file_uploader[0].set_value(("me.mp4", content, "video/mp4")).run()
    assert ["give at most" in error.value for error in page.error] == [True]
    assert not list((tmp_path / "temporary").iterdir())


def test_talking_video_keeps_the_sound(weights: bytes, tmp_path: Path) -> None:
    from kpbe.free_view import View, decompose_image

    (tmp_path / "frontend.safetensors").write_bytes(weights)
    frontend = open_frontend(tmp_path / "frontend.safetensors")
    wave = np.sin(np.arange(round(16000 * 0.4)) / 9).astype(np.float32) / 4
    write_wav(tmp_path / "speech.wav", wave)
    frames = np.random.default_rng(0).integers(0, 255, (10, 64, 64, 3), np.uint8)
    write_video(tmp_path / "a.mkv", frames, 25.0, codec="ffv1", audio=tmp_path / "speech.wav")
    source = decompose_image(frontend, frames[0])
    given = talking.Talking("a.mkv", tmp_path / "a.mkv")
    made = talking.talking_video(
        frontend, source, View(yaw=20.0), given, lambda frame: frame.repeat(2, 0).repeat(2, 1)
    )
    (tmp_path / "made.mp4").write_bytes(made)
    info = probe(tmp_path / "made.mp4")
    assert (info.frames, info.width, info.has_audio) == (10, 128, True)


def png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def test_picture_can_be_uploaded_and_another_file_is_refused(page: AppTest) -> None:
    choice(page, "Picture").set_value("My picture").run()
    assert [info.value for info in page.info] == ["Choose a picture."]
    picture = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
    page.file_uploader[0].set_value(("me.png", png(picture), "image/png")).run()
    assert not page.exception and not page.error, [e.value for e in page.error]
    assert "Rendered" in captions(page)[-1]
    page.file_uploader[0].set_value(("me.png", b"no picture", "image/png")).run()
    assert ["me.png cannot be read as a picture" in error.value for error in page.error] == [True]


def test_damaged_checkpoint_is_named(project: Path, open_page: Open) -> None:
    (project / "checkpoints/stage1/frontend.safetensors").write_bytes(b"damaged")
    site = open_page("free_view")
    assert not site.exception
    assert ["frontend.safetensors is damaged" in error.value for error in site.error] == [True]
