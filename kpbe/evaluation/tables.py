"""Table I: means of methods and controls with 95 % intervals, paired differences, findings as sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kpbe.evaluation.results import (
    LOWER_IS_BETTER,
    METRICS,
    ClipScore,
    compare,
    mean_of,
    read_per_clip,
    read_settings,
)
from kpbe.evaluation.statistics import CONFIDENCE, FEW_IDENTITIES, Mean, PairedDifference, holm
from kpbe.methods import (
    SHUFFLED_BACKEND,
    SOURCE_EXPRESSION,
    STATIC_SOURCE,
    control_method,
    controls_of,
    display_name,
    enhanced_method,
    is_enhanced,
    methods_of,
)
from kpbe.paths import EVALUATION

PAPER = "arXiv:2210.03335, Table I (VoxCeleb1, 525 test clips, 256x256)"
PAPER_MEANS: dict[str, dict[str, float]] = {
    "wav2lip": {"ssim": 0.85, "psnr": 28.67},
    "wav2lip+kpbe": {"ssim": 0.90, "psnr": 30.37},
    "pcavs": {"ssim": 0.80, "psnr": 22.19},
    "pcavs+kpbe": {"ssim": 0.82, "psnr": 23.64},
}
HEADINGS = {
    "ssim": "SSIM ↑",
    "psnr": "PSNR dB ↑",
    "lpips": "LPIPS ↓",
    "l1": "L1 ↓",
    "ssim_rgb": "SSIM RGB ↑",
    "mouth_l1": "Mouth L1 ↓",
    "mouth_ssim": "Mouth SSIM ↑",
    "mouth_lpips": "Mouth LPIPS ↓",
    "face_found": "Face found ↑",
    "opening_r": "Opening r, truth ↑",
    "opening_r_backend": "Opening r, backend ↑",
    "lse_c": "LSE-C ↑",
    "lse_d": "LSE-D ↓",
    "pose_error": "Pose error ° ↓",
    "turn": "Turn → 1",
    "across": "Across → 1",
    "down": "Down → 1",
    "csim": "CSIM ↑",
    "sharpness": "Sharpness → 1",
    "jitter": "Jitter → 1",
}
DECIMALS = dict.fromkeys(METRICS, 3) | {
    "psnr": 2,
    "l1": 4,
    "lpips": 4,
    "mouth_l1": 4,
    "mouth_lpips": 4,
    "lse_c": 2,
    "lse_d": 2,
    "pose_error": 2,
}
SEEN_FACES = 0.5
"""Least share of frames with a face for a sentence about the lips."""

IN_WORDS = ("ssim", "psnr", "lpips")


@dataclass(frozen=True)
class MethodRow:
    """A method's means over the identities; `paper` has the paper's values of the same method."""

    method: str
    clips: int
    means: dict[str, Mean]
    paper: dict[str, float]


@dataclass(frozen=True)
class DifferenceRow:
    """Paired differences method - compared_with on the same clips.

    Attributes:
        primary: the metric that judges the backend; "" in all rows except that of the source-expression
            control.
        p_holm: p-values by metric, adjusted for the number of the backend's comparisons; the primary metric
            has none.
    """

    method: str
    compared_with: str
    differences: dict[str, PairedDifference]
    paper: dict[str, float]
    primary: str = ""
    p_holm: dict[str, float] | None = None


@dataclass(frozen=True)
class Table1:
    """All of Table I.

    Attributes:
        findings: a few sentences for each backend.
        about: lines about the data and methods.
        methods: rows of the methods and controls.
        differences: rows of the paired differences.
    """

    findings: tuple[str, ...]
    about: tuple[str, ...]
    methods: tuple[MethodRow, ...]
    differences: tuple[DifferenceRow, ...]

    @property
    def metrics(self) -> list[str]:
        """Metrics that at least one method has."""
        return [metric for metric in METRICS if any(metric in row.means for row in self.methods)]


def build_table1(results_root: Path, backends: Sequence[str], notes: Sequence[str] = ()) -> Table1:
    """Table I as an object; arguments and errors as for `render_table1`."""
    methods: list[MethodRow] = []
    differences: list[DifferenceRow] = []
    findings: list[str] = []
    about: list[str] = []
    for backend in backends:
        folder = results_root / EVALUATION.name / backend
        scores, settings = read_per_clip(folder), read_settings(folder)
        about += [line for line in _about(settings, scores) if line not in about]
        rows = [
            _method_row(scores, method, settings) for method in (*methods_of(backend), *controls_of(backend))
        ]
        methods += [row for row in rows if row not in methods]
        compared = _compared(scores, backend, settings)
        differences += compared
        findings.append(_finding(backend, compared, rows, settings))
    about += [*notes, f"Paper: {PAPER}. Its numbers compare only with the same data and crops."]
    return Table1(tuple(findings), tuple(about), tuple(methods), tuple(differences))


def _method_row(scores: Sequence[ClipScore], method: str, settings: dict[str, Any]) -> MethodRow:
    options = {"resamples": settings["bootstrap"], "seed": settings["seed"]}
    means = {metric: mean_of(scores, method, metric, **options) for metric in METRICS}
    clips = sum(score.method == method for score in scores)
    return MethodRow(
        method, clips, {m: mean for m, mean in means.items() if mean is not None}, PAPER_MEANS.get(method, {})
    )


def _compared(scores: Sequence[ClipScore], backend: str, settings: dict[str, Any]) -> list[DifferenceRow]:
    """The enhanced backend against its source-expression control, which comes first, and against others."""
    others = (
        control_method(backend, SOURCE_EXPRESSION),
        backend,
        STATIC_SOURCE,
        control_method(backend, SHUFFLED_BACKEND),
    )
    rows = [_difference_row(scores, enhanced_method(backend), other, settings) for other in others]
    rows[0] = replace(rows[0], primary=settings["primary_metric"])
    secondary = [
        (row.compared_with, metric, difference.p)
        for row in rows
        for metric, difference in row.differences.items()
        if difference.p is not None and metric != row.primary
    ]
    adjusted = holm([p for *_, p in secondary])
    of_row: dict[str, dict[str, float]] = {}
    for (other, metric, _), p in zip(secondary, adjusted, strict=True):
        of_row.setdefault(other, {})[metric] = p
    return [replace(row, p_holm=of_row.get(row.compared_with, {})) for row in rows]


def _difference_row(
    scores: Sequence[ClipScore], method: str, other: str, settings: dict[str, Any]
) -> DifferenceRow:
    differences: dict[str, PairedDifference] = {}
    for metric in METRICS:
        difference = compare(
            scores, other, method, metric, resamples=settings["bootstrap"], seed=settings["seed"]
        )
        if difference is not None:
            differences[metric] = difference
    ours, theirs = PAPER_MEANS.get(method, {}), PAPER_MEANS.get(other, {})
    paper = {metric: round(ours[metric] - theirs[metric], 2) for metric in ours.keys() & theirs.keys()}
    return DifferenceRow(method, other, differences, paper)


# -- in sentences ------------------------------------------------------------------------------------------


def direction(difference: PairedDifference, metric: str) -> int:
    """1: the whole interval is on the better side; -1: on the worse side; 0: neither, or no interval."""
    if difference.low is None or difference.high is None:
        return 0
    sign = int(difference.low > 0) - int(difference.high < 0)
    return -sign if metric in LOWER_IS_BETTER else sign


def _finding(
    backend: str, compared: Sequence[DifferenceRow], methods: Sequence[MethodRow], settings: dict[str, Any]
) -> str:
    """Sentences on a backend: its worth to KPBE, KPBE's effect on it, and who had the true head pose."""
    inputs = _given(display_name(backend), settings)
    from_control, from_backend, *_ = compared
    parts = (
        _worth(from_control, methods),
        _carried(methods),
        _pictures(backend, from_backend, methods),
        inputs,
    )
    return " ".join(filter(None, parts))


