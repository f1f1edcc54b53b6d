"""The ablation of stage 2: one DVC experiment for each variant of conf/ablation.yaml, and their table.

    python -m flows.ablation [run ...] [-S data=folder ...]        (or `make ablation`)

Variants are queued with `dvc exp run --queue` and run one after the other, each in its own workspace; stages
that a variant does not change come from DVC's cache. A variant that DVC already knows is not run again.
`dvc exp show` shows the same runs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from kpbe import paths
from kpbe.checkpoints.catalogue import CATALOGUE, find, serving, weight_folders
from kpbe.core.files import fingerprint, write_json, write_text
from kpbe.core.markdown import markdown_table
from kpbe.errors import KPBEError
from kpbe.evaluation.results import PER_CLIP, ClipScore, compare, read_per_clip
from kpbe.methods import enhanced_method, is_enhanced, methods_of
from kpbe.params import EvaluateParams, load_params
from kpbe.paths import METRICS_FILE

CONFIG = Path("conf/ablation.yaml")
METRICS = ("ssim", "psnr", "lpips", "mouth_l1")
DECIMALS = {"ssim": 3, "psnr": 2, "lpips": 3, "mouth_l1": 4}
STAGES = "evaluate"
"""The last stage of an experiment, for all backends; the survey and the report are not compared."""


@dataclass(frozen=True)
class Variant:
    """One run of the ablation.

    Attributes:
        name: of the DVC experiment.
        about: description of the variant.
        overrides: its changes of params, as `dvc exp run -S` takes them.
        needs: catalogue name of a weight file without which it cannot run; "" for none.
    """

    name: str
    about: str
    overrides: tuple[str, ...] = ()
    needs: str = ""

    @property
    def missing(self) -> str:
        """A sentence that names the missing weight file; "" if the variant can run."""
        if not self.needs or any(find(name) is not None for name in serving(self.needs)):
            return ""
        return f"not run: {CATALOGUE[self.needs].file} is missing"


@dataclass(frozen=True)
class Row:
    """A variant's outcome: means over identities by method and metric, or why there are none.

    Attributes:
        differences: from the first run, paired by clip: mean and bounds of the 95 % interval, by method and
            metric.
    """

    name: str
    about: str
    overrides: tuple[str, ...]
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    note: str = ""
    differences: dict[str, dict[str, tuple[float, float, float]]] = field(default_factory=dict)


def variants(config: Path = CONFIG, overrides: Sequence[str] = ()) -> list[Variant]:
    """The variants of conf/ablation.yaml.

    Args:
        config: the file.
        overrides: changes of params for all variants, as `dvc exp run -S` takes them; they override those of
            `all` in the file. The experiments then have names of their own.

    Raises:
        KPBEError: the file is damaged, or needs a weight file that the catalogue does not know.
    """
    try:
        content: Mapping[str, Any] = yaml.safe_load(config.read_text(encoding="utf-8"))
        common = (*content["all"], *overrides)
        suffix = f"-{fingerprint(list(overrides))[:6]}" if overrides else ""
        runs = [
            Variant(name + suffix, run["about"], (*common, *run["set"]), run.get("needs", ""))
            for name, run in content["runs"].items()
        ]
    except (KeyError, TypeError, AttributeError, yaml.YAMLError):
        raise KPBEError(
            f"{config} is damaged: it holds `all`, and `runs`, each with `about` and `set`."
        ) from None
    unknown = [variant.needs for variant in runs if variant.needs not in ("", *CATALOGUE)]
    if unknown:
        raise KPBEError(f"{config} needs {unknown[0]}, which the catalogue of weights does not know.")
    return runs


def run(chosen: Sequence[Variant], known: set[str]) -> None:
    """Queue and run the variants that DVC does not know yet.

    Raises:
        KPBEError: DVC failed; finished variants are kept.
    """
    waiting = [variant for variant in chosen if variant.name not in known and not variant.missing]
    if not waiting:
        return
    for variant in waiting:
        settings = [part for override in variant.overrides for part in ("-S", override)]
        _dvc("exp", "run", "--queue", "--name", variant.name, *settings, STAGES)
    print(f"ablation: {len(waiting)} of {len(chosen)} runs to do", flush=True)
    _dvc("exp", "run", "--run-all", "--jobs", "1")


def known_experiments() -> set[str]:
    """Names of the experiments of the current commit."""
    return set(_dvc("exp", "list", "--name-only", quiet=True).split())


def outcome(variant: Variant, known: set[str], first: str) -> Row:
    """The results of a variant's experiment, with differences from the experiment `first`."""
    row = Row(variant.name, variant.about, variant.overrides, note=variant.missing)
    if variant.name not in known:
        return row if row.note else Row(*_facts(variant), note="failed: see `dvc queue logs`")
    methods: dict[str, dict[str, float]] = {}
    differences: dict[str, dict[str, tuple[float, float, float]]] = {}
    params = load_params()
    for backend in params.backends:
        content = json.loads(_read_of(variant.name, paths.EVALUATION / backend / METRICS_FILE))
        for method in methods_of(backend):
            if method in content:
                methods[method] = {name: content[method][name] for name in METRICS if name in content[method]}
        if first in known - {variant.name}:
            method = enhanced_method(backend)
            differences[method] = _differences(first, variant.name, backend, params.evaluate)
    return Row(*_facts(variant), metrics=methods, differences=differences)


