"""How a training starts: the device, the seed, and what makes two trainings the same one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric

from kpbe.compute import torch_device
from kpbe.data.clips import Clip
from kpbe.params import ComputeParams, ScheduleParams, Section
from kpbe.work import fingerprint

PROCEDURE = 2
"""Part of every training's identity: raised when the same data and params would train other weights."""


def launch(compute: ComputeParams, seed: int) -> Fabric:
    """A launched Lightning Fabric; seeds torch so that fresh networks start from the same weights."""
    fabric = Fabric(
        accelerator=torch_device(compute).type, devices=compute.devices, precision=compute.precision
    )
    fabric.launch()
    torch.manual_seed(seed)
    return fabric


class ScheduledSection(Protocol):
    """The section of params.yaml of any training."""

    @property
    def schedule(self) -> ScheduleParams: ...


def training_identity(seed: int, section: ScheduledSection, clips: Sequence[Clip], *more: Any) -> str:
    """Digest of everything that determines a training's result except how long it runs and how it reports.

    Args:
        seed: `train.seed`.
        section: the training's section of params.yaml.
        clips: it trains on.
        more: what it depends on beyond these: sections of networks, digests of weights it starts from.
    """
    assert isinstance(section, Section)
    settings = section.model_dump(mode="json", exclude={"schedule"})
    contents = [(clip.clip_id, clip.sha256) for clip in clips]
    return fingerprint(PROCEDURE, seed, settings, section.schedule.batch_size, contents, *more)
