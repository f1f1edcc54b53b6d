"""The source image of a test clip: one random frame, the same for every method and never scored."""

from __future__ import annotations

from hashlib import sha256


def source_frame_index(clip_id: str, frames: int, seed: int) -> int:
    """Index of the frame of a clip that is its source image, the same for every machine and method.

    All frames are equally likely.

    Args:
        clip_id: the clip.
        frames: number of its frames, at least 1.
        seed: `evaluate.seed`.

    Returns:
        An index in 0..frames-1 from the SHA-256 of "<seed>:<clip_id>".
    """
    return random_seed(clip_id, seed) % frames


def random_seed(clip_id: str, seed: int) -> int:
    """A 64-bit random seed for a clip, from the SHA-256 of "<seed>:<clip_id>"."""
    return int.from_bytes(sha256(f"{seed}:{clip_id}".encode()).digest()[:8], "big")
