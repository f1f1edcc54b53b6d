"""The ablation's table, as flows/ablation.py writes it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from kpbe import paths
from kpbe.errors import KPBEError
from reports.project import place, read_when_changed

ABLATION = "ablation.json"


@dataclass(frozen=True)
class Variant:
    """A run of the ablation: its change to the params and its methods' means by metric.

    The note says why a run has no means.

    Attributes:
        differences: from the first run; mean and ends of the 95 % interval, by method and metric.
    """

    name: str
    about: str
    overrides: tuple[str, ...]
    metrics: dict[str, dict[str, float]]
    note: str
    differences: dict[str, dict[str, tuple[float, float, float]]]


@dataclass(frozen=True)
class Ablation:
    """The runs of the ablation, the reference first, and lines about them."""

    about: tuple[str, ...]
    variants: tuple[Variant, ...]


def ablation() -> Ablation | None:
    """The ablation's table, None before it was run.

    Raises:
        KPBEError: ablation.json is damaged.
    """
    return _ablation(place(paths.RESULTS) / ABLATION)


def _read_ablation(path: Path) -> Ablation:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        variants = tuple(
            Variant(
                row["name"],
                row.get("about", ""),
                tuple(row.get("overrides", ())),
                {
                    method: {metric: float(value) for metric, value in of_method.items()}
                    for method, of_method in row.get("metrics", {}).items()
                },
                row.get("note", ""),
                {
                    method: {metric: _interval(*numbers) for metric, numbers in of_method.items()}
                    for method, of_method in row.get("differences", {}).items()
                },
            )
            for row in values["rows"]
        )
        return Ablation(tuple(values["about"]), variants)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise KPBEError(f"{path} is damaged: run the ablation again (make ablation).") from None


def _interval(mean: float, low: float, high: float) -> tuple[float, float, float]:
    return float(mean), float(low), float(high)


_ablation = read_when_changed(_read_ablation)
