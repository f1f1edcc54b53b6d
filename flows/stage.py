"""Shared code of every `python -m flows.<stage>`: read params, run the work, report errors as a sentence."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flows.tracking import run_in_prefect, tracked
from kpbe.core.processes import (
    ShardMap,
    is_follower,
    let_idle_threads_sleep,
    process_map,
    serial_map,
    thread_map,
)
from kpbe.errors import KPBEError, ParamsError
from kpbe.params import ComputeParams, Params, load_params


@dataclass(frozen=True)
class StageContext:
    """Input of a stage's work.

    Attributes:
        params: the whole params.
        backend: the backend's name; "" for stages without one.
        map: runs shards of work.
    """

    params: Params
    backend: str
    map: ShardMap


@dataclass(frozen=True)
class Stage:
    """A stage of dvc.yaml.

    Attributes:
        work: does the work and returns the stage's output folder; its name is the stage's name.
        per_backend: whether the stage runs once for each backend.
        holds_network: whether the work keeps a network in memory. On a GPU its shards then run one by one in
            this process. On a CPU `compute.runner` decides, since several processes with a network each are
            faster than one process with several threads.
    """

    work: Callable[[StageContext], Path]
    per_backend: bool = False
    holds_network: bool = False

    @property
    def name(self) -> str:
        """The stage's name in dvc.yaml."""
        return self.work.__name__

    def run(self, params: Params, backend: str = "") -> None:
        """Run in Prefect when a Prefect API is configured, directly otherwise.

        Raises:
            KPBEError: the work failed.
        """

        def work(map: ShardMap) -> Path:
            return self.work(StageContext(params, backend, map))

        one_by_one = self.holds_network and not _has_processes_with_networks(params.compute)
        if tracked() and not is_follower():
            run_in_prefect(self.name, work, params, backend, one_by_one)
        else:
            work(local_map(params.compute, one_by_one))


def _has_processes_with_networks(compute: ComputeParams) -> bool:
    from kpbe.core.device import torch_device

    return compute.runner == "processes" and torch_device(compute).type == "cpu"


def local_map(compute: ComputeParams, one_by_one: bool) -> ShardMap:
    """A map over shards on this machine, without Prefect; with `one_by_one` it uses this process only.

    Raises:
        ParamsError: `compute.runner` is a cluster, which needs Prefect.
    """
    if compute.runner in ("dask", "ray"):
        raise ParamsError(
            f"compute.runner = {compute.runner} needs a Prefect API: start one with `make ui` and set "
            "PREFECT_API_URL, or choose processes."
        )
    if one_by_one:
        return serial_map
    return process_map(compute.workers) if compute.runner == "processes" else thread_map(compute.workers)


def main(stage: Stage) -> None:
    """Entry point of `python -m flows.<stage>`; exits with 1 and one message on a user's error."""
    parser = argparse.ArgumentParser(prog=f"python -m flows.{stage.name}", description=stage.work.__doc__)
    if stage.per_backend:
        parser.add_argument("--backend", required=True, help="one of `backends` in params.yaml")
    arguments = parser.parse_args()
    let_idle_threads_sleep()
    try:
        stage.run(load_params(), getattr(arguments, "backend", ""))
    except KPBEError as error:
        sys.exit(f"error: {error}")
