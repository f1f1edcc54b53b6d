"""The survey's administration, behind a password: progress, links, scores so far, export.

A demo is plainly marked.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import pandas as pd
import streamlit as st

from kpbe.core.files import fingerprint
from kpbe.params import Params
from kpbe.paths import DEMO_DATABASE, STUDY
from kpbe.survey.scores.ratings import Rating
from kpbe.survey.scores.screening import rules_in_words
from kpbe.survey.scores.table2 import DEMO_NOTICE, Table2, build_table2
from kpbe.survey.store.answers import SurveyStore, open_store
from kpbe.survey.store.export import csv_text
from kpbe.survey.store.rows import RaterProgress, rater_name
from kpbe.survey.study.design import Study
from reports import admin_gate, project
from reports.layout import Card, Cell, cards, counted, duration, heading, not_yet, section, table
from reports.views.table2 import opinions

TITLE = "Survey administration"
REAL, DEMO = "Study", "Demo"
BASE_URL = "http://localhost:8502"
REFRESH_SECONDS = 10
PREVIEW_RESAMPLES = 2000
NEW_LINKS = "survey_admin_new_links"


@dataclass(frozen=True)
class Shown:
    """The study that the page is about."""

    store: SurveyStore
    study: Study

    @property
    def demo(self) -> bool:
        """Whether the answers are invented."""
        return self.store.demo

    def progress(self) -> list[RaterProgress]:
        """The study's raters and their progress at this moment."""
        return self.store.progress(self.study.name)


def page() -> None:
    """The whole page."""
    if not admin_gate.may_enter(TITLE):
        return
    if not project.place(STUDY).is_file():
        not_yet(TITLE, "There are no videos to rate yet.", "dvc repro mos_stimuli")
    shown = chosen()
    live(shown)
    if not shown.demo:
        links(shown)
    scores_so_far(shown)
    comments(shown)
    download(shown)


def chosen() -> Shown:
    """Draw the head of the page and let the administrator choose the study or, if there is one, the demo."""
    heading(TITLE, "Who is where, personal links, scores so far, export.")
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        which = REAL
        if project.place(DEMO_DATABASE).is_file():
            picked = st.segmented_control("Answers", (REAL, DEMO), default=REAL, label_visibility="collapsed")
            which = picked or REAL
        admin_gate.leave_button()
    store = open_store(project.root(), demo=which == DEMO)
    assert store.design is not None
    if store.demo:
        st.warning(DEMO_NOTICE, icon=":material/warning:")
    return Shown(store, store.design)


# -- who is where ------------------------------------------------------------------------------------------


@st.fragment(run_every=REFRESH_SECONDS)
def live(shown: Shown) -> None:
    """Show counts and the raters' progress; the fragment redraws itself."""
    raters = shown.progress()
    section(
        f"Study {shown.study.name}",
        f"As of {datetime.now(UTC):%H:%M:%S} UTC, every {REFRESH_SECONDS} s anew.",
    )
    counts(shown, raters)
    if raters:
        st.dataframe(
            progress_table(shown, raters),
            hide_index=True,
            row_height=38,
            placeholder="–",
            column_config={
                "Rated": st.column_config.ProgressColumn(format="%d %%", min_value=0, max_value=100),
                "Last seen": st.column_config.DatetimeColumn(format="D MMM, HH:mm"),
                "Seconds": st.column_config.NumberColumn(
                    format="%.1f", help="median time from the end of a clip to its answers"
                ),
                "Plays": st.column_config.NumberColumn(format="%.2f", help="of each rated clip, on average"),
            },
        )


def counts(shown: Shown, raters: list[RaterProgress]) -> None:
    """Show how many raters and answers there are."""
    valid = [one for one in raters if not one.rater.revoked]
    states = [one.state for one in valid]
    rated = sum(one.items_rated for one in valid)
    planned = sum(len(shown.study.order_of(one.rater.number)) for one in valid)
    begun = states.count("rating") + states.count("preparing")
    revoked = len(raters) - len(valid)
    seen = [one.last_seen_at for one in valid if one.last_seen_at]
    last = f"last seen {ago(max(seen))}" if seen else "nobody came yet"
    cards(
        (
            Card("Invited", str(len(valid)), (f"{revoked} more revoked" if revoked else "no link revoked",)),
            Card("On their way", str(begun), (last,)),
            Card(
                "Finished", str(states.count("finished")), (f"of {len(shown.study.orders)} planned orders",)
            ),
            Card(
                "Answers",
                f"{rated * len(shown.study.questions):,}",
                (f"{rated / planned:.0%} of the invited" if planned else "none asked for",),
            ),
        )
    )


def ago(moment: datetime) -> str:
    """How long ago a moment was, or its date if that is more than two days ago."""
    passed = datetime.now(UTC) - moment
    return f"{moment:%d %b %Y}" if passed.days >= 2 else f"{duration(passed.total_seconds())} ago"


def progress_table(shown: Shown, raters: list[RaterProgress]) -> pd.DataFrame:
    """A row for each rater."""
    return pd.DataFrame(
        [
            {
                "Rater": rater_name(one.rater.number),
                "State": one.state,
                "Rated": round(100 * one.items_rated / len(shown.study.order_of(one.rater.number))),
                "Clips": f"{one.items_rated} of {len(shown.study.order_of(one.rater.number))}",
                "Plays": one.plays / one.items_rated if one.items_rated else None,
                "Seconds": one.median_response_seconds,
                "Language": one.rater.language,
                "Last seen": one.last_seen_at,
                "Note": one.revoked_reason,
            }
            for one in raters
        ]
    )


# -- links -------------------------------------------------------------------------------------------------


