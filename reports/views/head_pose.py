"""A part of the data page: the head poses of the training frames, and which teacher labelled them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st

from kpbe import paths
from kpbe.data.head_pose.label import ANGLES
from kpbe.errors import KPBEError
from kpbe.paths import SUMMARY_FILE
from reports import project
from reports.layout import ENHANCED_COLOR, Card, cards, section

MEANINGS = {
    "yaw": "positive: turned to the picture's left",
    "pitch": "positive: looking down",
    "roll": "positive: tilted clockwise",
}


def head_pose_distribution() -> None:
    """Show how yaw, pitch and roll are distributed over the training frames, once label_pose has run."""
    poses = _summary(project.place(paths.HEAD_POSE) / SUMMARY_FILE)
    if poses is None:
        return
    about = str(poses["about"])
    section("Head pose of the training frames", f"{about[0].upper()}{about[1:]}.")
    if not poses["frames"]:
        return
    cards([_card(name, poses["angles"][name]) for name in ANGLES])
    for column, name in zip(st.columns(len(ANGLES)), ANGLES, strict=True):
        column.vega_lite_chart(histogram(name, poses["histogram"]))


def _card(name: str, angle: Mapping[str, Any]) -> Card:
    percentiles = angle["percentiles"]
    lines = (
        f"90 % within {percentiles['5']:.0f}° to {percentiles['95']:.0f}°".replace("-", "−"),
        f"{angle['beyond_45']:.1%} beyond ±45°",
    )
    value = f"{angle['mean']:.1f}° ± {angle['sd']:.1f}°".replace("-", "−")
    return Card(f"{name.capitalize()}, mean and deviation", value, lines)


def histogram(name: str, counts: Mapping[str, Any]) -> dict[str, Any]:
    """A chart of an angle: the share of the frames in each bin, as a Vega-Lite specification."""
    edges, frames = counts["edges"], sum(counts[name])
    bars = [
        {"from": low, "to": high, "share": count / frames}
        for low, high, count in zip(edges[:-1], edges[1:], counts[name], strict=True)
    ]
    degrees = {
        "grid": False,
        "values": list(range(edges[0], edges[-1] + 1, 30)),
        "domain": False,
        "ticks": False,
    }
    share = {"format": ".0%", "domain": False, "ticks": False, "tickCount": 4}
    encoding = {
        "x": {"field": "from", "type": "quantitative", "bin": "binned", "title": "degrees", "axis": degrees},
        "x2": {"field": "to"},
        "y": {"field": "share", "type": "quantitative", "title": None, "axis": share},
        "tooltip": [
            {"field": "from", "type": "quantitative"},
            {"field": "to", "type": "quantitative"},
            {"field": "share", "type": "quantitative", "format": ".1%"},
        ],
    }
    mark = {"type": "bar", "color": ENHANCED_COLOR}
    title = {"text": name.capitalize(), "subtitle": MEANINGS[name], "anchor": "start"}
    return {
        "layer": [{"data": {"values": bars}, "mark": mark, "encoding": encoding}],
        "height": 180,
        "title": title,
    }


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        _ = values["about"], values["frames"]
    except (ValueError, TypeError, KeyError):
        raise KPBEError(
            f"{path} is damaged: run the stage label_pose again (dvc repro --force label_pose)."
        ) from None
    return values


_summary = project.read_when_changed(_read)
