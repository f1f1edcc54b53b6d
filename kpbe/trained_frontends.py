"""The frontends that trainings left in checkpoints/, the released one, and one that a user names: which there are, how they are opened."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kpbe.errors import MissingWeights
from kpbe.methods import display_name

if TYPE_CHECKING:  # torch takes seconds, which a list of files need not wait for
    from kpbe.frontend.model import Frontend

STAGE1 = Path("checkpoints/stage1")
STAGE2 = Path("checkpoints/stage2")
RELEASED = Path("weights/released")
RELEASED_TABLE = Path("reports/released")
WEIGHTS = "frontend.safetensors"


def trained_frontends(root: Path = Path()) -> dict[str, Path]:
    """Frontends that can be rendered with, by name: "Stage 2, Wav2Lip", ..., "Stage 1", "Released".

    Args:
        root: the repository root.
    """
    files = {
        f"Stage 2, {display_name(path.parent.name)}": path
        for path in sorted((root / STAGE2).glob(f"*/{WEIGHTS}"))
    }
    files |= {"Stage 1": root / STAGE1 / WEIGHTS, "Released": root / RELEASED / WEIGHTS}
    return {name: path for name, path in files.items() if path.is_file()}


def frontend_file(checkpoint: Path | None) -> Path:
    """The file of a checkpoint that a user names: a file or a training's folder.

    Without a name it is the released one, which has seen real faces (that of `make repro` has seen drawn ones), else the first of
    `trained_frontends`.

    Raises:
        MissingWeights: there is none.
    """
    if checkpoint is None:
        found = trained_frontends()
        if not found:
            raise MissingWeights(
                f"there is no {RELEASED / WEIGHTS} and no trained frontend in checkpoints/: run `make repro` first, or name one with "
                "--checkpoint."
            )
        return found.get("Released") or next(iter(found.values()))
    file = checkpoint / WEIGHTS if checkpoint.is_dir() else checkpoint
    if not file.is_file():
        raise MissingWeights(f"{file} does not exist: correct --checkpoint or train the frontend first.")
    return file


def open_frontend(file: Path, device: str = "cpu") -> Frontend:
    """A frontend ready for rendering.

    Args:
        file: ours, or a public OSFV checkpoint of the sizes that params.yaml's `model` has.
        device: torch device.

    Raises:
        MissingWeights, BadCheckpoint: as `kpbe.frontend.checkpoints` says.
    """
    from kpbe.frontend.checkpoints import is_frontend_file, load_frontend, load_public_checkpoint
    from kpbe.params import load_params

    if is_frontend_file(file):
        return load_frontend(file, device).for_rendering()
    return load_public_checkpoint(file, load_params().model).to(device).for_rendering()
