"""`python -m reports` starts the site with its slow imports done."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
STAND_IN = """
import sys
import streamlit.web.cli
streamlit.web.cli.main = lambda: print(sys.argv[1], sys.argv[3:], sorted({"pandas", "cv2", "torch"} & set(sys.modules)))
from reports.__main__ import main
main()
"""


def test_it_loads_what_pages_draw_with_and_hands_the_rest_to_streamlit():
    done = subprocess.run(
        [sys.executable, "-c", STAND_IN, "--server.port", "8600"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "run ['--server.port', '8600'] ['cv2', 'pandas', 'torch']", done.stderr
