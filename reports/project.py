"""What the pages show, read from the stages' folders; a file is read again only after it has changed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kpbe import paths
from kpbe.core.files import read_csv
from kpbe.data.clips import MANIFEST, Clip, backend_video, enhanced_video, read_manifest
from kpbe.errors import KPBEError
from kpbe.evaluation.results import PER_CLIP, PER_FRAME, ClipScore, finite_values, read_per_clip
from kpbe.evaluation.statistics import Mean, PairedDifference
from kpbe.evaluation.tables import DifferenceRow, MethodRow, Table1
from kpbe.methods import CONTROLS, control_method, display_name, enhanced_method
from kpbe.params import Params, load_params
from kpbe.paths import METRICS_FILE, RELEASED_TABLE, SUMMARY_FILE

if TYPE_CHECKING:  # pandas costs half a second, which Table I need not wait for
    import pandas as pd

ROOT_VARIABLE = "KPBE_ROOT"
CURVES = "curves.csv"
SHEETS = "sheets"
REMEMBERED_FILES = 64

Content = TypeVar("Content")


@dataclass(frozen=True)
class Training:
    """A training that has written at least its curves (losses and metrics by step)."""

    name: str
    folder: Path
    curves: pd.DataFrame

    @property
    def summary(self) -> dict[str, Any] | None:
        """summary.json, None while the training is running or was interrupted."""
        return _json_object(self.folder / SUMMARY_FILE)

    def is_curve(self, column: str) -> bool:
        """Whether a column holds more than one value, so that a line can be drawn."""
        return len(self.curves[column].dropna().tolist()) > 1

    @property
    def last_step(self) -> int:
        """The last step in the curves, 0 if they are empty."""
        return max(self.curves["step"].tolist(), default=0)

    @property
    def sheets(self) -> dict[int, Path]:
        """Pictures of the validation pairs, by step."""
        return {int(path.stem): path for path in sorted((self.folder / SHEETS).glob("[0-9]*.png"))}


def root() -> Path:
    """The repository root, or the folder that KPBE_ROOT names."""
    return Path(os.environ.get(ROOT_VARIABLE) or Path(__file__).resolve().parents[1])


def place(folder: Path | str) -> Path:
    """A path of the repository, below `root`."""
    return root() / folder


def read_when_changed(reader: Callable[[Path], Content]) -> Callable[[Path], Content | None]:
    """Make a reader remember its result until the file's time or size changes, returning None without it.

    All visitors share the result, so it must not be changed.

    What it returns is shared by all visitors and must not be changed.
    """

    @lru_cache(maxsize=REMEMBERED_FILES)
    def remembered(path: Path, changed_ns: int, size: int) -> Content:
        return reader(path)

    def read(path: Path) -> Content | None:
        try:
            state = path.stat()
            return remembered(path, state.st_mtime_ns, state.st_size)
        except FileNotFoundError:
            return None

    return read


# -- results -----------------------------------------------------------------------------------------------


def table1() -> Table1 | None:
    """Table I as the stage report wrote it, None before its first run.

    Raises:
        KPBEError: table1.json is damaged.
    """
    return _table1(place(paths.RESULTS) / "table1.json")


def released_table1() -> Table1 | None:
    """Table I of the run that made weights/released, None without it.

    Raises:
        KPBEError: it is damaged.
    """
    return _table1(place(RELEASED_TABLE) / "table1.json")


def backends_of(table: Table1) -> list[str]:
    """The backends that a table compares with their enhancement, in the order of the table."""
    methods = [row.method for row in table.methods]
    return [method for method in methods if enhanced_method(method) in methods]


def evaluated_backends() -> list[str]:
    """Backends with per-clip results, those of Table I first and in its order."""
    names = sorted(path.parent.name for path in place(paths.EVALUATION).glob(f"*/{PER_CLIP}"))
    table = table1()
    order = backends_of(table) if table else []
    return sorted(names, key=lambda name: order.index(name) if name in order else len(order))


def clip_scores(backend: str) -> list[ClipScore]:
    """Scores of a backend's test clips; empty if it was not evaluated.

    Raises:
        KPBEError: per_clip.csv is damaged.
    """
    return _clip_scores(place(paths.EVALUATION) / backend / PER_CLIP) or []


def clip_gains(scores: Sequence[ClipScore], backend: str, metric: str) -> dict[str, float]:
    """Enhanced - backend by clip_id, greatest first.

    Clips for which one of the two scores is infinite or missing are left out.
    """
    before = finite_values(scores, backend, metric)
    after = finite_values(scores, enhanced_method(backend), metric)
    gains = {clip_id: after[clip_id] - before[clip_id] for clip_id in before.keys() & after.keys()}
    return dict(sorted(gains.items(), key=lambda item: (-item[1], item[0])))


def frame_scores(backend: str, clip_id: str) -> pd.DataFrame | None:
    """SSIM and PSNR of each frame of a clip: columns method, frame, ssim, psnr (infinite if identical)."""
    frames = _frame_scores(place(paths.EVALUATION) / backend / PER_FRAME)
    return None if frames is None else frames.loc[frames["clip_id"] == clip_id, :].drop(columns="clip_id")


def evaluation_settings(backend: str) -> dict[str, Any]:
    """The settings of an evaluation (seed, feed, ...); empty if they are not recorded."""
    metrics = _json_object(place(paths.EVALUATION) / backend / METRICS_FILE) or {}
    return metrics.get("settings", {})


def method_videos(clip: Clip, controls_for: str | None = None) -> dict[str, Path]:
    """Videos of a test clip that are on this machine, by method.

    They are those of all backends with their enhancements, then the controls of one backend.
    """
    videos = {}
    for backend in evaluated_backends():
        videos[backend] = backend_video(place(paths.BACKEND_VIDEOS) / backend, clip)
        videos[enhanced_method(backend)] = enhanced_video(place(paths.ENHANCED_VIDEOS) / backend, clip)
    if controls_for is not None:
        enhanced = place(paths.ENHANCED_VIDEOS) / controls_for
        for control in CONTROLS:
            videos[control_method(controls_for, control)] = enhanced_video(enhanced, clip, control)
    return {method: path for method, path in videos.items() if path.is_file()}


# -- data, trainings, params -------------------------------------------------------------------------------


def clips() -> list[Clip] | None:
    """All clips, None before preprocessing.

    Raises:
        KPBEError: the manifest is damaged.
    """
    return _clips(place(paths.CLIPS) / MANIFEST)


def rejections() -> list[dict[str, str]]:
    """Clips that a stage could not process: clip_id, path, stage, reason, in the order of the stages."""
    stages = (
        paths.RAW,
        paths.CLIPS,
        *(folder / "*" for folder in (paths.BACKEND_VIDEOS, paths.ENHANCED_VIDEOS, paths.EVALUATION)),
    )
    files = [path for stage in stages for path in sorted(root().glob(f"{stage}/rejected.csv"))]
    return [row for path in files for row in _rejections(path) or []]


def trainings() -> list[Training]:
    """Every training that has begun, in the order of the DAG."""
    named = [(f"Sync, {display_name(path.name)}", path) for path in _folders_in(paths.SYNC_CHECKPOINTS)]
    named += [(f"Backend {display_name(path.name)}", path) for path in _folders_in(paths.BACKEND_CHECKPOINTS)]
    named.append(("Stage 1", place(paths.STAGE1)))
    named += [(f"Stage 2, {display_name(path.name)}", path) for path in _folders_in(paths.STAGE2)]
    curves_of = [(name, path, _curves(path / CURVES)) for name, path in named]
    return [Training(name, path, curves) for name, path, curves in curves_of if curves is not None]


def params() -> Params | None:
    """params.yaml as it is now, None without one.

    Raises:
        KPBEError: it does not fit.
    """
    return _params(root() / "params.yaml")


def fitting_params() -> Params | None:
    """Like `params`, but None if params.yaml is not valid.

    It is for pages that can do without the params; the overview shows what is wrong.
    """
    try:
        return params()
    except KPBEError:
        return None


def _folders_in(folder: Path) -> list[Path]:
    order = evaluated_backends()
    folders = sorted(path for path in place(folder).glob("*") if path.is_dir())
    return sorted(folders, key=lambda path: order.index(path.name) if path.name in order else len(order))


# -- readers -----------------------------------------------------------------------------------------------


def _read_table1(path: Path) -> Table1:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Table1(
            tuple(values["findings"]),
            tuple(values["about"]),
            tuple(
                MethodRow(**{**row, "means": {name: Mean(**mean) for name, mean in row["means"].items()}})
                for row in values["methods"]
            ),
            tuple(
                DifferenceRow(
                    **{
                        **row,
                        "differences": {
                            name: PairedDifference(**difference)
                            for name, difference in row["differences"].items()
                        },
                    }
                )
                for row in values["differences"]
            ),
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        raise KPBEError(
            f"{path} is damaged: run the stage report again (dvc repro --force report)."
        ) from None


def _read_json_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise KPBEError(f"{path} is damaged: run the stage that writes it again (dvc repro).")
    return value


def _read_table_of(path: Path, columns: frozenset[str]) -> pd.DataFrame:
    import pandas as pd

    try:
        table = pd.read_csv(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError):
        table = pd.DataFrame()
    if not columns <= set(table.columns):
        raise KPBEError(f"{path} is damaged: run the stage that writes it again (dvc repro).")
    return table


_table1 = read_when_changed(_read_table1)
_clip_scores = read_when_changed(lambda path: read_per_clip(path.parent))
_frame_scores = read_when_changed(
    lambda path: _read_table_of(path, frozenset({"clip_id", "method", "frame", "ssim", "psnr"}))
)
_curves = read_when_changed(lambda path: _read_table_of(path, frozenset({"step"})))
_json_object = read_when_changed(_read_json_object)
_clips = read_when_changed(lambda path: read_manifest(path.parent))
_rejections = read_when_changed(read_csv)
_params = read_when_changed(load_params)
