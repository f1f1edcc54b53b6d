"""The reference procedures compute what they should, and the report is written; times are not checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import backends, memory, procedures
from benchmarks.reference_pcavs import GroupedGenerator, PCAVSReference
from benchmarks.reference_s3fd import S3FD, candidates_per_frame
from benchmarks.report import Race, parts_table, speed_table
from benchmarks.speech import Source, load_source
from benchmarks.stopwatch import Stopwatch
from kpbe.backends.pcavs import StyleGenerator, alignment_matrices, paste_image
from kpbe.checkpoints.catalogue import require
from kpbe.media.recording import Recording
from kpbe.params import SampleParams

SAMPLE = SampleParams(seconds=0.5, frame_size=96)
NARROW = procedures.Sizes(width_multiplier=0.0625, image_size=64)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Source:
    return load_source(None, tmp_path_factory.mktemp("source"), SAMPLE)


def spoken(job: procedures.Job, out: Path) -> np.ndarray:
    job(out, Stopwatch())
    return Recording(out).frames().astype(int)


def test_a_talk_loops_its_video(source, tmp_path):
    frames = len(source.boxes)
    talk = source.talk(2 * frames + 3, tmp_path)
    pictures = list(talk.frames)
    assert len(pictures) == len(talk.boxes) == len(talk.landmarks) == 2 * frames + 3
    assert (pictures[frames + 2] == pictures[2]).all() and (talk.boxes[frames + 2] == talk.boxes[2]).all()
    assert len(talk.wave) == len(pictures) * 640
    assert next(iter(talk.frames)).shape == (96, 96, 3), "frames can be read a second time"


@pytest.mark.parametrize("feed", ["video", "source_image"])
def test_wav2lip_of_the_reference_gives_our_frames(source, tmp_path, feed):
    talk = source.talk(20, tmp_path)
    generator = NARROW.generator(CPU)
    ours = spoken(procedures.our_wav2lip(generator, talk, feed, "known", CPU), tmp_path / "ours.mkv")
    theirs = spoken(procedures.reference_wav2lip(generator, talk, feed, None, CPU), tmp_path / "theirs.mkv")
    # the reference's video ends where its windows reach the end of the sound; boxes near an end are smoothed
    # otherwise
    assert len(ours) == 20 and 15 < len(theirs) < 20
    same = len(theirs) - (4 if feed == "video" else 0)
    assert abs(ours[:same] - theirs[:same]).max() <= 1
    still = np.stack(list(talk.frames))[: len(theirs)] if feed == "video" else talk.first
    assert abs(theirs - still).max() > 20, "a mouth was painted"


def test_planted_faces_are_found(source, tmp_path):
    talk = source.talk(5, tmp_path)
    detector = S3FD(CPU)
    planted = detector.plant(talk.first, talk.boxes)
    watch = Stopwatch()
    found = detector.detect(list(talk.frames), planted, watch)
    assert candidates_per_frame(planted) >= 1
    assert set(watch.seconds) == {"S3FD", "candidate loop"}
    for box, expected in zip(found, talk.boxes, strict=True):
        assert box is not None
        np.testing.assert_allclose(box, np.clip(expected, 0, None), atol=0.01)


def test_grouped_convolutions_draw_the_same_picture():
    torch.manual_seed(1)
    generator = StyleGenerator(0.25, 64).eval()
    for name, parameter in generator.named_parameters():
        if name.endswith((".bias", "noise.weight")) and "modulation" not in name:
            torch.nn.init.normal_(parameter)
    style = torch.randn(3, generator.style_dim)
    start = torch.randn(3, 128, 2, 2)
    noise = [torch.randn(3, 1, size, size) for size in generator.noise_sizes(64)]
    with torch.no_grad():
        ours = generator(style, start, noise)
        grouped = GroupedGenerator(generator)(style, start, noise)
    assert ours.std() > 0.1
    assert (ours - grouped).abs().max() < 3e-4


def test_pcavs_of_the_reference_gives_our_pictures(source, tmp_path):
    """Its aligned pictures are stored without loss here; ours are pasted into the first frame."""
    talk = source.talk(18, tmp_path)  # more than one batch
    networks = NARROW.networks(CPU)
    # random networks of any width hardly tell one frame from another
    for name in ("identity.conv1x1", "non_identity.headpose_embed.1", "audio.model.fc"):
        with torch.no_grad():
            networks.get_parameter(f"{name}.weight").mul_(30)
    ours = spoken(procedures.our_pcavs(networks, talk, CPU), tmp_path / "ours.mkv")
    reference = PCAVSReference(networks, talk, tmp_path / "aligned", CPU, suffix=".png")
    theirs = spoken(reference.run, tmp_path / "theirs.mkv").astype(np.uint8)
    assert theirs.shape == (18, 64, 64, 3) and theirs.std(0).mean() > 0.1
    matrices = alignment_matrices(talk.landmarks)
    for frame, picture, matrix in zip(ours, theirs, matrices, strict=True):
        assert abs(frame - paste_image(picture, talk.first, matrix, feather=4.0).astype(int)).max() <= 1


@pytest.mark.slow  # a fresh process imports torch
def test_peak_memory_is_that_of_a_fresh_process(source):
    run = memory.MemoryRun("PC-AVS, ours", source, seconds=0.2, image_size=64)
    megabytes = memory.peak_memory(run)
    assert 100 < megabytes < 20_000


def test_report_shows_medians_and_ratio():
    race = Race("SpokenVideo", "cpu", 10, ours=[30.0, 20.0, 90.0], reference=[10.0, 10.0, 40.0])
    race.parts = [{"generator": 1.0, "S3FD": 2.0, "all": 4.0}] * 2
    assert "| SpokenVideo | cpu | 10 | 3 | 10 (10 to 40) | 30 (20 to 90) | **3.00** |" in speed_table([race])
    assert "| SpokenVideo | cpu | 50% | 25% | 25% |" in parts_table([race])


def test_benchmark_writes_its_report(tmp_path):
    settings = backends.Settings(
        seconds=0.4, pcavs_frames=2, rounds=1, sizes=NARROW, memory_seconds=(), sample=SAMPLE
    )
    results = backends.measure(settings, tmp_path)
    assert len(results.races) == 4
    assert all(rate > 0 for race in results.races for rate in (race.ratio, *race.ours, *race.reference))
    assert Recording(tmp_path / "ours.mkv").info.frames == 2
    text = backends.report(settings, results)
    assert text.count("**") == 2 * len(results.races)
    assert "random weights" in text and "PyTorch" in text and str(tmp_path) not in text


def test_a_detector_that_is_not_here_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("KPBE_WEIGHTS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    source = load_source(None, tmp_path, SAMPLE)
    assert source.detector == "known"
    text = backends.report(backends.Settings(), backends.Results(source, "", [], 1.0, {}))
    assert "no detection" in text


def test_command_line_takes_a_video(tmp_path, source, capsys):
    require_yunet()
    out = tmp_path / "report.md"
    given = (
        f"--seconds 0.2 --pcavs-frames 1 --rounds 1 --width 0.0625 --devices cpu --video {source.path} --out "
        f"{out}"
    )
    with pytest.raises(SystemExit, match="has no audio track"):
        backends.main([*given.split(), "--memory-seconds"])
    assert not out.exists()


def require_yunet() -> None:
    try:
        require("yunet")
    except Exception:
        pytest.skip("YuNet's weights are not on this machine")
