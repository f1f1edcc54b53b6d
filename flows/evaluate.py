"""Stage `evaluate@<backend>`: score videos on the test clips -> reports/results/evaluation/<backend>."""

from __future__ import annotations

from pathlib import Path

from flows.stage import Stage, StageContext, main
from kpbe import paths


def evaluate(context: StageContext) -> Path:
    """Score a backend and its enhancement on the test clips."""
    from kpbe.evaluation import evaluate as work

    backend = context.backend
    out = paths.EVALUATION / backend
    work.evaluate(
        backend,
        context.params,
        paths.CLIPS,
        paths.BACKEND_VIDEOS / backend,
        paths.ENHANCED_VIDEOS / backend,
        out,
        map=context.map,
    )
    return out


if __name__ == "__main__":
    main(Stage(evaluate, per_backend=True))
