"""Tiny inputs of every stage, drawn here.

No stage's output reaches another stage's test, and no code of kpbe draws them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from kpbe.data.clips import Clip, backend_video, enhanced_video, write_manifest
from kpbe.data.expression.labels import POINTS, SHAPES
from kpbe.evaluation.networks import METRICS_OF
from kpbe.media.audio import write_wav
from kpbe.media.video_writer import write_video
from kpbe.methods import CONTROLS
from kpbe.params import Params, load_params, parse_params
from tests.clips import describe_clip
from tests.frontend.tiny import tiny_model

REPOSITORY = Path(__file__).resolve().parents[2]
FPS, RATE, SIDE, FRAMES = 25.0, 16000, 64, 30
SPEAKERS = (("ann", "train"), ("ben", "train"), ("cleo", "test"), ("dan", "test"))
BACKEND = "wav2lip"
SCHEDULE = {
    "batch_size": 2,
    "validation_pairs": 2,
    "checkpoint_every": 3,
    "sheet_every": 3,
    "log_every": 1,
    "time_budget_s": None,
}


class Speaker:
    """A head of ellipses that moves and speaks: its frames and their ground truth.

    Attributes:
        frames: (N, side, side, 3) uint8 RGB.
        boxes: (N, 4) float32 face boxes.
        landmarks: (N, 3, 2) float32 eyes and middle of the mouth.
        opening: (N,) height of the mouth in pixels.
        wave: (M,) float32 at 16 kHz, louder where the mouth is open.
    """

    def __init__(self, number: int, frames: int = FRAMES, side: int = SIDE) -> None:
        rng = np.random.default_rng(number)
        y, x = np.mgrid[:side, :side] / side
        time = np.arange(frames) / FPS
        wave = np.sin(2 * np.pi * (3 + number) * time + number)
        self.opening = side * (0.03 + 0.05 * (wave > 0) * wave)
        middle = np.stack([0.5 + 0.06 * np.sin(4 * time + number), 0.5 + 0.02 * np.cos(5 * time)], 1)
        skin, hair, cloth = rng.integers(60, 230, (3, 3))
        texture = 20 * np.sin(2 * np.pi * (5 * x + 3 * y))[..., None]
        pictures = []
        for (left, top), opening in zip(middle, self.opening / side, strict=True):
            picture = np.broadcast_to(60 + 90 * np.stack([x, y, 1 - x], -1) + texture, (side, side, 3)).copy()

            def inside(cx: float, cy: float, rx: float, ry: float) -> np.ndarray:
                return ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1

            picture[inside(left, 1.05, 0.4, 0.35)] = cloth
            picture[inside(left, top - 0.06, 0.27, 0.34)] = hair
            picture[inside(left, top, 0.22, 0.29)] = skin
            for eye in (-0.09, 0.09):
                picture[inside(left + eye, top - 0.07, 0.035, 0.02)] = 30
            picture[inside(left, top + 0.14, 0.08, opening / 2 + 0.01)] = (150, 40, 50)
            picture[inside(left, top + 0.14, 0.06, opening / 2)] = 20
            pictures.append(np.clip(picture, 0, 255))
        self.frames = np.rint(pictures).astype(np.uint8)
        offsets = np.array([[-0.09, -0.07], [0.09, -0.07], [0, 0.14]])
        self.landmarks = (side * (middle[:, None] + offsets)).astype(np.float32)
        corners = np.array([[-0.22, -0.29], [0.22, 0.29]])
        self.boxes = (side * (middle[:, None] + corners)).reshape(-1, 4).astype(np.float32)
        loudness = np.interp(np.arange(round(frames * RATE / FPS)) / RATE, time, self.opening / side / 0.08)
        voice = rng.normal(0, 0.2, len(loudness))
        self.wave = (voice * loudness).clip(-1, 1).astype(np.float32)


def params(**sections: dict[str, Any]) -> Params:
    """The default params with a tiny frontend, one backend, and no metrics that need networks.

    `sections` are updated one level deep.
    """
    values = load_params(REPOSITORY / "params.yaml").model_dump(mode="json")
    values["backends"] = [BACKEND]
    values["data"] |= {"source": "folder", "image_size": SIDE}
    values["model"] = tiny_model(num_keypoints=15)
    values["compute"] |= {"device": "cpu", "render_batch": 4, "compile": False, "precision": "32-true"}
    values["evaluate"] |= dict.fromkeys(METRICS_OF, "off")
    values["evaluate"] |= {"bootstrap": 100, "figure_clips": 2, "score_every": 2}
    for name, changes in sections.items():
        values[name] |= changes
    return parse_params(values)


def write_clips(folder: Path) -> list[Clip]:
    """A folder like data/clips: two people to train on, two to test."""
    clips = []
    for number, (identity, split) in enumerate(SPEAKERS):
        speaker = Speaker(number)
        clip = describe_clip(folder, identity, split=split, frames=FRAMES, side=SIDE, sha256=str(number))
        write_video(clip.video, speaker.frames, FPS, codec="h264-lossless")
        write_wav(clip.wav, speaker.wave)
        np.save(clip.boxes, speaker.boxes)
        np.save(clip.landmarks, speaker.landmarks)
        clips.append(clip)
    write_manifest(folder, clips)
    return clips


def write_labels(folder: Path, clips: list[Clip]) -> None:
    """Both kinds of labels of the training clips in one folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (clip, (_, split)) in enumerate(zip(clips, SPEAKERS, strict=True)):
        if split != "train":
            continue
        speaker, rng = Speaker(number), np.random.default_rng(number)
        angles = np.stack([np.linspace(-20, 20, FRAMES), np.linspace(5, -5, FRAMES), np.zeros(FRAMES)], 1)
        np.save(folder / f"{clip.clip_id}.npy", angles.astype(np.float32))
        eyes, mouth = speaker.landmarks[:, :2], speaker.landmarks[:, 2]
        half = np.stack([np.zeros(FRAMES), speaker.opening / 2], 1)
        side = np.array([0.08 * SIDE, 0])
        guides = np.stack([mouth - side, mouth - half, mouth + side, mouth + half], 1)
        spread = mouth[:, None] + 0.2 * SIDE * rng.uniform(-1, 1, (POINTS - 6, 2))
        points = 2 * np.concatenate([guides, eyes, spread], 1) / SIDE - 1
        shapes = np.full((FRAMES, len(SHAPES)), np.nan, np.float32)
        np.savez_compressed(folder / f"{clip.clip_id}.npz", points=points.astype(np.float32), shapes=shapes)


