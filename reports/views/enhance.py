"""A talking video enhanced: upload it, watch the progress, compare, download. Nothing is kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from kpbe.errors import KPBEError
from kpbe.inference.frontends import frontend_file, trained_frontends
from reports import project
from reports.layout import heading, not_yet

if TYPE_CHECKING:  # torch takes seconds: it is imported when there is something to render
    from kpbe.frontend.model import Frontend
    from kpbe.inference.enhance_video import Enhanced, Options

VIDEOS = ("mp4", "mov", "m4v", "mkv", "webm", "avi", "ts", "mts", "3gp")
PICTURES = ("png", "jpg", "jpeg", "webp", "bmp", "tif", "tiff", "avif")
LARGEST_MB = 100  # of an upload
LONGEST_SECONDS = 60.0  # the visitor waits while it is rendered

COMPARED_HEIGHT = 480
FACES = {
    "The one that stands out": "auto",
    "The largest": "largest",
    "On the left": "left",
    "On the right": "right",
}


@st.cache_resource(show_spinner=False)
def rendering() -> Lock:
    """Held while a video is rendered, so that visitors render one after the other."""
    return Lock()


@dataclass(frozen=True)
class Result:
    """An enhanced video, in memory until the visitor leaves.

    Attributes:
        video: MP4.
        comparison: MP4 of the talking video and the enhanced one, side by side.
        name: suggested file name.
        notes: sentences to read.
    """

    video: bytes
    comparison: bytes
    name: str
    notes: tuple[str, ...]


def page() -> None:
    """The whole page."""
    frontends = trained_frontends(project.root())
    if not frontends:
        try:
            frontends = {"Released": frontend_file(None)}
        except KPBEError:
            not_yet("Enhance", "There is no trained frontend yet: no checkpoint to render with.")
    heading(
        "Enhance", "A talking video in, the same with a clean face out. Files are removed when it is done."
    )
    chosen, shown = st.columns((2, 3), gap="large")
    with chosen:
        talking = upload("Talking video", VIDEOS, f"Up to {LONGEST_SECONDS:.0f} s and {LARGEST_MB} MB.")
        other = "Without it, the best frame of the talking video."
        source = upload("Picture or video of the person", (*PICTURES, *VIDEOS), other)
        pose = upload("Video of the head pose", VIDEOS, "Without it, the talking video's own.")
        with st.expander("More", icon=":material/tune:"):
            frontend = frontends[st.selectbox("Frontend", list(frontends))]
            face = FACES[st.selectbox("Face", list(FACES))]
            of_what = "Of head pose and expression, not of lips."
            smoothing = st.slider("Smoothing", 0.0, 1.0, 0.0, 0.1, help=of_what)
            close_lips = st.toggle("Close lips in silence")
        icon = ":material/auto_fix_high:"
        begun = st.button("Enhance", type="primary", disabled=talking is None, icon=icon)
    with shown:
        if begun and talking is not None:
            st.session_state.pop("enhanced", None)
            st.session_state["enhanced"] = work(frontend, talking, source, pose, face, smoothing, close_lips)
        result = st.session_state.get("enhanced")
        if result is None:
            st.info("Choose a talking video.", icon=":material/movie:")
        else:
            show(result)


def upload(label: str, kinds: tuple[str, ...], help: str) -> Any | None:
    """Let the visitor upload a file; too large ones are refused."""
    return st.file_uploader(label, kinds, help=help, max_upload_size=LARGEST_MB)


def work(
    frontend: Path, talking: Any, source: Any, pose: Any, face: str, smoothing: float, close_lips: bool
) -> Result | None:
    """Enhance what was uploaded, in a folder that is removed; None where it was refused, which is shown."""
    from kpbe.inference.driving import Driving
    from kpbe.inference.enhance_video import Options

    options = Options(face=face, driving=Driving(smoothing=smoothing), close_lips=close_lips)
    lock = rendering()
    if lock.locked():
        st.info(
            "Another visitor's video is being rendered: yours is next.", icon=":material/hourglass_empty:"
        )
    with lock, TemporaryDirectory() as folder:
        try:
            network = load(str(frontend), frontend.stat().st_mtime_ns)
            return enhanced(Path(folder), network, talking, source, pose, options)
        except KPBEError as error:
            st.error(without_folder(str(error), Path(folder)), icon=":material/error:")
            return None


def enhanced(
    folder: Path, frontend: Frontend, talking: Any, source: Any, pose: Any, options: Options
) -> Result:
    """Enhance uploaded files with a progress bar.

    Raises:
        KPBEError: a file cannot be used, or the talking video is too long.
    """
    from kpbe.inference.enhance_video import enhance_video, sound_of
    from kpbe.media.recording import Recording
    from kpbe.media.video_writer import write_video

    video = stored(folder / "talking", talking)
    if (seconds := Recording(video).info.seconds) > LONGEST_SECONDS:
        raise KPBEError(
            f"{talking.name} lasts {seconds:.0f} s, more than {LONGEST_SECONDS:.0f}: cut it, or use "
            f"`kpbe enhance`."
        )
    bar = st.progress(0.0, "Looking for the face")
    out = folder / "enhanced.mp4"
    made: Enhanced = enhance_video(
        frontend,
        video,
        None if source is None else stored(folder / "source", source),
        out,
        None if pose is None else stored(folder / "pose", pose),
        options=options,
        progress=lambda done, count: bar.progress(done / count, f"Frame {done} of {count}"),
    )
    bar.progress(1.0, "Putting both side by side")
    comparison = folder / "comparison.mp4"
    write_video(comparison, pairs(video, out, made.fps), made.fps, audio=sound_of(out))
    bar.empty()
    notes = tuple(without_folder(note, folder) for note in made.notes)
    name = f"{Path(talking.name).stem}_enhanced.mp4"
    return Result(out.read_bytes(), comparison.read_bytes(), name, notes)


def without_folder(text: str, folder: Path) -> str:
    """A sentence that names uploaded files as the visitor knows them."""
    for part in ("talking", "source", "pose"):
        text = text.replace(f"{folder / part}/", "")
    return text


def stored(folder: Path, uploaded: Any) -> Path:
    """An uploaded file in a folder of its own, under its name."""
    folder.mkdir()
    path = folder / Path(uploaded.name).name
    path.write_bytes(uploaded.getbuffer())
    return path


def pairs(before: Path, after: Path, fps: float) -> Iterator[np.ndarray]:
    """Frames of two videos side by side, `COMPARED_HEIGHT` pixels high at most."""
    from kpbe.media.images import scaled
    from kpbe.media.recording import Recording

    recordings = Recording(before), Recording(after)
    height = min(COMPARED_HEIGHT, *(recording.size[1] for recording in recordings)) // 2 * 2
    widths = [max(2, round(r.size[0] * height / r.size[1]) // 2 * 2) for r in recordings]
    streams = (recording.at_fps(fps, exact=True) for recording in recordings)
    for frames in zip(*streams, strict=False):
        yield np.hstack([scaled(frame, width, height) for frame, width in zip(frames, widths, strict=True)])


def show(result: Result) -> None:
    """The comparison, notes and the download."""
    st.video(result.comparison, alt="The talking video on the left, the enhanced one on the right.")
    st.caption("Left: the talking video. Right: enhanced.")
    for note in result.notes:
        st.info(f"{note}.", icon=":material/info:")
    st.download_button(
        "Download", result.video, result.name, "video/mp4", icon=":material/download:", on_click="ignore"
    )


@st.cache_resource(max_entries=2, show_spinner="Loading the frontend")
def load(path: str, changed_ns: int) -> Frontend:
    """A frontend, loaded once for all visitors."""
    from kpbe.inference.frontends import open_frontend

    return open_frontend(Path(path))


page()
