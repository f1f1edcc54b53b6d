"""README and CONTRIBUTING as pages of the documentation site, and links to files outside docs/ as plain
text.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
FROM_ROOT = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md"}
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#|mailto:)([^)]+)\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """mkdocs calls this with the text of every page."""
    file = FROM_ROOT.get(page.file.src_uri)
    if file is not None:
        markdown = (REPOSITORY / file).read_text(encoding="utf-8")
    return LINK.sub(lambda link: _link(link, file is not None), markdown)


def _link(link: re.Match[str], from_root: bool) -> str:
    image, text, target = link.groups()
    if from_root and target.startswith("docs/"):
        return f"{image}[{text}]({target.removeprefix('docs/')})"
    return text if from_root or target.startswith("../") else link.group(0)
