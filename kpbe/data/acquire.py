"""Stage `acquire`: list the raw videos of a source in data/raw/videos.csv.

A source is the built-in sample, a folder, or VoxCeleb1 metadata.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from kpbe.core.clip_tasks import Rejection, refuse_too_many, write_rejections
from kpbe.core.processes import ShardMap, serial_map
from kpbe.core.spreadsheets import existing_path, read_spreadsheet
from kpbe.data import voxceleb
from kpbe.data.clips import make_clip_id
from kpbe.data.raw import VIDEO_SUFFIXES, RawVideo, plain_name, write_raw_videos
from kpbe.errors import KPBEError
from kpbe.params import DataParams

TEST_SHARE = 0.1
"""Share of the identities that form the test split of a folder without a list; at least one does."""

LIST_COLUMNS = ("path", "identity", "split")


def acquire(data: DataParams, out: Path, map: ShardMap = serial_map) -> list[RawVideo]:
    """Write `out`/videos.csv and `out`/rejected.csv; the built-in sample also writes its videos below `out`.

    Videos of the sources `folder` and `voxceleb1` are not copied. Rows are sorted, so the same files give the
    same list.

    Args:
        data: the data section of params.yaml.
        out: data/raw.
        map: see `kpbe.core.processes.ShardMap`; renders the shards of the sample.

    Returns:
        The rows of videos.csv.

    Raises:
        KPBEError: the folder, list or metadata is missing or wrong, train and test share an identity, a split
            would be empty, or too many videos are missing.
    """
    out.mkdir(parents=True, exist_ok=True)
    rejections: list[Rejection] = []
    if data.source == "sample":
        from kpbe.data.sample import write_sample

        videos = write_sample(data.sample, out, map)
    elif data.source == "voxceleb1":
        assert data.metadata is not None  # checked by DataParams
        videos, rejections = voxceleb.raw_videos(data.metadata, data.root)
    elif data.list is not None:
        videos, rejections = listed_videos(data.list, data.root)
    else:
        videos, rejections = found_videos(data.root)
    write_rejections(out, rejections)
    refuse_too_many("acquire", len(videos) + len(rejections), rejections, data.max_rejected_fraction)
    write_raw_videos(out, videos)
    return videos


def listed_videos(list_file: Path, root: Path) -> tuple[list[RawVideo], list[Rejection]]:
    """Videos listed in a CSV file with the columns path, identity and split.

    Paths are relative to `root`, or to the repository root (the working directory) where `root` has no such
    file.

    Raises:
        KPBEError: the list does not exist, lacks a column, lists a path twice or has an empty or wrong value.
    """
    try:
        rows = read_spreadsheet(list_file, LIST_COLUMNS)
    except FileNotFoundError:
        raise KPBEError(f"{list_file} (data.list) does not exist.") from None
    if not rows:
        raise KPBEError(f"{list_file} (data.list) must have rows with {', '.join(LIST_COLUMNS)}.")
    first_lines: dict[str, int] = {}
    videos, rejections = [], []
    for line, row in rows:
        path, identity, split = (row[name] for name in LIST_COLUMNS)
        if not path or not identity:
            raise KPBEError(f"{list_file}, line {line}: path and identity must not be empty.")
        if split not in ("train", "test"):
            raise KPBEError(f"{list_file}, line {line}: split is {split!r}, it must be train or test.")
        if path in first_lines:
            raise KPBEError(
                f"{list_file}, line {line}: {path} is already listed in line {first_lines[path]}."
            )
        first_lines[path] = line
        file = _listed_file(root, path)
        if file is not None:
            videos.append(_raw_video(file, Path(path.replace("\\", "/")), identity, split))
        else:
            rejections.append(
                Rejection(path, path, "acquire", f"there is no such file in {root} or the repository")
            )
    return _one_per_clip_id(videos, rejections)


def _listed_file(root: Path, path: str) -> Path | None:
    try:
        files = [existing_path(root, path), existing_path(Path(), path)]
        return next((file for file in files if file.is_file()), None)
    except OSError:  # the name is too long, or a folder may not be entered
        return None


def found_videos(root: Path) -> tuple[list[RawVideo], list[Rejection]]:
    """All videos below a folder.

    The identity is the first folder below `root`, or the name of a file directly in `root`. The identities
    whose names have the smallest SHA-256, `TEST_SHARE` of all and at least one, form the test split.

    Raises:
        KPBEError: there is no such folder, it has no videos, or all are of one identity.
    """
    if not root.is_dir():
        raise KPBEError(f"{root} (data.root) does not exist: name a folder of videos.")
    paths = sorted(path for path in _visible_files(root) if path.suffix.lower() in VIDEO_SUFFIXES)
    rejections = [
        Rejection("unnamed", _printable(path), "acquire", "its name is not in UTF-8: rename it")
        for path in paths
        if _printable(path) != str(path)
    ]
    paths = [path for path in paths if _printable(path) == str(path)]
    if not paths:
        raise KPBEError(f"{root} (data.root) holds no videos ({', '.join(sorted(VIDEO_SUFFIXES))}).")
    identities = {path: path.parts[0] if len(path.parts) > 1 else path.stem for path in paths}
    ranked = sorted(set(identities.values()), key=lambda name: hashlib.sha256(name.encode()).digest())
    if len(ranked) < 2:
        raise KPBEError(
            f"{root} (data.root) holds one identity, {ranked[0]}, but train and test must not share one: use "
            "one folder for each identity, or give a list (data.list)."
        )
    test = set(ranked[: max(1, round(TEST_SHARE * len(ranked)))])
    videos = [
        _raw_video(root / path, path, identity, "test" if identity in test else "train")
        for path, identity in identities.items()
    ]
    return _one_per_clip_id(videos, rejections)


def _printable(path: Path) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _visible_files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        relative = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in relative.parts):
            yield relative


def _raw_video(file: Path, name: Path, identity: str, split: str) -> RawVideo:
    identity = plain_name(identity)
    parts = [part for part in name.with_suffix("").parts if part not in (name.anchor, "..")]
    folders = [part for part in parts[:-1] if plain_name(part) != identity]
    return RawVideo(file, identity, split, plain_name("-".join([*folders, parts[-1]])))


def _one_per_clip_id(
    videos: Iterable[RawVideo], rejections: list[Rejection]
) -> tuple[list[RawVideo], list[Rejection]]:
    """Sort the videos; reject a video whose clips would have the names of another video's clips."""
    kept: dict[tuple[str, str], RawVideo] = {}
    for video in sorted(videos, key=lambda video: (video.identity, video.video_id, str(video.path))):
        first = kept.setdefault((video.identity, video.video_id), video)
        if first is not video:
            reason = f"its clips would be named like those of {first.path}: rename one of them"
            clip_id = make_clip_id(video.identity, video.video_id, 0, 0)
            rejections.append(Rejection(clip_id, str(video.path), "acquire", reason))
    return list(kept.values()), rejections
