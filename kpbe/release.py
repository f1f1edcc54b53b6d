"""Small copies of trained weights for git, with everything that tells what they are: digests, params, trainings, metrics.

`weights/released/` then holds frontend.safetensors, <backend>.safetensors, params.yaml, metrics.json and release.json. The copies load
like the originals: matrices and kernels are in half precision, biases and statistics stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from kpbe.errors import KPBEError, MissingWeights
from kpbe.work import file_sha256, whole, write_json, write_text

RELEASED = Path("weights/released")
FRONTEND = "frontend.safetensors"
LARGEST_MB = 40
"""All files of a release together; larger weights belong to DVC."""


def halve_precision(source: Path, target: Path) -> None:
    """Copy a safetensors file with its metadata; floating tensors of two and more dimensions become float16.

    Raises:
        MissingWeights: `source` does not exist.
        KPBEError: a weight is too large for half precision.
    """
    if not source.is_file():
        raise MissingWeights(f"{source} does not exist: run the training that makes it first.")
    with safe_open(source, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.dim() >= 2:
            half = tensor.half()
            if not half.isfinite().all():
                raise KPBEError(f"{source}: {name} does not fit into half precision.")
            tensors[name] = half
    with whole(target) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, metadata)


def release(
    frontend: Path,
    backends: Mapping[str, Path],
    params: Path,
    metrics: Mapping[str, Path],
    trainings: Mapping[str, Path],
    out: Path = RELEASED,
) -> dict[str, Any]:
    """Write a release.

    Args:
        frontend: the trained frontend.
        backends: trained networks by backend.
        params: the params.yaml of the run.
        metrics: metrics.json of the evaluation by backend.
        trainings: summary.json by training.
        out: folder; files of an earlier release in it are replaced.

    Returns:
        What release.json says: sha256 and bytes of each weight file, the trainings' summaries, the metrics.

    Raises:
        MissingWeights: a file is not there.
        KPBEError: the weights are larger than `LARGEST_MB` together.
    """
    sources = {FRONTEND: frontend, **{f"{name}.safetensors": path for name, path in backends.items()}}
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
    about = {
        "files": files,
        "pytorch": torch.__version__,
        "trainings": {name: json.loads(path.read_text(encoding="utf-8")) for name, path in trainings.items()},
        "metrics": {name: json.loads(path.read_text(encoding="utf-8")) for name, path in metrics.items()},
    }
    write_text(out / "params.yaml", params.read_text(encoding="utf-8"))
    write_json(out / "release.json", about)
    return about
