"""Lip openings as labels: read from pictures, kept, standardised, and refused where they are another clip's."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch

from kpbe.backends.lip_opening import known_openings, label_openings
from kpbe.data.clips import Clip
from kpbe.errors import KPBEError
from kpbe.media.video import write_video
from kpbe.metrics.face_landmarks import FaceLandmarker

FRAMES = 9


class Brightness:
    """Reads a frame's brightness as opening; sees no face in dark frames."""

    def read(self, frame: np.ndarray) -> SimpleNamespace | None:
        level = float(frame.mean())
        return SimpleNamespace(opening=level) if level > 30 else None


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    levels = np.array([10, 60, 60, 90, 120, 90, 60, 10, 60], np.uint8)
    frames = np.broadcast_to(levels[:, None, None, None], (FRAMES, 32, 32, 3))
    write_video(tmp_path / "a.mp4", np.ascontiguousarray(frames), 25.0, codec="h264-lossless")
    return Clip(
        "a", "train", "a", "a.mp4", FRAMES, 25.0, 32, 32, 0.36, False, "", 0, FRAMES, "", "", tmp_path
    )


def test_labels_are_read_at_every_third_frame_and_unknown_beyond_the_last_face(clip: Clip):
    label_openings([clip], cast(FaceLandmarker, Brightness()))
    labels = np.load(clip.opening)
    assert np.isfinite(labels).nonzero()[0].tolist() == [1, 2, 3, 4], "frame 7 shows no face"
    assert labels[1:5] == pytest.approx([60, 80, 100, 120], abs=2)
    known = known_openings(clip, FRAMES)[1:5]
    assert known.mean().abs() < 1e-5 and (known.diff() > 0).all()


def test_labels_that_are_there_are_kept(clip: Clip):
    np.save(clip.opening, np.arange(FRAMES, dtype=np.float32))
    label_openings([clip], cast(FaceLandmarker, Brightness()))
    assert np.load(clip.opening).tolist() == list(range(FRAMES))


def test_a_mouth_that_never_moves_and_absent_labels_are_unknown(clip: Clip):
    assert known_openings(clip, FRAMES).isnan().all()
    np.save(clip.opening, np.full(FRAMES, 0.2, np.float32))
    assert torch.isnan(known_openings(clip, FRAMES)).all()


def test_labels_of_another_clip_are_refused_in_one_sentence(clip: Clip):
    np.save(clip.opening, np.zeros(7, np.float32))
    with pytest.raises(
        KPBEError, match=r"a\.opening\.npy has the shape \(7,\), the clip has 9 frames"
    ) as refused:
        known_openings(clip, FRAMES)
    assert "\n" not in str(refused.value)
