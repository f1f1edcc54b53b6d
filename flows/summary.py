"""Summary of a stage's output folder as Markdown for the Prefect UI."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from kpbe.core.files import read_csv
from kpbe.core.markdown import markdown_table
from kpbe.paths import METRICS_FILE, REJECTED_FILE, SUMMARY_FILE

SHOWN_REJECTIONS = 50


def summarise(folder: Path) -> str:
    """Tables, metrics, training summary, rejected clips and file counts of a stage's output folder."""
    parts = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.md"))]
    for name in (METRICS_FILE, SUMMARY_FILE):
        if (folder / name).exists():
            values = json.loads((folder / name).read_text(encoding="utf-8"))
            parts.append(markdown_table([("key", "value"), *_flat(values)]))
    if (folder / REJECTED_FILE).exists():
        rejected = read_csv(folder / REJECTED_FILE)
        parts.append(f"{len(rejected)} clips were rejected.")
        if rejected:
            rows = [(row["clip_id"], row["reason"]) for row in rejected[:SHOWN_REJECTIONS]]
            parts.append(markdown_table([("clip", "reason"), *rows]))
    files = [path for path in folder.rglob("*") if path.is_file()]
    counts = Counter(path.suffix or path.name for path in files)
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(counts.items()))
    parts.append(f"`{folder}`: {megabytes:.1f} MB in {len(files)} files ({kinds})")
    return "\n\n".join(parts)


def _flat(values: Any, prefix: str = "") -> list[tuple[str, str]]:
    if isinstance(values, dict):
        return [
            row for key, value in values.items() for row in _flat(value, f"{prefix}.{key}" if prefix else key)
        ]
    return [(prefix, f"{values:.5g}" if isinstance(values, float) else str(values))]
