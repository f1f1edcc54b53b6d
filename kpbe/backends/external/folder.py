"""The backend kind `folder`: existing videos, matched to the clips by their names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np

from kpbe.backends.base import BackendSettings, SynthesisRequest
from kpbe.backends.external.videos import ExternalSettings, WrongLength, fitted_frames, refuse_too_short
from kpbe.core.files import file_sha256
from kpbe.data.raw import VIDEO_SUFFIXES
from kpbe.errors import BadClip, KPBEError

SPLITS = ("train", "test")


class FolderSettings(ExternalSettings):
    """Videos made elsewhere.

    Attributes:
        folder: holds `<clip_id>.<suffix>`, directly or in folders `train` and `test`, with any suffix of a
            video; `#` in the clip id may be written `_`.
    """

    kind: Literal["folder"] = "folder"
    folder: Path

    @property
    def given_head_pose(self) -> None:
        """Unknown, since the videos were made elsewhere."""
        return None


class FolderBackend:
    """A folder of videos as a backend.

    Args:
        settings: which folder.
    """

    kind: ClassVar[str] = "folder"
    Settings: ClassVar[type[BackendSettings]] = FolderSettings

    def __init__(self, settings: FolderSettings):
        self.settings = settings

    @classmethod
    def from_checkpoint(cls, path: Path | None, settings: FolderSettings, device: str = "cpu") -> Self:
        """Find the folder.

        Raises:
            KPBEError: there is no such folder.
        """
        if not settings.folder.is_dir():
            raise KPBEError(
                f"{settings.folder} (folder) is not a folder: correct it, or put the videos of the clips "
                f"there."
            )
        return cls(settings)

    @classmethod
    def made_from(cls, settings: FolderSettings, clip_id: str) -> dict[str, Any]:
        """The length rule and the digest of the clip's video, so that a replaced video is copied again."""
        return {
            "allowed_missing_frames": settings.allowed_missing_frames,
            "videos": [file_sha256(path) for path in videos_of(settings.folder, clip_id)],
        }

    def prepare(self, request: SynthesisRequest) -> Path:
        """Find the clip's video; see `Backend.prepare`.

        Raises:
            BadClip: there is no video, more than one, or it is unreadable or too short.
        """
        folder, clip_id = self.settings.folder, request.clip_id
        videos = videos_of(folder, clip_id)
        if not videos:
            raise BadClip(
                f"{request.name}: {folder} has no video of it, neither {clip_id}.mp4 nor "
                f"{plain(clip_id)}.mp4 or another suffix, there or in train/ or test/."
            )
        if len(videos) > 1:
            names = ", ".join(str(path.relative_to(folder)) for path in videos)
            raise BadClip(f"{request.name}: {folder} has {len(videos)} videos of it ({names}): keep one.")
        try:
            refuse_too_short(videos[0], request, self.settings.allowed_missing_frames)
        except WrongLength as error:
            raise BadClip(f"{request.name}: {videos[0]} has only {error}.") from None
        return videos[0]

    def synthesize(self, request: SynthesisRequest, prepared: Path) -> Iterator[np.ndarray]:
        """Yield the video's frames at the clip's rate and size; see `Backend.synthesize`."""
        yield from fitted_frames(prepared, request)


def plain(clip_id: str) -> str:
    """A clip id without `#`, which has another meaning for some programs and web servers."""
    return clip_id.replace("#", "_")


def videos_of(folder: Path, clip_id: str) -> list[Path]:
    """All videos of a clip in a folder, sorted; none when there is no clip id.

    It tries all names, since listing the folder for each of ten thousand clips would take minutes.
    """
    places = (folder, *(folder / split for split in SPLITS))
    names = sorted({clip_id, plain(clip_id)}) if clip_id else []
    suffixes = sorted(spelt for suffix in VIDEO_SUFFIXES for spelt in (suffix, suffix.upper()))
    candidates = (place / f"{name}{suffix}" for place in places for name in names for suffix in suffixes)
    existing = [(path, path.stat()) for path in candidates if path.is_file()]
    # a file system that ignores case shows one file under two names
    return sorted({(stat.st_dev, stat.st_ino): path for path, stat in existing}.values())
