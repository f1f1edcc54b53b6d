"""Runs of true values."""

from __future__ import annotations

import numpy as np


def spans_of(mask: np.ndarray) -> list[tuple[int, int]]:
    """Start and end (exclusive) of every run of true values in (N,) bool."""
    edges = np.flatnonzero(np.diff(np.asarray(mask, np.int8), prepend=0, append=0)).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))
