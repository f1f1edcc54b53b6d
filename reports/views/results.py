"""The overview: Table I, its findings in words, and what it was made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from kpbe import paths
from kpbe.errors import KPBEError
from kpbe.evaluation.results import METRIC_GROUPS
from kpbe.evaluation.tables import HEADINGS, PAPER_MEANS, DifferenceRow, MethodRow, Table1, direction
from kpbe.methods import (
    SOURCE_EXPRESSION,
    comparison_name,
    control_method,
    display_name,
    enhanced_method,
    is_enhanced,
)
from reports import charts, project, provenance
from reports.layout import (
    BACKEND_COLOR,
    ENHANCED_COLOR,
    STATIC_COLOR,
    Card,
    Cell,
    badges,
    cards,
    counted,
    downloads,
    facts,
    heading,
    interval,
    method_color,
    not_yet,
    notes,
    number,
    p_value,
    section,
    table,
)
from reports.provenance import Revision

ON_CARDS = ("ssim", "psnr", "lpips")
CARDS_IN_A_ROW = 4
PLOTTED = ("ssim", "psnr", "lpips")
DOWNLOADS = {"table1.csv": "text/csv", "table1.md": "text/markdown", "table1.json": "application/json"}


def page() -> None:
    """The whole page."""
    shown = project.table1()
    if shown is None:
        not_yet("Overview", "There are no results yet.")
    backends = project.backends_of(shown)
    heading("Overview", *shown.findings)
    run = provenance.recorded()
    badges(run_in_short(shown, run))
    rows = [gains(shown, backend) for backend in backends]
    if sum(map(len, rows)) <= CARDS_IN_A_ROW:
        rows = [[card for row in rows for card in row]]
    for row in rows:
        cards(row)
    section("Table I", "Mean over identities, 95 % interval below it, the paper's number in italics.")
    by_group(shown, means)
    section(
        "Paired differences",
        "Enhanced minus the other method on the same clips; p-values are Holm's but for the primary one.",
    )
    by_group(shown, differences)
    downloads(project.place(paths.RESULTS), DOWNLOADS)
    table2()
    released()
    section(
        "Every clip", "A thin line is a clip; the large dots are means over identities with 95 % intervals."
    )
    for backend in backends:
        clip_plots(shown, backend)
    figures()
    section("Where these numbers come from")
    origin(shown, run)


def run_in_short(shown: Table1, run: Revision | None) -> list[tuple[str, str]]:
    """Badges about the run: data, frontend, revision, and the digest of Table I in dvc.lock."""
    pairs = [("", shown.about[0].partition(";")[0])] if shown.about else []
    if run is not None:
        pairs.append(("git", f"after {run.commit}" if run.dirty else run.commit))
    table = str(paths.RESULTS / "table1.json")
    recorded = [out.digest for out in provenance.outputs() or [] if out.path == table]
    pairs.append(("dvc.lock", recorded[0] if recorded else "none"))
    return pairs


def gains(shown: Table1, backend: str) -> list[Card]:
    """Cards: KPBE's gain over its control in the primary metric, and its changes to the backend's frames."""
    gain_cards = []
    judged, control, enhanced = _rows(shown, backend, control_method(backend, SOURCE_EXPRESSION))
    if judged.primary in judged.differences:
        title = f"{display_name(backend)}: {HEADINGS[judged.primary]} for having it"
        gain_cards.append(_card(title, judged, judged.primary, control, enhanced))
    row, before, after = _rows(shown, backend, backend)
    for metric in ON_CARDS:
        if metric in row.differences:
            title = f"{display_name(backend)}: change in {HEADINGS[metric]}"
            gain_cards.append(_card(title, row, metric, before, after))
    return gain_cards


def _card(title: str, row: DifferenceRow, metric: str, before: MethodRow, after: MethodRow) -> Card:
    difference = row.differences[metric]
    first, second = (number(side.means[metric].mean, metric) for side in (before, after))
    lines = [f"{first} → {second}"]
    if bounds := interval(difference, metric, "+"):
        lines.append(f"95 % {bounds}, {p_value(difference.p)}")
    if metric in row.paper:
        lines.append(f"paper {row.paper[metric]:+.2f}")
    colors = {1: ENHANCED_COLOR, 0: STATIC_COLOR, -1: BACKEND_COLOR}
    return Card(
        title, number(difference.mean, metric, "+"), tuple(lines), colors[direction(difference, metric)]
    )


def by_group(shown: Table1, show: Callable[[Table1, Sequence[str]], None]) -> None:
    """Show a tab for each group of metrics."""
    groups = {
        group: [metric for metric in members if metric in shown.metrics]
        for group, members in METRIC_GROUPS.items()
    }
    groups = {group: metrics for group, metrics in groups.items() if metrics}
    for tab, metrics in zip(st.tabs(list(groups)), groups.values(), strict=True):
        with tab:
            show(shown, metrics)


def means(shown: Table1, metrics: Sequence[str]) -> None:
    """Show some metrics of Table I."""
    in_paper = {metric for of_method in PAPER_MEANS.values() for metric in of_method}
    head = ["Method", "n"]
    for metric in metrics:
        head += [HEADINGS[metric], "paper"] if metric in in_paper else [HEADINGS[metric]]
    rows = []
    for row in shown.methods:
        strong = "strong" if is_enhanced(row.method) else ""
        cells = [
            Cell(display_name(row.method), look=f"left {strong}", dot=method_color(row.method)),
            Cell(str(row.clips)),
        ]
        for metric in metrics:
            mean = row.means.get(metric)
            few = f" (n {mean.clips})" if mean and mean.clips != row.clips else ""
            cells.append(
                Cell(number(mean.mean, metric) + few, interval(mean, metric), strong) if mean else Cell("–")
            )
            if metric in in_paper:
                paper = f"{row.paper[metric]:.2f}" if metric in row.paper else "–"
                cells.append(Cell(paper, look="paper"))
        rows.append(cells)
    table(head, rows)


def differences(shown: Table1, metrics: Sequence[str]) -> None:
    """Show the paired differences, a row for each pair and a column for each metric."""
    head = ["Difference", *(HEADINGS[metric] for metric in metrics)]
    rows = []
    for row in shown.differences:
        label = comparison_name(row.method, row.compared_with)
        rows.append([Cell(label, look="left"), *(_difference(row, metric) for metric in metrics)])
    table(head, rows)


def _difference(row: DifferenceRow, metric: str) -> Cell:
    difference = row.differences.get(metric)
    if difference is None:
        return Cell("–")
    p = ""
    if metric == row.primary:
        p = f"primary, {p_value(difference.p)}"
    elif metric in (row.p_holm or {}):
        p = p_value((row.p_holm or {})[metric])
    below = [interval(difference, metric, "+"), p]
    return Cell(number(difference.mean, metric, "+"), " · ".join(part for part in below if part))


def table2() -> None:
    """Show Table II."""
    from reports.views.table2 import table2_section  # SciPy loads slowly, so import it after Table I is shown

    table2_section()


def released() -> None:
    """Show Table I of the released weights, which were trained elsewhere on real faces."""
    shown = project.released_table1()
    if shown is None:
        return
    section(
        "Released weights", "Table I of the run that made weights/released; docs/model_card.md tells more."
    )
    notes(shown.findings)
    by_group(shown, means)
    by_group(shown, differences)
    with st.expander("How it was made", icon=":material/info:"):
        facts(shown.about)


def clip_plots(shown: Table1, backend: str) -> None:
    """Show each clip's scores by method, a chart for each metric."""
    scores = project.clip_scores(backend)
    metrics = [metric for metric in PLOTTED if any(metric in score.values for score in scores)]
    if metrics:
        for column, metric in zip(st.columns(len(metrics), gap="medium"), metrics, strict=True):
            column.vega_lite_chart(charts.joined_clips(shown, scores, backend, metric))