def links(shown: Shown) -> None:
    """Make and revoke links."""
    section("Links", "A link is shown once, when it is made: the database keeps only its hash.")
    inviting, revoking = st.columns(2, gap="large")
    with inviting:
        invite(shown)
    with revoking:
        revoke(shown)


def invite(shown: Shown) -> None:
    """Let the administrator make new links."""
    with st.form("invite", border=False):
        count = st.number_input("How many raters", 1, 500, 10)
        base = st.text_input("Address of the survey", BASE_URL, help="where raters reach `make survey`")
        submitted = st.form_submit_button("Make links", type="primary", icon=":material/add_link:")
    if submitted:
        st.session_state[NEW_LINKS] = (base, shown.store.invite(shown.study.name, int(count)))
        st.rerun()  # the counts above are from before
    if NEW_LINKS not in st.session_state:
        return
    base, invitations = st.session_state[NEW_LINKS]
    lines = [f"{rater_name(new.rater_number)},{new.link(base)}" for new in invitations]
    st.code("\n".join(lines), language=None, wrap_lines=True, height=220 if len(lines) > 4 else "content")
    with st.container(horizontal=True):
        st.download_button(
            "links.csv",
            "\n".join(("rater,link", *lines, "")),
            "links.csv",
            "text/csv",
            icon=":material/download:",
            on_click="ignore",
        )
        st.button("Hide them", on_click=lambda: st.session_state.pop(NEW_LINKS, None), type="tertiary")


def revoke(shown: Shown) -> None:
    """Let the administrator close a link."""
    numbers = [one.rater.number for one in shown.progress() if not one.rater.revoked]
    if not numbers:
        st.html('<p class="kp-faint">There is no link to revoke.</p>')
        return
    with st.form("revoke", border=False, clear_on_submit=True):
        number = st.selectbox("Rater", numbers, index=None, format_func=rater_name, placeholder="whose link")
        reason = st.text_input("Reason", placeholder="kept beside the rater")
        forget = st.checkbox("Also delete this rater's answers (a withdrawn consent; this cannot be undone)")
        sure = st.form_submit_button("Revoke", icon=":material/link_off:")
    if not sure:
        return
    if number is None:
        st.error("Choose a rater first.", icon=":material/error:")
        return
    shown.store.revoke(shown.study.name, number, reason, forget)
    st.toast(f"{rater_name(number)} is revoked{' and forgotten' if forget else ''}.")
    st.rerun()


# -- scores and export -------------------------------------------------------------------------------------


def scores_so_far(shown: Shown) -> None:
    """Show MOS with intervals of the answers so far, and whom screening would leave out now."""
    section(
        "Scores so far", "Screened as survey.screening says; Table II itself is made by the stage mos_scores."
    )
    params = project.params()
    rows = shown.store.export_rows(shown.study)
    if params is None or not rows:
        st.html('<p class="kp-faint">No ratings yet.</p>')
        return
    key = fingerprint(params, shown.study.design_sha256, rows)
    preview = _preview(key, params, shown.study, [Rating(**row) for row in rows])
    scores = preview.screened or preview.everybody
    if scores is None:
        st.html('<p class="kp-faint">No ratings yet.</p>')
        return
    if preview.screened is None:
        st.warning("Screening leaves nobody: these are everybody's scores.", icon=":material/warning:")
    opinions(preview, scores)
    st.html(
        f'<p class="kp-faint">{counted(scores.raters, "rater")}, {counted(scores.clips, "clip")}; 95 % '
        "intervals, crossed bootstrap. Fix the number of raters beforehand (Planner): to stop when the "
        "numbers look good makes them look better than they are.</p>"
    )
    if preview.exclusions:
        label = counted(len({one.rater for one in preview.exclusions}), "rater")
        with st.expander(f"{label} left out by screening as of now"):
            rows = [
                [Cell(one.rater, one.rule, "left"), Cell(one.reason, look="wrap")]
                for one in preview.exclusions
            ]
            table(("Left out", "Reason"), rows)
            st.html(f'<p class="kp-faint">{rules_in_words(params.survey.screening)}</p>')


@st.cache_data(max_entries=4, show_spinner="Scoring the answers")
def _preview(key: str, _params: Params, _study: Study, _ratings: list[Rating]) -> Table2:
    """Table II of these answers, demo answers included; `key` stands for the other arguments in the cache."""
    survey = _params.survey.model_copy(update={"accept_demo": True})
    evaluate = _params.evaluate.model_copy(update={"bootstrap": PREVIEW_RESAMPLES})
    params = _params.model_copy(update={"survey": survey, "evaluate": evaluate})
    return build_table2(params, _ratings, _study).table


def comments(shown: Shown) -> None:
    """Show the raters' comments, if there are any."""
    remarks = shown.store.comments(shown.study.name)
    if not remarks:
        return
    section("Comments", "What raters wrote at the end.")
    rows = [
        [Cell(rater_name(one.rater), f"{one.written_at:%d %b %Y}", "left"), Cell(one.text, look="wrap")]
        for one in remarks
    ]
    table(("Rater", "Comment"), rows)


def download(shown: Shown) -> None:
    """Offer the answers as a tidy CSV file."""
    command = "kpbe survey export --demo" if shown.demo else "kpbe survey export"
    section(
        "Export",
        f"One row for each answer, without revoked raters. On the lab's machine: {command}, then dvc repro.",
    )
    name = "demo_ratings.csv" if shown.demo else "ratings.csv"
    st.download_button(
        name,
        lambda: csv_text(shown.store.export_rows(shown.study)),
        name,
        "text/csv",
        icon=":material/download:",
        on_click="ignore",
    )


page()
