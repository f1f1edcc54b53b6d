"""The free view page: a picture, sliders, and what the frontend makes of them."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from kpbe.inference.frontends import open_frontend
from kpbe.media.audio import write_wav
from kpbe.media.recording import Recording
from kpbe.media.video_writer import write_video
from reports import talking_videos as talking
from tests.frontend.tiny import tiny_frontend

Open = Callable[..., AppTest]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An untrained frontend as a training leaves it."""

    from kpbe.frontend.checkpoints import save_frontend

    path = tmp_path_factory.mktemp("weights") / "frontend.safetensors"
    save_frontend(path, tiny_frontend(), {})
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


def caption(site: AppTest) -> str:
    """The text below the rendered picture."""
    (said,) = (found for found in captions(site) if "Rendered" in found)
    return said


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
    """Views and expressions that are rendered; each is visible in the picture.

    An untrained network would show no motion.
    """
    from kpbe.inference import novel_view

    renders: list[tuple[Any, Any]] = []
    render = novel_view.one_view

    def shaded(frontend, source, viewpoint, expression=None):
        renders.append((viewpoint.view if viewpoint.rotation is None else viewpoint, expression))
        return np.full_like(render(frontend, source, viewpoint, expression), len(renders) % 256)

    monkeypatch.setattr(novel_view, "one_view", shaded)
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


@pytest.fixture
def spoken(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, np.ndarray]]:
    """Viewpoints of a talking video's frames, and the talking frames."""
    from kpbe.inference import novel_view

    pairs_so_far: list[tuple[Any, np.ndarray]] = []
    render = novel_view.talking_view

    def watched(frontend, source, seen_from, frames, batch_size=16, same_person=True):
        pairs = list(zip(seen_from, frames, strict=False))
        pairs_so_far.extend(pairs)
        viewpoints, shown = zip(*pairs, strict=True)
        yield from render(frontend, source, viewpoints, shown, batch_size, same_person)

    monkeypatch.setattr(novel_view, "talking_view", watched)
    return pairs_so_far


def test_a_clip_of_any_method_talks_from_the_chosen_view(
    page: AppTest, spoken: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
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
    monkeypatch.setattr(talking, "LARGEST_MB", 1)
    page.run()  # the uploader names the limit: it is another one now
    page.file_uploader[0].set_value(("me.mp4", bytes(1_200_000), "video/mp4")).run()
    assert ["me.mp4 has 1.1 MB: give at most 1." in error.value for error in page.error] == [True]
    assert not list((tmp_path / "temporary").iterdir())


def test_talking_video_keeps_the_sound(weights: bytes, tmp_path: Path) -> None:
    from kpbe.inference.free_view import View, decompose_image
    from kpbe.inference.viewpoints import viewpoints

    (tmp_path / "frontend.safetensors").write_bytes(weights)
    frontend = open_frontend(tmp_path / "frontend.safetensors")
    wave = np.sin(np.arange(round(16000 * 0.4)) / 9).astype(np.float32) / 4
    write_wav(tmp_path / "speech.wav", wave)
    frames = np.random.default_rng(0).integers(0, 255, (10, 64, 64, 3), np.uint8)
    write_video(tmp_path / "a.mkv", frames, 25.0, codec="ffv1", audio=tmp_path / "speech.wav")
    source = decompose_image(frontend, frames[0])
    given = talking.Talking("a.mkv", tmp_path / "a.mkv")
    made = talking.talking_video(
        frontend,
        source,
        viewpoints(View(yaw=20.0)),
        given,
        "a",
        lambda frame: frame.repeat(2, 0).repeat(2, 1),
    )
    (tmp_path / "made.mp4").write_bytes(made)
    info = Recording(tmp_path / "made.mp4").info
    assert (info.frames, info.width, info.has_audio) == (10, 128, True)


# -- views from files --------------------------------------------------------------------------------------


def upload(site: AppTest, label: str, name: str, content: Any) -> None:
    """Upload a text, or something else as JSON."""
    text = content if isinstance(content, str) else json.dumps(content)
    (uploader,) = (found for found in site.file_uploader if found.label == label)
    uploader.set_value((name, text.encode(), "text/plain")).run()
    assert not site.exception


def about_y(degrees: float) -> list[list[float]]:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return [[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]]


def disabled(site: AppTest) -> set[str]:
    return {found.label for found in site.slider if found.disabled}


def test_a_rotation_from_a_file_takes_the_place_of_the_angles(page: AppTest, asked: list[Any]) -> None:
    before = rendered(page)
    upload(page, "Rotation (JSON)", "side.json", about_y(20))
    assert not page.error and rendered(page) != before
    viewpoint, _ = asked[-1]
    np.testing.assert_allclose(viewpoint.rotation, about_y(20))
    assert viewpoint.view.yaw is None and viewpoint.view.x == slider(page, "x, to the right").value
    assert disabled(page) == {"Yaw", "Pitch", "Roll"}
    assert caption(page).endswith("Rendered: the rotation of side.json.")
    assert not page.toggle, "nothing swings to a matrix"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([[-1, 0, 0], [0, 1, 0], [0, 0, 1]], "r.json is no rotation: its determinant is -1, it mirrors"),
        ("yaw", "r.json is no JSON"),
        ("[" * 100_000, "r.json is no JSON"),
        (
            [about_y(0), about_y(9)],
            "r.json holds a view for each frame, and a picture has one: choose a talking",
        ),
        (" " * 1_200_000, "r.json has 1.1 MB: give at most 1"),
    ],
    ids=["mirror", "no JSON", "deep", "a list", "large"],
)
def test_what_is_no_rotation_is_refused_on_the_page(
    page: AppTest, asked: list[Any], content: Any, words: str
) -> None:
    slider(page, "Roll").set_value(11.0).run()
    asked.clear()
    upload(page, "Rotation (JSON)", "r.json", content)
    assert [words in error.value for error in page.error] == [True]
    assert not asked, "no picture of another view is shown"
    (uploader,) = page.file_uploader
    uploader.set_value([]).run()
    assert not page.error and asked[-1][0].roll == 11.0, "the sliders stay where they were"


