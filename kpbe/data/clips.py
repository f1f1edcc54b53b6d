"""The clip manifest: data/clips/clips.csv, one row per clip (videos, sound and face boxes lie beside it)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from kpbe.core.files import read_csv, write_csv
from kpbe.errors import KPBEError

MANIFEST = "clips.csv"


@dataclass(frozen=True)
class Clip:
    """One clip of data/clips.

    Attributes:
        clip_id: `identity#video#start#end`.
        split: `train` or `test`.
        identity: who speaks; an identity is in one split only.
        path: the video, relative to the manifest's folder.
        frames, fps, width, height, seconds, has_audio: of the video.
        source_url: where the raw video comes from, may be empty.
        start, end: part of the raw video in frames at 25 fps, `end` exclusive.
        bbox: crop in pixels of the raw video, `left-top-right-bottom`.
        sha256: of the video file.
        folder: the manifest's folder.
    """

    clip_id: str
    split: str
    identity: str
    path: str
    frames: int
    fps: float
    width: int
    height: int
    seconds: float
    has_audio: bool
    source_url: str
    start: int
    end: int
    bbox: str
    sha256: str
    folder: Path = field(default=Path(), compare=False)

    @property
    def facts(self) -> dict[str, Any]:
        """All fields except the folder, for a record; `Clip(**facts, folder=...)` restores the clip."""
        return {name: getattr(self, name) for name in COLUMNS}

    @property
    def video(self) -> Path:
        """The H.264 video."""
        return (self.folder / self.path).absolute()

    @property
    def wav(self) -> Path:
        """Its sound, 16 kHz mono PCM."""
        return self.video.with_suffix(".wav")

    @property
    def boxes(self) -> Path:
        """Face boxes, float32 (frames, 4) left, top, right, bottom in clip pixels; absent if unknown."""
        return self.video.with_suffix(".boxes.npy")

    @property
    def landmarks(self) -> Path:
        """Eyes and middle of the mouth, float32 (frames, 3, 2) in clip pixels; absent if unknown.

        The eyes are ordered from left to right in the picture.
        """
        return self.video.with_suffix(".landmarks.npy")


COLUMNS = tuple(f.name for f in fields(Clip) if f.name != "folder")


def backend_video(folder: Path, clip: Clip) -> Path:
    """Path of a backend's lossless video of a clip in data/backend/<backend>; it may not exist."""
    return folder / clip.split / f"{clip.clip_id}.mkv"


def enhanced_video(folder: Path, clip: Clip, control: str = "") -> Path:
    """Path of a clip's enhanced video, or of its control's, in data/enhanced/<backend>."""
    return folder / (control or clip.split) / f"{clip.clip_id}.mkv"


def make_clip_id(identity: str, video_id: str, start: int, end: int) -> str:
    """FOMM's name of a clip: `identity#video#start#end`, frame numbers with six digits."""
    return f"{identity}#{video_id}#{start:06}#{end:06}"


def write_manifest(folder: Path | str, clips: Iterable[Clip]) -> None:
    """Write clips.csv into `folder`.

    Raises:
        KPBEError: train and test share an identity, or two clips have the same clip_id.
    """
    clips = list(clips)
    path = Path(folder) / MANIFEST
    refuse_shared_identities(((clip.identity, clip.split) for clip in clips), str(path))
    if len({clip.clip_id for clip in clips}) < len(clips):
        raise KPBEError(f"{path}: two clips have the same clip_id.")
    rows = [clip.facts for clip in clips]
    for row in rows:
        row["has_audio"] = int(row["has_audio"])
        row["fps"], row["seconds"] = f"{row['fps']:g}", f"{row['seconds']:.3f}"
    write_csv(path, COLUMNS, rows)


def read_manifest(folder: Path | str, split: str | None = None) -> list[Clip]:
    """Clips of `folder`/clips.csv, all or those of one split.

    Raises:
        KPBEError: there is no manifest, a column is missing or holds something else, or the splits share an
            identity.
    """
    path = Path(folder) / MANIFEST
    try:
        rows = read_csv(path)
    except FileNotFoundError:
        raise KPBEError(
            f"{path} does not exist: run the stage preprocess first (dvc repro preprocess)."
        ) from None
    if missing := [name for name in COLUMNS if rows and name not in rows[0]]:
        raise KPBEError(f"{path} lacks the columns {', '.join(missing)}: run the stage preprocess again.")
    clips = []
    for line, row in enumerate(rows, 2):
        try:
            clips.append(_clip(row, Path(folder)))
        except (TypeError, ValueError) as error:
            raise KPBEError(f"{path}, line {line}: {error}; run the stage preprocess again.") from None
    refuse_shared_identities(((clip.identity, clip.split) for clip in clips), str(path))
    return [clip for clip in clips if split in (None, clip.split)]


def _clip(row: dict[str, str], folder: Path) -> Clip:
    return Clip(
        clip_id=row["clip_id"],
        split=row["split"],
        identity=row["identity"],
        path=row["path"],
        frames=int(row["frames"]),
        fps=float(row["fps"]),
        width=int(row["width"]),
        height=int(row["height"]),
        seconds=float(row["seconds"]),
        has_audio=bool(int(row["has_audio"])),
        source_url=row["source_url"],
        start=int(row["start"]),
        end=int(row["end"]),
        bbox=row["bbox"],
        sha256=row["sha256"],
        folder=folder,
    )


def refuse_shared_identities(identity_splits: Iterable[Sequence[str]], name: str) -> None:
    """Check that no identity is in two splits.

    Args:
        identity_splits: (identity, split) pairs.
        name: file that the message names.

    Raises:
        KPBEError: an identity is in both; the message lists some.
    """
    identities: dict[str, set[str]] = {}
    for identity, split in identity_splits:
        identities.setdefault(split, set()).add(identity)
    shared = sorted(identities.get("train", set()) & identities.get("test", set()))
    if shared:
        listed = ", ".join(shared[:5]) + (", ..." if len(shared) > 5 else "")
        raise KPBEError(f"{name}: {listed} in both train and test; an identity may be in one split only.")
