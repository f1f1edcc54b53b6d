"""The rule by which pictures are scaled."""

from __future__ import annotations

import numpy as np

from kpbe.media.images import scaled


def test_frames_shrink_by_averaging_and_grow_smoothly() -> None:
    checks = np.indices((8, 8)).sum(axis=0)[..., None].repeat(3, 2) % 2 * 255
    assert set(np.unique(scaled(checks.astype(np.uint8), 4, 4))) <= {127, 128}
    ramp = np.arange(0, 64, 8, dtype=np.uint8)[None, :, None].repeat(8, 0).repeat(3, 2)
    grown = scaled(ramp, 16, 16)
    assert grown.shape == (16, 16, 3)
    assert np.all(np.diff(grown[0, 2:-2, 0].astype(int)) > 0)
    assert scaled(ramp, 8, 8) is ramp
