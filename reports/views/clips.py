"""One test clip at a time: all methods in step, its scores, and what KPBE changes on every clip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from kpbe.data.source_frame import source_frame_index
from kpbe.evaluation.results import LOWER_IS_BETTER, METRICS, ONE_IS_BEST, ClipScore
from kpbe.evaluation.tables import HEADINGS
from kpbe.methods import STATIC_SOURCE, controls_of, display_name, is_control, methods_of
from reports import charts, explorer, project
from reports.comparison import Comparison, compare
from reports.layout import (
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
CHART, CLIP = "gains", "clip"
REMEMBERED_COMPARISONS = 16


def page() -> None:
    """The whole page."""
    backends = project.evaluated_backends()
    if not backends:
        not_yet("Clips", "No test clip has been scored yet.")
    st.html(
        "<style>.stMainBlockContainer { max-width: max(1120px, 80vw); }</style>"
    )  # a wider page shows larger pictures
    heading("Clips", "Look, listen and compare: the truth, the backends, and what KPBE makes of them.")
    with st.container(horizontal=True, vertical_alignment="top"):
        backend = backends[0]
        if len(backends) > 1:
            backend = (
                st.segmented_control("Backend", backends, format_func=display_name, default=backend)
                or backend
            )
        scores = project.clip_scores(backend)
        measured = [metric for metric in METRICS if any(metric in score.values for score in scores)]
        if not measured:
            not_yet("Clips", "No test clip has been scored yet.")
        place = st.container()
        metric = st.selectbox("Gain in", measured, format_func=lambda name: HEADINGS[name], width=130)
        order = st.selectbox("Order", list(ORDERS), width=210)
    clip_ids = ordered_clips(scores, backend, metric, ORDERS[order])
    with place:
        clip_id = choose(clip_ids)
    explore(backend, clip_id)
    section("Scores of this clip", "Means over its frames; the best of each metric, controls apart, is bold.")
    score_table([score for score in scores if score.clip_id == clip_id], backend)
    section(
        f"What KPBE changes in {HEADINGS[metric].rstrip(' ↑↓')}, clip by clip", "Click a bar to see its clip."
    )
    gains(scores, backend, metric, clip_id)
    rejected()


def ordered_clips(scores: Sequence[ClipScore], backend: str, metric: str, smallest_first: bool) -> list[str]:
    """Clips ordered by their gain in the metric (for distances a gain is a decrease).

    Clips without a finite gain come last.
    """
    gains = list(project.clip_gains(scores, backend, metric))
    if smallest_first != (metric in LOWER_IS_BETTER):
        gains.reverse()
    return gains + sorted({score.clip_id for score in scores} - set(gains))


def choose(clip_ids: list[str]) -> str:
    """Let the visitor choose a clip: from the list, by a click on a bar, or by the page address (?clip=)."""
    if st.session_state.get(CLIP) not in clip_ids:
        requested = st.query_params.get(CLIP)
        st.session_state[CLIP] = requested if requested in clip_ids else clip_ids[0]
    clip_id = st.selectbox(f"Test clip ({len(clip_ids)})", clip_ids, key=CLIP)
    st.query_params[CLIP] = clip_id
    return clip_id


def explore(backend: str, clip_id: str) -> None:
    """Show the explorer, or which videos it lacks."""
    clip = next((clip for clip in project.clips() or [] if clip.clip_id == clip_id), None)
    if clip is None or not clip.video.is_file():
        st.info(
            f"The video of {clip_id} is not on this machine: `dvc pull data/clips`.",
            icon=":material/movie_off:",
        )
        return
    videos = project.method_videos(clip, backend)
    missing = [display_name(method) for method in methods_of(backend)[1:] if method not in videos]
    if missing:
        st.info(
            f"There is no video of {clip_id} by {' and '.join(missing)}: run `dvc repro enhance`.",
            icon=":material/movie_off:",
        )
    if not videos:
        return
    paths = {explorer.TRUTH: clip.video, **videos}
    sound = clip.wav if clip.has_audio and clip.wav.is_file() else None
    comparison = side_by_side(
        tuple((m, str(p), p.stat().st_mtime_ns) for m, p in paths.items()), clip.fps, sound
    )
    settings = {name: project.evaluation_settings(name) for name in project.evaluated_backends()}
    still = [name for name, used in settings.items() if used.get("feed") == "source_image"]
    source = source_frame_index(clip_id, clip.frames, settings[backend].get("seed", 0))
    image = frame_of(str(clip.video), clip.video.stat().st_mtime_ns, source)
    curves = frame_curves(clip_id, backend)
    explorer.explore(explorer.explorer_data(clip, backend, comparison, image, source, curves, still))


@st.cache_resource(max_entries=REMEMBERED_COMPARISONS, show_spinner="Putting the videos side by side")
def side_by_side(videos: tuple[tuple[str, str, int], ...], fps: float, sound: Path | None) -> Comparison:
    """Put videos, each (method, path, time of the last change), side by side; the result is cached."""
    return compare({method: Path(path) for method, path, _ in videos}, fps, sound)


@st.cache_resource(max_entries=REMEMBERED_COMPARISONS, show_spinner=False)
def frame_of(path: str, changed_ns: int, index: int) -> np.ndarray:
    """A frame of a video, (H, W, 3) uint8; the result is cached."""
    from kpbe.media.recording import Recording

    return Recording(path)[index]


def frame_curves(clip_id: str, backend: str) -> dict[str, dict[str, list[float]]]:
    """SSIM and PSNR of each frame, of all backends' methods: metric -> method -> values by frame."""
    curves: dict[str, dict[str, list[float]]] = {metric: {} for metric in explorer.CURVES}
    others = [name for name in project.evaluated_backends() if name != backend]
    for name in (backend, *others):
        frames = project.frame_scores(name, clip_id)
        if frames is None:
            continue
        for method, of_method in frames.sort_values("frame").groupby("method"):
            scored = of_method["frame"].tolist()
            for metric in curves:
                values = dict(zip(scored, of_method[metric].tolist(), strict=True))
                by_frame = [values.get(frame, np.nan) for frame in range(max(scored) + 1)]
                curves[metric].setdefault(str(method), by_frame)  # the source frame has no score
    order = [STATIC_SOURCE, *(method for name in (backend, *others) for method in methods_of(name)[1:])]
    order += controls_of(backend)
    return {
        metric: {method: of_method[method] for method in order if method in of_method}
        for metric, of_method in curves.items()
    }


