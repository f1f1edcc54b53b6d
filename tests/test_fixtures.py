"""The shared fixtures themselves: a wrong comparison would let every parity test pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest


def test_numpy_gives_the_random_stream_of_the_fixtures(golden: Any) -> None:
    assert all(same for _, _, same in golden.fill.self_test().values())


def test_comparison_notices_a_small_difference(golden: Any) -> None:
    fixture = golden("wav2lip_audio")
    mel = fixture["mel"].copy()
    assert golden.compare(fixture, "mel", mel, 1e-6) == 0
    mel[3, 5] += 1e-3
    with pytest.raises(AssertionError, match="mel"):
        golden.compare(fixture, "mel", mel, 1e-5)
    with pytest.raises(AssertionError, match="shape"):
        golden.compare(fixture, "mel", mel[:, 1:], 1e-5)
    wave = golden.fill.waveform(f"w2l/wave/{fixture['input_label']}", 2.0)
    golden.compare(fixture, "wave_check", wave, 1e-6)
    with pytest.raises(AssertionError, match="wave_check"):
        golden.compare(fixture, "wave_check", wave * 1.01, 1e-3)


def test_filled_weights_are_checked_against_the_recorded_sums(golden: Any) -> None:
    shapes = golden.shapes("wav2lip_disc")
    weights = golden.load_filled("wav2lip_disc", shapes)
    assert all(weights[name].shape == shape for name, shape in shapes.items() if name in weights)
    assert all(np.all(np.isfinite(w)) for w in weights.values())
    shapes.pop(next(iter(shapes)))
    with pytest.raises(AssertionError, match="tensors"):
        golden.load_filled("wav2lip_disc", shapes)


def test_shared_folders_carry_their_manifests(shared_clips: Path, shared_weights: Path) -> None:
    assert (shared_clips / "MANIFEST.csv").exists() and (shared_weights / "MANIFEST.csv").exists()
