"""The source frame of a test clip."""

from __future__ import annotations

from collections import Counter

from kpbe.data.source_frame import source_frame_index


def test_source_frame_never_changes_for_a_clip_and_seed():
    assert source_frame_index("id1#video#000000#000065", 65, 2210) == 63
    assert source_frame_index("id1#video#000000#000065", 1, 2210) == 0


def test_source_frames_differ_between_seeds_and_spread_over_the_clip():
    drawn = Counter(source_frame_index(f"clip{i}", 10, 1) for i in range(2000))
    assert set(drawn) == set(range(10))
    assert min(drawn.values()) > 130
    assert any(
        source_frame_index(f"clip{i}", 50, 1) != source_frame_index(f"clip{i}", 50, 2) for i in range(5)
    )
