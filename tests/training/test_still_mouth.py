"""A training reports a mouth that does not follow."""

from __future__ import annotations

import pytest

from kpbe.training.still_mouth import still_mouth


@pytest.mark.parametrize("r", [-0.1, 0.0, 0.19])
def test_a_mouth_that_does_not_follow_is_told_with_its_number(r):
    assert f"r = {r:.2f}" in still_mouth({"validation_opening_r": r, "validation_psnr": 40.0})


def test_one_that_follows_and_one_that_nobody_measured_are_not():
    assert still_mouth({"validation_opening_r": 0.3}) == still_mouth({"validation_psnr": 20.0}) == ""
