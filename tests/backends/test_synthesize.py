"""The synthesize stage on a folder of tiny clips."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from kpbe.backends import synthesize as stage
from kpbe.backends.base import SynthesisRequest
from kpbe.backends.speech_video import write_speech_video
from kpbe.backends.synthesize import fit_wave, synthesize
from kpbe.backends.training import train_backend, train_sync
from kpbe.backends.wav2lip import Wav2LipGenerator, save_generator
from kpbe.checkpoints.catalogue import trained_weights
from kpbe.core.files import read_csv
from kpbe.core.processes import process_map, serial_map
from kpbe.data.clips import Clip, write_manifest
from kpbe.data.source_frame import source_frame_index
from kpbe.errors import KPBEError, MissingWeights
from kpbe.media.audio import read_audio, write_wav
from kpbe.media.recording import Recording
from kpbe.media.video_writer import write_video
from kpbe.params import Params, parse_params
from tests.clips import describe_clip

FRAMES = 12


def params(**wav2lip) -> Params:
    schedule = {"schedule": {"steps": 1, "batch_size": 1}}
    train = {"stage1": schedule, "stage2": schedule}
    section = {"kind": "wav2lip", "sync_expert": schedule, "train": schedule, **wav2lip}
    sections = {"data": {}, "model": {}, "evaluate": {}, "compute": {"device": "cpu"}}
    return parse_params({**sections, "train": train, "backend": {"wav2lip": section}})


def write_clip(folder: Path, split: str, identity: str, has_audio: bool = True) -> Clip:
    rng = np.random.default_rng(int.from_bytes(identity.encode(), "big"))
    clip_id = f"{identity}#video#000000#000012"
    video = folder / split / f"{clip_id}.mp4"
    coarse = rng.integers(0, 255, (FRAMES, 8, 8, 3), dtype=np.uint8)
    write_video(video, coarse.repeat(8, 1).repeat(8, 2), 25.0)
    np.save(video.with_suffix(".boxes.npy"), np.tile(np.array([12, 12, 50, 52], np.float32), (FRAMES, 1)))
    if has_audio:
        write_wav(video.with_suffix(".wav"), rng.normal(0, 0.1, FRAMES * 640 - 100).astype(np.float32))
    return describe_clip(folder, identity, video="video", split=split, frames=FRAMES, has_audio=has_audio)


@pytest.fixture
def clips(tmp_path):
    folder = tmp_path / "clips"
    made = [
        write_clip(folder, "train", "anna"),
        write_clip(folder, "train", "bert"),
        write_clip(folder, "test", "cleo"),
    ]
    write_manifest(folder, made)
    return made


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    save_generator(tmp_path / "wav2lip.safetensors", Wav2LipGenerator(0.125))
    return tmp_path / "wav2lip.safetensors"


def run(clips, checkpoint, out, map=serial_map, **wav2lip):
    return synthesize("wav2lip", params(**wav2lip), clips[0].folder, checkpoint.parent, out, map=map)


def videos(out: Path) -> dict[str, int]:
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in sorted(out.rglob("*.mkv"))}


@pytest.mark.parametrize("feed", ["source_image", "video"])
def test_every_clip_becomes_a_video_of_its_length_with_its_sound(clips, checkpoint, tmp_path, feed):
    made, rejected = run(clips, checkpoint, tmp_path / "out", feed=feed)
    assert not rejected
    assert list(videos(tmp_path / "out")) == sorted(f"{c.split}/{c.clip_id}.mkv" for c in clips)
    for (task, facts), clip in zip(made, clips, strict=True):
        info = Recording(task.outputs[0]).info
        assert (info.frames, info.fps, info.width, info.height) == (FRAMES, 25.0, 64, 64)
        assert facts["frames"] == FRAMES
        wave = read_audio(clip.wav)
        np.testing.assert_array_equal(read_audio(task.outputs[0])[: len(wave)], wave)
        background, real = (Recording(path).frames()[:, :8] for path in (task.outputs[0], clip.video))
        if feed == "source_image":
            index = source_frame_index(clip.clip_id, FRAMES, 2210)
            assert facts["source_frame"] == index
            real = real[index : index + 1]
        np.testing.assert_array_equal(background, np.broadcast_to(real, background.shape))


@pytest.mark.parametrize("feed", ["source_image", "video"])
def test_the_protocol_s_source_frame_is_named_with_either_feed(
    clips, checkpoint, tmp_path, feed, monkeypatch
):
    asked: list[SynthesisRequest] = []

    def watched(path, backend, request, audio):
        asked.append(request)
        return write_speech_video(path, backend, request, audio)

    monkeypatch.setattr("kpbe.backends.synthesize.write_speech_video", watched)
    run(clips, checkpoint, tmp_path / "out", feed=feed)
    for clip, request in zip(clips, asked, strict=True):
        index = source_frame_index(clip.clip_id, FRAMES, 2210)
        assert request.source_frame == (0 if feed == "source_image" else index)
        np.testing.assert_array_equal(request.source_images(1)[0], Recording(clip.video).frames()[index])


def test_another_seed_draws_other_source_frames_and_makes_the_videos_again(clips, checkpoint, tmp_path):
    made = {}
    for seed in (2210, 2211):
        values = params(feed="video").model_dump(mode="json")
        values["evaluate"]["seed"] = seed
        folder, out = clips[0].folder, tmp_path / "out"
        done, _ = synthesize("wav2lip", parse_params(values), folder, checkpoint.parent, out)
        made[seed] = [task.fingerprint for task, _ in done]
    for clip, before, after in zip(clips, made[2210], made[2211], strict=True):
        drawn = [source_frame_index(clip.clip_id, FRAMES, seed) for seed in (2210, 2211)]
        assert (before != after) == (drawn[0] != drawn[1])
    assert made[2210] != made[2211]


def test_only_a_lost_video_is_made_again_and_is_the_same(clips, checkpoint, tmp_path):
    out = tmp_path / "out"
    run(clips, checkpoint, out)
    before = videos(out)
    lost = out / "train" / f"{clips[1].clip_id}.mkv"
    content = lost.read_bytes()
    lost.unlink()
    run(clips, checkpoint, out)
    after = videos(out)
    assert [name for name in before if before[name] != after[name]] == [f"train/{lost.name}"]
    assert lost.read_bytes() == content


@pytest.mark.slow
def test_worker_processes_make_the_same_videos(clips, checkpoint, tmp_path):
    run(clips, checkpoint, tmp_path / "one")
    run(clips, checkpoint, tmp_path / "two", map=process_map(2))
    for name in videos(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_batch_size_keeps_videos_and_other_settings_or_weights_remake_them(clips, checkpoint, tmp_path):
    out = tmp_path / "out"
    run(clips, checkpoint, out)
    first = videos(out)
    run(clips, checkpoint, out, batch_size=5)
    assert videos(out) == first
    run(clips, checkpoint, out, pads=(0, 4, 0, 0))
    second = videos(out)
    assert all(second[name] != first[name] for name in first)
    save_generator(checkpoint, Wav2LipGenerator(0.125))
    run(clips, checkpoint, out, pads=(0, 4, 0, 0))
    assert all(videos(out)[name] != second[name] for name in first)


def test_clips_that_cannot_speak_are_rejected_with_their_reason(tmp_path, checkpoint):
    folder, out = tmp_path / "clips", tmp_path / "out"
    mute = write_clip(folder, "train", "dora", has_audio=False)
    faceless = write_clip(folder, "test", "emil")
    np.save(faceless.boxes, np.full((FRAMES, 4), np.nan, np.float32))
    good = [write_clip(folder, "train", "anna"), write_clip(folder, "test", "cleo")]
    write_manifest(folder, [mute, faceless, *good])
    made, rejected = run(good, checkpoint, out)
    assert [task.clip_id for task, _ in made] == [clip.clip_id for clip in good]
    reasons = {row["clip_id"]: row["reason"] for row in read_csv(out / "rejected.csv")}
    assert "has no sound" in reasons[mute.clip_id]
    assert "no face in frame" in reasons[faceless.clip_id]
    assert len(rejected) == 2
    assert not list(out.rglob("*dora*"))


def test_missing_weights_and_unknown_backends_are_named_before_any_work(clips, tmp_path):
    with pytest.raises(MissingWeights, match=r"none holds 0 \.safetensors files"):
        run(clips, tmp_path / "none" / "wav2lip.safetensors", tmp_path / "out")
    with pytest.raises(KPBEError, match="wave2lip"):
        synthesize("wave2lip", params(), clips[0].folder, tmp_path / "none", tmp_path / "out")


def test_waves_are_cut_or_filled_to_the_frames():
    wave = np.ones(7000, np.float32)
    np.testing.assert_array_equal(fit_wave(wave, 10, 25.0), wave[:6400])
    assert fit_wave(wave, 12, 25.0).sum() == 7000
    assert len(fit_wave(wave, 12, 25.0)) == 7680


def test_a_backend_with_anothers_weights_speaks_with_them_and_again_when_they_change(
    clips, checkpoint, tmp_path
):
    own = params()
    sections = {**own.backend, "on_video": {"kind": "wav2lip", "feed": "video", "weights_of": "wav2lip"}}
    both = own.model_copy(update={"backend": sections})
    checkpoints, out = tmp_path / "backends", tmp_path / "out"
    (checkpoints / "wav2lip").mkdir(parents=True)
    shutil.copy(checkpoint, checkpoints / "wav2lip")
    for name in ("sync", "backend"):
        train = {"sync": train_sync, "backend": partial(train_backend, sync=tmp_path / "sync")}[name]
        train("on_video", both, clips[0].folder, clips[0].folder, out=checkpoints / "on_video")
        summary = json.loads((checkpoints / "on_video/summary.json").read_text())
        assert summary == {"trained": False, "reason": "the weights of wav2lip are used"}
    with pytest.raises(MissingWeights, match="on_video holds no weights: the weights of wav2lip are used"):
        trained_weights(checkpoints / "on_video")

    synthesize("on_video", both, clips[0].folder, checkpoints / "on_video", out)
    run(clips, checkpoint, tmp_path / "plain", feed="video")
    name = f"test/{clips[2].clip_id}.mkv"
    assert (out / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()

    first = videos(out)
    synthesize("on_video", both, clips[0].folder, checkpoints / "on_video", out)
    assert videos(out) == first
    save_generator(checkpoints / "wav2lip" / checkpoint.name, Wav2LipGenerator(0.125))
    synthesize("on_video", both, clips[0].folder, checkpoints / "on_video", out)
    assert all(videos(out)[name] != first[name] for name in first)


def test_the_backend_hears_the_clips_sound_as_it_is_and_sees_its_own_frames(
    clips, checkpoint, tmp_path, monkeypatch
):
    """The backend gets the clip's sound, the protocol's source frame, and the clip's frames as pose video."""
    heard: list[tuple[SynthesisRequest, Path]] = []
    write = stage.write_speech_video

    def watched(path, backend, request, audio):
        heard.append((request, audio))
        write(path, backend, request, audio)

    monkeypatch.setattr(stage, "write_speech_video", watched)
    run(clips, checkpoint, tmp_path / "out")
    assert len(heard) == len(clips)
    for (request, audio), clip in zip(heard, clips, strict=True):
        wave, frames = read_audio(clip.wav), Recording(clip.video).frames()
        np.testing.assert_array_equal(request.wave[: len(wave)], wave)
        assert len(request.wave) == FRAMES * 640 and audio == clip.wav
        (shown,) = request.source_frames
        np.testing.assert_array_equal(shown, frames[source_frame_index(clip.clip_id, FRAMES, 2210)])
        assert request.pose_frames is not None
        np.testing.assert_array_equal(np.stack(list(request.pose_frames)), frames)
