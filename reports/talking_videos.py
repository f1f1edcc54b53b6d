"""Talking videos of the free view: choosing one, and rendering a source image that talks as it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from kpbe.data.clips import Clip
from kpbe.methods import display_name
from reports import project

if TYPE_CHECKING:  # torch takes seconds: it is imported when there is something to render
    from kpbe.frontend.model import Decomposition, Frontend
    from kpbe.inference.viewpoints import Viewpoints

CLIP, UPLOAD = "A test clip's", "My own"
VIDEOS = ("mp4", "mkv", "mov", "webm", "avi")
FPS = 25.0
LONGEST_SECONDS = 8.0
"""Length of the rendered video; the rest is left out, because a visitor waits for it."""

LARGEST_MB = 50
"""Largest uploaded video."""


@dataclass(frozen=True)
class Talking:
    """A talking video: a file on this machine, or the content of an uploaded one.

    Attributes:
        name: file name, which messages quote.
        path: where it is; None for an upload.
        content: of an upload.
        identity: who talks; None for an upload.
    """

    name: str
    path: Path | None
    content: bytes = b""
    identity: str | None = None

    @contextmanager
    def file(self) -> Iterator[Path]:
        """The video as a file; an upload lies in a temporary folder until the block ends."""
        if self.path is not None:
            yield self.path
            return
        with TemporaryDirectory() as folder:
            path = Path(folder) / Path(self.name).name
            path.write_bytes(self.content)
            yield path


def choose_talking(clips: dict[str, Clip]) -> Talking | None:
    """Let the visitor choose a test clip's video, of any method, or upload one; None until one is chosen."""
    ways = [CLIP, UPLOAD] if clips else [UPLOAD]
    way = (clips and st.segmented_control("Talking video", ways, default=ways[0])) or ways[0]
    if way == CLIP:
        clip = clips[st.selectbox("Talking clip", list(clips))]
        videos = {"Ground truth": clip.video}
        videos |= {display_name(method): path for method, path in project.method_videos(clip).items()}
        method = st.selectbox("Method", list(videos))
        return Talking(videos[method].name, videos[method], identity=clip.identity)
    uploaded = st.file_uploader(
        "Talking video",
        VIDEOS,
        max_upload_size=LARGEST_MB,
        label_visibility="collapsed" if clips else "visible",
    )
    if uploaded is None:
        return None
    if uploaded.size > LARGEST_MB * 2**20:
        st.error(f"{uploaded.name} has {uploaded.size / 2**20:.1f} MB: give at most {LARGEST_MB}.")
        return None
    return Talking(uploaded.name, None, uploaded.getvalue())


def first_frame(talking: Talking) -> np.ndarray:
    """The video's first frame, (S, S, 3) uint8 RGB, framed as the frontend sees it.

    Raises:
        BadClip: it is no video.
    """
    from kpbe.inference.enhance_video import framed_video

    with talking.file() as path:
        return next(iter(framed_video(path, FPS, "auto")))


def talking_video(
    frontend: Frontend,
    source: Decomposition,
    seen_from: Viewpoints,
    talking: Talking,
    identity: str,
    finish: Callable[[np.ndarray], np.ndarray],
) -> bytes:
    """Render the source talking as the video does, with its sound, as MP4 of at most `LONGEST_SECONDS`.

    Args:
        frontend, source: the network and the decomposed source image.
        seen_from: viewpoints; the result ends with the shorter of them and the talking video.
        talking: gives expression and sound, and also its mouth if it shows the source's person.
        identity: of the source.
        finish: applied to each frame, (S, S, 3) uint8, before it is encoded.

    Raises:
        BadClip: `talking` is no video.
    """
    from kpbe.inference.enhance_video import framed_video, sound_of
    from kpbe.inference.novel_view import talking_view
    from kpbe.media.video_writer import write_video

    with talking.file() as video, TemporaryDirectory() as folder:
        spoken = framed_video(video, FPS, "auto")
        views = islice(seen_from, round(LONGEST_SECONDS * FPS))
        frames = talking_view(frontend, source, views, spoken, same_person=talking.identity == identity)
        path = Path(folder) / "talking.mp4"
        write_video(path, (finish(frame) for frame in frames), FPS, audio=sound_of(video))
        return path.read_bytes()
