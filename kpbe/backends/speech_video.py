"""One video of a backend's: from files to frames, and frames with their sound to a file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import numpy as np

from kpbe.backends.base import Backend, BackendSettings, SynthesisRequest, speak
from kpbe.checkpoints.catalogue import find
from kpbe.data.faces import finder_here
from kpbe.errors import BadClip
from kpbe.media.audio import read_audio
from kpbe.media.images import is_picture, read_image
from kpbe.media.prefetch import prefetched
from kpbe.media.recording import Recording
from kpbe.media.video_writer import VideoWriter

Settings = TypeVar("Settings", bound=BackendSettings)


def request_of_files(
    source: Path, audio: Path, pose: Path | None = None, fps: float = 25.0
) -> SynthesisRequest:
    """What a backend is asked for when source, speech and head pose are files.

    Args:
        source: a picture, or a video of which every frame is spoken on.
        audio: any file with sound; its whole length is spoken.
        pose: video of the head pose; the source's frames when None.
        fps: of the output; source and pose are sampled at it.

    Raises:
        BadClip: a file is missing or holds something else.
    """
    wave = read_audio(audio)
    if is_picture(source):
        frames: Iterable[np.ndarray] = [read_image(source)]
    else:
        frames = Recording(source).at_fps(fps)
    pose_frames = None if pose is None else Recording(pose).at_fps(fps)
    return SynthesisRequest(str(source), frames, wave, fps, pose_frames=pose_frames, clip_id=source.stem)


def with_finders(settings: Settings) -> Settings:
    """A backend's settings for files of whose faces nothing is known, and for a machine without YuNet's
    file.
    """
    asked = (key for key in ("detector", "landmarks") if hasattr(settings, key))
    unknown = [
        key
        for key in asked
        if getattr(settings, key) == "known" or (getattr(settings, key) == "yunet" and find("yunet") is None)
    ]
    return settings.model_copy(update=dict.fromkeys(unknown, finder_here())) if unknown else settings


def write_speech_video(path: Path, backend: Backend, request: SynthesisRequest, audio: Path) -> None:
    """Let a backend speak and write its frames with the whole of `audio`; whole or not at all.

    Decoding, the backend and encoding run beside each other.

    Args:
        path: .mkv for lossless pictures (FFV1) and the very samples of uncompressed sound; .mp4 for people
            (H.264, AAC).
        backend: loaded and ready.
        request: what to speak.
        audio: the file that `request.wave` was read from.

    Raises:
        BadClip: the backend cannot do this video, or made another number of frames than `request.frames`.
    """
    frames = speak(backend, request)
    codec = "ffv1" if path.suffix.lower() == ".mkv" else "h264"
    with VideoWriter(path, request.fps, codec=codec, audio=audio, whole_audio=True) as writer:
        for frame in prefetched(frames):
            writer.write(frame)
        if writer.frames != request.frames:
            raise BadClip(f"{request.name}: {backend.kind} made {writer.frames} frames of {request.frames}.")
