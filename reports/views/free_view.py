"""A head turned and moved at will, still or talking.

The source image is a test clip's or an uploaded picture; a trained frontend renders it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from kpbe.data.clips import Clip
from kpbe.data.source_frame import source_frame_index
from kpbe.errors import KPBEError
from kpbe.inference.frontends import trained_frontends
from reports import project
from reports.layout import counted, heading, not_yet
from reports.pictures import SHOWN_WIDTH, enlarged, png, side_by_side
from reports.talking_videos import LONGEST_SECONDS, Talking, choose_talking, first_frame, talking_video
from reports.view_files import ViewFiles, choose_files

if TYPE_CHECKING:  # torch takes seconds: it is imported when there is something to render
    from torch import Tensor

    from kpbe.frontend.model import Decomposition, Frontend
    from kpbe.inference.free_view import View
    from kpbe.inference.viewpoints import Viewpoint, Viewpoints

ANGLES = {
    "yaw": (45, "turned to the picture's left when positive"),
    "pitch": (20, "looking down when positive"),
    "roll": (20, "tilted clockwise when positive"),
}
SHIFTS = {"x": "to the right", "y": "down", "z": "in depth"}
LARGEST_SHIFT = 0.5
CLIP, UPLOAD = "A test clip", "My picture"
OWN, OTHER, TALKING = "Its own", "A test clip's frame", "A talking video"
PICTURES = ("png", "jpg", "jpeg", "webp", "bmp")


def page() -> None:
    """The whole page."""
    frontends = trained_frontends(project.root())
    if not frontends:
        not_yet("Free view", "There is no trained frontend yet: no checkpoint to render with.")
    heading("Free view", "One picture, its head turned and moved at will.")
    views, tools = st.columns(
        (3, 2), gap="large"
    )  # on a phone they come below each other: picture, sliders, choices
    try:
        show(frontends, views, tools)
    except KPBEError as error:
        refuse(error, views)


def show(frontends: dict[str, Path], views: DeltaGenerator, tools: DeltaGenerator) -> None:
    """Draw the choices in `tools` and the rendered pictures in `views`."""
    with tools:
        name = st.selectbox("Frontend", list(frontends))
        frontend = load(str(frontends[name]), frontends[name].stat().st_mtime_ns)
        picture, origin, identity = choose_picture()
        try:
            motion = choose_motion(frontend)
        except KPBEError as error:
            refuse(error, views)
            motion = None
    if picture is None:
        views.info("Choose a picture.", icon=":material/face:")
        return
    source, own = take_apart(frontend, str(frontends[name]), picture)
    with views:
        shown = st.container()
        view = choose_view(own, f"{name} {origin}", motion.given if motion else frozenset())
        if motion is None:  # the sliders are drawn first: they would otherwise lose their values
            return
        talking, expression = motion.talking, motion.expression
        seen_from = motion.files.viewpoints(view, talks=talking is not None)
        frame = render(frontend, source, seen_from.rows[0], expression)
        caption = f"Source image: {in_words(own)}. Rendered: {what_is_seen(seen_from, motion.files, own)}."
        shown.image(png(side_by_side(picture, frame)), caption=caption, width="stretch")
        take_away(
            frame,
            None if motion.given else lambda: turning_video(frontend, source, own, view, expression),
            talking and partial(talking_video, frontend, source, seen_from, talking, identity, enlarged),
        )


def refuse(error: KPBEError, views: DeltaGenerator) -> None:
    """Show an error where the picture would be."""
    views.error(str(error), icon=":material/error:")


# -- what is chosen ----------------------------------------------------------------------------------------


def choose_picture() -> tuple[np.ndarray | None, str, str]:
    """Let the visitor choose a picture: it as (S, S, 3) uint8, a key, and its identity (empty for an upload).

    The picture is None until one is chosen.
    """
    clips = test_clips()
    ways = [CLIP, UPLOAD] if clips else [UPLOAD]
    way = (clips and st.segmented_control("Picture", ways, default=ways[0])) or ways[0]
    if way == UPLOAD:
        uploaded = st.file_uploader("Picture", PICTURES, label_visibility="collapsed" if clips else "visible")
        if uploaded is None:
            return None, "", ""
        return portrait(uploaded.getvalue(), uploaded.name), uploaded.file_id, ""
    clip = choose_clip(clips, "Source clip")
    params = project.fitting_params()
    index = source_frame_index(clip.clip_id, clip.frames, params.evaluate.seed if params else 0)
    frame = clip_frame(str(clip.video), clip.video.stat().st_mtime_ns, index)
    return frame, clip.clip_id, clip.identity


@dataclass(frozen=True)
class Motion:
    """What moves the picture besides the sliders.

    Attributes:
        expression: (1, K, 3), None for the source's own.
        talking: the video whose first frame has that expression, if any.
        files: views from files.
        given: names of the angles and translations that the files set.
    """

    expression: Tensor | None
    talking: Talking | None
    files: ViewFiles
    given: frozenset[str]


def choose_motion(frontend: Frontend) -> Motion:
    """Let the visitor choose the expression and files of views.

    Raises:
        KPBEError: a file is not what it should be.
    """
    expression, talking = choose_expression(frontend)
    talks = talking is not None
    files = choose_files(talks)
    return Motion(expression, talking, files, files.given(talks))


def choose_expression(frontend: Frontend) -> tuple[Tensor | None, Talking | None]:
    """Let the visitor choose whose expression is shown: the expression, and the talking video it is from.

    The expression is None for the source's own; the video is None unless one is chosen.
    """
    from kpbe.inference.free_view import expression_of

    clips = test_clips()
    ways = [OWN, OTHER, TALKING] if clips else [OWN, TALKING]
    way = st.segmented_control("Expression", ways, default=OWN) or OWN
    talking = choose_talking(clips) if way == TALKING else None
    if way == OTHER:
        clip = choose_clip(clips, "Clip of the expression")
        index = st.slider("Frame", 0, clip.frames - 1, clip.frames // 2)
        frame = clip_frame(str(clip.video), clip.video.stat().st_mtime_ns, index)
    elif talking is not None:
        frame = first_frame(talking)
    else:
        return None, None
    st.image(frame, width=96)
    return expression_of(frontend, frame), talking


def choose_clip(clips: dict[str, Clip], label: str) -> Clip:
    """Let the visitor choose one of the test clips."""
    return clips[st.selectbox(label, list(clips))]


def choose_view(own: View, of: str, given: frozenset[str]) -> View:
    """Show sliders that start at the source's own view, and return the chosen view.

    `of` names the source, so that each source has its own sliders. Sliders in `given` are disabled, and the
    view leaves their values open.
    """
    from kpbe.inference.free_view import View

    turns = st.session_state.setdefault("turns", 0)
    values: dict[str, float] = {}
    for column, (angle, (largest, meaning)) in zip(st.columns(3, gap="medium"), ANGLES.items(), strict=True):
        values[angle] = column.slider(
            angle.capitalize(),
            -float(largest),
            float(largest),
            float(np.clip(round(getattr(own, angle)), -largest, largest)),
            1.0,
            format="%.0f°",
            help=f"{meaning[0].upper()}{meaning[1:]}.",
            key=f"{angle} {of} {turns}",
            disabled=angle in given,
        )
    with st.expander("Move the head", icon=":material/open_with:"):
        for column, (shift, meaning) in zip(st.columns(3, gap="medium"), SHIFTS.items(), strict=True):
            values[shift] = column.slider(
                f"{shift}, {meaning}",
                -LARGEST_SHIFT,
                LARGEST_SHIFT,
                float(np.clip(round(getattr(own, shift), 2), -LARGEST_SHIFT, LARGEST_SHIFT)),
                0.01,
                key=f"{shift} {of} {turns}",
                disabled=shift in given,
            )
    if st.button("Back to its own pose", icon=":material/undo:", type="tertiary"):
        st.session_state["turns"] = turns + 1
        st.rerun()
    return View(**{name: value for name, value in values.items() if name not in given})


# -- what is shown -----------------------------------------------------------------------------------------


def render(
    frontend: Frontend, source: Decomposition, viewpoint: Viewpoint, expression: Tensor | None
) -> np.ndarray:
    """Render the source from a viewpoint, (S, S, 3) uint8."""
    from kpbe.inference.novel_view import one_view

    return one_view(frontend, source, viewpoint, expression)


def take_away(
    frame: np.ndarray, make_turning: Callable[[], bytes] | None, make_talking: Callable[[], bytes] | None
) -> None:
    """Offer the rendered picture for download, and render videos when the visitor asks for them."""
    icon = ":material/download:"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button("PNG", png(frame), "free_view.png", "image/png", icon=icon, on_click="ignore")
        turning = make_turning is not None and st.toggle(
            "Turning video", help="The head swings to this view, as far to the other side, and back."
        )
        talking = make_talking is not None and st.toggle(
            "Talking video",
            help=(
                f"The head talks as the video does, seen from this view or your file's, with sound; "
                f"{LONGEST_SECONDS:.0f} s at most."
            ),
        )
    if turning and make_turning is not None:
        with st.spinner("Rendering"):
            video = make_turning()
        st.video(video, loop=True, autoplay=True, muted=True, width=SHOWN_WIDTH, alt="The head turning.")
        st.download_button("MP4", video, "free_view.mp4", "video/mp4", icon=icon, on_click="ignore")
    if talking and make_talking is not None:
        with st.spinner("Rendering"):
            video = make_talking()
        st.video(video, width=SHOWN_WIDTH, alt="The head talking, seen from the chosen view.")
        st.download_button("MP4 with sound", video, "talking.mp4", "video/mp4", icon=icon, on_click="ignore")


def turning_video(
    frontend: Frontend, source: Decomposition, own: View, view: View, expression: Tensor | None
) -> bytes:
    """Three seconds of the head swinging to a view and back, MP4."""
    from kpbe.inference.free_view import free_view, look_around
    from kpbe.media.video_writer import write_video

    with TemporaryDirectory() as folder:
        path = Path(folder) / "turning.mp4"
        frames = free_view(frontend, source, look_around(own, view, frames=75), expression)
        write_video(path, (enlarged(frame) for frame in frames), 25.0)
        return path.read_bytes()


def what_is_seen(seen_from: Viewpoints, files: ViewFiles, own: View) -> str:
    """Describe the viewpoint of the rendered picture, and how many viewpoints there are."""
    first = seen_from.rows[0]
    seen = (
        in_words(first.view.completed(own)) if first.rotation is None else f"the rotation of {files.rotation}"
    )
    return seen if seen_from.frames is None else f"{seen}, the first of {counted(seen_from.frames, 'view')}"


def in_words(view: View) -> str:
    """A view's angles: "yaw 20°, pitch −3°, roll 0°"."""
    return ", ".join(f"{angle} {round(getattr(view, angle)) + 0}°" for angle in ANGLES).replace("-", "−")