def _differences(
    first: str, second: str, backend: str, params: EvaluateParams
) -> dict[str, tuple[float, float, float]]:
    """Differences second - first of a backend's enhancement, paired by clip, by metric."""
    method, differences = enhanced_method(backend), {}
    scores = [
        replace(score, method=experiment)
        for experiment in (first, second)
        for score in _clip_scores(experiment, backend)
        if score.method == method
    ]
    for metric in METRICS:
        difference = compare(scores, first, second, metric, resamples=params.bootstrap, seed=params.seed)
        if difference is not None and difference.low is not None and difference.high is not None:
            differences[metric] = (difference.mean, difference.low, difference.high)
    return differences


@cache  # every run is compared with the first
def _clip_scores(experiment: str, backend: str) -> list[ClipScore]:
    with TemporaryDirectory() as folder:
        content = _read_of(experiment, paths.EVALUATION / backend / PER_CLIP)
        (Path(folder) / PER_CLIP).write_text(content, encoding="utf-8")
        return read_per_clip(Path(folder))


def _facts(variant: Variant) -> tuple[str, str, tuple[str, ...]]:
    return variant.name, variant.about, variant.overrides


def table(rows: Sequence[Row]) -> str:
    """The ablation as Markdown: metrics of every enhanced method by variant, and differences."""
    methods = sorted({method for row in rows for method in row.metrics if is_enhanced(method)})
    metrics = [m for m in METRICS if any(m in values for row in rows for values in row.metrics.values())]
    head = ["run", *(f"{method} {metric.upper()}" for method in methods for metric in metrics), "what it is"]
    lines = [head]
    for row in rows:
        numbers = [_in_words(row, method, metric) for method in methods for metric in metrics]
        lines.append([row.name, *numbers, "; ".join(filter(None, (row.about, row.note)))])
    return markdown_table(lines, numbers=slice(1, -1)) + "\n"


def _in_words(row: Row, method: str, metric: str) -> str:
    if metric not in row.metrics.get(method, {}):
        return "–"
    decimals = DECIMALS[metric]
    text = f"{row.metrics[method][metric]:.{decimals}f}"
    if metric in row.differences.get(method, {}):
        mean, low, high = row.differences[method][metric]
        text += f" ({mean:+.{decimals}f} [{low:+.{decimals}f}, {high:+.{decimals}f}])"
    return text


def write(rows: Sequence[Row], about: Sequence[str], folder: Path = paths.RESULTS) -> None:
    """Write ablation.json (for the site) and ablation.md."""
    write_json(folder / "ablation.json", {"about": list(about), "rows": [vars(row) for row in rows]})
    write_text(folder / "ablation.md", "\n\n".join([*about, table(rows)]))


def _read_of(experiment: str, path: Path) -> str:
    """Read a metrics file of an experiment."""
    from dvc.api import read  # takes a second

    return read(path.as_posix(), rev=experiment)


def _dvc(*arguments: str, quiet: bool = False) -> str:
    # experiments run in a folder of their own, where relative paths would be wrong
    folders_of_weights = os.pathsep.join(str(folder.resolve()) for folder in weight_folders())
    process = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        stdout=subprocess.PIPE if quiet else None,
        stderr=subprocess.PIPE if quiet else None,
        text=True,
        check=False,
        env=os.environ | {"KPBE_WEIGHTS": folders_of_weights},
    )
    if process.returncode:
        reason = f": {process.stderr.strip().splitlines()[-1]}" if quiet and process.stderr.strip() else ""
        raise KPBEError(f"`dvc {' '.join(arguments)}` failed{reason}.")
    return process.stdout or ""


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m flows.ablation", description=__doc__)
    parser.add_argument("runs", nargs="*", help="names of conf/ablation.yaml; all without any")
    parser.add_argument(
        "-S", "--set-param", action="append", default=[], help="change a param in all runs, e.g. data=folder"
    )
    parsed = parser.parse_args()
    try:
        names = [variant.name for variant in variants()]
        unknown = sorted(set(parsed.runs) - set(names))
        if unknown:
            raise KPBEError(f"{CONFIG} has no run {', '.join(unknown)}.")
        all_variants = variants(overrides=parsed.set_param)
        chosen = [
            variant
            for variant, name in zip(all_variants, names, strict=True)
            if not parsed.runs or name in parsed.runs
        ]
        run(chosen, known_experiments())
        known = known_experiments()
        rows = [outcome(variant, known, chosen[0].name) for variant in chosen]
        about = [
            "Ablation of stage 2: means over identities that no training has seen, held out of the training "
            "split (the test clips take no part); in brackets the distance from the first run, paired by "
            "clip, with its 95 % interval over identities. How much two trainings of the same kind differ "
            "is not in it: there is one of each.",
            "The same data, seed and number of steps in every run. Settings: "
            f"{' '.join(parsed.set_param) or 'those of conf/'}; what the runs change is in {CONFIG}.",
        ]
        write(rows, about)
        print(table(rows))
    except KPBEError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
