"""The raters' own site: `make survey`, or `streamlit run reports/survey.py` from the repository root.

Raters reach their page at `/?rater=<token>`, the administrator theirs at `/admin`; there is nothing else, no
results and no name of a method. It is the one to be put on the internet; the lab's site (`reports/app.py`) is
not.
"""

from __future__ import annotations

import sys
from pathlib import Path

import streamlit as st

REPORTS = Path(__file__).resolve().parent
if str(REPORTS.parent) not in sys.path:  # `streamlit run` puts only this file's folder there
    sys.path.insert(0, str(REPORTS.parent))


def main() -> None:
    """Draw the asked-for page; what it cannot read is said in one sentence to the administrator, to nobody
    else.
    """
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
