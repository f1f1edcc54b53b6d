"""Stage `label_expression`: data/raw, data/clips -> data/expression."""

from __future__ import annotations

from pathlib import Path

from flows.stage import Stage, StageContext, main
from kpbe import paths


def label_expression(context: StageContext) -> Path:
    """Label face points and blendshapes of training frames: true ones where known, else FaceLandmarker's."""
    from kpbe.data.expression.label import label_expressions

    summary = label_expressions(
        context.params.label_expression,
        paths.RAW,
        paths.CLIPS,
        paths.EXPRESSION,
        compute=context.params.compute,
        map=context.map,
        max_rejected_fraction=context.params.data.max_rejected_fraction,
    )
    print(f"label_expression: {summary['about']}")
    return paths.EXPRESSION


if __name__ == "__main__":
    main(Stage(label_expression))
