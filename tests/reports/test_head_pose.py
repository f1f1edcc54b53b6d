"""The head pose part of the data page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from streamlit.testing.v1 import AppTest

from kpbe import paths
from kpbe.core.files import write_json
from kpbe.data.head_pose.label import distribution
from kpbe.paths import SUMMARY_FILE

Open = Callable[..., AppTest]


def text_of(site: AppTest) -> str:
    return "\n".join(element.value for element in site.html)


def titles_of(site: AppTest) -> list[str]:
    return [header.value for header in site.header]


def test_distribution_of_labels_is_shown_with_who_made_them(project: Path, open_page: Open) -> None:
    before = open_page("data")
    assert "Head pose of the training frames" not in titles_of(before)
    angles = np.linspace(-1, 1, 4001)[:, None] * [60, 10, 5] + [3, -2, 0]
    about = "head pose labels: WHENet's angles of 4 of 4 training clips"
    write_json(project / paths.HEAD_POSE / SUMMARY_FILE, {"about": about, **distribution([angles])})
    site = open_page("data")
    assert not site.exception and not site.error
    assert "Head pose of the training frames" in titles_of(site)
    text = text_of(site)
    assert "Head pose labels: WHENet&#x27;s angles of 4 of 4 training clips." in text
    assert "3.0° ± 34.6°" in text and "−2.0° ± 5.8°" in text
    assert "90 % within −51° to 57°" in text and "25.0% beyond ±45°" in text
    charts = [element.proto.spec for element in site.get("vega_lite_chart")]
    assert len(charts) == len(before.get("vega_lite_chart")) + 3


def test_without_labels_the_page_says_what_is_missing(project: Path, open_page: Open) -> None:
    about = "no head pose labels: the clips' poses are not known"
    write_json(project / paths.HEAD_POSE / SUMMARY_FILE, {"about": about, **distribution([])})
    assert "No head pose labels: the clips&#x27; poses are not known." in text_of(open_page("data"))


def test_a_damaged_summary_is_said_in_a_sentence(project: Path, open_page: Open) -> None:
    path = project / paths.HEAD_POSE / SUMMARY_FILE
    path.parent.mkdir(parents=True)
    path.write_text("{")
    (error,) = open_page("data").error
    assert "summary.json is damaged: run the stage label_pose again" in error.value
