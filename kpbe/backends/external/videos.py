"""Helpers of the kinds `command` and `folder`: fit a video from elsewhere to its clip."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, repeat
from pathlib import Path

import numpy as np
from pydantic import Field

from kpbe.backends.base import BackendSettings, SynthesisRequest
from kpbe.errors import BadClip
from kpbe.media.images import scaled
from kpbe.media.recording import Recording, sample_times


class ExternalSettings(BackendSettings):
    """A method that is not part of KPBE.

    Attributes:
        allowed_missing_frames: number of frames by which a video may be short; its last frame is then
            repeated (many programs drop an incomplete window at the audio's end). A shorter video is
            rejected.
    """

    allowed_missing_frames: int = Field(default=3, ge=0)


class WrongLength(BadClip):
    """A video ends too early for its clip."""


def refuse_too_short(video: Path, request: SynthesisRequest, allowed_missing_frames: int) -> None:
    """Check that a video has enough frames for a clip; only its packets are read.

    Raises:
        BrokenVideo: the file is unreadable or cut off.
        WrongLength: too many frames are missing.
    """
    frames = len(sample_times(Recording(video).info.seconds, request.fps))
    if not frames or frames + allowed_missing_frames < request.frames:
        raise WrongLength(
            f"{frames} of {request.frames} frames at {request.fps:g} fps (allowed_missing_frames = "
            f"{allowed_missing_frames})"
        )


def fitted_frames(video: Path, request: SynthesisRequest) -> Iterator[np.ndarray]:
    """A video's frames fitted to its clip: the clip's rate and size, exactly `request.frames` frames.

    Args:
        video: a video that passed `refuse_too_short`.
        request: the request that the video answers.

    Returns:
        Iterator over (H, W, 3) uint8 RGB frames of the source's size. Extra frames are cut; missing ones
        repeat the last frame.

    Raises:
        BrokenVideo: a frame cannot be decoded.
    """
    height, width = request.first_frames(1)[0].shape[:2]
    frames = (scaled(f, width, height) for f in Recording(video).at_fps(request.fps))
    last = next(frames)
    yield last
    missing = request.frames - 1
    for last in islice(frames, missing):
        yield last
        missing -= 1
    yield from repeat(last, missing)