def score_table(scores: Sequence[ClipScore], backend: str) -> None:
    """Show the clip's scores of each method; the best of each metric, controls apart, is bold."""
    of_method = {score.method: score for score in scores}
    methods = [m for m in (*methods_of(backend), *controls_of(backend)) if m in of_method]
    metrics = [metric for metric in METRICS if any(metric in score.values for score in scores)]
    judged = [of_method[method].values for method in methods if not is_control(method)]
    best = {metric: best_of(metric, [v[metric] for v in judged if metric in v]) for metric in metrics}
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


def best_of(metric: str, values: Sequence[float]) -> float | None:
    """The best value of a metric; None if there are no values."""
    if metric in ONE_IS_BEST:
        return min(values, key=lambda value: abs(value - 1), default=None)
    return (min if metric in LOWER_IS_BETTER else max)(values, default=None)


def gains(scores: Sequence[ClipScore], backend: str, metric: str, clip_id: str) -> None:
    """Show the gain of every clip as bars to choose from."""
    st.vega_lite_chart(
        charts.gain_bars(scores, backend, metric, clip_id),
        key=CHART,
        on_select=_choose_clicked,
        selection_mode=charts.PICK,
    )


def _choose_clicked() -> None:
    picked: list[dict[str, Any]] = st.session_state[CHART]["selection"].get(charts.PICK, [])
    if picked:
        st.session_state[CLIP] = picked[0]["clip"]


def rejected() -> None:
    """List the rejected clips, which this page does not show."""
    rejections = project.rejections()
    if rejections:
        with st.expander(
            f"{counted(len(rejections), 'clip')} rejected on the way here", icon=":material/block:"
        ):
            rejection_table(rejections)


page()
