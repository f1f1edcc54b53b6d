"""The pages' charts. Colours follow `method_color`; axes and texts follow Streamlit's theme."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd

from kpbe.data.clips import Clip
from kpbe.evaluation.results import ClipScore, display_name, enhanced_method, finite_values, methods_of
from kpbe.evaluation.statistics import mean_interval
from kpbe.evaluation.tables import DECIMALS, HEADINGS
from reports.layout import BACKEND_COLOR, ENHANCED_COLOR, LOWER_IS_BETTER, STATIC_COLOR, method_color

SPLIT_COLORS = {"train": STATIC_COLOR, "test": ENHANCED_COLOR}
PICK = "pick"
SMOOTHED_FROM = 40
LONG_LIST = 60
Chart = alt.Chart | alt.LayerChart | alt.FacetChart


def joined_clips(scores: Sequence[ClipScore], backend: str, metric: str) -> Chart:
    """Each clip's scores of the three methods joined by a thin line, the means with 95 % intervals over them."""
    methods = methods_of(backend)
    values = {method: finite_values(scores, method, metric) for method in methods}
    points = pd.DataFrame(
        [
            {"clip": clip_id, "Method": display_name(method), "score": value}
            for method, of_method in values.items()
            for clip_id, value in of_method.items()
        ],
        columns=["clip", "Method", "score"],
    )
    means = pd.DataFrame(
        [
            {"Method": display_name(method), **vars(mean_interval(list(of_method.values())))}
            for method, of_method in values.items()
            if of_method
        ],
        columns=["Method", "n", "mean", "low", "high"],
    )
    names = [display_name(method) for method in methods]
    x = alt.X(
        "Method:N",
        sort=names,
        title=None,
        axis=alt.Axis(labelAngle=0, labelAlign="center", domain=False, ticks=False),
    )
    color = alt.Color("Method:N", scale=_colors(methods), legend=None)
    form = f".{DECIMALS[metric]}f"
    clip_tip = [alt.Tooltip("clip"), alt.Tooltip("Method"), alt.Tooltip("score", format=form)]
    mean_tip = [alt.Tooltip("Method"), *(alt.Tooltip(name, format=form) for name in ("mean", "low", "high"))]
    visible = float(np.clip(10 / max(len(points) / len(methods), 1), 0.08, 0.55))
    lines = alt.Chart(points).mark_line(color=STATIC_COLOR, strokeWidth=1, opacity=visible)
    dots = alt.Chart(points).mark_circle(size=26, opacity=visible)
    bars = alt.Chart(means).mark_rule(strokeWidth=3).encode(y="low:Q", y2="high:Q", x=x, color=color)
    centers = alt.Chart(means).mark_circle(size=130, opacity=1)
    y = alt.Y("score:Q", scale=alt.Scale(zero=False, nice=True), title=None, axis=_quiet_axis())
    return alt.layer(
        lines.encode(x=x, y=y, detail="clip:N"),
        dots.encode(x=x, y=y, color=color, tooltip=clip_tip),
        bars,
        centers.encode(x=x, y="mean:Q", color=color, tooltip=mean_tip),
    ).properties(height=280, title=alt.Title(HEADINGS[metric], anchor="start"))


def gain_bars(scores: Sequence[ClipScore], backend: str, metric: str, chosen: str) -> Chart:
    """The gain enhanced - backend of each clip, sorted; a click picks a clip (selection `PICK`, field clip)."""
    gains = clip_gains(scores, backend, metric)
    table = pd.DataFrame(
        {
            "clip": list(gains),
            "gain": list(gains.values()),
            "chosen": [clip_id == chosen for clip_id in gains],
        }
    )
    axis = alt.Axis(labels=False, ticks=False, domain=False)
    better = "datum.gain < 0" if metric in LOWER_IS_BETTER else "datum.gain >= 0"
    return (
        alt.Chart(table)
        .mark_bar(cursor="pointer", width=alt.RelativeBandSize(band=0.6))
        .encode(
            x=alt.X("clip:N", sort=None, title=None, axis=axis),
            y=alt.Y("gain:Q", title=None, axis=_quiet_axis(3)),
            color=alt.condition(better, alt.value(ENHANCED_COLOR), alt.value(BACKEND_COLOR)),
            opacity=alt.condition("datum.chosen", alt.value(1.0), alt.value(0.4)),
            tooltip=[alt.Tooltip("clip"), alt.Tooltip("gain", format=f"+.{DECIMALS[metric]}f")],
        )
        .add_params(alt.selection_point(PICK, fields=["clip"], nearest=True))
        .properties(height=130)
    )


def clip_gains(scores: Sequence[ClipScore], backend: str, metric: str) -> dict[str, float]:
    """Enhanced - backend by clip_id, greatest first; clips where one of them is infinite or missing are left out."""
    before = finite_values(scores, backend, metric)
    after = finite_values(scores, enhanced_method(backend), metric)
    gains = {clip_id: after[clip_id] - before[clip_id] for clip_id in before.keys() & after.keys()}
    return dict(sorted(gains.items(), key=lambda item: (-item[1], item[0])))


