"""Table I, what it says in words, and what it was made from."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from flows import folders
from kpbe.errors import KPBEError
from kpbe.evaluation.statistics import PairedDifference
from kpbe.evaluation.tables import HEADINGS, PAPER_MEANS, DifferenceRow, MethodRow, Table1
from kpbe.methods import display_name, enhanced_method
from reports import charts, project, provenance
from reports.layout import (
    BACKEND_COLOR,
    ENHANCED_COLOR,
    LOWER_IS_BETTER,
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
    number,
    p_value,
    section,
    table,
)
from reports.provenance import Revision

IN_WORDS = ("ssim", "psnr", "lpips")
CHANGE_IN_WORDS = {1: "raises", -1: "lowers", 0: "does not clearly change"}
DISTANCE_IN_WORDS = {1: "worsens", -1: "improves", 0: "does not clearly change"}
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
    heading("Overview", *(verdict(shown, backend) for backend in backends))
    run = provenance.recorded()
    badges(run_in_short(shown, run))
    rows = [gains(shown, backend) for backend in backends]
    if sum(map(len, rows)) <= CARDS_IN_A_ROW:
        rows = [[card for row in rows for card in row]]
    for row in rows:
        cards(row)
    section("Table I", "Mean over the test clips, 95 % interval below it, the paper's number in italics.")
    means(shown)
    section("Paired differences", "Enhanced minus the other method on the same clips.")
    differences(shown)
    downloads(project.place(folders.RESULTS), DOWNLOADS)
    table2()
    released()
    section("Every clip", "A thin line is a clip; the large dots are means with 95 % intervals.")
    for backend in backends:
        clip_plots(shown, backend)
    figure()
    section("Where these numbers come from")
    origin(shown, run)


def verdict(shown: Table1, backend: str) -> str:
    """One sentence: what KPBE does to a backend's SSIM, PSNR and LPIPS, with the word that the interval allows."""
    row, before, after = _rows(shown, backend)
    changes: dict[str, list[str]] = {}
    for metric in IN_WORDS:
        if metric in row.differences:
            words = DISTANCE_IN_WORDS if metric in LOWER_IS_BETTER else CHANGE_IN_WORDS
            change = words[_direction(row.differences[metric])]
            first, second = (number(side.means[metric].mean, metric) for side in (before, after))
            unit = " dB" if metric == "psnr" else ""
            changes.setdefault(change, []).append(f"{metric.upper()} from {first} to {second}{unit}")
    said = " and ".join(
        f"{change} {display_name(backend)}'s {' and '.join(of)}" for change, of in changes.items()
    )
    return f"On {counted(after.clips, 'test clip')}, KPBE {said or 'has no finite score to compare'}."


def run_in_short(shown: Table1, run: Revision | None) -> list[tuple[str, str]]:
    """Which run the page is about: data, frontend, revision, what dvc.lock recorded of Table I."""
    found = [("", shown.about[0].partition(";")[0])] if shown.about else []
    if run is not None:
        found.append(("git", f"after {run.commit}" if run.dirty else run.commit))
    table = str(folders.RESULTS / "table1.json")
    recorded = [out.digest for out in provenance.outputs() or [] if out.path == table]
    found.append(("dvc.lock", recorded[0] if recorded else "none"))
    return found


def gains(shown: Table1, backend: str) -> list[Card]:
    """A card for each metric: the paired difference, its interval, the two means, the paper's difference."""
    row, before, after = _rows(shown, backend)
    found = []
    for metric in ON_CARDS:
        difference = row.differences.get(metric)
        if difference is None:
            continue
        better = _direction(difference) * (-1 if metric in LOWER_IS_BETTER else 1)
        first, second = (number(side.means[metric].mean, metric) for side in (before, after))
        lines = [f"{first} → {second}"]
        if bounds := interval(difference, metric, "+"):
            lines.append(f"95 % {bounds}, {p_value(difference.p)}")
        if metric in row.paper:
            lines.append(f"paper {row.paper[metric]:+.2f}")
        found.append(
            Card(
                f"{display_name(backend)}: change in {HEADINGS[metric]}",
                number(difference.mean, metric, "+"),
                tuple(lines),
                {1: ENHANCED_COLOR, 0: STATIC_COLOR, -1: BACKEND_COLOR}[better],
            )
        )
    return found


