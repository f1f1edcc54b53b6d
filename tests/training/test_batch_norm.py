"""Batch norm over two processes equals batch norm of one process with the whole batch.

This includes gradients and statistics.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import distributed, nn
from torch.multiprocessing.spawn import start_processes

from kpbe.training.batch_norm import GlooBatchNorm, convert_to_sync_batch_norm

BATCH, CHANNELS = 6, 3


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv3d(2, CHANNELS, 1), nn.BatchNorm3d(CHANNELS), nn.ReLU(), nn.Conv3d(CHANNELS, 1, 1)
    )


def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(BATCH, 2, 2, 4, 4, generator=generator) * torch.linspace(0.5, 3, BATCH).view(
        -1, 1, 1, 1, 1
    )


def as_if_of_two(device: str = "cpu") -> SimpleNamespace:
    return SimpleNamespace(world_size=2, device=torch.device(device))


def half(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    net = network()
    convert_to_sync_batch_norm(net, as_if_of_two())  # type: ignore[arg-type]
    assert isinstance(net[1], GlooBatchNorm)
    mine = images().chunk(2)[rank]
    net(mine).square().mean().backward()
    for parameter in net.parameters():
        assert parameter.grad is not None
        distributed.all_reduce(parameter.grad)
        parameter.grad /= 2
    result = {name: parameter.grad for name, parameter in net.named_parameters()} | net.state_dict()
    torch.save({"output": net.eval()(mine), **result}, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_halves_equal_the_whole(tmp_path: Path):
    start_processes(half, (str(tmp_path),), nprocs=2, start_method="spawn")
    halves = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    net = network()
    net(images()).square().mean().backward()
    whole = {name: parameter.grad for name, parameter in net.named_parameters()} | net.state_dict()
    for found in halves:
        for name, value in whole.items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6, msg=name)
    with torch.no_grad():
        output = net.eval()(images())
    torch.testing.assert_close(torch.cat([found["output"] for found in halves]), output, rtol=1e-4, atol=1e-5)


def test_one_process_keeps_torchs_own():
    net = network()
    convert_to_sync_batch_norm(net, SimpleNamespace(world_size=1, device=torch.device("cpu")))  # type: ignore[arg-type]
    assert type(net[1]) is nn.BatchNorm3d


def test_gpus_get_torchs_own_and_all_keep_their_names():
    for device, kind in (("cuda", nn.SyncBatchNorm), ("cpu", GlooBatchNorm)):
        net = network()
        names = list(net.state_dict())
        convert_to_sync_batch_norm(net, as_if_of_two(device))  # type: ignore[arg-type]
        assert type(net[1]) is kind and list(net.state_dict()) == names
