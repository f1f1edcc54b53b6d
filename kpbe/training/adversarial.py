"""The adversary of a generator: a patch discriminator, its optimiser, and hinge GAN losses.

The losses of both sides include feature matching.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from lightning_fabric import Fabric
from torch import Tensor

from kpbe.frontend.preparation import prepare_for
from kpbe.params import OptimiserParams
from kpbe.training.discriminators import PatchDiscriminator
from kpbe.training.losses import feature_matching, hinge_discriminator, hinge_generator
from kpbe.training.optimisers import TrainedModule
from kpbe.training.state import Stateful


class Adversary:
    """A `PatchDiscriminator` under training.

    Args:
        fabric: launched Lightning Fabric.
        params: those of the generator's optimiser, used for the discriminator too.
    """

    def __init__(self, fabric: Fabric, params: OptimiserParams):
        self.fabric = fabric
        self.network = prepare_for(PatchDiscriminator(), fabric.device, training=True)
        self.trained = TrainedModule(fabric, self.network, params)

    def parts(self) -> dict[str, Stateful]:
        """The parts of a checkpoint."""
        return {"discriminator": self.network, "discriminator_optimiser": self.trained.optimiser}

    def terms(self, generated: Tensor, real: Tensor) -> dict[str, Tensor]:
        """The generator's unweighted terms `gan` and `feature_matching`, of images (B, 3, H, W) in [0, 1]."""
        # the discriminator's gradients would not be used
        self.network.requires_grad_(False)
        with self.fabric.autocast():
            fake_features, fake_score = self.network(generated)
            with torch.no_grad():
                real_features, _ = self.network(real)
        self.network.requires_grad_(True)
        return {
            "gan": hinge_generator(fake_score.float()),
            "feature_matching": feature_matching(
                [feature.float() for feature in real_features], [feature.float() for feature in fake_features]
            ),
        }

    def step(self, step: int, pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """Make the discriminator's step and return its loss.

        If loss or gradients are not finite, the returned loss is not finite and no weight changes.

        Args:
            step: number of the training step.
            pairs: (real, generated) images (b, 3, H, W) of each part of the batch; gradients are their mean.
        """
        self.trained.begin(step, len(pairs))
        losses = []
        for real, generated in pairs:
            with self.trained.part():
                # one pass, since the wrapper for several processes expects one forward per backward
                _, score = self.trained.module(torch.cat([real, generated.detach()]))
                loss = hinge_discriminator(*score.float().chunk(2))
                self.trained.backward(loss)
            losses.append(loss.detach())
        return self.trained.finish(torch.stack(losses).mean())
