"""Every training's curves, the pictures of its validation pairs, and its summary."""

from __future__ import annotations

import streamlit as st

from reports import charts, project
from reports.layout import Card, cards, duration, heading, in_decimals, not_yet, section
from reports.project import Training

COLUMNS = 3


def page() -> None:
    """The whole page."""
    trainings = {training.name: training for training in project.trainings()}
    if not trainings:
        not_yet("Training", "Nothing has been trained yet.")
    heading("Training", "How the networks learned: losses, validation metrics and pictures over the steps.")
    names = list(trainings)
    chosen = (
        st.segmented_control("Training", names, default=names[0], label_visibility="collapsed") or names[0]
    )
    training = trainings[chosen]
    summary(training)
    sheets(training)
    validation = [name for name in training.curves.columns if name.startswith("validation_")]
    losses = [name for name in training.curves.columns if name not in (*validation, "step")]
    section("Validation", "On clips that are held out of the training set.")
    curves(training, validation)
    section("Losses")
    logarithmic = st.toggle("Logarithmic scale", value=False)
    curves(training, losses, logarithmic)


def summary(training: Training) -> None:
    """What summary.json says, as cards and a line."""
    facts = training.summary
    if facts is None:
        st.info(
            f"This training is not finished; its curves end at step {training.last_step}.",
            icon=":material/hourglass_top:",
        )
        return
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
        name: value
        for name, value in facts.items()
        if name not in ("steps", "seconds", "clips", "stage", "stopped_by_time_budget")
        and not name.startswith("validation_")
    }
    st.caption(" · ".join(f"{name.replace('_', ' ')}: {value}" for name, value in other.items()))


def sheets(training: Training) -> None:
    """The validation pairs at a step that is chosen by a slider."""
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
    """A small chart for each curve, a few in a row."""
    drawn = [name for name in names if training.curves[name].dropna().tolist()]
    for start in range(0, len(drawn), COLUMNS):
        row = drawn[start : start + COLUMNS]
        for column, name in zip(st.columns(COLUMNS, gap="medium"), row, strict=False):
            column.altair_chart(charts.training_curve(training.curves, name, logarithmic))


page()
