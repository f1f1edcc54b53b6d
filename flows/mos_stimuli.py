"""Stage `mos_stimuli`: make the survey's videos -> reports/static/stimuli, data/survey/study.json."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from flows.stage import Stage, StageContext, main
from kpbe import paths


def mos_stimuli(context: StageContext) -> Path:
    """Make the videos for the survey's raters, and the orders in which they are shown."""
    from kpbe.survey.store.administration import answers_given
    from kpbe.survey.study.stimuli import make_stimuli

    make_stimuli(
        context.params,
        paths.CLIPS,
        paths.BACKEND_VIDEOS,
        paths.ENHANCED_VIDEOS,
        paths.STIMULI,
        paths.STIMULI_RECORDS,
        paths.STUDY,
        map=context.map,
        answered=partial(answers_given, Path()),
    )
    return paths.STIMULI_RECORDS


if __name__ == "__main__":
    main(Stage(mos_stimuli))