FIGURES = {
    "figure3": (
        "Figure 3",
        "Test clips at the same moments: the truth, the backends, the backends enhanced.",
    ),
    "figure4": (
        "Figure 4",
        "A test clip talks while its head is turned: the backend's frame above, then yaw by yaw.",
    ),
}


def figures() -> None:
    """Show figures 3 and 4."""
    for name, (title, about) in FIGURES.items():
        path = project.place(paths.RESULTS) / "figures" / f"{name}.png"
        if path.is_file():
            section(title, about)
            st.image(path, width="stretch", alt=about)


def origin(shown: Table1, run: Revision | None) -> None:
    """Show where the numbers come from.

    These are the report's notes, the revision, params changed since the run, and the record in dvc.lock.
    """
    lines = list(shown.about)
    revision = provenance.revision()
    if revision is None:
        lines.append("Revision: not known (no git commit here)")
    else:
        state = " with uncommitted changes" if revision.dirty else ""
        lines.append(f"Revision checked out now: {revision.commit}{state}")
    if run is not None:
        lines.append(
            f"Run: later than the one committed in {run.commit}"
            if run.dirty
            else f"Run: committed in {run.commit}"
        )
    recorded = provenance.outputs()
    if recorded is None:
        lines.append("dvc.lock: does not exist, these results were not made by `dvc repro`")
    params_lines, changes = _params_now()
    if recorded is not None and params_lines and not changes:
        params_lines.append("params.yaml: as it was when these results were made")
    facts(lines + params_lines)
    if recorded is not None and changes:
        changed(changes)
    if recorded:
        with st.expander(f"What dvc.lock recorded ({len(recorded)} outputs)", icon=":material/lock:"):
            table(
                ("Stage", "Output", "MD5", "Size", "Files"),
                [
                    [
                        Cell(out.stage, look="left"),
                        Cell(out.path, look="left"),
                        Cell(out.digest or "–"),
                        Cell("–" if out.size is None else _size(out.size)),
                        Cell("–" if out.files is None else str(out.files)),
                    ]
                    for out in recorded
                ],
            )