# -- what is read ------------------------------------------------------------------------------------------


def test_clips() -> dict[str, Clip]:
    """Test clips whose videos are on this machine."""
    return {c.clip_id: c for c in project.clips() or [] if c.split == "test" and c.video.is_file()}


@st.cache_resource(max_entries=3, show_spinner="Loading the frontend")
def load(path: str, changed_ns: int) -> Frontend:
    """A frontend, loaded once for all visitors."""
    from kpbe.inference.frontends import open_frontend

    return open_frontend(Path(path))


@st.cache_resource(max_entries=32, show_spinner=False)
def take_apart(_frontend: Frontend, checkpoint: str, picture: np.ndarray) -> tuple[Decomposition, View]:
    """Decompose a picture into a source and its own view; the result is cached."""
    from kpbe.inference.free_view import decompose_image, own_view

    source = decompose_image(_frontend, picture)
    return source, own_view(_frontend, source)


@st.cache_resource(max_entries=64, show_spinner=False)
def clip_frame(path: str, changed_ns: int, index: int) -> np.ndarray:
    """A frame of a clip."""
    from kpbe.media.recording import Recording

    return Recording(path)[index]


@st.cache_resource(max_entries=16, show_spinner=False)
def portrait(content: bytes, name: str) -> np.ndarray:
    """An uploaded picture, cut to the square that the frontend sees, (S, S, 3) uint8.

    Raises:
        BadClip: it is no picture.
    """
    from kpbe.inference.framing import framed_picture
    from kpbe.media.images import picture_of

    return framed_picture(picture_of(content, name), "auto", name)


page()