def means(shown: Table1) -> None:
    """Table I itself."""
    in_paper = {metric for of_method in PAPER_MEANS.values() for metric in of_method}
    head = ["Method", "n"]
    for metric in shown.metrics:
        head += [HEADINGS[metric], "paper"] if metric in in_paper else [HEADINGS[metric]]
    rows = []
    for row in shown.methods:
        strong = "strong" if "+" in row.method else ""
        cells = [
            Cell(display_name(row.method), look=f"left {strong}", dot=method_color(row.method)),
            Cell(str(row.clips)),
        ]
        for metric in shown.metrics:
            mean = row.means.get(metric)
            few = f" (n {mean.n})" if mean and mean.n != row.clips else ""
            cells.append(
                Cell(number(mean.mean, metric) + few, interval(mean, metric), strong) if mean else Cell("–")
            )
            if metric in in_paper:
                paper = f"{row.paper[metric]:.2f}" if metric in row.paper else "–"
                cells.append(Cell(paper, look="paper"))
        rows.append(cells)
    table(head, rows)


def differences(shown: Table1) -> None:
    """The paired differences, a row for each pair and a column for each metric."""
    head = ["Difference", *(HEADINGS[metric] for metric in shown.metrics)]
    rows = []
    for row in shown.differences:
        label = f"{display_name(row.method)} − {display_name(row.compared_with)}"
        rows.append([Cell(label, look="left"), *(_difference(row, metric) for metric in shown.metrics)])
    table(head, rows)


def _difference(row: DifferenceRow, metric: str) -> Cell:
    difference = row.differences.get(metric)
    if difference is None:
        return Cell("–")
    below = [interval(difference, metric, "+"), p_value(difference.p) if difference.p is not None else ""]
    return Cell(number(difference.mean, metric, "+"), " · ".join(part for part in below if part))


def table2() -> None:
    """Table II."""
    from reports.views.table2 import table2_section  # SciPy takes its time: Table I is already on the page

    table2_section()


def released() -> None:
    """Table I of the released weights, which were trained on real faces elsewhere."""
    shown = project.released_table1()
    if shown is None:
        return
    section(
        "Released weights", "Table I of the run that made weights/released; docs/model_card.md tells more."
    )
    means(shown)
    differences(shown)
    with st.expander("How it was made", icon=":material/info:"):
        facts(shown.about)


def clip_plots(shown: Table1, backend: str) -> None:
    """Each clip's scores by method, a chart for each metric."""
    scores = project.clip_scores(backend)
    metrics = [metric for metric in PLOTTED if any(metric in score.values for score in scores)]
    if metrics:
        for column, metric in zip(st.columns(len(metrics), gap="medium"), metrics, strict=True):
            column.vega_lite_chart(charts.joined_clips(shown, scores, backend, metric))


def figure() -> None:
    """Figure 3."""
    path = project.place(folders.RESULTS) / "figures" / "figure3.png"
    if path.is_file():
        section("Figure 3", "Test clips at the same moments: the truth, the backend, the backend enhanced.")
        st.image(
            path, width="stretch", alt="Frames of the ground truth, the backend and the enhanced videos."
        )


def origin(shown: Table1, run: Revision | None) -> None:
    """What the report stage noted, the revision, params that have changed since, and what dvc.lock recorded."""
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
    said, changes = _params_now()
    if recorded is not None and said and not changes:
        said.append("params.yaml: as it was when these results were made")
    facts(lines + said)
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
    """Params that are not what they were, each once with all stages that read it."""
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
    """Lines about params.yaml as it is, and what has changed since; an error is a line."""
    try:
        now = project.params()
        if now is None:
            return [], []
        changes = provenance.changed_params(now)
    except KPBEError as error:
        return [str(error)], []
    size = now.model.image_size
    line = (
        f"Params: data {now.data.source}, frontend {now.model.name} at {size}x{size}, "
        f"backends {', '.join(now.backends)}, device {now.compute.device}"
    )
    return [line], changes


def _rows(shown: Table1, backend: str) -> tuple[DifferenceRow, MethodRow, MethodRow]:
    enhanced = enhanced_method(backend)
    rows = {row.method: row for row in shown.methods}
    pair = next(row for row in shown.differences if (row.method, row.compared_with) == (enhanced, backend))
    return pair, rows[backend], rows[enhanced]


def _direction(difference: PairedDifference) -> int:
    """1 when the whole interval is above zero, -1 when it is below, else 0."""
    if difference.low is None or difference.high is None:
        return 0
    return int(difference.low > 0) - int(difference.high < 0)


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


page()
