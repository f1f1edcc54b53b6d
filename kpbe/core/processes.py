"""Run shards of work in processes or threads; processes start within half a second.

Measured on one core, two workers that import torch and load a frontend: spawned processes need 9 to 10 s
before the first result of every map. Processes forked from a server that imports torch once need 7 s for the
first map and 0.4 s for the next ones. Threads need no time to start but share one interpreter;
`compute.runner` = threads chooses them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import wraps
from multiprocessing import get_all_start_methods, get_context, parent_process
from multiprocessing.context import BaseContext
from pathlib import Path
from threading import Lock, Thread, local
from typing import Any, ParamSpec, Protocol, TypeVar

from tqdm import tqdm

from kpbe.errors import KPBEError

HEAVY = ("torch", "cv2", "scipy")
"""Modules besides our own that take long to import."""

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
"""Numeric libraries start one thread per core in every process unless these are set before their import."""

P = ParamSpec("P")
T = TypeVar("T")

_starting = Lock()


@contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes that share the cores evenly; an error in the block drops shards not begun."""
    threads = max(1, (os.cpu_count() or 1) // workers)
    pool = ProcessPoolExecutor(
        workers,
        mp_context=_context(threads),
        initializer=_begin_worker,
        initargs=(dict(os.environ), threads),
    )
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def run_in_pool(pool: ProcessPoolExecutor, work: Callable[[Any], Any], shard: Any) -> Any:
    """Run one shard in a pool and wait for it.

    Raises:
        KPBEError: the process died; whatever `work` raises.
    """
    return result_of(pool.submit(work, shard))


def result_of(future: Future[Any]) -> Any:
    """The result of a worker's shard.

    Raises:
        KPBEError: the process died; whatever its work raises.
    """
    try:
        return future.result()
    except BrokenProcessPool:
        raise KPBEError(
            "a worker process died (killed, or out of memory?): lower compute.workers and run again; "
            "the clips that are done are kept."
        ) from None


def _context(threads: int) -> BaseContext:
    """How workers start: forked from a server that has imported torch, or spawned where there is none."""
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    from multiprocessing import forkserver

    context = get_context("forkserver")
    with _starting:  # the server takes these settings when it is started, by the first pool
        context.set_forkserver_preload([m for m in sys.modules if m in HEAVY or m.split(".")[0] == "kpbe"])
        path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        with _environment({"PYTHONPATH": path} | _threads(os.environ, threads)):
            forkserver.ensure_running()
    return context


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _threads(environment: Mapping[str, str], threads: int) -> dict[str, str]:
    """Threads of numeric libraries; what the user set stays."""
    return {variable: environment.get(variable, str(threads)) for variable in THREADS}


def _begin_worker(environment: dict[str, str], threads: int) -> None:
    """Take the caller's environment, share the cores, and end when the calling process is killed."""
    os.environ.clear()
    os.environ.update(environment | _threads(environment, threads))
    if "torch" in sys.modules:  # imported by the server, whose pools may have been of another size
        sys.modules["torch"].set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


class ShardMap(Protocol):
    """Applies a function to every shard and yields the results in order; local or through Prefect."""

    def __call__(self, work: Callable[[Any], Any], shards: Sequence[Any], describe: str) -> Iterable[Any]: ...


def serial_map(work: Callable[[Any], Any], shards: Sequence[Any], describe: str) -> Iterator[Any]:
    """Run shards one after the other in this process (for stages that hold a network)."""
    for shard in tqdm(shards, desc=describe, unit="shard", dynamic_ncols=True, disable=len(shards) < 2):
        yield work(shard)


def process_map(workers: int) -> ShardMap:
    """A map that spreads shards over `workers` processes, with a progress bar."""

    def run(work: Callable[[Any], Any], shards: Sequence[Any], describe: str) -> Iterator[Any]:
        if workers == 1 or len(shards) < 2:
            yield from serial_map(work, shards, describe)
            return
        with worker_pool(min(workers, len(shards))) as pool:
            futures = [pool.submit(work, shard) for shard in shards]
            bar = tqdm(futures, desc=describe, unit="shard", dynamic_ncols=True)
            yield from (result_of(future) for future in bar)

    return run


def thread_map(workers: int) -> ShardMap:
    """A map that spreads shards over `workers` threads of this process, with a progress bar."""

    def run(work: Callable[[Any], Any], shards: Sequence[Any], describe: str) -> Iterator[Any]:
        with ThreadPoolExecutor(workers) as pool:
            results = pool.map(work, shards)
            yield from tqdm(results, total=len(shards), desc=describe, unit="shard", dynamic_ncols=True)

    return run


def kept_by_worker(load: Callable[P, T]) -> Callable[P, T]:
    """Decorator: each thread of each worker caches its last result and loads again for other arguments.

    Networks and detectors are loaded once for all clips of a shard. Threads do not share them, since some
    remember their last picture.
    """
    kept = local()  # per thread: the last arguments and their value

    @wraps(load)
    def loaded(*args: P.args, **kwargs: P.kwargs) -> T:
        arguments = (args, kwargs)
        if getattr(kept, "arguments", None) != arguments:
            kept.arguments, kept.value = None, None  # free the old value before loading the new one
            kept.value = load(*args, **kwargs)
            kept.arguments = arguments
        return kept.value

    return loaded


def let_idle_threads_sleep() -> None:
    """Keep the threads of numeric libraries from spinning while they wait for each other.

    Spinning gains little on an idle machine; on a busy one a training step of 0.3 s takes 15 s (measured: two
    threads, two cores, one other process). Only has an effect before torch is imported; a value that the user
    set stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def is_follower() -> bool:
    """Whether this is not the first process of a distributed training (ranks of torchrun and Lightning)."""
    return any(os.environ.get(rank, "0") != "0" for rank in ("RANK", "LOCAL_RANK", "NODE_RANK"))