def changed(changes: Sequence[provenance.ParamChange]) -> None:
    """List changed params, each once with all stages that read it."""
    stages: dict[tuple[str, str, str], list[str]] = {}
    for change in changes:
        stages.setdefault((change.key, str(change.then), str(change.now)), []).append(change.stage)
    title = f"{counted(len(stages), 'param')} changed since these results were made"
    with st.expander(title, icon=":material/difference:"):
        table(
            ("Param", "Then", "Now"),
            [
                [Cell(key, ", ".join(of), "left"), Cell(then, look="wrap"), Cell(now, look="wrap")]
                for (key, then, now), of in stages.items()
            ],
        )


def _params_now() -> tuple[list[str], list[provenance.ParamChange]]:
    """Lines about params.yaml as it is now, and the changes since the run; an error becomes a line."""
    try:
        now = project.params()
        if now is None:
            return [], []
        changes = provenance.changed_params(now)
    except KPBEError as error:
        return [str(error)], []
    size, inner = now.data.image_size, now.model.image_size
    line = (
        f"Params: data {now.data.source} at {size}x{size}, frontend {now.model.name} ({inner}x{inner} "
        f"inside), backends {', '.join(now.backends)}, device {now.compute.device}"
    )
    return [line], changes


def _rows(shown: Table1, backend: str, other: str) -> tuple[DifferenceRow, MethodRow, MethodRow]:
    """The enhanced backend's difference from another method, that method's means, and the enhanced means."""
    enhanced = enhanced_method(backend)
    rows = {row.method: row for row in shown.methods}
    pair = next(row for row in shown.differences if (row.method, row.compared_with) == (enhanced, other))
    return pair, rows[other], rows[enhanced]


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


page()
