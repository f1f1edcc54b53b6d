"""A rendered face put back into its frame: only there, in its colours."""

from __future__ import annotations

import numpy as np

from kpbe.inference.paste_back import face_mask, paste_back


def test_only_the_face_changes_and_in_the_frames_colours() -> None:
    rng = np.random.default_rng(0)
    frame = rng.integers(60, 120, (120, 160, 3)).astype(np.uint8)
    before = frame.copy()
    square, face = np.array([40, 20, 120, 100]), np.array([60.0, 35, 100, 85])
    rendered = rng.integers(120, 240, (200, 200, 3)).astype(np.uint8)
    out = paste_back(frame, rendered, square, face)
    np.testing.assert_array_equal(frame, before)
    outside = np.ones((120, 160), bool)
    outside[20:100, 40:120] = face_mask((80, 80), face - (40, 20, 40, 20)) == 0
    np.testing.assert_array_equal(out[outside], frame[outside])
    inside = np.s_[50:70, 72:88]
    assert (out[inside] != frame[inside]).mean() > 0.9
    assert np.abs(out[inside].mean(axis=(0, 1)) - frame[inside].mean(axis=(0, 1))).max() < 6


def test_the_mask_is_whole_at_the_face_and_fades() -> None:
    mask = face_mask((100, 100), np.array([30.0, 20, 70, 80]))
    assert mask[50, 50] == 1 and mask[0, 0] == 0 and mask.dtype == np.float32
    assert (np.diff(mask[50, 50:]) <= 0).all() and ((mask > 0) & (mask < 1)).any()
