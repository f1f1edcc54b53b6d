"""The source image of a test clip: one of its frames, drawn once for every method and never scored."""

from __future__ import annotations

from hashlib import sha256


def source_frame_index(clip_id: str, frames: int, seed: int) -> int:
    """Which frame of a clip is its source image: drawn evenly, the same on every machine and for every
    method.

    Args:
        clip_id: the clip.
        frames: number of its frames, at least 1.
        seed: `evaluate.seed`.

    Returns:
        An index in 0..frames-1 from the SHA-256 of "<seed>:<clip_id>".
    """
    return random_seed(clip_id, seed) % frames


def random_seed(clip_id: str, seed: int) -> int:
    """A number of 64 bits for what is drawn for a clip: from the SHA-256 of "<seed>:<clip_id>"."""
    return int.from_bytes(sha256(f"{seed}:{clip_id}".encode()).digest()[:8], "big")
