"""Augmentation of the sync expert's windows: whole windows change, so mouths keep their motion."""

from __future__ import annotations

import numpy as np
import torch

from kpbe.backends.wav2lip.augment import augmented_mouths, augmented_sounds


def window(place: int, level: float = 0.8) -> torch.Tensor:
    """(1, 15, 48, 96): a bright mouth at a column, as high in frame t as t."""
    mouths = torch.full((1, 15, 48, 96), 0.3)
    for frame in range(5):
        mouths[:, 3 * frame : 3 * frame + 3, 20 : 24 + 3 * frame, place : place + 10] = level
    return mouths


def test_the_same_step_changes_windows_alike_and_another_does_otherwise():
    mouths = window(40).repeat(6, 1, 1, 1)
    one, again, other = (augmented_mouths(mouths, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert one.shape == mouths.shape and one.min() >= 0 and one.max() <= 1
    assert not any(torch.equal(one[0], one[i]) for i in range(1, 6)), "each window has changes of its own"


def test_a_mouth_moves_and_is_mirrored_but_opens_as_before():
    changed = augmented_mouths(window(70).repeat(64, 1, 1, 1), np.random.default_rng(0))
    green = changed[:, 1::3]
    bright = green > (green.amin((1, 2, 3), keepdim=True) + green.amax((1, 2, 3), keepdim=True)) / 2
    heights = bright.float().sum((2, 3)) / bright.any(2).sum(-1)
    assert (heights.diff(dim=1) > 1.5).all(), "the mouth opens from frame to frame"
    columns = torch.stack([frames.any(0).any(0).nonzero().float().mean() for frames in bright])
    assert (columns > 48).any() and (columns < 48).any(), "some windows are mirrored"
    assert columns[columns > 48].std() > 1, "windows are shifted"


def test_voices_get_louder_or_softer_as_a_whole_and_silence_stays():
    sounds = torch.full((8, 1, 80, 16), 1.0)
    sounds[..., :4] = -4
    changed = augmented_sounds(sounds, np.random.default_rng(0))
    torch.testing.assert_close(changed[..., :4], sounds[..., :4])
    loudness = changed[:, 0, 0, 10]
    assert len(loudness.unique()) == 8 and (loudness - 1).abs().max() <= 0.6
    torch.testing.assert_close(changed[..., 4:], loudness.view(-1, 1, 1, 1).expand(8, 1, 80, 12))


def test_voices_rise_and_fall_and_keep_their_time():
    sounds = torch.full((32, 1, 80, 16), -3.0)
    sounds[:, :, 40, 8:] = 3  # a tone that begins in the middle
    changed = augmented_sounds(sounds, np.random.default_rng(0))
    bands = changed[:, 0, :, 12].argmax(1)
    assert bands.min() < 38 and bands.max() > 42 and ((bands >= 35) & (bands <= 46)).all()
    assert (changed[:, 0, :, :8].amax((1, 2)) < -2).all()
