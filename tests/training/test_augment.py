"""Augmentation on the device: it follows torchvision's definitions, with its own draw for each image."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kpbe.training.augment import as_images, jitter_colours, mirror, turn_hue
from kpbe.training.sampling import BRIGHTNESS, CONTRAST, HUE, SATURATION


def test_jitter_is_torchvisions_in_each_images_own_order():
    from torchvision.transforms import functional as F

    adjust = {
        BRIGHTNESS: F.adjust_brightness,
        CONTRAST: F.adjust_contrast,
        SATURATION: F.adjust_saturation,
        HUE: F.adjust_hue,
    }
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.uniform(0, 1, (24, 3, 12, 10)).astype(np.float32))
    images[:, :, :3] = images[:, :, :3].round()  # pure colours, black and white: they are clamped
    colours = np.concatenate([rng.uniform(0.6, 1.4, (24, 3)), rng.uniform(-0.5, 0.5, (24, 1))], 1)
    order = np.stack([rng.permutation(4) for _ in images])
    before = images.clone()
    ours = jitter_colours(images, colours.astype(np.float32), order)
    assert torch.equal(images, before), "the input stays as it was"
    for image, own, factors, steps in zip(images, ours, colours, order, strict=True):
        expected = image
        for step in steps:
            expected = adjust[step](expected, float(factors[step]))
        assert torch.allclose(own, expected, atol=2e-5)


def test_hue_turns_colours_and_leaves_greys():
    colours = torch.tensor([[1, 0, 0], [0, 1, 0], [0.2, 0.8, 0.2], [0.3, 0.3, 0.3]]).view(4, 3, 1, 1).float()
    turned = turn_hue(colours, torch.full((4, 1, 1, 1), 1 / 3))
    expected = torch.tensor([[0, 1, 0], [0, 0, 1], [0.2, 0.2, 0.8], [0.3, 0.3, 0.3]]).view(4, 3, 1, 1)
    assert torch.allclose(turned, expected, atol=1e-6)


def test_unchanged_colours_cost_nothing_and_change_nothing():
    images = torch.rand(3, 3, 4, 4)
    order = np.tile(np.arange(4), (3, 1))
    nothing = np.tile(np.array([1, 1, 1, 0], np.float32), (3, 1))
    assert jitter_colours(images, nothing, order) is images
    one = nothing.copy()
    one[1, BRIGHTNESS] = 0.5
    changed = jitter_colours(images, one, order)
    assert torch.equal(changed[[0, 2]], images[[0, 2]])
    assert torch.allclose(changed[1], images[1] * 0.5)


def test_only_the_named_images_are_mirrored():
    images = torch.rand(3, 3, 4, 6)
    result = mirror(images, np.array([False, True, False]))
    assert torch.equal(result[[0, 2]], images[[0, 2]])
    assert torch.equal(result[1], images[1].flip(-1)) and not torch.equal(result[1], images[1])


def test_bytes_become_images():
    frames = torch.randint(0, 256, (2, 4, 5, 3), dtype=torch.uint8)
    images = as_images(frames, torch.device("cpu"))
    assert images.shape == (2, 3, 4, 5) and images.is_contiguous()
    assert images[1, 2, 3, 4] == pytest.approx(int(frames[1, 3, 4, 2]) / 255)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_changes_the_same():
    rng = np.random.default_rng(1)
    images = torch.rand(8, 3, 16, 16)
    colours = np.concatenate([rng.uniform(0.9, 1.1, (8, 3)), rng.uniform(-0.1, 0.1, (8, 1))], 1)
    order = np.stack([rng.permutation(4) for _ in images])
    on_cpu, on_gpu = (jitter_colours(x, colours.astype(np.float32), order) for x in (images, images.cuda()))
    assert torch.allclose(on_cpu, on_gpu.cpu(), atol=1e-5)
