from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kpbe.data.clips import MANIFEST, Clip, make_clip_id, read_manifest, write_manifest
from kpbe.errors import KPBEError


def clip(identity: str, split: str, start: int = 0) -> Clip:
    clip_id = make_clip_id(identity, "interview", start, start + 75)
    return Clip(
        clip_id=clip_id,
        split=split,
        identity=identity,
        path=f"{split}/{clip_id}.mp4",
        frames=75,
        fps=25.0,
        width=256,
        height=256,
        seconds=3.0,
        has_audio=True,
        source_url="https://example.org/a,b",
        start=start,
        end=start + 75,
        bbox="1-2-301-302",
        sha256="0" * 64,
    )


def test_what_is_written_is_read_back(tmp_path):
    clips = [clip("anna", "train"), clip("bert", "test"), clip("anna", "train", 100)]
    write_manifest(tmp_path, clips)
    assert read_manifest(tmp_path) == clips
    assert [c.identity for c in read_manifest(tmp_path, "test")] == ["bert"]
    read = read_manifest(tmp_path, "train")[1]
    assert read.clip_id == "anna#interview#000100#000175"
    stem = tmp_path / "train" / read.clip_id
    assert (read.video, read.wav, read.boxes) == tuple(
        Path(f"{stem}{suffix}") for suffix in (".mp4", ".wav", ".boxes.npy")
    )


def test_a_dot_in_a_video_name_does_not_hide_its_sound(tmp_path):
    dotted = replace(clip("anna", "train"), path="train/anna#v1.2#000000#000075.mp4", folder=tmp_path)
    assert dotted.wav.name == "anna#v1.2#000000#000075.wav"
    assert dotted.boxes.name == "anna#v1.2#000000#000075.boxes.npy"


def test_an_identity_in_both_splits_is_refused(tmp_path):
    with pytest.raises(KPBEError, match="anna"):
        write_manifest(tmp_path, [clip("anna", "train"), clip("anna", "test", 100)])
    assert not (tmp_path / MANIFEST).exists()


def test_a_clip_id_is_used_once(tmp_path):
    with pytest.raises(KPBEError, match="same clip_id"):
        write_manifest(tmp_path, [clip("anna", "train")] * 2)


def test_a_missing_or_damaged_manifest_is_named(tmp_path):
    with pytest.raises(KPBEError, match=r"clips\.csv does not exist"):
        read_manifest(tmp_path)
    (tmp_path / MANIFEST).write_text("clip_id,split\na,train\n")
    with pytest.raises(KPBEError, match="lacks the columns identity"):
        read_manifest(tmp_path)
    write_manifest(tmp_path, [clip("anna", "train")])
    text = (tmp_path / MANIFEST).read_text()
    (tmp_path / MANIFEST).write_text(text.replace(",75,25,", ",many,25,"))
    with pytest.raises(KPBEError, match=r"line 2.*many"):
        read_manifest(tmp_path)