def _given(name: str, settings: dict[str, Any]) -> str:
    """A sentence on who was given the true head pose."""
    if settings["kind"] == "perfect":
        return (
            f"{name} is given the true mouth on one still picture; KPBE is given the true head pose besides."
        )
    if settings["feed"] == "video":
        return f"{name} repaints the real frames, so both have the true head pose."
    if settings["given_head_pose"]:
        return f"{name} and KPBE are both given the true head pose."
    if settings["given_head_pose"] is None:
        return f"KPBE is given the true head pose; whether {name} was is not known."
    return f"KPBE is given the true head pose, {name} is not: it sees one still picture."


def _worth(row: DifferenceRow, methods: Sequence[MethodRow]) -> str:
    """A sentence on the enhanced backend against its source-expression control."""
    name, metric = display_name(row.method), row.primary
    heading = plain_heading(metric)
    difference = row.differences.get(metric)
    control = next(of.means.get(metric) for of in methods if of.method == row.compared_with)
    if difference is None:
        return (
            f"{name} cannot be judged against its own source-expression control (KPBE with no backend at "
            f"all): {heading} was not measured."
        )
    if difference.low is None:
        return f"{name} cannot be judged: {difference.identities} identity tells nothing of others."
    sign = direction(difference, metric)
    verdict = {1: "gains from", 0: "shows no gain from", -1: "is worse for"}[sign] + " its backend"
    people = _count(difference.identities, "identity", "identities")
    if sign and (difference.p or 0.0) >= 1 - CONFIDENCE:
        verdict = (
            f"{'may gain from' if sign > 0 else 'may be worse for'} its backend, but p of {people} is too "
            f"large to tell"
        )
    value = value_in_words(difference, metric, difference.clips, sign="+")
    share = f" ({difference.mean / control.mean:+.1%})" if control and control.mean else ""
    return (
        f"{name} {verdict}: against its own source-expression control (KPBE with no backend at all) its "
        f"{heading} changes by {value}{share}, p {p_in_words(difference.p)}, {people}."
    )


