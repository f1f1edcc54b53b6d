"""Stage `mos_scores`: survey/ratings.csv, data/survey/study.json -> reports/results/table2.*, survey_*."""

from __future__ import annotations

from pathlib import Path

from flows.stage import Stage, StageContext, main
from kpbe import paths


def mos_scores(context: StageContext) -> Path:
    """Score the survey's answers: Table II, opinion scores as metrics, by stimulus and by rater."""
    from kpbe.survey.scores.results import write_survey_results

    table = write_survey_results(context.params, context.params.survey.ratings, paths.STUDY, paths.RESULTS)
    print(f"{table.title}, {paths.RESULTS / 'table2.md'}: {table.about[0]}")
    return paths.RESULTS


if __name__ == "__main__":
    main(Stage(mos_scores))
