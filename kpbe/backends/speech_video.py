"""One video of a backend: read its input files, and write its frames with their sound."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import numpy as np

from kpbe.backends.base import Backend, BackendSettings, SynthesisRequest, speak
from kpbe.checkpoints.catalogue import find
from kpbe.data.faces import detector_here, finder_here
from kpbe.data.people import FaceChoice, find_face, follow_face
from kpbe.errors import BadClip
from kpbe.media.audio import read_audio
from kpbe.media.images import is_picture, read_image
from kpbe.media.prefetch import prefetched
from kpbe.media.recording import Recording
from kpbe.media.sound_track import SoundTrack
from kpbe.media.video_writer import VideoWriter

Settings = TypeVar("Settings", bound=BackendSettings)


def request_of_files(
    source: Path,
    audio: Path,
    pose: Path | None = None,
    fps: float = 25.0,
    face: FaceChoice = "auto",
    audio_track: int | None = None,
) -> SynthesisRequest:
    """The request for source, speech and head pose in files.

    Args:
        source: a picture, or a video whose every frame is used.
        audio: any file with sound; its whole length is used, as long as its picture lasts where it has one.
        pose: video of the head pose; None takes the source's frames.
        fps: of the output; source and pose are sampled at it.
        face: whose face speaks, where the source shows several.
        audio_track: which audio track, 1 is the first; None takes the file's default.

    Raises:
        BadClip: a file is missing or holds something else, or the source shows several faces of similar size
            and `face` is `auto`.
    """
    wave = read_audio(audio, track=audio_track)
    pose_frames = None if pose is None else Recording(pose).at_fps(fps, exact=True)
    detector = detector_here()
    boxes = None
    frames: Iterable[np.ndarray]
    if is_picture(source):
        picture = read_image(source)
        box = find_face(picture, detector, face, str(source))
        frames, boxes = [picture], None if box is None or face == "auto" else box[None]
    else:
        frames = Recording(source).at_fps(fps, exact=True)
        track = follow_face(frames, detector, face, str(source))
        if track is not None and (face != "auto" or track.people > 1):
            boxes = track.boxes
    return SynthesisRequest(
        str(source), frames, wave, fps, boxes=boxes, pose_frames=pose_frames, clip_id=source.stem
    )


def with_finders(settings: Settings) -> Settings:
    """Settings with a face finder that this machine has, for files without known faces.

    It replaces `known`, and `yunet` where its file is missing.
    """
    keys = (key for key in ("detector", "landmarks") if hasattr(settings, key))
    unknown = [
        key
        for key in keys
        if getattr(settings, key) == "known" or (getattr(settings, key) == "yunet" and find("yunet") is None)
    ]
    return settings.model_copy(update=dict.fromkeys(unknown, finder_here())) if unknown else settings


def write_speech_video(
    path: Path, backend: Backend, request: SynthesisRequest, audio: Path | SoundTrack
) -> None:
    """Let a backend speak and write its frames with the whole of `audio`; whole or not at all.

    Decoding, the backend and encoding run in parallel.

    Args:
        path: .mkv for lossless pictures (FFV1) and unchanged samples of uncompressed sound; .mp4 for people
            (H.264, AAC).
        backend: loaded and ready.
        request: source and speech.
        audio: the file that `request.wave` was read from.

    Raises:
        BadClip: the backend cannot make this video, or made another number of frames than `request.frames`.
    """
    frames = speak(backend, request)
    codec = "ffv1" if path.suffix.lower() == ".mkv" else "h264"
    with VideoWriter(path, request.fps, codec=codec, audio=audio, whole_audio=True) as writer:
        for frame in prefetched(frames):
            writer.write(frame)
        if writer.frames != request.frames:
            raise BadClip(f"{request.name}: {backend.kind} made {writer.frames} frames of {request.frames}.")