def _carried(methods: Sequence[MethodRow]) -> str:
    """A sentence on how well the enhanced mouth follows the backend's, or why that is unknown."""
    row = next(row for row in methods if is_enhanced(row.method))
    means, name = row.means, display_name(row.method)
    if "face_found" not in means:
        return ""
    share = means["face_found"].mean
    if share < SEEN_FACES:
        return (
            f"Whether {name}'s lips follow the backend's cannot be told: a face is found in {share:.0%} of "
            f"its frames."
        )
    if "opening_r_backend" not in means:
        return "The backend's lips hardly move, so that there is nothing to follow."
    correlation = means["opening_r_backend"]
    few = (
        ""
        if correlation.clips == row.clips
        else f" in the {correlation.clips} of {row.clips} clips that tell it"
    )
    return f"{name}'s lips follow the backend's at r = {correlation.mean:.2f}{few}."


def _pictures(backend: str, row: DifferenceRow, methods: Sequence[MethodRow]) -> str:
    """A sentence on the enhanced pictures against the backend's, worded by the intervals."""
    means = {method.method: method.means for method in methods}
    changes: dict[str, list[str]] = {}
    for metric in IN_WORDS:
        if metric in row.differences:
            verb = {1: "improves", 0: "does not clearly change", -1: "worsens"}[
                direction(row.differences[metric], metric)
            ]
            before, after = (
                f"{means[method][metric].mean:.{DECIMALS[metric]}f}" for method in (backend, row.method)
            )
            changes.setdefault(verb, []).append(f"{plain_heading(metric)} from {before} to {after}")
    if not changes:
        return ""
    phrases = "; it ".join(f"{verb} {', '.join(of)}" for verb, of in changes.items())
    return f"Beside {display_name(backend)}'s own video it {phrases}."