def frame_curves(
    frames: pd.DataFrame, backend: str, metric: str, fps: float, source_frame: int | None
) -> Chart:
    """A metric over the seconds of one clip, a line for each method in its colour; a dashed rule stands at the source frame."""
    methods = methods_of(backend)
    table = frames[np.isfinite(frames[metric])].assign(
        seconds=lambda rows: rows["frame"] / fps, Method=lambda rows: rows["method"].map(display_name)
    )[["seconds", "frame", "Method", metric]]
    x = alt.X("seconds:Q", title="seconds", axis=alt.Axis(grid=False, tickCount=6))
    y = alt.Y(f"{metric}:Q", scale=alt.Scale(zero=False), title=None, axis=_quiet_axis(4))
    color = alt.Color("Method:N", scale=_colors(methods), legend=None)
    nearest = alt.selection_point(nearest=True, on="pointerover", fields=["frame"], empty=False)
    curves = alt.Chart(table).mark_line(strokeWidth=1.8, clip=True).encode(x=x, y=y, color=color)
    form = f".{DECIMALS[metric]}f"
    marks = (
        alt.Chart(table)
        .mark_circle(size=60)
        .encode(
            x=x,
            y=y,
            color=color,
            opacity=alt.condition(nearest, alt.value(1), alt.value(0)),
            tooltip=[alt.Tooltip("frame"), alt.Tooltip("Method"), alt.Tooltip(metric, format=form)],
        )
        .add_params(nearest)
    )
    layers: list[alt.Chart] = [curves, marks]
    if source_frame is not None:
        at = pd.DataFrame({"seconds": [source_frame / fps], "what": ["source image"]})
        rule = alt.Chart(at).mark_rule(color=STATIC_COLOR, strokeDash=[4, 4])
        layers.insert(0, rule.encode(x="seconds:Q", tooltip="what"))
    return alt.layer(*layers).properties(height=230, title=alt.Title(HEADINGS[metric], anchor="start"))


def training_curve(curves: pd.DataFrame, column: str, logarithmic: bool = False) -> Chart:
    """One loss or metric over the steps; long curves get a running mean over the pale raw one."""
    table = curves.loc[:, ["step", column]].dropna()
    if logarithmic:
        table = table.loc[table[column] > 0, :]
    scale = alt.Scale(type="log") if logarithmic else alt.Scale(zero=False)
    x = alt.X("step:Q", title=None, axis=alt.Axis(grid=False, tickCount=5))
    y = alt.Y(f"{column}:Q", scale=scale, title=None, axis=_quiet_axis(3))
    tooltip = [alt.Tooltip("step"), alt.Tooltip(column, format=".4g")]
    smoothed = len(table) >= SMOOTHED_FROM
    raw = alt.Chart(table).mark_line(
        color=ENHANCED_COLOR,
        strokeWidth=1 if smoothed else 2,
        opacity=0.35 if smoothed else 1,
        point=False if smoothed else alt.OverlayMarkDef(size=28, color=ENHANCED_COLOR),
    )
    layers: list[alt.Chart] = [raw.encode(x=x, y=y, tooltip=tooltip)]
    if smoothed:
        mean = table.assign(
            **{column: table[column].rolling(len(table) // 12, min_periods=1, center=True).mean()}
        )
        layers.append(alt.Chart(mean).mark_line(color=ENHANCED_COLOR, strokeWidth=2).encode(x=x, y=y))
    return alt.layer(*layers).properties(height=180, title=alt.Title(in_words(column), anchor="start"))


def identity_bars(clips: Sequence[Clip]) -> Chart:
    """Seconds of each identity, a block for each clip; a histogram of them where there are very many identities."""
    table = pd.DataFrame(
        [{"identity": c.identity, "split": c.split, "seconds": c.seconds, "clip": c.clip_id} for c in clips]
    )
    used = [split for split in SPLIT_COLORS if split in set(table["split"])]
    scale = alt.Scale(domain=used, range=[SPLIT_COLORS[split] for split in used])
    color = alt.Color("split:N", scale=scale, title=None, legend=alt.Legend(orient="top"))
    if len({clip.identity for clip in clips}) > LONG_LIST:
        per_identity = table.groupby(["identity", "split"], as_index=False)["seconds"].sum()
        x = alt.X(
            "seconds:Q", bin=alt.Bin(maxbins=40), title="seconds of an identity", axis=alt.Axis(grid=False)
        )
        y = alt.Y("count()", title="identities", axis=_quiet_axis())
        return alt.Chart(per_identity).mark_bar().encode(x=x, y=y, color=color).properties(height=260)
    order = list(table.sort_values(["split", "identity"], ascending=[False, True])["identity"].unique())
    y = alt.Y("identity:N", sort=order, title=None, axis=alt.Axis(domain=False, ticks=False, labelLimit=160))
    x = alt.X("seconds:Q", title="seconds", axis=_quiet_axis())
    table["even"] = table.groupby("identity").cumcount() % 2 == 0
    shade = alt.condition("datum.even", alt.value(1.0), alt.value(0.65))
    tooltip = [alt.Tooltip("clip"), alt.Tooltip("seconds", format=".2f")]
    blocks = alt.Chart(table).mark_bar(cornerRadius=2)
    return blocks.encode(
        x=x, y=y, color=color, opacity=shade, detail="clip:N", order="clip:N", tooltip=tooltip
    ).properties(height=alt.Step(22))


def in_words(column: str) -> str:
    """A column of curves.csv as people write it: validation_ssim -> "SSIM", keypoint_prior -> "Keypoint prior"."""
    name = column.removeprefix("validation_")
    if name in HEADINGS:
        return HEADINGS[name]
    return name.replace("_", " ").capitalize().replace("Gan", "GAN")


def _colors(methods: Sequence[str]) -> alt.Scale:
    names = [display_name(method) for method in methods]
    return alt.Scale(domain=names, range=[method_color(method) for method in methods])


def _quiet_axis(ticks: int = 5) -> alt.Axis:
    return alt.Axis(domain=False, ticks=False, tickCount=ticks)
