"""Every folder of the DAG, and file names that several packages use; dvc.yaml lists the same folders."""

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
CHECKPOINTS = Path("checkpoints")
SYNC_CHECKPOINTS = Path("checkpoints/sync")
BACKEND_CHECKPOINTS = Path("checkpoints/backends")
STAGE1 = Path("checkpoints/stage1")
STAGE2 = Path("checkpoints/stage2")
RELEASED = Path("weights/released")
RELEASED_TABLE = Path("reports/released")
RESULTS = Path("reports/results")
EVALUATION = Path("reports/results/evaluation")
TABLE1_TEXT = RESULTS / "table1.txt"
STIMULI = Path("reports/static/stimuli")
STIMULI_RECORDS = Path("data/survey/records")
STUDY = Path("data/survey/study.json")
SURVEY_DATABASE = Path("data/survey/survey.sqlite")
DEMO_DATABASE = Path("data/survey/demo.sqlite")
DEMO_RATINGS = Path("data/survey/demo_ratings.csv")

PARAMS_FILE = "params.yaml"
FRONTEND_FILE = "frontend.safetensors"
SUMMARY_FILE = "summary.json"
METRICS_FILE = "metrics.json"
REJECTED_FILE = "rejected.csv"


def shipped(path: Path) -> Path:
    """A file or folder of the repository that is also part of the package: `path` here where it is there,
    else beside the package, in a checkout or in an installed wheel.
    """
    package = Path(__file__).resolve().parent
    places = (path, package.parent / path, package / "shipped" / path.name)
    return next((place for place in places if place.exists()), path)


def project_root() -> Path:
    """The repository's folder: the working directory, or the checkout in whose `.dvc` it lies, as a copy that
    `dvc exp run --temp` works in.
    """
    here = Path.cwd()
    inside = next((parent for parent in here.parents if parent.name == ".dvc"), None)
    return here if inside is None else inside.parent
