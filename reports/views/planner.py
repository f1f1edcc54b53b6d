"""How many raters and clips a survey needs to see a difference of a given size."""

from __future__ import annotations

from typing import Any

import streamlit as st

from kpbe.errors import KPBEError
from kpbe.survey.planner import ASSUMED, clips_needed, half_width, power, raters_needed, smallest_difference
from kpbe.survey.scores.spread import Spread
from kpbe.survey.study.design import LEAST_RATERS, WEB_RATERS
from reports import project
from reports.layout import (
    BACKEND_COLOR,
    ENHANCED_COLOR,
    STATIC_COLOR,
    Card,
    Cell,
    cards,
    counted,
    heading,
    notes,
    section,
    table,
)
from reports.views.table2 import survey_table

SECONDS_PER_ITEM = 25  # watching a clip of some seconds and answering three questions

RATER_COUNTS = (10, 15, 24, 35, 60)
CLIP_COUNTS = (8, 13, 20, 26, 40)
CURVE_RATERS = range(4, 101, 2)
ASSUMPTION, MEASURED = "What is commonly seen", "This project's survey"
WANTED_POWER = 0.8


def page() -> None:
    """The whole page."""
    heading(
        "Planner",
        "How many raters and clips does the survey need?",
        faint=(
            "Other raters and other clips would give another difference; the interval has to allow for both. "
            "With the paper's 10 raters and 13 clips it is commonly about ±0.30 wide; the paper's gains are "
            "0.03 to 0.26."
        ),
    )
    spread = chosen_spread()
    raters, clips, difference, methods, comparisons = plan()
    if raters < LEAST_RATERS:
        st.warning(
            f"{counted(raters, 'rater')}: ITU-T P.910 asks for at least {LEAST_RATERS}, P.913 for "
            f"{WEB_RATERS} in a survey on the web.",
            icon=":material/warning:",
        )
    answers(spread, raters, clips, difference, methods, comparisons)
    section(
        "Power",
        f"Chance that a true difference of {difference:.2f} is found, by raters; each line is a number of "
        f"clips.",
    )
    st.vega_lite_chart(power_curves(spread, clips, difference, comparisons, raters))
    section("Half widths", "95 % interval of a paired difference between two methods, ± points.")
    half_widths(spread, raters, clips)
    section("How it is computed")
    notes(
        [
            "A difference of two scores by one rater on one clip = mean + rater + clip + rest; over R "
            "raters and C clips its standard error is √(rater² / R + clip² / C + rest² / (R C)).",
            f"Here: rater {spread.rater:.2f}, clip {spread.clip:.2f}, rest {spread.rest:.2f} points.",
            "No number of raters brings the half width below 1.96 clip / √C: where a method helps some "
            "clips and not others, only more clips help.",
            "The interval that a survey prints has to estimate these numbers and is on average 5 to 10 % "
            "wider with ten raters.",
            f"Raters: at least {LEAST_RATERS} after screening (ITU-T P.910), and {WEB_RATERS} where each "
            "sits at their own screen (P.913); invite some more, since screening leaves some out.",
            f"Time: {SECONDS_PER_ITEM} s for each video with its three questions, one video for each clip "
            f"and method.",
        ]
    )


def chosen_spread() -> Spread:
    """Assumed numbers, or those of the survey if real raters took part; the visitor may change each one."""
    shown = survey_table()
    measured = shown.spread if shown is not None and not shown.demo else None
    start = ASSUMED
    if measured is not None:
        choice = st.segmented_control("Spread of the differences", [ASSUMPTION, MEASURED], default=MEASURED)
        start = measured if choice == MEASURED else ASSUMED
    with st.expander("Spread of the differences, in points", icon=":material/tune:"):
        columns = st.columns(3)
        chosen = [
            column.number_input(label, 0.0, 4.0, round(value, 2), 0.05, key=f"{name}_{value:.4f}", help=text)
            for column, (name, label, value, text) in zip(
                columns,
                (
                    ("rater", "Between raters", start.rater, "how differently raters judge the same change"),
                    ("clip", "Between clips", start.clip, "how much the change differs from clip to clip"),
                    ("rest", "Rest", start.rest, "of a single pair of answers around that"),
                ),
                strict=True,
            )
        ]
    return Spread(*chosen)


def plan() -> tuple[int, int, float, int, int]:
    """Let the visitor enter a plan: raters, clips, difference to detect, methods, comparisons."""
    backends, clips = _from_params()
    first, second, third, fourth = st.columns(4)
    raters = first.number_input("Raters", 2, 1000, WEB_RATERS, key="raters")
    clips = second.number_input("Clips", 2, 500, clips, key="clips")
    difference = third.number_input("Difference to be found", 0.05, 4.0, 0.3, 0.05, key="difference")
    count = fourth.number_input(
        "Backends", 1, 20, backends, key="backends", help="each with and without KPBE"
    )
    return int(raters), int(clips), float(difference), 2 * int(count) + 1, 3 * int(count)


