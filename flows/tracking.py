"""Run stages in Prefect, with logs, retries, progress and artifacts in its UI.

Prefect is imported only when an API is configured: the import takes 2-3 s, and starting its own server 16-20
s.
"""

from __future__ import annotations

import os
import time
import tomllib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flows.summary import summarise
from kpbe.core.processes import ShardMap, run_in_pool, worker_pool
from kpbe.errors import KPBEError, ParamsError
from kpbe.params import ComputeParams, Params

RETRY_DELAYS_S = [2.0, 15.0]
PROGRESS_EVERY_S = 2.0


def tracked() -> bool:
    """Whether a Prefect API is configured, by PREFECT_API_URL or by Prefect's active profile.

    An empty URL means no.
    """
    if "PREFECT_API_URL" in os.environ:
        return bool(os.environ["PREFECT_API_URL"])
    home = Path(os.environ.get("PREFECT_HOME", Path.home() / ".prefect"))
    path = Path(os.environ.get("PREFECT_PROFILES_PATH", home / "profiles.toml"))
    try:
        profiles = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError):
        return False
    active = os.environ.get("PREFECT_PROFILE") or profiles.get("active", "")
    return bool(profiles.get("profiles", {}).get(active, {}).get("PREFECT_API_URL"))


def prepare_prefect() -> None:
    """Make settings that must precede Prefect's first import: it sends no usage data."""
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")


def run_in_prefect(
    name: str, work: Callable[[ShardMap], Path], params: Params, backend: str, one_by_one: bool
) -> None:
    """Run a stage's work as a Prefect flow.

    Args:
        name: the stage, which names the flow.
        work: takes a map over shards, makes the stage's output folder and returns it.
        params: the whole params, shown with the run; `compute` chooses the task runner.
        backend: shown with the run; "" for stages without a backend.
        one_by_one: run shards in this process, not in `compute.workers` others.

    Raises:
        KPBEError: the work failed; the flow run is then Failed with the same message.
    """
    prepare_prefect()
    from prefect import Flow
    from prefect.artifacts import create_markdown_artifact
    from prefect.states import Failed

    label = f"{name}@{backend}" if backend else name
    failures: list[KPBEError] = []

    def stage_flow(backend: str, params_yaml: dict[str, Any]) -> Any:
        try:
            folder = work(prefect_map(params.compute, one_by_one))
        except KPBEError as error:
            failures.append(error)
            return Failed(message=str(error))
        create_markdown_artifact(summarise(folder), key=artifact_key(label), description=label)
        return None

    flow = Flow(
        stage_flow,
        name=name,
        flow_run_name=label,
        task_runner=_task_runner(params.compute, one_by_one),
        log_prints=True,
        validate_parameters=False,
    )
    state = flow(backend, params.model_dump(mode="json"), return_state=True)
    if failures:
        raise failures[0]
    state.result()


def prefect_map(compute: ComputeParams, one_by_one: bool) -> ShardMap:
    """A map with a Prefect task per shard, retried and named, and a progress artifact; for use in a flow.

    At most two shards per worker are submitted ahead, so that a failing stage stops early.
    """
    from prefect import Task
    from prefect.artifacts import create_progress_artifact, update_progress_artifact
    from prefect.cache_policies import NO_CACHE
    from prefect.utilities.annotations import quote

    def run(work: Callable[[Any], Any], shards: Sequence[Any], describe: str) -> Iterator[Any]:
        if not shards:
            return
        key = artifact_key(f"{describe}-progress")
        progress: Any = create_progress_artifact(
            0.0, key=key, description=f"{describe}: {len(shards)} shards"
        )
        shown = time.monotonic()
        with _shard_function(compute, one_by_one) as run_shard:
            task = Task(
                run_shard,
                name=describe,
                cache_policy=NO_CACHE,
                persist_result=False,
                retries=len(RETRY_DELAYS_S),
                retry_delay_seconds=RETRY_DELAYS_S,
                retry_condition_fn=_may_pass_next_time,
                log_prints=True,
            )
            waiting: deque[Any] = deque()
            for index, shard in enumerate(shards, start=1):
                named = task.with_options(task_run_name=f"{describe} {index} of {len(shards)}")
                waiting.append(named.submit(quote(work), quote(shard)))
                if len(waiting) >= 2 * compute.workers:
                    yield waiting.popleft().result()
                if time.monotonic() - shown > PROGRESS_EVERY_S:
                    update_progress_artifact(progress, 100 * (index - len(waiting)) / len(shards))
                    shown = time.monotonic()
            while waiting:
                yield waiting.popleft().result()
                update_progress_artifact(progress, 100 * (len(shards) - len(waiting)) / len(shards))

    return run


@contextmanager
def _shard_function(compute: ComputeParams, one_by_one: bool) -> Iterator[Callable[[Any, Any], Any]]:
    """The function that a task calls; with `processes` its thread only waits for our own process pool."""
    if one_by_one or compute.runner != "processes":
        yield _run_here
        return
    with worker_pool(compute.workers) as pool:

        def run_shard(work: Any, shard: Any) -> Any:
            return run_in_pool(pool, work, shard)

        yield run_shard


def _run_here(work: Any, shard: Any) -> Any:
    return work(shard)


def _may_pass_next_time(task: Any, task_run: Any, state: Any) -> bool:
    """Retry errors that may be the machine's fault (disk, memory, network), not the user's errors."""
    return not isinstance(state.result(raise_on_failure=False), KPBEError)


def _task_runner(compute: ComputeParams, one_by_one: bool) -> Any:
    try:
        if compute.runner == "dask":
            from prefect_dask import DaskTaskRunner  # pyright: ignore[reportMissingImports]

            return DaskTaskRunner(cluster_kwargs={"n_workers": compute.workers, "threads_per_worker": 1})
        if compute.runner == "ray":
            from prefect_ray import RayTaskRunner  # pyright: ignore[reportMissingImports]

            return RayTaskRunner(init_kwargs={"num_cpus": compute.workers})
    except ImportError:
        raise ParamsError(
            f"compute.runner = {compute.runner} needs a package: pip install 'kpbe[{compute.runner}]'."
        ) from None
    from prefect.task_runners import ThreadPoolTaskRunner

    return ThreadPoolTaskRunner(max_workers=1 if one_by_one else compute.workers)


def artifact_key(label: str) -> str:
    """A label as an artifact's key, for which Prefect allows lower case letters, digits and dashes."""
    return "".join(c if c.isalnum() and c.isascii() else "-" for c in label.lower())
