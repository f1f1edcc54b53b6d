"""The page of the site's benchmark, for given times."""

from __future__ import annotations

from benchmarks.site import report


def test_first_visits_over_the_target_are_named():
    page = report({"Overview": [1.84, 0.5, 0.7, 0.6], "Clips": [3.2, 2.0, 2.0]}, "- processor: x")
    assert "| Overview | 1.8 | 0.6 (0.5 to 0.7) |" in page
    assert "Over 3 s at the first visit: Clips." in page
    assert "All pages open in under 3 s." in report({"Overview": [1.0, 0.5]}, "")