def answers(
    spread: Spread, raters: int, clips: int, difference: float, methods: int, comparisons: int
) -> None:
    """Show what the plan achieves, and what a power of 80 % needs."""
    chance = power(spread, raters, clips, difference, comparisons)
    smallest = smallest_difference(spread, raters, clips, WANTED_POWER, comparisons)
    more_raters = raters_needed(spread, clips, difference, WANTED_POWER, comparisons)
    more_clips = clips_needed(spread, raters, difference, WANTED_POWER, comparisons)
    minutes = clips * methods * SECONDS_PER_ITEM / 60
    color = ENHANCED_COLOR if chance >= WANTED_POWER else "inherit"
    cards(
        [
            Card(
                "Half width", f"± {half_width(spread, raters, clips):.2f}", ("95 % interval of a difference",)
            ),
            Card(
                f"Power for {difference:.2f}",
                f"{chance:.0%}",
                (f"corrected for {comparisons} comparisons", f"80 % from a difference of {smallest:.2f}"),
                color,
            ),
            _needed("Raters needed", more_raters, counted(clips, "clip")),
            _needed("Clips needed", more_clips, counted(raters, "rater")),
            Card(
                "Time", f"{minutes:.0f} min", ("for each rater", f"{clips * methods} videos and the checks")
            ),
        ]
    )


def half_widths(spread: Spread, raters: int, clips: int) -> None:
    """Show half widths by raters (rows) and clips (columns), with those of the plan in bold."""
    columns, rows = sorted({*CLIP_COUNTS, clips}), sorted({*RATER_COUNTS, raters})
    lines = []
    for row in rows:
        cells = [Cell(counted(row, "rater"), look="left strong" if row == raters else "left")]
        for column in columns:
            planned = "strong" if (row, column) == (raters, clips) else ""
            cells.append(Cell(f"± {half_width(spread, row, column):.2f}", look=planned))
        lines.append(cells)
    table(("", *(counted(column, "clip") for column in columns)), lines)


def power_curves(
    spread: Spread, clips: int, difference: float, comparisons: int, raters: int
) -> dict[str, Any]:
    """A chart of power by raters, with a line for each number of clips.

    The plan's line is thick, and a dashed line marks the plan's raters.
    """
    counts = sorted({*CLIP_COUNTS, clips})
    points = [
        {"raters": many, "power": power(spread, many, few, difference, comparisons), "clips": few}
        for few in counts
        for many in CURVE_RATERS
    ]
    x = {"field": "raters", "type": "quantitative", "title": "raters", "axis": {"grid": False}}
    x |= {"scale": {"domain": [CURVE_RATERS[0], CURVE_RATERS[-1]], "nice": False}}
    y = {"field": "power", "type": "quantitative", "title": None, "scale": {"domain": [0, 1]}}
    y |= {"axis": {"format": "%", "domain": False, "ticks": False, "tickCount": 5}}
    planned = {"test": f"datum.clips == {clips}"}
    color = {"condition": planned | {"value": ENHANCED_COLOR}, "value": STATIC_COLOR}
    width = {"condition": planned | {"value": 3}, "value": 1.2}
    tips = [
        {"field": "clips", "type": "quantitative"},
        {"field": "raters", "type": "quantitative"},
        {"field": "power", "type": "quantitative", "format": ".0%"},
    ]
    line = {
        "x": x,
        "y": y,
        "color": color,
        "strokeWidth": width,
        "detail": {"field": "clips", "type": "nominal"},
    }
    ends = [
        point | {"label": counted(point["clips"], "clip")}
        for point in points
        if point["raters"] == CURVE_RATERS[-1]
    ]
    dashed = {"type": "rule", "color": STATIC_COLOR, "strokeDash": [4, 4]}
    layers = [
        {
            "data": {"values": points},
            "mark": {"type": "line", "clip": True},
            "encoding": line | {"tooltip": tips},
        },
        {
            "data": {"values": ends},
            "mark": {"type": "text", "align": "left", "dx": 6},
            "encoding": {
                "x": x,
                "y": y,
                "text": {"field": "label"},
                "color": color,
            },
        },
        {"data": {"values": [{"power": WANTED_POWER}]}, "mark": dashed, "encoding": {"y": y}},
    ]
    if CURVE_RATERS[0] <= raters <= CURVE_RATERS[-1]:
        layers.append({"data": {"values": [{"raters": raters}]}, "mark": dashed, "encoding": {"x": x}})
    return {"layer": layers, "height": 300, "padding": {"right": 60}}


def _from_params() -> tuple[int, int]:
    """Numbers of backends and clips in params.yaml, or the paper's if it cannot be read."""
    try:
        params = project.params()
    except KPBEError:
        params = None
    return (len(params.rated_backends), params.survey.clips) if params else (2, 13)


def _needed(label: str, count: int | None, other: str) -> Card:
    if count is None:
        return Card(label, "∞", (f"{other} are too few", "for a power of 80 %"), BACKEND_COLOR)
    return Card(label, str(count), (f"with {other}", "for a power of 80 %"))


page()
