"""Trainings of a few steps: their params and their curves."""

from __future__ import annotations

from pathlib import Path

from kpbe.core.files import read_csv
from kpbe.params import Params, load_params, parse_params
from kpbe.training.frames import LabelFolders, TrainingFolders

REPOSITORY = Path(__file__).resolve().parents[2]


def params(changes: dict | None = None, **schedule) -> Params:
    """The default params with few steps, the discriminator on; the paper's generator, and no drawn people."""
    values = load_params(REPOSITORY / "params.yaml").model_dump(mode="json")
    for stage in ("stage1", "stage2"):
        values["train"][stage]["start"] = None
        values["train"][stage]["perceptual"]["missing"] = "refuse"
        values["train"][stage]["schedule"] |= {
            "steps": 4,
            "batch_size": 2,
            "checkpoint_every": 2,
            "sheet_every": 2,
            "log_every": 1,
            "validation_pairs": 2,
        } | schedule
        known = {k: v for k, v in (changes or {}).items() if k in values["train"][stage]}
        values["train"][stage] |= known
        values["train"][stage]["losses"] |= {"gan": 1.0, "feature_matching": 10.0}
        values["train"][stage]["sampling"] |= {"drawn_share": 0.0, "simulate_backends": False}
    values["train"]["stage2"]["videos"] = "own"
    values["model"]["image_size"] = 64
    values["model"]["generator"]["detail"] = "none"
    values["model"]["conventions"]["first_order"] = "translation"
    values["label_pose"]["teacher"] = "off"
    values["evaluate"] |= {"score_every": 1}
    values["compute"] |= {"device": "cpu"}
    return parse_params(values)


def labels_in(folder: Path) -> LabelFolders:
    """Both kinds of labels in one folder."""
    return LabelFolders(folder, folder)


def unlabelled(clips: Path) -> TrainingFolders:
    """Clips without labels and without drawn people."""
    return TrainingFolders(clips, *[clips / "none"] * 3)


def numbers(folder: Path) -> dict[str, list[float]]:
    """The curves of a training by name; columns with gaps are left out."""
    rows = read_csv(folder / "curves.csv")
    return {name: [float(row[name]) for row in rows] for name in rows[0] if all(row[name] for row in rows)}
