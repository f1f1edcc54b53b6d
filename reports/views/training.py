"""The curves of every training, the pictures of its validation pairs, and its summary."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from kpbe.evaluation.results import LOWER_IS_BETTER
from kpbe.evaluation.tables import HEADINGS
from kpbe.methods import display_name, is_enhanced
from kpbe.training.still_mouth import still_mouth
from reports import charts, project
from reports.ablation import Variant, ablation
from reports.layout import (
    Card,
    Cell,
    cards,
    duration,
    heading,
    in_decimals,
    not_yet,
    notes,
    number,
    section,
    table,
)
from reports.project import Training

COLUMNS = 3
FIRST = "Stage 1"
SHARE = "share_"
ABLATED = ("ssim", "psnr", "lpips")


def page() -> None:
    """The whole page."""
    trainings = {training.name: training for training in project.trainings()}
    if not trainings:
        not_yet("Training", "Nothing has been trained yet.")
    heading("Training", "How the networks learned: losses, validation metrics and pictures over the steps.")
    names = list(trainings)
    first = FIRST if FIRST in names else names[0]
    chosen = st.segmented_control("Training", names, default=first, label_visibility="collapsed") or first
    training = trainings[chosen]
    summary(training)
    sheets(training)
    validation = [name for name in training.curves.columns if is_validation(name)]
    shares = [name for name in training.curves.columns if name.startswith(SHARE)]
    terms = [name for name in training.curves.columns if name not in (*validation, *shares, "step")]
    if any(map(training.is_curve, validation)):
        section("Validation", "On clips that are held out of the training set.")
        curves(training, validation)
    losses(training, terms)
    if shares:
        section(
            "Shares of the loss",
            "What each term makes up of the weighted loss; those that compare pictures are to make up half.",
        )
        curves(training, shares)
    ablation_section()


def is_validation(column: str) -> bool:
    """Whether a column of curves.csv was measured on held-out clips."""
    return column.startswith("validation_") or "accuracy" in column


def losses(training: Training, terms: list[str]) -> None:
    """Show the loss and the chosen ones of its terms."""
    section("Losses", "The loss and its terms, each before it is multiplied by its weight.")
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        chosen = st.pills(
            "Terms",
            terms,
            selection_mode="multi",
            default=terms,
            format_func=charts.in_words,
            key=f"terms of {training.name}",
            label_visibility="collapsed",
        )
        logarithmic = st.toggle("Logarithmic scale", value=False)
    curves(training, [term for term in terms if term in chosen], logarithmic)


def ablation_section() -> None:
    """Show what each part of the training is worth, if the ablation was run."""
    result = ablation()
    if result is None or not result.variants:
        return
    section(
        "Ablation",
        "The same training with one thing changed; below each number its distance from the first run, paired "
        "by clip [95 %].",
    )
    measured = {
        (method, metric)
        for run in result.variants
        for method in run.metrics
        for metric in run.metrics[method]
    }
    methods = sorted({method for method, _ in measured if is_enhanced(method)})
    if len(methods) > 1:
        methods = [
            st.segmented_control(
                "Method", methods, format_func=display_name, default=methods[0], key="ablated"
            )
            or methods[0]
        ]
    if methods:
        ablation_table(result.variants, methods[0], [m for m in ABLATED if (methods[0], m) in measured])
    notes(result.about)


def ablation_table(variants: Sequence[Variant], method: str, metrics: Sequence[str]) -> None:
    """Show the runs' means of a method; the best of each metric is bold."""
    values = [variant.metrics.get(method, {}) for variant in variants]
    best = {m: (min if m in LOWER_IS_BETTER else max)(v[m] for v in values if m in v) for m in metrics}
    rows = []
    for variant, of_run in zip(variants, values, strict=True):
        cells = [Cell(variant.name, "; ".join(filter(None, (variant.about, variant.note))), "wrap")]
        for metric in metrics:
            if metric not in of_run:
                cells.append(Cell("–"))
                continue
            value = of_run[metric]
            interval = variant.differences.get(method, {}).get(metric)
            away = ""
            if interval is not None:
                away = distance(*interval, metric)
            elif (
                of_run is not values[0] and metric in values[0]
            ):  # the ablation was written before it had intervals
                away = number(value - values[0][metric], metric, "+")
            cells.append(Cell(number(value, metric), away, "strong" if value == best[metric] else ""))
        cells.append(Cell(", ".join(variant.overrides) or "–", look="wrap"))
        rows.append(cells)
    table((display_name(method), *(HEADINGS[metric] for metric in metrics), "Changed"), rows)


def distance(mean: float, low: float, high: float, metric: str) -> str:
    """A paired difference with its interval."""
    difference, *ends = (number(value, metric, "+") for value in (mean, low, high))
    return f"{difference} [{', '.join(ends)}]"


def summary(training: Training) -> None:
    """Show the contents of summary.json, as cards and a line."""
    facts = training.summary
    if facts is None:
        st.info(
            f"This training is not finished; its curves end at step {training.last_step}.",
            icon=":material/hourglass_top:",
        )
        return
    if warning := still_mouth(facts):
        st.error(f"{warning[0].upper()}{warning[1:]}.", icon=":material/error:")
    budget = ("ended by its time budget",) if facts.get("stopped_by_time_budget") else ()
    shown = [Card("Steps", f"{facts['steps']:,}", budget)] if "steps" in facts else []
    if "seconds" in facts:
        shown.append(Card("Training time", duration(facts["seconds"])))
    if "clips" in facts:
        shown.append(Card("Training clips", f"{facts['clips']:,}"))
    shown += [
        Card(
            f"{charts.in_words(name)} at the end",
            in_decimals(value, name.removeprefix("validation_")),
            ("validation",),
        )
        for name, value in facts.items()
        if name.startswith("validation_")
    ]
    cards(shown)
    other = {
        name: f"{value:.3g}" if isinstance(value, float) else value
        for name, value in facts.items()
        if name not in ("steps", "seconds", "clips", "stage", "stopped_by_time_budget")
        and not name.startswith("validation_")
    }
    st.caption(" · ".join(f"{name.replace('_', ' ')}: {value}" for name, value in other.items()))


def sheets(training: Training) -> None:
    """Show the validation pairs at a step that the visitor chooses."""
    pictures = training.sheets
    if not pictures:
        return
    section("Validation pairs", "The same pairs after more and more steps.")
    steps = list(pictures)
    step = steps[-1]
    if len(steps) > 1:
        step = st.select_slider("Step", steps, value=step, key=f"sheet of {training.name}")
    st.image(pictures[step], width="stretch", alt=f"Validation pairs of {training.name} at step {step}.")


def curves(training: Training, names: list[str], logarithmic: bool = False) -> None:
    """Show a small chart for each curve, a few in a row."""
    drawn = [name for name in names if training.is_curve(name)]
    for start in range(0, len(drawn), COLUMNS):
        row = drawn[start : start + COLUMNS]
        for column, name in zip(st.columns(COLUMNS, gap="medium"), row, strict=False):
            column.vega_lite_chart(charts.training_curve(training.curves, name, logarithmic))


page()
