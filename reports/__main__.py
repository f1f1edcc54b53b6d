"""Start the site with its slow imports done in advance: `python -m reports`, or `make report`.

The first visitor then does not wait for them.

Arguments are those of `streamlit run`, e.g. `--server.port 8600`.
"""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from pathlib import Path

from streamlit.web import cli

SLOW_TO_LOAD = (
    "pandas",
    "pyarrow",
    "cv2",
    "kpbe.media.recording",
    "kpbe.inference.free_view",
    "reports.charts",
)


def main() -> None:
    """Entry point."""
    for module in SLOW_TO_LOAD:
        import_module(module)
    gc.freeze()  # these modules stay loaded: the collector need not search them at every visit
    sys.argv = ["streamlit", "run", str(Path(__file__).with_name("app.py")), *sys.argv[1:]]
    cli.main()


if __name__ == "__main__":
    main()
