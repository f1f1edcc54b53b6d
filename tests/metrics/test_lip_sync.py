"""LSE-D and LSE-C give the public code's numbers (fixture syncnet_v2_lse)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kpbe.checkpoints.catalogue import CATALOGUE
from kpbe.errors import BadCheckpoint, MissingWeights
from kpbe.metrics.lip_sync import (
    crop_face_track,
    error_of_embeddings,
    lip_sync_error,
    mean_distances,
)
from kpbe.metrics.mfcc import mfcc
from kpbe.metrics.syncnet import SyncNet, load_syncnet

FILE = CATALOGUE["syncnet_v2"].file
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def fixture(golden):
    return golden("syncnet_v2_lse")


@pytest.fixture(scope="module")
def filled(golden) -> dict[str, Tensor]:
    """The public file's names with the filled weights."""
    weights = golden.load_filled("syncnet_v2", golden.shapes("syncnet_v2"))
    return {name: torch.from_numpy(np.array(array)) for name, array in weights.items()}


@pytest.fixture(scope="module")
def network(filled, tmp_path_factory) -> SyncNet:
    """Loaded from a file as a user has it: without counters of batches, as old files have none."""
    folder = tmp_path_factory.mktemp("weights")
    torch.save({k: v for k, v in filled.items() if "num_batches" not in k}, folder / FILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KPBE_WEIGHTS", str(folder))
        return load_syncnet()


def _wave(golden, fixture) -> np.ndarray:
    return golden.fill.waveform(f"lse/wave/{fixture['input_label']}", 1.2)


def _windows(golden, fixture) -> np.ndarray:
    """(2, 5, 224, 224, 3) pictures."""
    label = fixture["input_label"]
    names = [[f"lse/win{n}/frame{t}/{label}" for t in range(5)] for n in range(2)]
    return np.stack([[golden.fill.image(name, 224, 224) for name in row] for row in names])


def test_mfcc(golden, fixture) -> None:
    wave = _wave(golden, fixture)
    golden.compare(fixture, "mfcc", mfcc(wave), TOLERANCE)
    golden.compare(fixture, "mfcc", mfcc((wave * 32768).round().astype(np.int16)), TOLERANCE)


def test_audio_embedding(golden, fixture, network: SyncNet) -> None:
    sound = torch.from_numpy(mfcc(_wave(golden, fixture)).T.astype(np.float32))
    windows = torch.stack([sound[:, 4 * start : 4 * start + 20] for start in fixture["video_window_starts"]])
    golden.compare(fixture, "audio_embedding", network.embed_audio(windows[:, None]), TOLERANCE)


def test_lip_embedding(golden, fixture, network: SyncNet) -> None:
    frames = torch.from_numpy(_windows(golden, fixture)).float().permute(0, 4, 1, 2, 3)
    golden.compare(fixture, "lip_feature_512", network.lip_features(frames), TOLERANCE)
    golden.compare(fixture, "lip_embedding", network.embed_lips(frames), TOLERANCE)


@pytest.mark.parametrize("shifts", [10, 15])
def test_distance_confidence_and_offset(golden, fixture, shifts: int) -> None:
    label, planted = fixture["input_label"], int(fixture["lse_planted_shift"])
    base = golden.fill.normal(f"lse/base/{label}", (100, 1024))
    noise = golden.fill.normal(f"lse/noise/{label}", (60, 1024))
    lips = torch.from_numpy(0.2 * base[20:80]).float()
    audio = torch.from_numpy(0.2 * (base[20 + planted : 80 + planted] + 0.35 * noise)).float()
    golden.compare(fixture, f"lse_mean_dist_vshift{shifts}", mean_distances(lips, audio, shifts), TOLERANCE)
    error = error_of_embeddings(lips, audio, shifts)
    assert error.offset == int(fixture[f"lse_offset_vshift{shifts}"])
    golden.compare(fixture, f"lse_d_vshift{shifts}", error.distance, TOLERANCE)
    golden.compare(fixture, f"lse_c_vshift{shifts}", error.confidence, TOLERANCE)


def test_every_key_of_the_fixture_is_compared(fixture) -> None:
    inputs = {"input_label", "video_window_starts", "lse_planted_shift"}
    compared = {"mfcc", "audio_embedding", "lip_embedding", "lip_feature_512"}
    for shifts in (10, 15):
        compared |= {f"lse_{kind}_vshift{shifts}" for kind in ("mean_dist", "offset", "d", "c")}
    assert set(fixture.files) == inputs | compared


def test_a_video_is_cut_into_windows_of_five_bgr_frames(golden, fixture, network: SyncNet) -> None:
    """There are two windows more than in the fixture, because the public code leaves out the last ones."""
    frames = np.concatenate(_windows(golden, fixture))[:8, ..., ::-1]
    wave = _wave(golden, fixture)
    sound = torch.from_numpy(mfcc(wave).T.astype(np.float32))
    bgr = torch.from_numpy(frames[..., ::-1].copy()).float().permute(3, 0, 1, 2)
    with torch.no_grad():
        lips = torch.cat([network.embed_lips(bgr[None, :, i : i + 5]) for i in range(3)])
        audio = torch.cat([network.embed_audio(sound[None, None, :, 4 * i : 4 * i + 20]) for i in range(3)])
    expected = error_of_embeddings(lips, audio)
    got = lip_sync_error(network, frames, wave)
    assert got.distance == pytest.approx(expected.distance, rel=1e-4)
    assert got.confidence == pytest.approx(expected.confidence, abs=1e-3)
    assert got.offset == expected.offset


def test_sound_or_video_too_short_is_refused() -> None:
    frames = np.zeros((6, 224, 224, 3), np.uint8)
    with pytest.raises(ValueError, match="at least 6 frames"):
        lip_sync_error(SyncNet(), frames[:5], np.zeros(16000, np.float32))
    with pytest.raises(ValueError, match="at least 6 frames"):
        lip_sync_error(SyncNet(), frames, np.zeros(3200, np.float32))
    with pytest.raises(ValueError, match="224"):
        lip_sync_error(SyncNet(), frames[:, ::2], np.zeros(16000, np.float32))


def test_crops_follow_the_public_pipeline() -> None:
    """A marker at the box's centre lies 1 / 2.8 below the crop's top, in its middle.

    Outside the frame the crop is grey.
    """
    frames = np.zeros((20, 200, 200, 3), np.uint8)
    frames[:, 96:104, 76:84] = 255
    boxes = np.tile([50.0, 70.0, 110.0, 130.0], (20, 1))  # centre (80, 100), half of the longer side 30
    boxes[4] = np.nan
    boxes[9] += 40  # one outlier
    faces = crop_face_track(frames, boxes)
    assert faces.shape == (20, 224, 224, 3) and faces.dtype == np.uint8
    for face in faces:
        rows, columns = np.nonzero(face[..., 0] > 200)
        assert np.mean(rows) == pytest.approx(224 / 2.8, abs=2)
        assert np.mean(columns) == pytest.approx(112, abs=2)
    corner = crop_face_track(frames, np.tile([0.0, 0.0, 40.0, 40.0], (20, 1)))[5]
    assert (corner[:, :30] == 110).all() and (corner[60:, 60:] == 0).all()
    with pytest.raises(ValueError, match="at least 7 frames"):
        crop_face_track(frames[:6], boxes[:6])
    with pytest.raises(ValueError, match="no frame has a face box"):
        crop_face_track(frames, np.full((20, 4), np.nan))


def test_missing_and_damaged_weights_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, filled: dict[str, Tensor]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KPBE_WEIGHTS", raising=False)
    with pytest.raises(MissingWeights, match=FILE):
        load_syncnet()
    monkeypatch.setenv("KPBE_WEIGHTS", str(tmp_path))
    (tmp_path / FILE).write_bytes(b"<html>not found</html>")
    with pytest.raises(BadCheckpoint, match=FILE):
        load_syncnet()
    torch.save({k: v for k, v in filled.items() if k != "netfclip.3.bias"}, tmp_path / FILE)
    with pytest.raises(BadCheckpoint, match=FILE):
        load_syncnet()
