"""Check that a trained mouth follows: the opening correlation must not be near 0, whatever the losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OPENING_R = "validation_opening_r"
"""Pearson's r of the lips' opening with the truth on validation clips, in curves and summaries."""

NOTHING = 0.2
"""A smaller r counts as none: by chance it is 0, and over twelve frames of eight clips it varies by about
0.1.
"""


def still_mouth(numbers: Mapping[str, Any]) -> str:
    """A warning if the measured mouth does not follow; empty if it does or was not measured."""
    r = numbers.get(OPENING_R)
    if r is None or r >= NOTHING:
        return ""
    return (
        f"the mouth does not follow: its opening correlates with the truth's by r = {r:.2f} on validation "
        "clips (chance is 0), whatever the losses say"
    )
