"""One training step of the frontend, for both stages; they differ in batches, start and weights.

Stage 1 takes pose and expression from one driving frame. Stage 2 takes the head pose from the real frame and
the expression from the backend's frame of the same moment (paper III.D). Both compare the output with the
real frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from kpbe.errors import ParamsError
from kpbe.frontend.checkpoints import save_frontend
from kpbe.frontend.images import to_uint8
from kpbe.frontend.model import Frontend
from kpbe.frontend.preparation import prepare_for
from kpbe.media.sheets import contact_sheet
from kpbe.metrics.image import psnr, ssim
from kpbe.params import ComputeParams, FrontendTrainParams
from kpbe.paths import FRONTEND_FILE
from kpbe.training.adversarial import Adversary
from kpbe.training.batch_norm import convert_to_sync_batch_norm
from kpbe.training.batches import BatchLoader, TrainingBatch, fixed_batch
from kpbe.training.discriminators import SMALLEST_IMAGE
from kpbe.training.frames import ClipFrames
from kpbe.training.frontend_terms import FrontendTerms, shares
from kpbe.training.losses import RandomWarp
from kpbe.training.moving_average import MovingAverage
from kpbe.training.opening import OpeningJudge
from kpbe.training.optimisers import TrainedModule
from kpbe.training.perceptual import PerceptualTerms
from kpbe.training.reconstruction import Reconstruction, second_source_counts
from kpbe.training.sampling import samples_per_epoch
from kpbe.training.state import Stateful


class FrontendTrainee:
    """The frontend and its discriminator under training (a `loop.Trainee`).

    The batch is shared among the processes of `fabric`; each processes its share in `params.accumulate`
    parts. Gradients and losses are means over the whole batch.

    Args:
        frontend: network to train.
        training: frames to train on.
        validation: frames of the fixed pairs.
        params: schedule, losses, optimiser.
        compute: whether to compile, and how many threads load frames.
        seed: of batches and warps.
        fabric: launched Lightning Fabric.
        facts: about this training, for the exported checkpoint and the summary; `self.facts` adds its
            perceptual terms and numbers of labels.

    Raises:
        ParamsError: the batch cannot be shared evenly, or images are too small for the discriminator.
        MissingWeights: a perceptual term's weights are missing and `perceptual.missing` is `refuse`.
    """

    def __init__(
        self,
        frontend: Frontend,
        training: ClipFrames,
        validation: ClipFrames,
        params: FrontendTrainParams,
        compute: ComputeParams,
        seed: int,
        fabric: Fabric,
        facts: dict[str, Any],
    ):
        self.params, self.seed, self.fabric, self.training = params, seed, fabric, training
        _refuse_uneven_parts(params, fabric.world_size)
        if frontend.params.generator.detail == "warp_both" and not training.gives_expression:
            raise ParamsError(
                "with model.generator.detail = warp_both the driving frame must not be its own second "
                "source: set sampling.simulate_backends, or choose the detail warp."
            )
        reconstruction = Reconstruction(frontend)
        convert_to_sync_batch_norm(reconstruction, fabric)
        self.frontend = prepare_for(frontend, fabric.device, training=True)
        if compute.compile:
            reconstruction.compile()
        self.trained = TrainedModule(fabric, reconstruction, params.optimiser)
        self.shapes = reconstruction.shapes
        self.average = MovingAverage(frontend, params.ema_decay) if params.ema_decay else None
        adversarial = params.losses.gan or params.losses.feature_matching
        if adversarial and frontend.params.image_size < SMALLEST_IMAGE:
            raise ParamsError(
                f"the terms gan and feature_matching need images of {SMALLEST_IMAGE} pixels or more, "
                f"model.image_size is {frontend.params.image_size}: set both to 0 or enlarge the images."
            )
        self.adversary = Adversary(fabric, params.optimiser) if adversarial else None
        perceptual = PerceptualTerms(params.perceptual, params.losses)
        self.perceptual = prepare_for(perceptual, fabric.device, training=True)
        self.terms = FrontendTerms(
            params.losses, frontend.params, self.perceptual, self.adversary, bool(training.labelled)
        ).to(fabric.device)
        if compute.compile:
            self.perceptual.compile()
        self.facts = {
            **facts,
            "perceptual": self.perceptual.description,
            "head_pose_labels": training.labelled,
            "expression_labels": training.with_expression_labels,
            "drawn_people": len(training.grids),
            "simulated_backends": training.simulate,
            "samples_per_epoch": samples_per_epoch(training.clips, params.sampling),
        }
        self.loader = BatchLoader(training, params, seed, fabric, compute.loader_threads)
        self.fixed = fixed_batch(validation, params.schedule.validation_pairs, seed).to(fabric.device)
        self.opening = OpeningJudge(validation, params.schedule)

    def parts(self) -> dict[str, Stateful]:
        """See `Trainee`."""
        parts: dict[str, Stateful] = {
            "frontend": self.frontend,
            "shapes": self.shapes,
            "optimiser": self.trained.optimiser,
        }
        if self.average is not None:
            parts["average"] = self.average
        if self.adversary is not None:
            parts |= self.adversary.parts()
        return parts

    def step(self, step: int) -> dict[str, float]:
        """See `Trainee`; losses are means over the whole batch.

        If a loss of the frontend is not finite, no weight changes; if only the discriminator's is not, its
        weights stay.
        """
        self.trained.begin(step, self.params.accumulate)
        of_parts: list[Tensor] = []
        pairs: list[tuple[Tensor, Tensor]] = []
        names: list[str] = []
        goal = self.params.warm_up.goal(step)
        for part, warp, counts in self._parts_of(step):
            with self.trained.part():
                warped = None if warp is None else warp.warp_image(self.frontend.inner(part.pose))
                expression = None if part.expression is part.pose else part.expression
                result = self.trained.module(part.source, part.pose, expression, warped, counts, goal)
                with self.fabric.autocast():
                    terms = self.terms(part, result, warp)
                loss = torch.stack([getattr(self.params.losses, k) * v for k, v in terms.items()]).sum()
                self.trained.backward(loss)
            of_terms = shares(terms, self.params.losses)
            names = ["loss", *terms, *of_terms]
            of_parts.append(torch.stack([loss, *terms.values(), *of_terms.values()]).detach().float())
            if goal == "frames":
                pairs.append((part.target, result["generated"].detach()))
        norm = self.trained.clip()
        numbers = torch.cat([self._mean_over_processes(torch.stack(of_parts).mean(0)), norm.view(1)])
        losses = dict(zip([*names, "gradient_norm"], numbers.tolist(), strict=True))
        if not all(map(np.isfinite, losses.values())):
            return losses
        self.trained.apply()
        if self.average is not None:
            self.average.update(self.frontend)
        if self.adversary is not None and pairs:
            losses["discriminator"] = self._mean_over_processes(self.adversary.step(step, pairs)).item()
        return losses

    def _parts_of(self, step: int) -> Iterator[tuple[TrainingBatch, RandomWarp | None, Tensor]]:
        """The parts of this process's share of the batch, each with its warps.

        The third value tells which samples have a second source.
        """
        batch = self.loader.batch(step)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        warp = None
        if self.params.losses.equivariance:
            warp = RandomWarp.sample(self.params.schedule.batch_size, generator)
        counts = second_source_counts(
            self.params.schedule.batch_size, self.params.sampling.second_source_share, generator
        )
        size = len(batch.source) // self.params.accumulate
        first = self.fabric.global_rank * len(batch.source)
        for begin in range(0, len(batch.source), size):
            rows = slice(first + begin, first + begin + size)
            part_warp = None if warp is None else warp.rows(rows).to(self.fabric.device)
            yield batch.rows(slice(begin, begin + size)), part_warp, counts[rows].to(self.fabric.device)

    def _mean_over_processes(self, values: Tensor) -> Tensor:
        if self.fabric.world_size == 1:
            return values
        mean = self.fabric.all_reduce(values, reduce_op="mean")
        assert isinstance(mean, Tensor)
        return mean

    @property
    def judged(self) -> Frontend:
        """The weights that are validated and exported: the moving average where there is one."""
        network = self.frontend if self.average is None else self.average.network
        assert isinstance(network, Frontend)
        return network.eval()

    @torch.no_grad()
    def validate(self) -> tuple[dict[str, float], np.ndarray]:
        """See `Trainee`; SSIM and PSNR are Table I's, on the fixed pairs.

        `validation_opening_r` is that of the expression alone.
        """
        fixed, judged = self.fixed, self.judged
        expression = None if fixed.expression is fixed.pose else fixed.expression
        with self.fabric.autocast():
            result = Reconstruction(judged)(fixed.source, fixed.pose, expression, None)
        generated, real = to_uint8(result["generated"].float()), to_uint8(fixed.target)
        rows = [("source", to_uint8(fixed.source)), ("driving", real)]
        if expression is not None:
            rows.append(("backend", to_uint8(expression)))
        rows.append(("output", generated))
        for label, name in (
            ("source moved", "moved_source"),
            ("backend moved", "moved_backend"),
            ("decoder", "decoded"),
        ):
            if name in result:
                rows.append((label, to_uint8(result[name].float())))
        metrics = {
            "validation_ssim": float(ssim(generated, real).mean()),
            "validation_psnr": float(psnr(generated, real).mean()),
            **self.opening.measure(judged),
        }
        return metrics, contact_sheet([(label, list(images)) for label, images in rows])

    def batch_of(self, step: int) -> dict[str, np.ndarray]:
        """See `loop.RemembersBatches`."""
        return self.loader.record_of(step)

    def export(self, folder: Path) -> None:
        """See `Trainee`."""
        save_frontend(folder / FRONTEND_FILE, self.judged, self.facts)


def _refuse_uneven_parts(params: FrontendTrainParams, processes: int) -> None:
    size, parts = params.schedule.batch_size, params.accumulate
    if size % (processes * parts):
        raise ParamsError(
            f"a batch of {size} cannot be shared evenly among {processes} processes in {parts} parts each: "
            f"choose a schedule.batch_size that {processes * parts} divides."
        )
