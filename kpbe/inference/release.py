"""Small copies of trained weights for git, with everything that tells what they are: digests, params,
trainings, metrics.

`weights/released/` then holds frontend.safetensors, <backend>.safetensors of each backend that the run
trained, <backend>.sync.safetensors where it has an expert, params.yaml and release.json; `reports/released/`
the Table I of the same run. The copies load like the originals: matrices and kernels are in half precision,
biases and statistics stay as they are.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from kpbe.backends.wav2lip.expert_training import EXPERT_FILE
from kpbe.checkpoints.catalogue import trained_weights
from kpbe.checkpoints.files import read_content, read_metadata, write_tensors
from kpbe.core.files import file_sha256, write_json, write_text
from kpbe.errors import KPBEError, MissingWeights
from kpbe.paths import (
    CHECKPOINTS,
    EVALUATION,
    FRONTEND_FILE,
    METRICS_FILE,
    PARAMS_FILE,
    RELEASED,
    RELEASED_TABLE,
    RESULTS,
    STAGE2,
    SUMMARY_FILE,
)

LARGEST_MB = 60
"""All files of a release together; larger weights belong to DVC."""


def halve_precision(source: Path, target: Path) -> None:
    """Copy a safetensors file with its metadata; floating tensors of two and more dimensions become float16.

    Raises:
        MissingWeights: `source` does not exist.
        KPBEError: a weight is too large for half precision.
    """
    if not source.is_file():
        raise MissingWeights(f"{source} does not exist: run the training that makes it first.")
    metadata, tensors = read_metadata(source), dict(read_content(source))
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.dim() >= 2:
            half = tensor.half()
            if not half.isfinite().all():
                raise KPBEError(f"{source}: {name} does not fit into half precision.")
            tensors[name] = half
    write_tensors(target, tensors, metadata)


def _backends(checkpoints: Path) -> dict[str, Path]:
    """The trained weights of all backends, and their sync experts, by their names in a release."""
    found = {}
    for folder in sorted((checkpoints / "backends").glob("*/")):
        if any(folder.glob("*.safetensors")):
            found[f"{folder.name}.safetensors"] = trained_weights(folder)
            if (expert := checkpoints / "sync" / folder.name / EXPERT_FILE).is_file():
                found[f"{folder.name}.sync.safetensors"] = expert
    return found


def release(backend: str, root: Path = Path(), to: Path = Path()) -> dict[str, Any]:
    """Write a release of what the DAG trained: the frontend of one backend, and the weights of all.

    Args:
        backend: the name in params.yaml of the one whose frontend it is.
        root: the repository root, with checkpoints/ and reports/results/ of a finished run.
        to: the repository that gets the release; an earlier one in it is replaced.

    Returns:
        What release.json says: sha256 and bytes of each weight file, the trainings' summaries, the metrics.

    Raises:
        MissingWeights: a network is not there.
        KPBEError: the run has not been evaluated, or the weights are larger than `LARGEST_MB` together.
    """
    out, checkpoints, results = to / RELEASED, root / CHECKPOINTS, root / RESULTS
    metrics = root / EVALUATION / backend / METRICS_FILE
    tables = [results / name for name in ("table1.json", "table1.md")]
    for made in (metrics, *tables):
        if not made.is_file():
            raise KPBEError(f"{made} does not exist: run `dvc repro` first, a release says how good it is.")
    sources = {
        FRONTEND_FILE: root / STAGE2 / backend / FRONTEND_FILE,
        f"{backend}.safetensors": trained_weights(checkpoints / "backends" / backend),
        **_backends(checkpoints),
    }
    for name, source in sources.items():
        halve_precision(source, out / name)
    files = {
        name: {
            "sha256": file_sha256(out / name),
            "bytes": (out / name).stat().st_size,
            "from_sha256": file_sha256(source),
        }
        for name, source in sources.items()
    }
    total = sum(entry["bytes"] for entry in files.values()) / 1e6
    if total > LARGEST_MB:
        raise KPBEError(
            f"the weights take {total:.0f} MB, more than {LARGEST_MB} MB: keep them in DVC instead of git."
        )
    trainings = {
        path.parent.relative_to(checkpoints).as_posix(): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(checkpoints.rglob(SUMMARY_FILE))
        if path.parent.parent != root / STAGE2 or path.parent.name == backend
    }
    about = {
        "files": files,
        "pytorch": torch.__version__,
        "trainings": trainings,
        "metrics": json.loads(metrics.read_text(encoding="utf-8")),
    }
    write_text(out / PARAMS_FILE, (root / PARAMS_FILE).read_text(encoding="utf-8"))
    write_json(out / "release.json", about)
    for made in tables:
        write_text(to / RELEASED_TABLE / made.name, made.read_text(encoding="utf-8"))
    return about
