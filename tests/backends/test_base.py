"""The registry."""

from __future__ import annotations

import numpy as np
import pytest

from kpbe.backends.base import SynthesisRequest, backend_names, get_backend
from kpbe.errors import KPBEError


def test_backends_are_found_by_name():
    assert "wav2lip" in backend_names()
    assert get_backend("wav2lip").name == "wav2lip"
    assert get_backend("wav2lip").trainable


def test_an_unknown_backend_is_answered_with_the_known_ones():
    with pytest.raises(KPBEError, match=r"'wave2lip'.*wav2lip"):
        get_backend("wave2lip")


@pytest.mark.parametrize(
    ("samples", "fps", "frames"), [(16000, 25, 25), (3199, 25, 5), (41000, 25, 64), (16000, 29.97, 30)]
)
def test_output_covers_the_audio(samples, fps, frames):
    assert SynthesisRequest("clip", [], np.zeros(samples, np.float32), fps).frames == frames
