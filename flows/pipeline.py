"""The whole DAG as one flow: DVC names the stages and decides which of them run, Prefect shows it.

    python -m flows.pipeline [stage ...] [--force]

`dvc repro --single-item` reproduces the stages in order. Each stage is a task with live logs that ends as
ran, cached or restored; the stages' own flows appear in the same UI. The graph comes from DVC only.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from flows.reproduce import reproduce, stages_in_order
from flows.tracking import prepare_prefect, tracked
from kpbe.errors import KPBEError


def pipeline(targets: Sequence[str] = (), force: bool = False) -> None:
    """Reproduce all stages, or `targets` and what they need, in order.

    Raises:
        KPBEError: a stage failed; the stages after it were not started.
    """
    if tracked():
        prepare_prefect()
        from flows.pipeline_flow import pipeline_flow

        state = pipeline_flow(list(targets), force, return_state=True)
        if not state.is_completed():
            raise KPBEError(state.message or f"the pipeline ended as {state.name}.")
        return
    runs = [reproduce(stage, force) for stage in stages_in_order(targets)]
    print("\n".join(f"{run.stage}: {run.outcome} ({run.seconds:.0f} s)" for run in runs))


def main() -> None:
    """Entry point of `python -m flows.pipeline`."""
    parser = argparse.ArgumentParser(prog="python -m flows.pipeline", description=pipeline.__doc__)
    parser.add_argument(
        "targets", nargs="*", help="stages as `dvc stage list` names them; all when none is given"
    )
    parser.add_argument("--force", action="store_true", help="run stages even when nothing changed")
    arguments = parser.parse_args()
    try:
        pipeline(arguments.targets, arguments.force)
    except KPBEError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
