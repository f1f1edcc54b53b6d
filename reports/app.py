"""The site: `make report`, or `streamlit run reports/app.py` from the repository root.

The pages are not in a folder called `pages`: Streamlit would run a page that is opened first without this
file.
"""

from __future__ import annotations

import sys
from pathlib import Path

import streamlit as st

REPORTS = Path(__file__).resolve().parent
if str(REPORTS.parent) not in sys.path:  # `streamlit run` puts only this file's folder there
    sys.path.insert(0, str(REPORTS.parent))


def main() -> None:
    """Draw the navigation and the chosen page; show a KPBEError of the page as one sentence."""
    from kpbe.errors import KPBEError
    from reports.layout import STYLE

    st.set_page_config("KPBE", page_icon=REPORTS / "icon.svg", layout="wide")
    st.logo(REPORTS / "logo.svg", size="large")
    st.html(STYLE)
    page = st.navigation(
        [
            st.Page("views/results.py", title="Overview", icon=":material/table_chart:", default=True),
            st.Page("views/clips.py", title="Clips", icon=":material/movie:"),
            st.Page("views/enhance.py", title="Enhance", icon=":material/auto_fix_high:"),
            st.Page("views/free_view.py", title="Free view", icon=":material/360:"),
            st.Page("views/training.py", title="Training", icon=":material/show_chart:"),
            st.Page("views/data.py", title="Data", icon=":material/groups:"),
            st.Page("views/benchmarks.py", title="Benchmarks", icon=":material/speed:"),
            st.Page("views/survey_admin.py", title="Survey", icon=":material/how_to_vote:"),
            st.Page("views/planner.py", title="Planner", icon=":material/calculate:"),
        ],
        position="top",
    )
    try:
        page.run()
    except KPBEError as error:
        st.error(str(error), icon=":material/error:")


main()
