"""Pictures as people have them, and the rule by which they are scaled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from kpbe.errors import BadClip
from kpbe.media.images import is_picture, read_image, scaled


def scene() -> np.ndarray:
    """Red on the left, black on the right, blue in the upper left corner."""
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:, :30] = (200, 50, 40)
    picture[:10, :15] = (20, 60, 220)
    return picture


def blue_corner(picture: np.ndarray) -> str:
    corners = {"upper left": (4, 4), "upper right": (4, -5), "lower left": (-5, 4), "lower right": (-5, -5)}
    return max(corners, key=lambda name: int(picture[corners[name]][2]) - int(picture[corners[name]][0]))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_phones_mark_turns_the_picture_upright(orientation: int, tmp_path: Path) -> None:
    turned = Image.fromarray(scene())
    undo = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_90",
            7: "TRANSVERSE", 8: "ROTATE_270"}  # fmt: skip
    if orientation in undo:
        turned = turned.transpose(Image.Transpose[undo[orientation]])
    exif = Image.Exif()
    exif[274] = orientation
    turned.save(tmp_path / "phone.jpg", exif=exif, quality=95)
    picture = read_image(tmp_path / "phone.jpg")
    assert picture.shape == (40, 60, 3) and blue_corner(picture) == "upper left"


@pytest.mark.parametrize(
    ("name", "settings"),
    [("a.png", {}), ("a.jpg", {"quality": 95}), ("a.webp", {"lossless": True}), ("a.avif", {"quality": 90}),
     ("a.bmp", {}), ("a.tif", {}), ("a.jp2", {}), ("a.gif", {}), ("no_suffix", {"format": "PNG"}),
     ("wrong.mp4", {"format": "PNG"})],
)  # fmt: skip
def test_every_common_format_is_read_by_its_content(
    name: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    Image.fromarray(scene()).save(tmp_path / name, **settings)
    assert is_picture(tmp_path / name)
    picture = read_image(tmp_path / name)
    assert picture.dtype == np.uint8 and np.abs(picture.astype(int) - scene()).mean() < 3


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_become_eight(suffix: str, tmp_path: Path) -> None:
    deep = scene().astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / f"colour.{suffix}"), deep[..., ::-1])
    cv2.imwrite(str(tmp_path / f"grey.{suffix}"), deep[..., 0])
    np.testing.assert_array_equal(read_image(tmp_path / f"colour.{suffix}"), scene())
    np.testing.assert_array_equal(read_image(tmp_path / f"grey.{suffix}"), scene()[..., :1].repeat(3, 2))


def test_hidden_colours_of_transparent_pixels_do_not_show(tmp_path: Path) -> None:
    pixels = np.dstack([scene(), np.full((40, 60), 255, np.uint8)])
    pixels[:, 30:] = (0, 255, 0, 0)
    Image.fromarray(pixels).save(tmp_path / "cut_out.png")
    Image.fromarray(pixels).convert("P").save(tmp_path / "palette.png")
    for name in ("cut_out.png", "palette.png"):
        picture = read_image(tmp_path / name)
        assert (picture[20, 50] == 255).all() and np.abs(
            picture[30, 5].astype(int) - (200, 50, 40)
        ).max() < 40


def test_a_colour_profile_is_applied(tmp_path: Path) -> None:
    lab = ImageCms.createProfile("sRGB")
    picture = Image.fromarray(scene())
    picture.save(tmp_path / "srgb.png", icc_profile=ImageCms.ImageCmsProfile(lab).tobytes())
    assert np.abs(read_image(tmp_path / "srgb.png").astype(int) - scene()).max() <= 1
    picture.convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    assert np.abs(read_image(tmp_path / "print.jpg").astype(int) - scene()).mean() < 3


def test_an_animation_is_no_picture(tmp_path: Path) -> None:
    frames = [Image.fromarray(scene()), Image.fromarray(255 - scene())]
    for name in ("a.gif", "a.webp", "a.png"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        assert not is_picture(tmp_path / name)


def test_what_cannot_be_read_is_named_in_a_sentence(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90, 3)).astype(np.uint8)).save(
        tmp_path / "a.jpg"
    )
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:3000])
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "drawing.svg").write_text("<svg/>")
    (tmp_path / "phone.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(500))
    for name in ("cut.jpg", "text.png", "empty.jpg", "drawing.svg", "phone.HEIC", "missing.png"):
        assert is_picture(tmp_path / name)
        with pytest.raises(BadClip, match=name) as caught:
            read_image(tmp_path / name)
        assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_frames_shrink_by_averaging_and_grow_smoothly() -> None:
    checks = np.indices((8, 8)).sum(axis=0)[..., None].repeat(3, 2) % 2 * 255
    assert set(np.unique(scaled(checks.astype(np.uint8), 4, 4))) <= {127, 128}
    ramp = np.arange(0, 64, 8, dtype=np.uint8)[None, :, None].repeat(8, 0).repeat(3, 2)
    grown = scaled(ramp, 16, 16)
    assert grown.shape == (16, 16, 3)
    assert np.all(np.diff(grown[0, 2:-2, 0].astype(int)) > 0)
    assert scaled(ramp, 8, 8) is ramp
