"""The patch discriminator: the reference's numbers, and the sizes of small images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kpbe.checkpoints.files import fill
from kpbe.frontend.public_keys import discriminator_table, public_keys
from kpbe.training.discriminators import PatchDiscriminator


def test_feature_maps_are_the_reference_s(golden):
    fixture, discriminator = golden("osfv_discriminator_hopenet"), PatchDiscriminator().eval()
    state = discriminator.state_dict()
    names = public_keys(state, discriminator_table(blocks=4))
    weights = golden.load_filled("osfv_discriminator", {names[key]: tuple(state[key].shape) for key in state})
    public = {name: torch.from_numpy(np.array(array)) for name, array in weights.items()}
    fill(discriminator, public, "fixture", "fixture", names)
    images = [golden.fill.image_chw(f"osfv/{name}/A", 256, 256) for name in ("source", "driving")]
    with torch.no_grad():
        features, score = discriminator(torch.from_numpy(np.stack(images)))
    for i, feature in enumerate(features):
        golden.compare(fixture, f"feature_map_{i}", feature, 2e-4)
    golden.compare(fixture, "prediction_map", score, 2e-4)


@pytest.mark.parametrize("size", [61, 64, 128])
def test_small_images_are_scored(size):
    features, score = PatchDiscriminator(width=8)(torch.rand(2, 3, size, size))
    assert [feature.shape[1] for feature in features] == [8, 16, 32, 64]
    assert score.shape[:2] == (2, 1) and score.shape[2] >= 1


def test_it_learns_to_tell_bright_from_dark():
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(width=8).train()
    optimiser = torch.optim.Adam(discriminator.parameters(), lr=2e-3)
    bright, dark = torch.rand(4, 3, 64, 64) * 0.5 + 0.5, torch.rand(4, 3, 64, 64) * 0.5
    for _ in range(30):
        loss = (1 - discriminator(bright)[1]).relu().mean() + (1 + discriminator(dark)[1]).relu().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    discriminator.eval()
    assert discriminator(bright)[1].mean() > discriminator(dark)[1].mean() + 0.5
