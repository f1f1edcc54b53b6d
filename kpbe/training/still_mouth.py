"""Whether a training's mouth follows: the one number that must not be nothing, whatever the losses say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OPENING_R = "validation_opening_r"
"""Pearson's r of the lips' opening with the truth on validation clips, in curves and summaries."""

NOTHING = 0.2
"""An r below it is taken for none: by chance it is 0, and over twelve frames of eight clips it varies by
about 0.1.
"""


def still_mouth(numbers: Mapping[str, Any]) -> str:
    """A sentence where a training measured that its mouth does not follow; empty where it does, or nothing
    was measured.
    """
    r = numbers.get(OPENING_R)
    if r is None or r >= NOTHING:
        return ""
    return (
        f"the mouth does not follow: its opening correlates with the truth's by r = {r:.2f} on validation "
        "clips (chance is 0), whatever the losses say"
    )
