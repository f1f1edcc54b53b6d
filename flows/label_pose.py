"""Stage `label_pose`: data/raw, data/clips -> data/head_pose."""

from __future__ import annotations

from pathlib import Path

from flows.stage import Stage, StageContext, main
from kpbe import paths


def label_pose(context: StageContext) -> Path:
    """Label the head pose of every training frame: true poses where known, else a teacher's."""
    from kpbe.data.head_pose.label import label_head_pose

    summary = label_head_pose(
        context.params.label_pose,
        paths.RAW,
        paths.CLIPS,
        paths.HEAD_POSE,
        compute=context.params.compute,
        map=context.map,
        max_rejected_fraction=context.params.data.max_rejected_fraction,
    )
    print(f"label_pose: {summary['about']}")
    return paths.HEAD_POSE


if __name__ == "__main__":
    main(Stage(label_pose))
