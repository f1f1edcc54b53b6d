"""Contact sheets show the frames they were given."""

from __future__ import annotations

import numpy as np
import pytest

from kpbe.media.sheets import contact_sheet, label_image


def flat(value: int, height: int = 32, width: int = 24) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_every_frame_is_on_the_sheet_enlarged() -> None:
    sheet = contact_sheet([("ground truth", [flat(10), flat(20)]), ("output", [flat(30)])], cell=64)
    for value in (10, 20, 30):
        assert np.count_nonzero((sheet == value).all(-1)) >= 64 * 48
    assert sheet.dtype == np.uint8 and sheet.shape[2] == 3


def test_large_frames_keep_their_pixels() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (140, 150, 3), dtype=np.uint8)
    sheet = contact_sheet([("a", [frame])], headings=["a heading that is much too long for its column"])
    height, width = sheet.shape[:2]
    assert any(
        (sheet[y : y + 140, x : x + 150] == frame).all()
        for y in range(height - 139)
        for x in range(width - 149)
        if (sheet[y, x] == frame[0, 0]).all()
    )


def test_labels_are_drawn_beside_the_frames() -> None:
    with_label = contact_sheet([("ground truth", [flat(255)])])
    assert (with_label < 100).any() and not (contact_sheet([("", [flat(255)])]) < 100).any()


def test_a_label_does_not_change_the_frame_below_it() -> None:
    frame = np.random.default_rng(1).integers(0, 256, (30, 60, 3), dtype=np.uint8)
    labelled = label_image(frame, "Wav2Lip+KPBE on a long name")
    assert (labelled[-30:] == frame).all() and (labelled[:-30] < 100).any()
    assert labelled.shape[1] == 60 and labelled.shape[0] % 2 == 0


def test_frames_that_are_no_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        contact_sheet([("a", [np.zeros((8, 8, 3))])])
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([("a", [])])
