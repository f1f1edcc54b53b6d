"""How well two encoders agree on what is heard and what is seen: contrastive loss, accuracy at offset."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

MAX_OFFSET = 5
"""Frames by which sound is shifted either way to find the offset of a moment."""


def contrastive(audio: Tensor, visual: Tensor, temperature: float) -> Tensor:
    """Symmetric InfoNCE: each window's own partner among all of the batch, from audio to picture and back.

    Args:
        audio, visual: (B, D) features; row i of one belongs to row i of the other.
        temperature: of the softmax over cosine similarities.

    Returns:
        Mean cross-entropy of both directions; log(B) at chance.
    """
    logits = F.normalize(audio) @ F.normalize(visual).T / temperature
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def similarity_by_offset(audio: Tensor, face: Tensor) -> Tensor:
    """Cosine similarity of each moment of a clip to the sound of the offsets -5, ..., 5 frames.

    Args:
        audio: embeddings (N, C) of the sounds of consecutive moments.
        face: embeddings (N, C) of their mouths.

    Returns:
        (N, 11); -inf where the offset reaches beyond the clip. A positive offset is sound from later than the mouths.
    """
    moments = torch.arange(len(face), device=face.device)
    sounds = moments[:, None] + torch.arange(-MAX_OFFSET, MAX_OFFSET + 1, device=face.device)
    similarity = torch.cosine_similarity(face[:, None], audio[sounds.clamp(0, len(audio) - 1)], dim=2)
    return similarity.masked_fill((sounds < 0) | (sounds >= len(audio)), -torch.inf)


def offset_accuracy(by_offset: Tensor, within: int = 0) -> float:
    """Share of moments whose most similar sound is at most `within` frames from the true one; ties are errors.

    Chance is 1/11 (9 %) for the frame itself and 3/11 (27 %) within one frame, more in short clips, whose first and last windows have
    fewer offsets to choose from (`offset_chance`).

    Args:
        by_offset: (N, 11) of `similarity_by_offset`.
        within: frames.
    """
    # The first of equal values wins, so the farthest offsets come first.
    farthest_first = sorted(range(-MAX_OFFSET, MAX_OFFSET + 1), key=abs, reverse=True)
    best = by_offset[:, [offset + MAX_OFFSET for offset in farthest_first]].argmax(1)
    distance = torch.tensor(farthest_first, device=best.device)[best].abs()
    return (distance <= within).float().mean().item()


def offset_chance(by_offset: Tensor, within: int = 0) -> float:
    """`offset_accuracy` of an encoder that cannot tell: the mean share of the offsets to choose from that would be right.

    Args:
        by_offset: (N, 11) of `similarity_by_offset`.
        within: frames.
    """
    possible = by_offset.isfinite()
    right = possible[:, MAX_OFFSET - within : MAX_OFFSET + within + 1]
    return (right.sum(1) / possible.sum(1)).mean().item()
