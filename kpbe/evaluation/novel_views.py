"""A talking test clip seen from several sides, as the paper's Fig. 4: the enhancement at head poses that no video gave (IV.F)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from kpbe.data.clips import Clip, backend_video, read_manifest
from kpbe.data.crops import cropped
from kpbe.data.source_frame import source_frame_index
from kpbe.errors import KPBEError
from kpbe.media.sheets import contact_sheet
from kpbe.media.video import VideoReader
from kpbe.methods import display_name
from kpbe.params import Params
from kpbe.work import whole

if TYPE_CHECKING:
    from kpbe.frontend.model import Frontend

YAWS = (-30.0, -15.0, 0.0, 15.0, 30.0)
"""Degrees; negative ones look to the picture's right."""

MOMENTS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Shares of the clip."""

CELL = 128


def figure4(
    params: Params, backend: str, clips_folder: Path, backend_videos: Path, checkpoint: Path, out: Path
) -> None:
    """Write a PNG like the paper's Fig. 4: a row for each yaw, a column for each moment, and the backend's frames above.

    Appearance comes from the test clip's source image, the expression of each column from the backend's frame, the head pose from the row
    alone: pitch and roll are 0, the translation is the source image's.

    Args:
        params: the whole params.
        backend: its name.
        clips_folder: data/clips.
        backend_videos: data/backend/<backend>; the first test clip that has a video there is shown.
        checkpoint: the frontend of stage 2.
        out: the PNG.

    Raises:
        KPBEError: no test clip has a video of the backend.
        MissingWeights, BadCheckpoint: there is no such checkpoint, or it is something else.
    """
    from kpbe.compute import torch_device
    from kpbe.frontend.checkpoints import load_frontend

    clip = next(
        (c for c in read_manifest(clips_folder, "test") if backend_video(backend_videos, c).is_file()), None
    )
    if clip is None:
        raise KPBEError(
            f"no test clip of {clips_folder} has a video in {backend_videos}: run the stages before (dvc repro)."
        )
    frontend = load_frontend(checkpoint, str(torch_device(params.compute))).for_rendering()
    source, spoken, times = _pictures(clip, backend_video(backend_videos, clip), params.evaluate.seed)
    rows = [(display_name(backend), spoken)]
    rows += [
        (f"yaw {yaw:+.0f}°".replace("-", "−"), _seen_from(frontend, source, spoken, yaw)) for yaw in YAWS
    ]
    sheet = contact_sheet(rows, [f"{clip.identity}, {time:.1f} s" for time in times], cell=CELL)
    with whole(out) as temporary:
        Image.fromarray(sheet).save(temporary)


def _pictures(clip: Clip, video: Path, seed: int) -> tuple[np.ndarray, list[np.ndarray], list[float]]:
    """Source image, the backend's frames at the moments, and their times in seconds."""
    reader = VideoReader(video)
    indices = [round(moment * (len(reader) - 1)) for moment in MOMENTS]
    source = VideoReader(clip.video)[source_frame_index(clip.clip_id, clip.frames, seed)]
    return source, list(reader.get_batch(indices)), [index / clip.fps for index in indices]


def _seen_from(
    frontend: Frontend, source: np.ndarray, spoken: list[np.ndarray], yaw: float
) -> list[np.ndarray]:
    """The source talking like `spoken`, its head turned to a yaw."""
    from kpbe.free_view import View, decompose_image
    from kpbe.novel_view import talking_view
    from kpbe.viewpoints import viewpoints

    size = frontend.params.image_size
    source, *spoken = (
        cropped(frame, (0, 0, frame.shape[1], frame.shape[0]), size) for frame in (source, *spoken)
    )
    seen_from = viewpoints(View(yaw=yaw, pitch=0.0, roll=0.0))
    return list(talking_view(frontend, decompose_image(frontend, source), seen_from, spoken))