def test_a_table_moves_a_talking_head_row_by_row(page: AppTest, asked: list[Any], spoken: list[Any]) -> None:
    assert [found.label for found in page.file_uploader] == ["Rotation (JSON)"]
    choice(page, "Expression").set_value("A talking video").run()
    upload(page, "Views (CSV)", "v.csv", "yaw,x\n" + "".join(f"{3 * row},0.1\n" for row in range(6)))
    assert not page.error
    assert disabled(page) == {"Yaw", "x, to the right"}
    assert ". Rendered: yaw 0°, " in caption(page) and caption(page).endswith("first of 6 views.")
    slider(page, "Roll").set_value(9.0).run()
    assert (asked[-1][0].yaw, asked[-1][0].x, asked[-1][0].roll) == (0.0, 0.1, 9.0)
    toggle(page, "Talking video").set_value(True).run()
    assert not page.exception and len(page.get("video")) == 1
    assert [point.view.yaw for point, _ in spoken] == [0, 3, 6, 9, 12, 15], "the shorter of both"
    assert {point.view.roll for point, _ in spoken} == {9.0}

    spoken.clear()
    upload(page, "Views (CSV)", "v.csv", "x,y\n" + "0.1,0.2\n" * 20)
    upload(page, "Rotation (JSON)", "r.json", [about_y(5 * frame) for frame in range(4)])
    assert len(page.get("video")) == 1
    assert [round(float(np.rad2deg(np.arcsin(p.rotation[0, 2])))) for p, _ in spoken[-4:]] == [0, 5, 10, 15]
    assert caption(page).endswith("the rotation of r.json, the first of 4 views.")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("yaw\nmuch\n", "v.csv, line 2: yaw is 'much', which is no number."),
        ("tilt\n1\n", "v.csv: 'tilt' is no column of views"),
        ("yaw\n", "v.csv has no row"),
        ("yaw\n" + "1" * 200_000, "v.csv is no table"),
        ("pitch\n3\n", "pitch would come from r.json and from elsewhere"),
    ],
    ids=["a word", "a column", "empty", "long", "twice"],
)
def test_what_is_no_table_of_views_is_refused_on_the_page(page: AppTest, content: str, words: str) -> None:
    choice(page, "Expression").set_value("A talking video").run()
    upload(page, "Rotation (JSON)", "r.json", about_y(5))
    assert not page.error
    upload(page, "Views (CSV)", "v.csv", content)
    assert [words in error.value for error in page.error] == [True]
    assert not page.get("video")


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
    assert ["frontend.safetensors cannot be read" in error.value for error in site.error] == [True]
