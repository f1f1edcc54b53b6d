"""Pictures: reading one, and the rule by which they are scaled."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from kpbe.errors import BadClip
from kpbe.media.pixels import over_background

PICTURE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".cr2", ".dng", ".gif", ".heic", ".heif", ".jp2", ".jpeg", ".jpg", ".jxl", ".nef"}
    | {".pgm", ".png", ".ppm", ".psd", ".svg", ".tif", ".tiff", ".webp"}
)
"""Names of pictures, readable or not."""

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""What Pillow is let to open; its other formats start programs or are none of photographs."""

ANIMATIONS = frozenset({"AVIF", "GIF", "PNG", "WEBP"})
"""Formats whose further frames make a video."""

HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

READABLE = "give a JPEG, PNG, TIFF, WebP or AVIF file"


def is_picture(path: Path) -> bool:
    """Whether a file is to be read as one picture, not as a video: by its content, else by its name."""
    try:
        with Image.open(path, formats=FORMATS) as picture:
            return picture.format not in ANIMATIONS or getattr(picture, "n_frames", 1) == 1
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return path.suffix.lower() in PICTURE_SUFFIXES or _is_heif(path)


def read_image(path: Path) -> np.ndarray:
    """A picture file as (H, W, 3) uint8 RGB; see `picture_of`.

    Raises:
        BadClip: the file is missing, cut off, or no picture that can be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadClip(f"{path} cannot be read ({error.strerror}): correct the path.") from None
    return picture_of(content, str(path))


def picture_of(content: bytes, name: str) -> np.ndarray:
    """A picture as it is shown: upright by its EXIF mark, in sRGB, over white where it is transparent.

    16-bit pictures are reduced to 8 bits.

    Args:
        content: of a file.
        name: that messages name.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        BadClip: it is cut off, or no picture that can be read.
    """
    try:
        if content[4:8] == b"ftyp" and content[8:12] in HEIF_BRANDS:
            return _as_shown(_open_heif(content, name), name)
        with Image.open(BytesIO(content), formats=FORMATS) as picture:
            return _as_shown(picture, name)
    except UnidentifiedImageError:
        raise BadClip(f"{name} cannot be read as a picture: {READABLE}.") from None
    except Image.DecompressionBombError:
        raise BadClip(f"{name} is too large a picture: make it smaller.") from None
    except (OSError, ValueError, SyntaxError) as error:
        raise BadClip(f"{name} cannot be read as a picture ({error}): fetch it again.") from None


def _is_heif(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except OSError:
        return False
    return start[4:8] == b"ftyp" and start[8:12] in HEIF_BRANDS


def _open_heif(content: bytes, name: str) -> Image.Image:
    """With the package pillow-heif, which is no dependency: its wheels hold a GPL library."""
    if find_spec("pillow_heif") is None:
        raise BadClip(
            f"{name} is a HEIC picture, which takes the package pillow-heif to read: install that, or save "
            f"the picture as JPEG."
        )
    return import_module("pillow_heif").open_heif(BytesIO(content)).to_pillow()


def _as_shown(picture: Image.Image, name: str) -> np.ndarray:
    if picture.mode == "F":
        raise BadClip(f"{name} holds floating point pixels, whose range is unknown: {READABLE}.")
    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I"):
        values = np.asarray(upright).astype(np.int64)
        grey = values if upright.mode == "I" and values.max(initial=0) <= 255 else (values + 128) // 257
        return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    if upright.has_transparency_data:
        rgba = upright.convert("RGBA")
        return over_background(np.dstack([_in_srgb(rgba.convert("RGB"), upright), np.asarray(rgba)[..., 3]]))
    return _in_srgb(upright, upright).copy()


def _in_srgb(picture: Image.Image, original: Image.Image) -> np.ndarray:
    """(H, W, 3) uint8 of a picture whose colour profile `original` holds."""
    profile = original.info.get("icc_profile")
    if profile:
        try:
            own = ImageCms.ImageCmsProfile(BytesIO(profile))
            srgb = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(picture, own, srgb, outputMode="RGB")
            if converted is not None:
                return np.asarray(converted)
        except ImageCms.PyCMSError:
            pass  # a profile of another kind of picture: viewers leave it out as well
    return np.asarray(picture.convert("RGB"))


def scaled(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """A picture in another size, the rule for all: by area averaging where it shrinks, else bicubic.

    Args:
        picture: (H, W, 3) uint8.
        width: pixels.
        height: pixels.

    Returns:
        (height, width, 3) uint8; the picture itself where it fits.
    """
    if picture.shape[:2] == (height, width):
        return picture
    import cv2

    shrinks = picture.shape[0] >= height and picture.shape[1] >= width
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
