"""How a training starts: the device, the seed, and what makes two trainings the same one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightning_fabric import Fabric

from kpbe.compute import torch_device
from kpbe.data.clips import Clip
from kpbe.params import BackendTrainParams, ComputeParams, FrontendTrainParams, Params
from kpbe.work import fingerprint

PROCEDURE = 1
"""Part of every training's identity: raised when the same data and params would train other weights."""


def launch(compute: ComputeParams, seed: int) -> Fabric:
    """A launched Lightning Fabric; seeds torch so that fresh networks start from the same weights."""
    fabric = Fabric(
        accelerator=torch_device(compute).type, devices=compute.devices, precision=compute.precision
    )
    fabric.launch()
    torch.manual_seed(seed)
    return fabric


def training_identity(
    params: Params, stage: FrontendTrainParams | BackendTrainParams, clips: Sequence[Clip], *more: Any
) -> str:
    """Digest of everything that determines a training's result except how long it runs and how it reports.

    `more` is what a stage depends on beyond its params and clips.
    """
    stage_params = stage.model_dump(mode="json", exclude={"schedule"})
    batch_size = stage.schedule.batch_size
    contents = [(clip.clip_id, clip.sha256) for clip in clips]
    return fingerprint(PROCEDURE, params.model, params.train.seed, stage_params, batch_size, contents, *more)
