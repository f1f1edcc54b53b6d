"""Stage `label_pose`: data/raw, data/clips -> data/head_pose."""

from __future__ import annotations

from pathlib import Path

from flows import folders
from flows.stage import Stage, StageContext, main


def label_pose(context: StageContext) -> Path:
    """Write head pose labels of the training clips where poses are known."""
    from kpbe.data.head_pose import label_head_pose

    labelled = label_head_pose(folders.RAW, folders.CLIPS, folders.HEAD_POSE)
    print(f"label_pose: {labelled} training clips have head pose labels")
    return folders.HEAD_POSE


if __name__ == "__main__":
    main(Stage(label_pose))
