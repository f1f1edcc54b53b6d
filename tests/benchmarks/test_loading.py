"""Every way of storing clips gives the same frames, and the report is written; times are not checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import loading
from kpbe.media.recording import Recording
from kpbe.params import SampleParams

SAMPLE = SampleParams(seconds=1.2, frame_size=64)
TINY = loading.Settings(
    clips=2, size=64, draws=2, batches=1, batch_sizes=(2,), rounds=1, threads=2, sample=SAMPLE
)


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> tuple[str, list[loading.Clip]]:
    return loading.make_clips(TINY, tmp_path_factory.mktemp("stored"))


def test_all_ways_give_the_frames_that_were_asked_for(stored):
    name, clips = stored
    assert "2 rendered clips" in name and [clip.frames for clip in clips] == [30, 30]
    coded = {
        gop: Recording(clips[1].video.with_suffix(f".{gop}.mp4")).frames().astype(int)
        for gop in ("short", "long")
    }
    exact = Recording(clips[1].video.with_suffix(".mkv")).frames()
    assert 0 < np.abs(coded["short"] - coded["long"]).max() < 60
    for way in loading.ways_of(TINY, clips):
        got = way.source.read(clips[1].video, (3, 28)).astype(int)
        expected = exact
        if "mp4" in way.name or "memory" in way.name:
            expected = coded["long" if "250" in way.name else "short"]
        assert np.array_equal(got, expected[[3, 28]]), way.name
        assert way.megabytes > 0


def test_benchmark_writes_its_report(stored):
    name, clips = stored
    ways = loading.measure(TINY, clips)
    assert len(ways) >= 7
    assert all(way.milliseconds[0] > 0 and way.batches_per_second[2][0] > 0 for way in ways)
    text = loading.report(TINY, "- machine", name, clips, ways)
    assert all(f"| {way.name} |" in text for way in ways) and "batches of 2/s" in text
    assert text.count("**") == 2 * (len(ways) - 1)


def test_command_line_writes_where_it_is_told(tmp_path: Path, capsys):
    out = tmp_path / "loading.md"
    given = "--clips 1 --size 64 --draws 1 --batches 1 --rounds 1 --threads 1 --batch-sizes 1 --rendered 1"
    loading.main([*given.split(), "--out", str(out)])
    assert "64x64, 1 s together" in out.read_text() and str(tmp_path) not in out.read_text()
    assert "PNG folders" in capsys.readouterr().out
