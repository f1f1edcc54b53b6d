"""Stage `report`: reports/results/evaluation, checkpoints -> reports/results/table1.*, figures/, curves/."""

from __future__ import annotations

from pathlib import Path

from flows.stage import Stage, StageContext, main
from kpbe import paths


def report(context: StageContext) -> Path:
    """Write Table I, Figures 3 and 4, score plots, and the trainings' curves and last sheets."""
    from kpbe.core.files import write_text
    from kpbe.evaluation.report import write_report

    trainings = {"stage 1": paths.STAGE1}
    for backend in context.params.backends:
        trainings[f"{backend} sync"] = paths.SYNC_CHECKPOINTS / backend
        trainings[f"{backend} generator"] = paths.BACKEND_CHECKPOINTS / backend
        trainings[f"stage 2 ({backend})"] = paths.STAGE2 / backend
    table = write_report(
        context.params,
        paths.CLIPS,
        paths.BACKEND_VIDEOS,
        paths.ENHANCED_VIDEOS,
        trainings,
        paths.STAGE2,
        paths.RESULTS,
    )
    write_text(paths.TABLE1_TEXT, table)
    print("`kpbe table1` shows Table I, `make report` the videos.")
    return paths.RESULTS


if __name__ == "__main__":
    main(Stage(report))
