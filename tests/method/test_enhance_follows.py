"""Enhanced frames have the pose of the one video and the mouth of the other (paper eq. 2, Fig. 1)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kpbe.data.clips import Clip, backend_video, enhanced_video, write_manifest
from kpbe.data.source_frame import source_frame_index
from kpbe.frontend.images import to_tensor
from kpbe.inference import enhance as enhancement
from kpbe.inference.enhance import control_inputs, enhance, enhance_clips
from kpbe.media.audio import write_wav
from kpbe.media.recording import Recording
from kpbe.media.video_writer import write_video
from kpbe.methods import CONTROLS, REAL_EXPRESSION, SHUFFLED_BACKEND, SOURCE_EXPRESSION, SOURCE_POSE
from kpbe.params import parse_params
from tests.clips import describe_clip
from tests.method.drawn_world import (
    SIZE,
    SPEAKING,
    TURNING,
    PerfectFrontend,
    drawings,
    head_turns,
    mouth_opens,
)
from tests.training.short_training import params

FPS = 25.0


@pytest.fixture(scope="module")
def frontend() -> PerfectFrontend:
    return PerfectFrontend().for_rendering()


def test_the_drawings_differ_visibly() -> None:
    """Poses and mouths differ so much that no picture can be mistaken for another."""
    pictures = np.stack([drawings(0), drawings(1)]).reshape(-1, SIZE * SIZE * 3).astype(float)
    apart = np.abs(pictures[:, None] - pictures).mean(2) + np.eye(len(pictures)) * 255
    assert apart.min() > 0.15, "of 255, over the whole picture: the smallest step is a lip's"


@pytest.mark.parametrize("person", [0, 1])
def test_the_result_has_the_pose_of_the_one_video_and_the_mouth_of_the_other(frontend, person: int) -> None:
    """The person is that of the source, whoever is in the videos."""
    source = drawings(person)[1, 2]
    result = np.stack(list(enhance(frontend, source, head_turns(), mouth_opens(), batch_size=3)))
    assert np.array_equal(result, drawings(person)[TURNING, SPEAKING])


@pytest.mark.parametrize(
    ("control", "poses", "mouths"),
    [
        (SOURCE_EXPRESSION, TURNING, [2] * 7),
        (REAL_EXPRESSION, TURNING, [0] * 7),
        (SOURCE_POSE, [1] * 7, SPEAKING),
    ],
)
def test_a_control_replaces_the_one_input_that_it_says(frontend, control, poses, mouths) -> None:
    source = drawings()[1, 2]
    inputs = control_inputs(control, source, head_turns(), mouth_opens(), seed=3)
    result = np.stack(list(enhance(frontend, source, *inputs)))
    assert np.array_equal(result, drawings()[poses, mouths])


def test_the_shuffled_backend_has_every_mouth_once_at_another_time(frontend) -> None:
    source = drawings()[1, 2]
    inputs = control_inputs(SHUFFLED_BACKEND, source, head_turns(), mouth_opens(), seed=3)
    result = np.stack(list(enhance(frontend, source, *inputs)))
    _, poses, mouths = frontend.recognise(to_tensor(result))
    assert poses.tolist() == TURNING, "the head still follows its video"
    assert sorted(mouths.tolist()) == sorted(SPEAKING) and mouths.tolist() != SPEAKING


def test_a_shuffled_backend_of_two_frames_is_shuffled() -> None:
    two = mouth_opens()[:2]
    for seed in range(4):
        _, shuffled = control_inputs(SHUFFLED_BACKEND, two[0], two, two, seed)
        assert np.array_equal(shuffled, two[::-1])


def one_clip(folder: Path) -> tuple[Path, Path, Path, Clip]:
    """A test clip, its folders, and a stand-in for the checkpoint.

    The folders are those of the clip, of a backend's video, and of the results.
    """
    frames = len(TURNING)
    clip_id = f"a#1#000000#{frames:06}"
    clips, backend, out = (folder / name for name in ("clips", "backend", "out"))
    video = clips / "test" / f"{clip_id}.mkv"
    write_video(video, head_turns(), FPS, codec="ffv1")
    clip = describe_clip(clips, "a", split="test", frames=frames, side=SIZE, suffix=".mkv", has_audio=False)
    write_manifest(clips, [clip])
    write_wav(clip.wav, np.full(round(16000 * frames / FPS), 0.1, np.float32))
    write_video(backend_video(backend, clip), mouth_opens(), FPS, codec="ffv1")
    (folder / "checkpoint").write_bytes(b"stands for a checkpoint")
    return clips, backend, out, clip


def test_the_stages_videos_are_these(frontend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stage works on files: clips.csv, lossless videos, the protocol's source frame, all controls."""
    monkeypatch.setattr(enhancement, "_load", lambda loadable: frontend)
    clips, backend, out, clip = one_clip(tmp_path)
    assert enhance_clips("b", params(), clips, backend, tmp_path / "checkpoint", out) == []
    enhanced = Recording(enhanced_video(out, clip)).frames()
    assert np.array_equal(enhanced, drawings()[TURNING, SPEAKING])
    source = TURNING[source_frame_index(clip.clip_id, clip.frames, params().evaluate.seed)]
    of_control = {control: Recording(enhanced_video(out, clip, control)).frames() for control in CONTROLS}
    assert np.array_equal(of_control[SOURCE_EXPRESSION], drawings()[TURNING, 0])
    assert np.array_equal(of_control[REAL_EXPRESSION], drawings()[TURNING, 0])
    assert np.array_equal(of_control[SOURCE_POSE], drawings()[source, SPEAKING])
    assert not np.array_equal(of_control[SHUFFLED_BACKEND], enhanced)


def test_controls_are_rendered_on_the_scored_frames_and_held_in_between(
    frontend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enhancement, "_load", lambda loadable: frontend)
    rendered: list[int] = []
    plain = enhancement.enhance

    def counted(*args, **kwargs):
        for frame in plain(*args, **kwargs):
            rendered.append(1)
            yield frame

    monkeypatch.setattr(enhancement, "enhance", counted)
    clips, backend, out, clip = one_clip(tmp_path)
    values = params().model_dump(mode="json")
    values["evaluate"]["score_every"] = 3
    enhance_clips("b", parse_params(values), clips, backend, tmp_path / "checkpoint", out)
    frames = len(TURNING)
    assert len(rendered) == frames + len(CONTROLS) * 3
    assert np.array_equal(Recording(enhanced_video(out, clip)).frames(), drawings()[TURNING, SPEAKING])
    control = Recording(enhanced_video(out, clip, SOURCE_EXPRESSION)).frames()
    held = [TURNING[3 * (index // 3)] for index in range(frames)]
    assert np.array_equal(control, drawings()[held, 0])
