"""The pipeline as a Prefect flow, in its own module, since importing Prefect takes 2-3 s."""

from __future__ import annotations

import os
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.settings import PREFECT_API_URL
from prefect.states import Failed

from flows.reproduce import reproduce, stages_in_order
from kpbe.core.markdown import markdown_table
from kpbe.errors import KPBEError


@task(task_run_name="{stage}", cache_policy=NO_CACHE, persist_result=False)
def reproduce_stage(stage: str, force: bool) -> Any:
    """Run `dvc repro --single-item` for one stage."""
    try:
        return reproduce(stage, force, say=get_run_logger().info)
    except KPBEError as error:
        return Failed(message=str(error))


@flow(name="pipeline", log_prints=True)
def pipeline_flow(targets: list[str] | None = None, force: bool = False) -> Any:
    """Reproduce all stages, or `targets` (e.g. evaluate@wav2lip) and their dependencies; DVC decides."""
    # the stages' own flows go to the same server
    os.environ["PREFECT_API_URL"] = PREFECT_API_URL.value() or ""
    try:
        stages = stages_in_order(targets or ())
    except KPBEError as error:
        return Failed(message=str(error))
    rows = [("stage", "outcome", "seconds")]
    for stage in stages:
        state = reproduce_stage(stage, force, return_state=True)
        if not state.is_completed():
            return Failed(message=state.message)
        run = state.result()
        get_run_logger().info(f"{run.stage}: {run.outcome}")
        rows.append((run.stage, run.outcome, f"{run.seconds:.0f}"))
    table = markdown_table(rows)
    create_markdown_artifact(table, key="pipeline", description="what ran, what was cached")
    return None
