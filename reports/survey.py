"""The raters' own site: `make survey`, or `streamlit run reports/survey.py` from the repository root.

Raters reach their page at `/?rater=<token>`, the administrator at `/admin`. The site has no other page and
shows neither results nor names of methods, so it can be put on the internet; the lab's site
(`reports/app.py`) must not be.
"""

from __future__ import annotations

import sys
from pathlib import Path

import streamlit as st

REPORTS = Path(__file__).resolve().parent
if str(REPORTS.parent) not in sys.path:  # `streamlit run` puts only this file's folder there
    sys.path.insert(0, str(REPORTS.parent))


def main() -> None:
    """Draw the requested page; only the administrator sees its KPBEError, as one sentence."""
    from kpbe.errors import KPBEError
    from reports.layout import STYLE

    st.set_page_config("Survey", page_icon=REPORTS / "survey_icon.svg", layout="wide")
    st.html(STYLE)
    page = st.navigation(
        [
            st.Page("views/survey.py", title="Survey", default=True),
            st.Page("views/survey_admin.py", title="Administration", url_path="admin"),
        ],
        position="hidden",
    )
    try:
        page.run()
    except KPBEError as error:
        st.error(str(error), icon=":material/error:")


main()
