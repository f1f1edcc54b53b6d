"""Stage `report`: reports/results/evaluation, checkpoints -> reports/results/table1.*, figures/, curves/."""

from __future__ import annotations

from pathlib import Path

from flows import folders
from flows.stage import Stage, StageContext, main


def report(context: StageContext) -> Path:
    """Write Table I, Figures 3 and 4, the backends' score plots, and the trainings' curves and last sheets for `dvc plots`."""
    from kpbe.evaluation.report import write_report
    from kpbe.work import write_text

    trainings = {"stage 1": folders.STAGE1}
    for backend in context.params.backends:
        trainings[f"{backend} sync"] = folders.SYNC_CHECKPOINTS / backend
        trainings[f"{backend} generator"] = folders.BACKEND_CHECKPOINTS / backend
        trainings[f"stage 2 ({backend})"] = folders.STAGE2 / backend
    table = write_report(
        context.params,
        folders.CLIPS,
        folders.BACKEND_VIDEOS,
        folders.ENHANCED_VIDEOS,
        trainings,
        folders.STAGE2,
        folders.RESULTS,
    )
    write_text(folders.RESULTS / "table1.txt", table)
    print("`kpbe table1` shows Table I, `make report` the videos.")
    return folders.RESULTS


if __name__ == "__main__":
    main(Stage(report))
