"""Samples of large arrays: how fixtures store them, and how an array is compared with a sample.

A key holds the whole array, or, with a suffix, `__shape`, `__stride`, `__sample` (every stride-th element of
the flattened array) and `__summary` (mean, deviation, largest magnitude, count of the whole array).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def stored(key: str, values: np.ndarray, most: int) -> dict[str, np.ndarray]:
    """The entries that a fixture keeps of an array: all of it, or a sample if it has over `most` elements."""
    if values.size <= most:
        return {key: values.astype(np.float32)}
    stride = -(-values.size // most) | 1  # odd, so that it walks through all columns
    whole = values.astype(np.float64)
    return {
        f"{key}__shape": np.array(values.shape),
        f"{key}__stride": np.array(stride),
        f"{key}__sample": values.reshape(-1)[::stride].astype(np.float32),
        f"{key}__summary": np.array([whole.mean(), whole.std(), np.abs(whole).max(), whole.size]),
    }


def compare(fixture: Mapping[str, Any], key: str, got: Any, rtol: float = 1e-4) -> float:
    """Assert that `got` (array or tensor) equals the stored `key`, sampled or whole.

    Returns the largest difference divided by the reference's largest magnitude; at most `rtol`.
    """
    values = np.asarray(got.detach().cpu() if hasattr(got, "detach") else got)
    if key in fixture:
        want = fixture[key]
        assert values.shape == want.shape, f"{key}: shape {values.shape}, expected {want.shape}"
        picked, scale = values, float(np.abs(want).max())
    else:
        shape = tuple(int(n) for n in fixture[f"{key}__shape"])
        assert values.shape == shape, f"{key}: shape {values.shape}, expected {shape}"
        want = fixture[f"{key}__sample"]
        picked = values.reshape(-1)[:: int(fixture[f"{key}__stride"])]
        mean, std, scale, _ = (float(x) for x in fixture[f"{key}__summary"])
        whole = values.astype(np.float64)
        off = max(abs(whole.mean() - mean), abs(whole.std() - std))
        assert off <= rtol * scale, (
            f"{key}: mean or deviation of the whole tensor is off by {off / scale:.2e}"
        )
    error = float(np.abs(picked.astype(np.float64) - want).max()) / max(scale, 1e-12)
    assert error <= rtol, f"{key}: relative error {error:.2e} > {rtol:.0e}"
    return error
