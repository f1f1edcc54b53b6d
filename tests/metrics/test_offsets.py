"""Contrastive loss and accuracy at offset."""

from __future__ import annotations

import math

import pytest
import torch

from kpbe.metrics.lip_sync import offset_accuracy
from kpbe.training.losses import contrastive


def test_partners_that_agree_cost_nothing_and_strangers_cost_chance():
    rows = torch.eye(8)
    assert contrastive(rows, 3 * rows, temperature=0.01) == pytest.approx(0, abs=1e-6)
    same = torch.ones(8, 4)
    assert contrastive(same, same, temperature=0.1) == pytest.approx(math.log(8))
    assert contrastive(rows, rows.roll(1, 0), temperature=0.1) > math.log(8)


def test_both_directions_count():
    torch.manual_seed(0)
    audio, visual = torch.randn(2, 6, 5)
    assert contrastive(audio, visual, 0.1) == pytest.approx(float(contrastive(visual, audio, 0.1)))


def test_accuracy_counts_windows_whose_true_offset_wins():
    similarity = torch.full((4, 11), 0.1)
    similarity[3] = 0.5  # cannot tell
    for row, best in enumerate((5, 6, 0)):
        similarity[row, best] = 0.9
    similarity[0, :5] = -torch.inf  # a clip's first frame has nothing before it
    assert offset_accuracy(similarity) == 0.25
    assert offset_accuracy(similarity, within=1) == 0.5