def plain_heading(metric: str) -> str:
    """A metric's name without its unit and the arrow of the better direction."""
    return HEADINGS[metric].removesuffix(" → 1").rstrip(" ↑↓").removesuffix(" dB").removesuffix(" °")


def _about(settings: dict[str, Any], scores: Sequence[ClipScore]) -> list[str]:
    backend = settings["backend"]
    clips, identities, rejected = settings["clips"], settings["identities"], settings["rejected_clips"]
    lines = [
        f"Data: {settings['data_source']}, {settings['image_size']}, {_count(clips, 'test clip')} of "
        f"{_count(identities, 'identity', 'identities')}, {rejected} rejected; seed {settings['seed']}. "
        f"{settings['scored_frames']} frames scored{_every(settings)}: each clip's source frame is left out "
        f"for every method.",
        f"{display_name(backend)} was fed with {_feed(settings['feed'])}; KPBE's frontend is "
        f"{settings['frontend']}.",
        _unit(settings, identities),
        f"Primary: {plain_heading(settings['primary_metric'])} against the source-expression control. The "
        "p-values of a backend's other comparisons are Holm's, over all of them.",
    ]
    for name, network in settings["measured_by"].items():
        every = (
            f", every {settings['face_every']} frames" if name in ("faces", "head_pose", "identity") else ""
        )
        lines.append(f"{_MEASUREMENTS[name]}: {network}{every if settings['face_every'] > 1 else ''}.")
    reasons: dict[str, list[str]] = {}
    for metric, reason in settings["absent"].items():
        reasons.setdefault(reason, []).append(plain_heading(metric))
    lines += [f"Not measured: {', '.join(metrics)} ({reason})." for reason, metrics in reasons.items()]
    for method in methods_of(backend):
        identical = sum(score.identical_frames for score in scores if score.method == method)
        if identical:
            frames = sum(score.frames for score in scores if score.method == method)
            lines.append(
                f"PSNR of {display_name(method)} leaves out {identical} of {frames} frames identical to the "
                f"truth."
            )
    return lines


def _every(settings: dict[str, Any]) -> str:
    every = settings.get("score_every", 1)
    return f", one of {every} of every method" if every > 1 else ""


def _unit(settings: dict[str, Any], identities: int) -> str:
    line = "The unit is the identity: clips of one person are averaged first."
    if identities < 2:
        return f"{line} One identity has neither intervals nor p-values."
    if identities < FEW_IDENTITIES:
        return (
            f"{line} 95 % t-intervals over identities; p by the exact sign-flip test, which cannot fall "
            f"below {2 / 2**identities:.3g} with {identities} identities."
        )
    return f"{line} Intervals and p by a bootstrap-t over identities ({settings['bootstrap']} resamples)."


_MEASUREMENTS = {
    "lpips": "LPIPS",
    "faces": "Mouth opening, share of the way, jitter",
    "head_pose": "Pose error",
    "identity": "CSIM",
    "lip_sync": "LSE",
}


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _feed(feed: str) -> str:
    return {"source_image": "one source image (the paper's text)", "video": "the real video"}.get(feed, feed)


def value_in_words(
    value: Mean | PairedDifference | None, metric: str, clips: int, sign: str = "", brief: bool = False
) -> str:
    """Mean with its interval, as [low, high] or, if brief, as ± half its width.

    n is added where it differs from the row's.
    """
    if value is None:
        return "-"
    spec = f"{sign}.{DECIMALS[metric]}f"
    text = f"{value.mean:{spec}}"
    if value.low is not None and value.high is not None:
        half = (value.high - value.low) / 2
        text += f" ± {half:{spec}}" if brief else f" [{value.low:{spec}}, {value.high:{spec}}]"
    return text if value.clips == clips else f"{text} (n {value.clips})"


def p_in_words(p: float | None) -> str:
    """A p-value as text; "-" for none."""
    if p is None:
        return "-"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
