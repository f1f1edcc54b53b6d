"""The clips: how many of each identity, how long, and which were rejected and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import streamlit as st

from kpbe.data.clips import Clip
from reports import charts, project
from reports.layout import (
    Card,
    Cell,
    cards,
    counted,
    duration,
    heading,
    not_yet,
    rejection_table,
    section,
    table,
)
from reports.views.head_pose import head_pose_distribution

SHOWN_CLIPS = 4
LISTED_REJECTIONS = 50
LISTED = ("clip_id", "identity", "split", "seconds", "frames", "width", "height", "source_url")


def page() -> None:
    """The whole page."""
    clips = project.clips()
    if not clips:
        not_yet("Data", "There are no clips yet.", "make repro")
    params_now = project.fitting_params()
    source = f"Source: {params_now.data.source}. " if params_now else ""
    heading(
        "Data", f"{source}{counted(len(clips), 'clip')}; nobody is in both the training and the test set."
    )
    summary(clips)
    section("Seconds of every identity", "One block is one clip.")
    st.vega_lite_chart(charts.identity_bars(clips))
    lengths(clips)
    head_pose_distribution()
    watch(clips)
    rejected()
    with st.expander("All clips", icon=":material/list:"):
        rows = [{name: getattr(clip, name) for name in LISTED} for clip in clips]
        st.dataframe(rows, hide_index=True)


def summary(clips: Sequence[Clip]) -> None:
    """Show clips, identities and time of each split."""
    shown = []
    for split, name in (("train", "Training clips"), ("test", "Test clips")):
        of_split = [clip for clip in clips if clip.split == split]
        identities = len({clip.identity for clip in of_split})
        lines = (counted(identities, "identity"), duration(sum(clip.seconds for clip in of_split)))
        shown.append(Card(name, f"{len(of_split):,}", lines))
    sizes = sorted({f"{clip.width}x{clip.height}" for clip in clips})
    rates = sorted({f"{clip.fps:g}" for clip in clips})
    sound = sum(clip.has_audio for clip in clips)
    lines = (f"{', '.join(rates)} frames a second", f"{sound:,} of {len(clips):,} with sound")
    shown.append(Card("Frame size", sizes[0] if len(sizes) == 1 else f"{len(sizes)} sizes", lines))
    cards(shown)


def lengths(clips: Sequence[Clip]) -> None:
    """Show how long the clips are, and the sizes and rates of their frames."""
    section("Lengths and sizes", "How long the clips are, and the frames that they consist of.")
    chart, sizes = st.columns((3, 2), gap="large")
    chart.vega_lite_chart(charts.lengths(clips))
    kinds = Counter((clip.split, f"{clip.width}x{clip.height}", f"{clip.fps:g}") for clip in clips)
    with sizes:
        table(
            ("Split", "Frame size", "Frames/s", "Clips"),
            [
                [Cell(split, look="left"), Cell(size), Cell(rate), Cell(f"{count:,}")]
                for (split, size, rate), count in sorted(kinds.items())
            ],
        )


def watch(clips: Sequence[Clip]) -> None:
    """Show a few clips of the chosen identity."""
    section("Look at an identity", "The pictures only: a clip's sound lies beside it as a 16 kHz WAV file.")
    identities = sorted({clip.identity for clip in clips})
    identity = st.selectbox("Identity", identities, label_visibility="collapsed", width=280)
    visible = [clip for clip in clips if clip.identity == identity and clip.video.is_file()][:SHOWN_CLIPS]
    if not visible:
        st.info(
            "The videos of this identity are not on this machine: `dvc pull data/clips`.",
            icon=":material/movie_off:",
        )
    for column, clip in zip(st.columns(SHOWN_CLIPS), visible, strict=False):
        column.video(str(clip.video), alt=clip.clip_id)
        column.caption(f"{clip.clip_id}, {clip.seconds:.1f} s")


def rejected() -> None:
    """List the clips that a stage rejected."""
    rejections = project.rejections()
    if not rejections:
        section("Rejected", "No clip was rejected.")
        return
    section(
        "Rejected",
        f"{counted(len(rejections), 'clip')} could not be processed; the stages went on without them.",
    )
    stages = Counter(row["stage"] for row in rejections)
    cards([Card(f"Rejected by {stage}", f"{count:,}") for stage, count in stages.items()])
    rejection_table(rejections[:LISTED_REJECTIONS])
    if len(rejections) > LISTED_REJECTIONS:
        st.dataframe(rejections, hide_index=True)


page()
