"""Helpers for the networks of several backends."""

from __future__ import annotations

MIN_CHANNELS = 8


def scaled_channels(official: int, width_multiplier: float) -> int:
    """Channels of a narrow network: the official number times the multiplier, at least 8."""
    return max(MIN_CHANNELS, round(official * width_multiplier))
