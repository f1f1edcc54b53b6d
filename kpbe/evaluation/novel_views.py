"""Figure 4 of the paper: a talking test clip rendered at head poses that no video gave (IV.F)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from kpbe.core.files import whole
from kpbe.data.clips import Clip, backend_video, read_manifest
from kpbe.data.source_frame import source_frame_index
from kpbe.errors import KPBEError
from kpbe.media.recording import Recording
from kpbe.media.sheets import contact_sheet
from kpbe.methods import display_name
from kpbe.params import Params

if TYPE_CHECKING:
    from kpbe.frontend.model import Decomposition, Frontend

YAWS = (-30.0, -15.0, 0.0, 15.0, 30.0)
"""Yaws in degrees; heads with a negative yaw look to the picture's right."""

MOMENTS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Moments of the columns, as shares of the clip."""

LOOKED_AT = 8

CELL = 128


def figure4(
    params: Params, backend: str, clips_folder: Path, backend_videos: Path, checkpoint: Path, out: Path
) -> None:
    """Write a PNG like the paper's Fig. 4: a row for each yaw, a column for each moment.

    The backend's frames are in the first row. Appearance comes from the test clip's source image, the
    expression of each column from the backend's frame. The row gives the head pose: its yaw with pitch and
    roll 0; the translation is the source image's.

    Args:
        params: the whole params.
        backend: its name.
        clips_folder: data/clips.
        backend_videos: data/backend/<backend>. The figure shows the clip with the most frontal source image
            among the first `LOOKED_AT` test clips that have a video there.
        checkpoint: the frontend of stage 2.
        out: the PNG.

    Raises:
        KPBEError: no test clip has a video of the backend.
        MissingWeights, BadCheckpoint: there is no such checkpoint, or it is something else.
    """
    from kpbe.core.device import torch_device
    from kpbe.frontend.checkpoints import load_frontend

    clips = [
        clip for clip in read_manifest(clips_folder, "test") if backend_video(backend_videos, clip).is_file()
    ]
    if not clips:
        raise KPBEError(
            f"no test clip of {clips_folder} has a video in {backend_videos}: run the stages before (dvc "
            f"repro)."
        )
    frontend = load_frontend(checkpoint, str(torch_device(params.compute))).for_rendering()
    clip, source = _most_frontal(frontend, clips[:LOOKED_AT], params.evaluate.seed)
    reader = Recording(backend_video(backend_videos, clip))
    indices = [round(moment * (len(reader) - 1)) for moment in MOMENTS]
    backend_frames = list(reader.at(indices))
    rows = [(display_name(backend), backend_frames)]
    rows += [(f"yaw {yaw:.0f}°", _seen_from(frontend, source, backend_frames, yaw)) for yaw in YAWS]
    headings = [f"{clip.identity}, {index / clip.fps:.1f} s" for index in indices]
    with whole(out) as temporary:
        Image.fromarray(contact_sheet(rows, headings, cell=CELL)).save(temporary)


def _most_frontal(frontend: Frontend, clips: Sequence[Clip], seed: int) -> tuple[Clip, Decomposition]:
    """The clip whose source image has the smallest yaw, with the decomposition of that image."""
    from kpbe.inference.free_view import decompose_image, own_view

    def source_of(clip: Clip) -> Decomposition:
        frame = Recording(clip.video)[source_frame_index(clip.clip_id, clip.frames, seed)]
        return decompose_image(frontend, frame)

    sources = [(clip, source_of(clip)) for clip in clips]
    return min(sources, key=lambda item: abs(own_view(frontend, item[1]).yaw or 0.0))


def _seen_from(
    frontend: Frontend, source: Decomposition, backend_frames: Sequence[np.ndarray], yaw: float
) -> list[np.ndarray]:
    """The source with the expressions of `backend_frames`, its head turned to a yaw."""
    from kpbe.inference.free_view import View
    from kpbe.inference.novel_view import talking_view
    from kpbe.inference.viewpoints import viewpoints

    views = viewpoints(View(yaw=yaw, pitch=0.0, roll=0.0))
    return list(talking_view(frontend, source, views, backend_frames))