def with_still_head(frames: np.ndarray) -> np.ndarray:
    """What a backend might show: the first frame, its lower half from each frame, a little darker."""
    shown = np.repeat(frames[:1], len(frames), 0)
    shown[:, SIDE // 2 :] = frames[:, SIDE // 2 :] // 8 * 7
    return shown


def write_backend_videos(folder: Path, clips: list[Clip]) -> None:
    """A folder like data/backend/<backend>."""
    for number, clip in enumerate(clips):
        shown = with_still_head(Speaker(number).frames)
        write_video(backend_video(folder, clip), shown, FPS, codec="ffv1", audio=clip.wav)


def write_enhanced_videos(folder: Path, clips: list[Clip]) -> None:
    """A folder like data/enhanced/<backend>: the true frames with noise, more of it in each control."""
    for number, clip in enumerate(clip for clip in clips if clip.split == "test"):
        frames = Speaker(number + 2).frames
        for rank, control in enumerate(("", *CONTROLS)):
            noise = np.random.default_rng(rank).integers(-3 - 2 * rank, 4 + 2 * rank, frames.shape)
            shown = np.clip(frames + noise, 0, 255).astype(np.uint8)
            write_video(enhanced_video(folder, clip, control), shown, FPS, codec="ffv1", audio=clip.wav)
