"""One test clip at a time: its videos side by side with sound, its scores, its curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import streamlit as st

from kpbe.evaluation.protocol import source_frame_index
from kpbe.evaluation.results import METRICS, ClipScore, display_name, methods_of
from kpbe.evaluation.tables import HEADINGS
from reports import charts, project
from reports.layout import (
    LOWER_IS_BETTER,
    Cell,
    counted,
    heading,
    method_color,
    not_yet,
    number,
    rejection_table,
    section,
    table,
)

ORDERS = {"Greatest gain first": False, "Smallest gain first": True}
UNUSUAL = {np.inf: "identical"}
CURVES = ("ssim", "psnr")
CHART, CLIP = "gains", "clip"


def page() -> None:
    """The whole page."""
    backends = project.evaluated_backends()
    if not backends:
        not_yet("Clips", "No test clip has been scored yet.")
    heading("Clips", "Look, listen and compare: the truth, the backend and the backend enhanced by KPBE.")
    backend = backends[0]
    if len(backends) > 1:
        backend = (
            st.segmented_control("Backend", backends, format_func=display_name, default=backend) or backend
        )
    scores = project.clip_scores(backend)
    measured = [metric for metric in METRICS if any(metric in score.values for score in scores)]
    if not measured:
        not_yet("Clips", "No test clip has been scored yet.")
    clip_column, metric_column, order_column = st.columns((5, 2, 2), gap="small")
    metric = metric_column.selectbox("Gain in", measured, format_func=lambda name: HEADINGS[name])
    order = order_column.selectbox("Order", list(ORDERS))
    clip_ids = ordered_clips(scores, backend, metric, ORDERS[order])
    with clip_column:
        clip_id = choose(clip_ids)
    gains(scores, backend, metric, clip_id)
    player(backend, clip_id)
    score_table([score for score in scores if score.clip_id == clip_id], backend)
    curves(backend, clip_id)
    rejected()


def ordered_clips(scores: Sequence[ClipScore], backend: str, metric: str, smallest_first: bool) -> list[str]:
    """Clips by gain of the metric (for distances a gain is a decrease); those without a finite gain come last."""
    gains = list(charts.clip_gains(scores, backend, metric))
    if smallest_first != (metric in LOWER_IS_BETTER):
        gains.reverse()
    return gains + sorted({score.clip_id for score in scores} - set(gains))


def choose(clip_ids: list[str]) -> str:
    """The chosen clip: from the list, a bar that was clicked, or the page's address (?clip=)."""
    if st.session_state.get(CLIP) not in clip_ids:
        asked = st.query_params.get(CLIP)
        st.session_state[CLIP] = asked if asked in clip_ids else clip_ids[0]
    clip_id = st.selectbox(f"Test clip ({len(clip_ids)})", clip_ids, key=CLIP)
    st.query_params[CLIP] = clip_id
    return clip_id


def gains(scores: Sequence[ClipScore], backend: str, metric: str, clip_id: str) -> None:
    """What KPBE changes on every clip, as bars to choose from."""
    st.altair_chart(
        charts.gain_bars(scores, backend, metric, clip_id),
        key=CHART,
        on_select=_choose_clicked,
        selection_mode=charts.PICK,
    )
    st.caption(f"Change of {HEADINGS[metric]} by KPBE on every clip; click a bar to see its clip.")


def _choose_clicked() -> None:
    picked: list[dict[str, Any]] = st.session_state[CHART]["selection"].get(charts.PICK, [])
    if picked:
        st.session_state[CLIP] = picked[0]["clip"]


def player(backend: str, clip_id: str) -> None:
    """The side-by-side video."""
    video = project.viewing_video(backend, clip_id)
    if video is None:
        st.info(
            f"There is no viewing copy of {clip_id}: run `dvc repro enhance`.", icon=":material/movie_off:"
        )
    else:
        st.video(str(video), loop=True, alt=f"{clip_id}: ground truth, {display_name(backend)}, enhanced.")


def score_table(scores: Sequence[ClipScore], backend: str) -> None:
    """The clip's scores of each method; the best of each metric is bold."""
    of_method = {score.method: score for score in scores}
    methods = [method for method in methods_of(backend) if method in of_method]
    metrics = [metric for metric in METRICS if any(metric in score.values for score in scores)]
    best = {
        metric: (min if metric in LOWER_IS_BETTER else max)(
            score.values[metric] for score in scores if metric in score.values
        )
        for metric in metrics
    }
    rows = []
    for method in methods:
        values = of_method[method].values
        cells = [Cell(display_name(method), look="left", dot=method_color(method))]
        for metric in metrics:
            value = values.get(metric, np.nan)
            text = number(value, metric) if np.isfinite(value) else UNUSUAL.get(value, "–")
            cells.append(Cell(text, look="strong" if value == best[metric] else ""))
        rows.append(cells)
    table(["Method", *(HEADINGS[metric] for metric in metrics)], rows)


def curves(backend: str, clip_id: str) -> None:
    """SSIM and PSNR of each frame."""
    frames = project.frame_scores(backend, clip_id)
    if frames is None or frames.empty:
        return
    section(
        "Frame by frame",
        "Frames that equal the truth have no PSNR; the dashed line is where the source image was taken.",
    )
    clip = next((clip for clip in project.clips() or [] if clip.clip_id == clip_id), None)
    seed = project.evaluation_seed(backend)
    source = source_frame_index(clip_id, clip.frames, seed) if clip and seed is not None else None
    for column, metric in zip(st.columns(len(CURVES), gap="medium"), CURVES, strict=True):
        column.altair_chart(charts.frame_curves(frames, backend, metric, clip.fps if clip else 25.0, source))


def rejected() -> None:
    """Where the clips are that are not here."""
    found = project.rejections()
    if found:
        with st.expander(f"{counted(len(found), 'clip')} rejected on the way here", icon=":material/block:"):
            rejection_table(found)


page()
