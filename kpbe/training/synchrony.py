"""How well two encoders agree on what is heard and what is seen: contrastive loss, accuracy at offset."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

OFFSETS = 5
"""Frames to either side that the accuracy at offset tells apart; chance is 1 / (2 * OFFSETS + 1)."""


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


def accuracy_at_offset(similarity: Tensor, within: int = 0) -> float:
    """Share of windows whose most similar offset is the true one, or at most `within` frames beside it.

    Args:
        similarity: (N, 2 R + 1) of N windows with their partner shifted by -R..R frames; -inf where a clip has none.
        within: tolerated distance, frames.
    """
    true = similarity.shape[1] // 2
    return float(((similarity.argmax(1) - true).abs() <= within).float().mean())
