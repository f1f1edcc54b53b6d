"""Shards of work over processes and threads; processes begin within half a second.

Measured on one core, two workers that import torch and load a frontend: 9 to 10 s before the first result of
every map with processes that are spawned; 7 s for the first map and 0.4 s for the next ones with processes
that are forked from a server, which imports once what this process has imported. Threads need no time to
begin, but share one interpreter; `compute.runner` = threads chooses them.
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
"""Besides our own, modules that take long to import."""

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
"""Numeric libraries start one thread per core in every process unless told otherwise before their import."""

P = ParamSpec("P")
T = TypeVar("T")

_starting = Lock()


@contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that share the cores evenly; shards not begun are dropped when the block is left by an
    error.
    """
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
    """What a worker made.

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
    """How workers begin: forked from a server that has imported what they need, or spawned where there is no
    such server.
    """
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
    """Take the environment of the process that asked, share the cores, and do not outlive that process when
    it is killed.
    """
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
    """Applies a function to every shard and yields the results in order; Prefect's or a local one."""

    def __call__(self, work: Callable[[Any], Any], shards: Sequence[Any], describe: str) -> Iterable[Any]: ...


def serial_map(work: Callable[[Any], Any], shards: Sequence[Any], describe: str) -> Iterator[Any]:
    """Shards one after the other in this process (stages that hold a network)."""
    for shard in tqdm(shards, desc=describe, unit="shard", dynamic_ncols=True, disable=len(shards) < 2):
        yield work(shard)


def process_map(workers: int) -> ShardMap:
    """Shards over `workers` processes, with a progress bar."""

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
    """Shards over `workers` threads of this process, with a progress bar."""

    def run(work: Callable[[Any], Any], shards: Sequence[Any], describe: str) -> Iterator[Any]:
        with ThreadPoolExecutor(workers) as pool:
            results = pool.map(work, shards)
            yield from tqdm(results, total=len(shards), desc=describe, unit="shard", dynamic_ncols=True)

    return run


def kept_by_worker(load: Callable[P, T]) -> Callable[P, T]:
    """Decorator: every thread of every worker keeps what it loaded last, and loads anew for other arguments.

    Networks and detectors are loaded once for all clips of a shard; those that remember their last picture
    are not shared by threads.
    """
    kept = local()

    @wraps(load)
    def loaded(*args: P.args, **kwargs: P.kwargs) -> T:
        wanted = (args, kwargs)
        if getattr(kept, "wanted", None) != wanted:
            kept.wanted, kept.value = None, None  # the old one goes before the new one comes
            kept.value = load(*args, **kwargs)
            kept.wanted = wanted
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
    """Whether this is not the first process of a training over several (their numbers are torchrun's and
    Lightning's).
    """
    return any(os.environ.get(rank, "0") != "0" for rank in ("RANK", "LOCAL_RANK", "NODE_RANK"))
