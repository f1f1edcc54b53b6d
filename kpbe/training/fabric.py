"""Start of a training: devices and processes, the seed, and the identity of a training."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy

from kpbe.core.device import torch_device
from kpbe.core.files import fingerprint
from kpbe.data.clips import Clip
from kpbe.errors import ParamsError
from kpbe.params import ComputeParams, ScheduleParams, Section


def launch(compute: ComputeParams, seed: int, data_parallel: bool = False) -> Fabric:
    """A launched Lightning Fabric; seeds torch so that fresh networks start from the same weights.

    Args:
        compute: device and precision; `devices` and `nodes` are used in data-parallel trainings only. On one
            node Fabric starts the other processes itself, each running this process's command again; on
            several nodes, torchrun must have started all of them.
        seed: of the weights.
        data_parallel: whether the training shares its batches among several processes.

    Raises:
        ParamsError: torchrun started several processes of a training that runs in one, or a number that
            differs from params.
    """
    processes = compute.devices * compute.nodes if data_parallel else 1
    started = int(os.environ.get("WORLD_SIZE", processes))
    if started != processes:
        expected = (
            f"compute.devices x compute.nodes = {processes}" if data_parallel else "this training runs in one"
        )
        raise ParamsError(f"torchrun started {started} processes, but {expected}: start that many.")
    devices, nodes = (compute.devices, compute.nodes) if data_parallel else (1, 1)
    # not every step uses all weights: the warm-up trains on labels first, and terms may have weight 0
    strategy = DDPStrategy(find_unused_parameters=True) if processes > 1 else "auto"
    fabric = Fabric(
        accelerator=torch_device(compute).type,
        devices=devices,
        num_nodes=nodes,
        precision=compute.precision,
        strategy=strategy,
    )
    fabric.launch()
    # all batches have one size, so cuDNN's search for the fastest convolutions pays off
    torch.backends.cudnn.benchmark = fabric.device.type == "cuda"
    torch.manual_seed(seed)
    return fabric


class ScheduledSection(Protocol):
    """Any training's section of params.yaml."""

    @property
    def schedule(self) -> ScheduleParams: ...


def training_identity(
    recipe: int, seed: int, section: ScheduledSection, clips: Sequence[Clip], *more: Any
) -> str:
    """Digest of everything that determines a training's result, except its length and its reports.

    Args:
        recipe: version of the stage (`kpbe.recipes`).
        seed: `train.seed`.
        section: the training's section of params.yaml.
        clips: the training clips.
        more: further dependencies: sections of networks, digests of start weights.
    """
    assert isinstance(section, Section)
    settings = section.model_dump(mode="json", exclude={"schedule"})
    contents = [(clip.clip_id, clip.sha256) for clip in clips]
    return fingerprint(recipe, seed, settings, section.schedule.batch_size, contents, *more)
