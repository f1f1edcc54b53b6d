"""The pages' charts, as Vega-Lite specifications.

Colours follow `method_color`; axes and texts follow Streamlit's theme. The charts are plain dictionaries,
because importing Altair and checking its schema takes longer than the rest of a page. A chart's data lie in
its layers: Streamlit converts only a chart's top-level data into Arrow, which small tables do not need.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kpbe.data.clips import Clip
from kpbe.evaluation.results import LOWER_IS_BETTER, ClipScore, finite_values
from kpbe.evaluation.tables import DECIMALS, HEADINGS, Table1
from kpbe.methods import SOURCE_EXPRESSION, control_method, display_name, methods_of
from reports import project
from reports.layout import BACKEND_COLOR, ENHANCED_COLOR, STATIC_COLOR, method_color

if TYPE_CHECKING:
    import pandas as pd

SPLIT_COLORS = {"train": STATIC_COLOR, "test": ENHANCED_COLOR}
PICK = "pick"
SMOOTHED_FROM = 40
LONG_LIST = 60
STEPS = {"grid": False, "tickCount": 5, "format": "~s"}
Chart = dict[str, Any]


def joined_clips(table: Table1, scores: Sequence[ClipScore], backend: str, metric: str) -> Chart:
    """Each clip's scores of a backend's methods and its source-expression control, joined by a thin line.

    Table I's means with their intervals are drawn on top.
    """
    methods = (*methods_of(backend), control_method(backend, SOURCE_EXPRESSION))
    values = {method: finite_values(scores, method, metric) for method in methods}
    points = [
        {"clip": clip_id, "Method": display_name(method), "score": value}
        for method, of_method in values.items()
        for clip_id, value in of_method.items()
    ]
    means = [
        {"Method": display_name(row.method), **vars(row.means[metric])}
        for row in table.methods
        if row.method in methods and metric in row.means
    ]
    names = [display_name(method) for method in methods]
    lines_of_name = "split(replace(datum.label, '+KPBE', ', +KPBE'), ', ')"
    axis = {"labelAngle": 0, "labelAlign": "center", "domain": False, "ticks": False}
    axis |= {"labelExpr": lines_of_name, "labelFontSize": 10, "labelOverlap": False}
    x = {"field": "Method", "type": "nominal", "sort": names, "title": None, "axis": axis}
    scale = {"domain": names, "range": [method_color(method) for method in methods]}
    color = {"field": "Method", "type": "nominal", "scale": scale, "legend": None}
    y = {"field": "score", "type": "quantitative", "scale": {"zero": False, "nice": True}, "title": None}
    y |= {"axis": _quiet_axis()}
    form = f".{DECIMALS[metric]}f"
    visible = float(np.clip(10 / max(len(points) / len(methods), 1), 0.08, 0.55))
    clip_tip = [_tip("clip"), _tip("Method"), _tip("score", form)]
    mean_tip = [_tip("Method"), *(_tip(name, form) for name in ("mean", "low", "high"))]
    lines = {"type": "line", "color": STATIC_COLOR, "strokeWidth": 1, "opacity": visible}
    layers = [
        _layer(points, lines, x=x, y=y, detail={"field": "clip", "type": "nominal"}),
        _layer(points, {"type": "circle", "size": 26, "opacity": visible}, x=x, y=y, color=color,
        tooltip=clip_tip),
        _layer(means, {"type": "rule", "strokeWidth": 3}, x=x, y=y | {"field": "low"}, y2={"field": "high"},
        color=color),
        _layer(means, {"type": "circle", "size": 130}, x=x, y=y | {"field": "mean"}, color=color,
        tooltip=mean_tip),
    ]  # fmt: skip
    return {"layer": layers, "height": 280, "title": _title(HEADINGS[metric])}


def gain_bars(scores: Sequence[ClipScore], backend: str, metric: str, chosen: str) -> Chart:
    """The gain enhanced - backend of each clip, sorted.

    A click on a bar picks its clip (selection `PICK`, field `clip`).
    """
    bars = [
        {"clip": clip_id, "gain": gain, "chosen": clip_id == chosen}
        for clip_id, gain in project.clip_gains(scores, backend, metric).items()
    ]
    axis = {"labels": False, "ticks": False, "domain": False}
    better = "datum.gain < 0" if metric in LOWER_IS_BETTER else "datum.gain >= 0"
    colors = {"condition": {"test": better, "value": ENHANCED_COLOR}, "value": BACKEND_COLOR}
    return {
        "data": {"values": bars},
        "mark": {"type": "bar", "cursor": "pointer", "width": {"band": 0.6}},
        "params": [{"name": PICK, "select": {"type": "point", "fields": ["clip"], "nearest": True}}],
        "encoding": {
            "x": {"field": "clip", "type": "nominal", "sort": None, "title": None, "axis": axis},
            "y": {"field": "gain", "type": "quantitative", "title": None, "axis": _quiet_axis(3)},
            "color": colors,
            "opacity": {"condition": {"test": "datum.chosen", "value": 1}, "value": 0.4},
            "tooltip": [_tip("clip"), _tip("gain", f"+.{DECIMALS[metric]}f")],
        },
        "height": 130,
    }


def training_curve(curves: pd.DataFrame, column: str, logarithmic: bool = False) -> Chart:
    """One loss or metric over the steps; long curves get a running mean over the pale raw one."""
    table = curves.loc[:, ["step", column]].dropna()
    if logarithmic:
        table = table.loc[table[column] > 0, :]
    points = table.to_dict("records")
    x = {"field": "step", "type": "quantitative", "title": None, "axis": STEPS}
    y = {"field": column, "type": "quantitative", "title": None}
    y |= {"axis": _quiet_axis(3) | {"format": ".3~g"}}
    y |= {"scale": {"type": "log"} if logarithmic else {"zero": False}}
    tooltip = [_tip("step"), _tip(column, ".4g")]
    line: dict[str, Any] = {"type": "line", "color": ENHANCED_COLOR, "strokeWidth": 2}
    if len(points) < SMOOTHED_FROM:
        layers = [
            _layer(points, line | {"point": {"size": 28, "color": ENHANCED_COLOR}}, x=x, y=y, tooltip=tooltip)
        ]
    else:
        smooth = table[column].rolling(len(table) // 12, min_periods=1, center=True).mean()
        mean = table.assign(**{column: smooth}).to_dict("records")
        layers = [
            _layer(points, line | {"strokeWidth": 1, "opacity": 0.35}, x=x, y=y, tooltip=tooltip),
            _layer(mean, line, x=x, y=y),
        ]
    return {"layer": layers, "height": 180, "title": _title(in_words(column))}


def identity_bars(clips: Sequence[Clip]) -> Chart:
    """Seconds of each identity, a block for each clip.

    More than `LONG_LIST` identities are shown as a histogram.
    """
    color = _split_color(clips) | {"legend": {"orient": "top"}}
    if len({clip.identity for clip in clips}) > LONG_LIST:
        seconds: dict[tuple[str, str], float] = defaultdict(float)
        for clip in clips:
            seconds[clip.split, clip.identity] += clip.seconds
        totals = [{"split": split, "seconds": total} for (split, _), total in seconds.items()]
        return _histogram(totals, "seconds of an identity", "identities", color) | {"height": 260}
    order = sorted({(clip.split != "train", clip.identity) for clip in clips})
    blocks, counts = [], defaultdict(int)
    for clip in clips:
        even = counts[clip.identity] % 2 == 0
        counts[clip.identity] += 1
        block = {
            "identity": clip.identity,
            "split": clip.split,
            "seconds": clip.seconds,
            "clip": clip.clip_id,
        }
        blocks.append(block | {"even": even})
    axis = {"domain": False, "ticks": False, "labelLimit": 160}
    y = {
        "field": "identity",
        "type": "nominal",
        "sort": [name for _, name in order],
        "title": None,
        "axis": axis,
    }
    x = {"field": "seconds", "type": "quantitative", "title": "seconds", "axis": _quiet_axis()}
    by_clip = {"field": "clip", "type": "nominal"}
    shade = {"condition": {"test": "datum.even", "value": 1}, "value": 0.65}
    tooltip = [_tip("clip"), _tip("seconds", ".2f")]
    layer = _layer(
        blocks, {"type": "bar", "cornerRadius": 2}, x=x, y=y, color=color, opacity=shade, detail=by_clip,
        order=by_clip, tooltip=tooltip
    )  # fmt: skip
    return {"layer": [layer], "height": {"step": 22}}


def lengths(clips: Sequence[Clip]) -> Chart:
    """How many clips have which length, by split."""
    rows = [{"split": clip.split, "seconds": clip.seconds} for clip in clips]
    return _histogram(rows, "seconds of a clip", "clips", _split_color(clips) | {"legend": None})


def in_words(column: str) -> str:
    """A column of curves.csv as a heading.

    Examples: validation_ssim -> "SSIM", keypoint_prior -> "Keypoint prior".
    """
    name = column.removeprefix("validation_")
    if name in HEADINGS:
        return HEADINGS[name]
    return name.replace("_", " ").capitalize().replace("Gan", "GAN")


# -- parts of charts ---------------------------------------------------------------------------------------


def _layer(values: Iterable[dict[str, Any]], mark: dict[str, Any], **encoding: Any) -> Chart:
    return {"data": {"values": list(values)}, "mark": mark, "encoding": encoding}


def _histogram(values: Sequence[dict[str, Any]], of: str, count: str, color: dict[str, Any]) -> Chart:
    longest = max((value["seconds"] for value in values), default=1.0)
    bins = {"maxbins": 40, "extent": [0, 1.1 * longest]}
    x = {"field": "seconds", "type": "quantitative", "bin": bins, "title": of}
    x |= {"axis": {"grid": False, "tickCount": 6, "format": "~g"}}
    y = {"aggregate": "count", "type": "quantitative", "title": count, "axis": _quiet_axis()}
    return {"layer": [_layer(values, {"type": "bar"}, x=x, y=y, color=color)], "height": 220}


def _split_color(clips: Sequence[Clip]) -> dict[str, Any]:
    splits = {clip.split for clip in clips}
    used = [split for split in SPLIT_COLORS if split in splits]
    scale = {"domain": used, "range": [SPLIT_COLORS[split] for split in used]}
    return {"field": "split", "type": "nominal", "scale": scale, "title": None}


def _tip(field: str, form: str = "") -> dict[str, Any]:
    return {"field": field, "type": "quantitative", "format": form} if form else {"field": field}


def _title(text: str) -> dict[str, Any]:
    return {"text": text, "anchor": "start"}


def _quiet_axis(ticks: int = 5) -> dict[str, Any]:
    return {"domain": False, "ticks": False, "tickCount": ticks}
