"""Enhancing one video or many in one call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from kpbe.core.spreadsheets import existing_path, read_spreadsheet, read_text
from kpbe.data.raw import VIDEO_SUFFIXES
from kpbe.errors import KPBEError
from kpbe.frontend.model import Frontend
from kpbe.inference.enhance_video import DEFAULTS, Options, enhance_video
from kpbe.inference.viewpoints import Viewpoints
from kpbe.media.video_writer import check_output

LISTS = frozenset({".txt", ".csv"})


def enhance_videos(
    load_frontend: Callable[[], Frontend],
    talking: Path,
    source: Path | None,
    out: Path,
    pose: Path | None = None,
    viewpoints: Viewpoints | None = None,
    options: Options = DEFAULTS,
    say: Callable[[str], None] = print,
) -> list[Path]:
    """Enhance a video, all videos of a folder, or those of a list; one that fails does not end the others.

    Args:
        load_frontend: called once, after the names were checked.
        talking: a video; a folder of them; or a list, see `videos_of`.
        source: see `kpbe.inference.enhance_video.enhance_video`; the column `source` of a list goes first.
        out: the video, or a folder for those of a folder or a list, <name>.mp4 each.
        pose: see there.
        viewpoints: see there.
        options: see there.
        say: told a line for each video.

    Returns:
        The videos that failed, of many; a single one raises.

    Raises:
        KPBEError: names are wrong, or the only video failed.
    """

    def enhance_one(frontend: Frontend, video: Path, picture: Path | None, target: Path) -> None:
        with tqdm(desc=video.name, unit="frame", mininterval=1) as bar:

            def progress(done: int, count: int) -> None:
                bar.total = count
                bar.update(done - bar.n)

            made = enhance_video(frontend, video, picture, target, pose, viewpoints, options, progress)
        for sentence in made.notes:
            say(f"{sentence}.")
        say(f"{made.path}: {made.frames} frames at {made.fps:g} fps")

    if not talking.is_dir() and talking.suffix.lower() not in LISTS:
        check_output(out, [path for path in (talking, source, pose) if path is not None])
        enhance_one(load_frontend(), talking, source, out)
        return []
    videos = videos_of(talking, source)
    targets = _targets([video for video, _ in videos], out)
    frontend = load_frontend()
    failures = []
    for (video, picture), target in zip(videos, targets, strict=True):
        try:
            enhance_one(frontend, video, picture, target)
        except (KPBEError, OSError) as error:
            failures.append(video)
            say(f"error: {error}")
    if failures:
        say(f"{len(failures)} of {len(videos)} videos failed.")
    return failures


def videos_of(talking: Path, source: Path | None) -> list[tuple[Path, Path | None]]:
    """Videos and their sources: of a folder, in order of name; or of a list.

    A .txt has a path in each line, a .csv the column `talking` and, if wanted, `source`. Paths count from the
    list's folder.

    Raises:
        KPBEError: there is none, or the list is wrong.
    """
    if talking.is_dir():
        files = sorted(path for path in talking.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES)
        if not files:
            raise KPBEError(f"{talking} holds no videos ({', '.join(sorted(VIDEO_SUFFIXES))}).")
        return [(file, source) for file in files]
    folder = talking.parent
    if talking.suffix.lower() == ".txt":
        rows = [{"talking": line.strip()} for line in read_text(talking).splitlines() if line.strip()]
    else:
        rows = [row for _, row in read_spreadsheet(talking, ("talking",))]
    videos = []
    for row in rows:
        picture = row.get("source")
        own = existing_path(folder, picture) if picture else source
        videos.append((existing_path(folder, row["talking"]), own))
    if not videos:
        raise KPBEError(f"{talking} lists no video.")
    return videos


def _targets(videos: list[Path], out: Path) -> list[Path]:
    if out.exists() and not out.is_dir():
        raise KPBEError(f"{out} is a file: name a folder for several videos.")
    targets = [out / f"{video.stem}.mp4" for video in videos]
    if len(set(targets)) < len(targets):
        double = next(target for target in targets if targets.count(target) > 1)
        raise KPBEError(f"two videos would be written to {double}: give them names of their own.")
    return targets
