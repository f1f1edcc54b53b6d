"""Where the stages keep things; dvc.yaml lists the same folders as dependencies and outputs."""

from __future__ import annotations

from pathlib import Path

RAW = Path("data/raw")
CLIPS = Path("data/clips")
HEAD_POSE = Path("data/head_pose")
EXPRESSION = Path("data/expression")
GRIDS = Path("data/grids")
TRAINING = (CLIPS, HEAD_POSE, EXPRESSION, GRIDS)
BACKEND_VIDEOS = Path("data/backend")
ENHANCED_VIDEOS = Path("data/enhanced")
SYNC_CHECKPOINTS = Path("checkpoints/sync")
BACKEND_CHECKPOINTS = Path("checkpoints/backends")
STAGE1 = Path("checkpoints/stage1")
STAGE2 = Path("checkpoints/stage2")
RESULTS = Path("reports/results")
EVALUATION = Path("reports/results/evaluation")
STIMULI = Path("reports/static/stimuli")
STIMULI_RECORDS = Path("data/survey/records")
STUDY = Path("data/survey/study.json")
