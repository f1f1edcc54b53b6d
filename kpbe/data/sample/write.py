"""Write the sample as files: raw videos with sound, boxes and ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from kpbe.core.clip_tasks import ClipTask, run_clip_tasks
from kpbe.core.files import fingerprint, whole
from kpbe.core.processes import ShardMap, serial_map
from kpbe.data.raw import RawVideo
from kpbe.data.sample.clip import RenderedClip, render_clip
from kpbe.data.sample.identity import identity_name
from kpbe.data.sample.motion import FPS
from kpbe.data.sample.speech import RATE
from kpbe.media.audio import write_wav
from kpbe.media.video_writer import VideoWriter
from kpbe.params import SampleParams
from kpbe.recipes import recipe

CRF = 12


def write_sample(params: SampleParams, out: Path, map: ShardMap = serial_map) -> list[RawVideo]:
    """Write the sample's videos to out/<split>/<identity>_<nn>.mp4 (H.264 with the sound muxed).

    Beside each are .wav (16 kHz mono PCM16), .boxes.npy ((N, 4) float32 face boxes), .landmarks.npy ((N, 3,
    2) float32 eyes and mouth), .truth.npz (see `Truth`) and the record .json. Finished clips of the same
    params are kept, so an interrupted run resumes.

    Returns:
        One video per clip; paths begin with `out`.
    """
    tasks = [
        _task(params, out, "train" if index < params.train_identities else "test", index, clip)
        for index in range(params.train_identities + params.test_identities)
        for clip in range(params.clips_per_identity)
    ]
    finished, _ = run_clip_tasks("sample", tasks, _make, out, map=map, max_rejected_fraction=0.0)
    return [_raw_video(task, facts) for task, facts in finished]


def _task(params: SampleParams, out: Path, split: str, index: int, clip: int) -> ClipTask:
    name = f"{identity_name(index)}_{clip + 1:02d}"
    stem = out / split / name
    about = {"seconds": params.seconds, "frame_size": params.frame_size, "seed": params.seed}
    return ClipTask(
        clip_id=name,
        record=stem.with_suffix(".json"),
        outputs=tuple(
            stem.with_suffix(suffix)
            for suffix in (".mp4", ".wav", ".boxes.npy", ".landmarks.npy", ".truth.npz")
        ),
        fingerprint=fingerprint("sample", recipe("acquire"), about, split, index, clip),
        origin=str(stem.with_suffix(".mp4")),
        payload=(params, split, index, clip),
    )


def _make(task: ClipTask) -> dict[str, Any]:
    params, split, index, clip = task.payload
    rendered = render_clip(index, clip, params)
    video, wav, boxes, landmarks, truth = task.outputs
    write_wav(wav, rendered.wave, RATE)
    with VideoWriter(video, FPS, codec="h264", gop=12, crf=CRF, audio=wav) as writer:
        for frame in rendered.frames:
            writer.write(frame)
    with whole(boxes) as temporary:
        np.save(temporary, rendered.truth.boxes)
    with whole(landmarks) as temporary:
        np.save(temporary, rendered.truth.landmarks)
    with whole(truth) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **_plain(rendered))
    return {
        "identity": identity_name(index),
        "split": split,
        "video_id": f"{clip + 1:02d}",
        "width": params.frame_size,
        "height": params.frame_size,
        "frames": len(rendered.frames),
    }


def _plain(rendered: RenderedClip) -> dict[str, Any]:
    return {**vars(rendered.truth), "phonemes": np.array(rendered.truth.phonemes)}


def _raw_video(task: ClipTask, facts: dict[str, Any]) -> RawVideo:
    video, _, boxes, landmarks, _ = task.outputs
    return RawVideo(
        path=video,
        identity=facts["identity"],
        split=facts["split"],
        video_id=facts["video_id"],
        width=facts["width"],
        height=facts["height"],
        fps=FPS,
        boxes=boxes,
        landmarks=landmarks,
    )
