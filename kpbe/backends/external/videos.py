"""What the kinds `command` and `folder` share: taking over a video that somebody else's program made."""

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
        allowed_missing_frames: a video may end this many frames early, its last frame is then repeated (many
            programs drop the end of the audio that fills no whole window); a shorter one is rejected.
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
    found = len(sample_times(Recording(video).info.seconds, request.fps))
    if not found or found + allowed_missing_frames < request.frames:
        raise WrongLength(
            f"{found} of {request.frames} frames at {request.fps:g} fps (allowed_missing_frames = "
            f"{allowed_missing_frames})"
        )


def fitted_frames(video: Path, request: SynthesisRequest) -> Iterator[np.ndarray]:
    """A video's frames as its clip needs them: at the clip's rate, of its size, exactly `request.frames`.

    Args:
        video: passed `refuse_too_short`.
        request: what the video was made for.

    Returns:
        Iterator over (H, W, 3) uint8 RGB frames of the source's size; what is too long is cut, the last frame
        fills what is missing.

    Raises:
        BrokenVideo: a frame cannot be decoded.
    """
    height, width = request.first_frames(1)[0].shape[:2]
    found = (scaled(f, width, height) for f in Recording(video).at_fps(request.fps))
    last = next(found)
    yield last
    missing = request.frames - 1
    for last in islice(found, missing):
        yield last
        missing -= 1
    yield from repeat(last, missing)
