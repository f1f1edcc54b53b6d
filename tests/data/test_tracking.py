from __future__ import annotations

import numpy as np

from kpbe.data.tracking import fill_missing, track_face

PICTURE = np.zeros((8, 8, 3), np.uint8)
LEFT, RIGHT, SMALL = (10, 10, 60, 60), (100, 10, 160, 70), (200, 200, 210, 210)


class Script:
    """A detector that returns prepared boxes, one list for each frame."""

    def __init__(self, *frames):
        self._frames = iter(frames)

    def detect(self, frame):
        return np.array([[*box, 0.9] for box in next(self._frames)], float).reshape(-1, 5)


def follow(*frames, reference=None):
    return track_face([PICTURE] * len(frames), Script(*frames), reference)


def test_the_largest_face_is_followed_even_when_another_grows():
    grown = (0, 0, 90, 90)
    track = follow([LEFT, RIGHT], [RIGHT, grown], [grown, RIGHT])
    np.testing.assert_array_equal(track.boxes, [RIGHT] * 3)


def test_a_reference_region_says_who_speaks():
    track = follow([LEFT, RIGHT], [RIGHT, LEFT], reference=(0, 0, 80, 80))
    np.testing.assert_array_equal(track.boxes, [LEFT] * 2)


def test_after_a_gap_the_same_face_goes_on():
    track = follow([RIGHT], [], [LEFT, RIGHT])
    np.testing.assert_array_equal(track.boxes, [RIGHT, (0, 0, 0, 0), RIGHT])


def test_after_a_cut_the_largest_face_is_taken():
    elsewhere = (300, 300, 400, 400)
    track = follow([RIGHT], [SMALL, elsewhere])
    np.testing.assert_array_equal(track.boxes, [RIGHT, elsewhere])


def test_only_faces_of_similar_size_are_rivals():
    track = follow([RIGHT, LEFT], [RIGHT, SMALL], [RIGHT], [])
    assert track.rivals.tolist() == [True, False, False, False]


def test_missing_boxes_lie_between_their_neighbours():
    boxes = np.array([[0, 0, 0, 0], [10, 10, 20, 20], [0, 0, 0, 0], [20, 10, 30, 20], [0, 0, 0, 0.0]])
    filled = fill_missing(boxes)
    np.testing.assert_allclose(filled[[0, 2, 4]], [[10, 10, 20, 20], [15, 10, 25, 20], [20, 10, 30, 20]])
