"""Enhancing one video by hand: any talking video, a picture of the person, and optionally a video of the head
pose.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kpbe.data.crops import cropped
from kpbe.errors import KPBEError
from kpbe.frontend.model import Frontend
from kpbe.inference.enhance import enhance
from kpbe.inference.framing import Framing, all_framed, own_side, square_of
from kpbe.inference.free_view import decompose_image
from kpbe.inference.novel_view import talking_view
from kpbe.inference.viewpoints import Viewpoints
from kpbe.media.audio import NoAudio, audio_source
from kpbe.media.images import IMAGE_SUFFIXES, read_image
from kpbe.media.prefetch import prefetched
from kpbe.media.recording import Recording
from kpbe.media.video_writer import VideoWriter


def read_portrait(path: Path, framing: Framing = "auto") -> np.ndarray:
    """The frontend's view (S, S, 3) uint8 RGB of a picture, or of a video's first frame, at its own size.

    Raises:
        BadClip: the file cannot be read or shows no face where one is asked for.
    """
    frames = [read_image(path)] if path.suffix.lower() in IMAGE_SUFFIXES else Recording(path).at_fps()
    first = next(iter(frames))
    box = square_of([first], framing, str(path))
    return cropped(first, box, own_side(box))


def enhance_video(
    frontend: Frontend,
    talking: Path,
    source: Path,
    out: Path,
    pose: Path | None = None,
    framing: Framing = "auto",
    fps: float = 25.0,
    batch_size: int = 16,
    viewpoints: Viewpoints | None = None,
) -> int:
    """Enhance a talking video, or show it from other viewpoints (paper IV.F); whole or not at all.

    The result has the size of the source's square. Frames are decoded, rendered and encoded side by side,
    never all held in memory.

    Args:
        frontend: trained networks in eval mode.
        talking: the backend's video; gives expression and sound (a .wav of the same name beside a mute video
            counts).
        source: picture of the person, or a video whose first frame is taken.
        out: .mp4 for people, .mkv without loss.
        pose: video of the head pose; `talking` itself when None.
        framing: how pictures and videos become the square that the frontend is shown
            (`kpbe.inference.framing.square_of`).
        fps: videos are sampled at it.
        batch_size: frames rendered at once.
        viewpoints: the head pose, where no video gives it; what it leaves open stays that of `source`.

    Returns:
        The number of frames; the shorter of `talking` and `pose` (or `viewpoints`) ends the video.

    Raises:
        KPBEError: `pose` and `viewpoints` are both given.
        BadClip: a file cannot be read, or shows no face where one is asked for.
    """
    if pose is not None and viewpoints is not None:
        raise KPBEError(f"{pose} and a viewpoint both give the head pose: leave one of them out.")
    source_image = read_portrait(source, framing)
    expression_frames = framed_video(talking, fps, framing)
    if viewpoints is None:
        pose_frames = framed_video(talking if pose is None else pose, fps, framing)
        frames = enhance(frontend, source_image, pose_frames, expression_frames, batch_size)
    else:
        decomposed = decompose_image(frontend, source_image)
        frames = talking_view(frontend, decomposed, viewpoints, expression_frames, batch_size)
    codec = "ffv1" if out.suffix.lower() == ".mkv" else "h264"
    with VideoWriter(out, fps, codec=codec, audio=sound_of(talking)) as writer:
        for frame in prefetched(frames):
            writer.write(frame)
    return writer.frames


def sound_of(video: Path) -> Path | None:
    """The file with a video's sound: itself, or a .wav of the same name; None where there is none."""
    try:
        return audio_source(video)
    except NoAudio:
        return None


def framed_video(path: Path, fps: float, framing: Framing) -> Iterator[np.ndarray]:
    """The frames of a video at `fps`, each the frontend's view (S, S, 3) uint8 RGB, at the video's own size.

    Raises:
        BadClip: it cannot be read, or shows no face where one is asked for.
    """
    video = Recording(path).at_fps(fps)
    box = square_of(iter(video), framing, str(path))
    return prefetched(all_framed(video, box, own_side(box)))
