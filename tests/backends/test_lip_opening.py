"""Lip openings as labels: read from a clip's expression labels, standardised, refused for another clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kpbe.backends.lip_opening import known_openings, openings_digest
from kpbe.data.clips import Clip
from kpbe.errors import KPBEError
from tests.backends.openings import save_openings
from tests.clips import describe_clip

FRAMES = 9


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    return describe_clip(tmp_path, "a", frames=FRAMES, side=32, has_audio=False)


def test_openings_are_standardised_over_the_clip_and_unknown_where_no_face_was_found(clip: Clip):
    openings = np.array([np.nan, 0.1, 0.2, 0.3, 0.4, 0.3, 0.2, 0.1, np.nan])
    save_openings(clip, clip.folder, openings)
    known = known_openings(clip, clip.folder, FRAMES)
    assert known.isfinite().nonzero().flatten().tolist() == list(range(1, 8))
    seen = known[1:8].numpy()
    assert abs(seen.mean()) < 1e-5 and seen.std() == pytest.approx(1, rel=1e-4)
    assert np.corrcoef(seen, openings[1:8])[0, 1] == pytest.approx(1, rel=1e-5)


def test_a_mouth_that_never_moves_and_absent_labels_are_unknown(clip: Clip):
    assert known_openings(clip, clip.folder, FRAMES).isnan().all()
    save_openings(clip, clip.folder, np.full(FRAMES, 0.25))
    assert known_openings(clip, clip.folder, FRAMES).isnan().all()


def test_labels_of_another_clip_are_refused_in_one_sentence(clip: Clip):
    save_openings(clip, clip.folder, np.zeros(7))
    with pytest.raises(KPBEError, match=r"does not hold labels of the 9 frames") as refused:
        known_openings(clip, clip.folder, FRAMES)
    assert "\n" not in str(refused.value)


def test_other_openings_have_another_digest(clip: Clip):
    save_openings(clip, clip.folder, np.linspace(0, 1, FRAMES))
    one = known_openings(clip, clip.folder, FRAMES)
    assert openings_digest([one, one]) == openings_digest([one, one.clone()])
    assert openings_digest([one, one]) != openings_digest([one, one.flip(0)])
