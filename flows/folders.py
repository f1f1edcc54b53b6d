"""Where the stages keep things; dvc.yaml lists the same folders as dependencies and outputs."""

from __future__ import annotations

from pathlib import Path

from kpbe.errors import MissingWeights

RAW = Path("data/raw")
CLIPS = Path("data/clips")
HEAD_POSE = Path("data/head_pose")
BACKEND_VIDEOS = Path("data/backend")
ENHANCED_VIDEOS = Path("data/enhanced")
BACKEND_CHECKPOINTS = Path("checkpoints/backends")
STAGE1 = Path("checkpoints/stage1")
STAGE2 = Path("checkpoints/stage2")
RESULTS = Path("reports/results")


def weights_in(folder: Path) -> Path:
    """The network that a training left in its folder for later stages: its one .safetensors file.

    Raises:
        MissingWeights: there is none.
    """
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        raise MissingWeights(
            f"{folder} holds {len(files)} .safetensors files instead of one: run its training stage again."
        )
    return files[0]
